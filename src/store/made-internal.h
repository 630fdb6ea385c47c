/* SPDX-License-Identifier: Apache-2.0 */
/* What made.c and made-image.c share. */
#ifndef NACRE_STORE_MADE_INTERNAL_H
#define NACRE_STORE_MADE_INTERNAL_H

#include "store/made.h"
#include "store/products.h"

/* The layer of one path of a closure. E_UNSUPPORTED: it cannot be a layer. */
int made_layer_single(struct store *s, const struct closure *k, size_t path,
		      enum image_compression compression, struct product_blob *ret,
		      struct err *err);
int made_image(struct store_view *v, const char *repository, const char *tag,
	       const struct made_tag *t, const struct closure *k, struct err *err);

#endif
