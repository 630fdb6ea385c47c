/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a blob that was pushed to the store paths in it (SPEC nacre 2, 3); private to src/store. A
 * blob is looked at once: by its content alone it is a store layer, a NAR, or ordinary. Its NARs
 * are kept framed; and where the blob is made of the same frames, it becomes a splice over them
 * and its own bytes go.
 */
#ifndef NACRE_STORE_INGEST_H
#define NACRE_STORE_INGEST_H

#include "store/nars.h"
#include "store/repositories.h"

/* Makes sure that blob.layer is known. What cannot be read is ordinary, and no error. */
int blob_ingest(struct store_view *v, int64_t blob, enum layer_kind *ret, struct err *err);

/* A path of a store layer. LAYER_NAR: one without a name (path empty). */
struct layer_path {
	char *path; /* owned */
	int64_t nar;
	struct hash nar_hash;
	uint64_t nar_size;
};
struct layer_paths {
	struct layer_path *items; /* owned */
	size_t len, cap;
};
void layer_paths_release(struct layer_paths *p);
#define cleanup_layer_paths __attribute__((cleanup(layer_paths_release)))
int layer_paths_read(struct conn *c, int64_t blob, struct layer_paths *ret, struct err *err);
/* Inside a transaction. */
int layer_paths_write(struct conn *c, int64_t blob, enum layer_kind kind,
		      const struct layer_paths *paths, struct err *err);

/* The splice of the layer of these paths, which are sorted and of one store dir. */
int layer_splice(struct store *s, const struct layer_paths *paths, struct splice *ret,
		 struct err *err);

#endif
