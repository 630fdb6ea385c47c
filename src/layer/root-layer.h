/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a root layer, piece by piece: what layer-writer.c needs to frame them. */
#ifndef NACRE_LAYER_ROOT_LAYER_H
#define NACRE_LAYER_ROOT_LAYER_H

#include <nacre/image.h>

enum root_piece { ROOT_HEADERS, ROOT_CONTENT, ROOT_PADDING, ROOT_TRAILER };

struct root_layer_visitor {
	int (*piece)(struct root_layer_visitor *self, struct slice bytes, enum root_piece kind,
		     struct err *err);
};
int root_layer_visit(const struct root_layer *r, struct root_layer_visitor *visitor,
		     struct err *err);

#endif
