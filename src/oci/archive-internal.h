/* SPDX-License-Identifier: Apache-2.0 */
/* What the destinations that write one tar share. */
#ifndef NACRE_OCI_ARCHIVE_INTERNAL_H
#define NACRE_OCI_ARCHIVE_INTERNAL_H

#include <nacre/digest.h>

#include "base/fs.h"
#include "oci/tar-file.h"

/* A tar that takes its name when it is complete. */
struct archive_out {
	int dirfd;  /* owned */
	char *base; /* owned; its name there */
	struct temp_file file;
	struct archive_writer writer;
};
/* Release it in any case. */
int archive_out_open(struct archive_out *o, const char *path, struct err *err);
int archive_out_commit(struct archive_out *o, struct err *err);
void archive_out_release(struct archive_out *o);

struct hash_list {
	struct hash *items; /* owned */
	size_t len, cap;
};
bool hash_list_contains(const struct hash_list *l, const struct hash *h);
void hash_list_add(struct hash_list *l, const struct hash *h);
void hash_list_release(struct hash_list *l);

#endif
