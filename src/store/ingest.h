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

enum {
	LAYER_PATHS_MAX = 1 << 18, /* of one layer */
	IMAGE_PATHS_MAX = 1 << 18, /* of all layers of an image */
};

/* Makes sure that blob.layer is known. What cannot be read is ordinary, and no error. */
int blob_ingest(struct store_view *v, int64_t blob, enum layer_kind *ret, struct err *err);
/* Of a layer whose paths are known, and lie in this object (settle.h): keeps its NARs framed, and makes
 * a splice of the blob where it can be one. Does nothing for what is gone, or done. */
int object_frame(struct store *s, int64_t object, struct err *err);

/* 1: what is known of a blob; `content` reads it, if nothing is. 0: it is gone. */
int blob_look(struct store_view *v, int64_t blob, struct content *content, enum layer_kind *ret,
	      struct err *err);
/* Is it the layer's fault that it could not be read, and nobody else's? */
bool ingest_is_ordinary(int code);

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
/* Valid until the next one is added. */
struct layer_path *layer_paths_add(struct layer_paths *p, const char *path);
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
