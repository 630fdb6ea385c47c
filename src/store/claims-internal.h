/* SPDX-License-Identifier: Apache-2.0 */
/* What claims.c and claims-artifacts.c share. */
#ifndef NACRE_STORE_CLAIMS_INTERNAL_H
#define NACRE_STORE_CLAIMS_INTERNAL_H

#include "store/claims.h"
#include "store/ingest.h"

/* One path while its claim is put together. */
struct claim {
	struct path_info info;
	int64_t nar;
	bool has_references;
	enum attestation attested;
};

struct collection {
	struct store_view *view;
	const struct manifest_parts *parts;
	char store_dir[STORE_DIR_MAX + 1];
	struct claim *items; /* owned */
	size_t len, cap;
	bool *again;           /* owned; of each layer: is an earlier one the same blob? */
	struct claims *claims; /* borrowed: where refusals are counted */
	/* Of the subject of path infos, sorted by path; read when first needed. */
	struct layer_paths subject;
	bool subject_read;
};

/* Counts `n` paths that are not bound, and keeps the first reason. */
void claims_refuse(struct claims *c, size_t n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A claim for this content, without a path. Valid until the next one is added. */
struct claim *claim_add(struct collection *k, const struct layer_path *path);
/* What a layer holds; taken in if it was not. */
int claims_paths_of(struct store_view *v, int64_t blob, enum layer_kind *ret_kind,
		    struct layer_paths *ret, struct err *err);

int claims_of_package(struct collection *k, struct err *err);
int claims_of_path_infos(struct collection *k, struct err *err);

#endif
