/* SPDX-License-Identifier: Apache-2.0 */
/* What implements a `struct store_put`: embedded as the first member; private to src/store. */
#ifndef NACRE_STORE_PUTS_H
#define NACRE_STORE_PUTS_H

#include "store/store-internal.h"

struct store_put {
	int (*write)(struct store_put *self, const void *data, size_t len, struct err *err);
	int (*commit)(struct store_put *self, struct err *err);
	void (*free)(struct store_put *self);
	bool over; /* committed or failed */
};

#endif
