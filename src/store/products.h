/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests that the server makes, with their blobs, on the way into a repository; private to
 * src/store. */
#ifndef NACRE_STORE_PRODUCTS_H
#define NACRE_STORE_PRODUCTS_H

#include <nacre/image.h>

#include "store/closures.h"
#include "store/ingest.h"
#include "store/repositories.h"

/* A blob: an object that is here, bytes that were written, or a splice. */
struct product_blob {
	struct named_bytes name;
	struct hash diff_id; /* of a layer: digest of its tar */
	enum blob_form form;
	int64_t object;        /* BLOB_OBJECT; 0: `bytes` */
	struct incoming bytes; /* sealed */
	struct splice splice;  /* other forms */
	enum layer_kind layer;
	struct layer_paths paths; /* of a store layer */
	int64_t id;               /* once recorded */
};
void product_blob_release(struct product_blob *b);
/* Takes what was written to b->bytes, which is ended and sealed here. */
int product_blob_written(struct product_blob *b, struct err *err);
int product_blob_text(struct product_blob *b, struct store *s, struct slice text, struct err *err);

struct product {
	struct store_view *view;     /* borrowed */
	const char *repository;      /* borrowed */
	const char *tag;             /* borrowed; NULL: none */
	struct product_blob config;  /* and */
	struct product_blob *layers; /* owned; */
	size_t n_layers;
	struct buf manifest; /* as canonical JSON */
};
void product_release(struct product *p);

/* Makes image or package, and the path infos of `closure` that refer to it, part of the
 * repository. */
int product_store(struct product *p, const struct closure *closure, struct err *err);
/* New path infos for what was made before. `manifest`: its id. */
int product_infos_replace(struct store_view *v, const char *repository, int64_t manifest,
			  const struct closure *closure, struct err *err);

#endif
