/* SPDX-License-Identifier: Apache-2.0 */
/* The closure of a store path in a view; private to src/store. */
#ifndef NACRE_STORE_CLOSURES_H
#define NACRE_STORE_CLOSURES_H

#include <nacre/pathinfo.h>

#include "store/nars.h"

struct closure {
	struct path_infos set;
	int64_t *nars;      /* owned; in the order of the set */
	size_t root;        /* index into the set */
	bool whole;         /* not the root alone */
	int64_t generation; /* of the view when it was read */
};
/* By the 32 characters of the hash part. E_NOTFOUND: no such path, or references are missing
 * (named). `whole` false: the path alone. */
int closure_read(struct store_view *v, const char *hash_part, bool whole, struct closure *ret,
		 struct err *err);
void closure_release(struct closure *k);
#define cleanup_closure __attribute__((cleanup(closure_release)))

#endif
