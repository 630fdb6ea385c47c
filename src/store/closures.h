/* SPDX-License-Identifier: Apache-2.0 */
/* The closure of a store path in a view; private to src/store. */
#ifndef NACRE_STORE_CLOSURES_H
#define NACRE_STORE_CLOSURES_H

#include <nacre/pathinfo.h>

#include "store/nars.h"

enum {
	CLOSURE_TAG_ROOTS_MAX = 3, /* as many as a tag has room for; */
	CLOSURE_ROOTS_MAX = 10,    /* and with them, the name of a repository (SPEC nacre 6) */
	CLOSURE_NAME_MAX = CLOSURE_ROOTS_MAX * (STORE_HASH_LEN + 1),
};

struct closure {
	struct path_infos set;
	int64_t *nars;                   /* owned; in the order of the set */
	size_t roots[CLOSURE_ROOTS_MAX]; /* indices into the set, as they were named */
	size_t n_roots;
	bool whole;         /* not the root alone */
	int64_t generation; /* of the view when it was read */
};
/* How many hash parts a name begins with: 32 characters each, with a '.' between them, no two the
 * same. 0: it is no such name. What comes behind them begins at `*ret_end`. */
size_t closure_name_parse(const char *name, const char **ret_end);
/* `name` is nothing but hash parts. E_NOTFOUND: no such path, or references are missing (named).
 * `whole` false: the paths alone. */
int closure_read(struct store_view *v, const char *name, bool whole, struct closure *ret,
		 struct err *err);
/* Inside a transaction: 1 if what was read still holds, 0 if a path of it has gone or is another. */
int closure_is_current(struct conn *c, const struct store_view *v, const struct closure *k,
		       struct err *err);
void closure_release(struct closure *k);
#define cleanup_closure __attribute__((cleanup(closure_release)))

#endif
