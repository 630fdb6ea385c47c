/* SPDX-License-Identifier: Apache-2.0 */
/* What a view is made of; private to src/store. */
#ifndef NACRE_STORE_VIEWS_H
#define NACRE_STORE_VIEWS_H

#include "store/store-internal.h"

/* What the operator of a view wants. Immutable; another one takes its place. */
struct view_policy {
	/* Owned. Threads may still use it, so it goes with the view: a text or two for each time
	 * that the operator changes his mind. */
	struct view_policy *older;
	struct public_key *trusted; /* owned */
	size_t n_trusted;
	struct secret_key *signing; /* owned */
	size_t n_signing;
	bool require_signatures, sign_images;
	enum store_sparse sparse;
	int priority;
};

static inline const struct view_policy *view_policy(const struct store_view *v)
{
	return atomic_load(&v->policy);
}

void views_close(struct store *s);

#endif
