/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The path infos that refer to an image, as its registry has them: signatures that travel with it. They
 * count only where they are good, so who wrote them does not matter, and what cannot be read adds
 * nothing.
 */
#ifndef NACRE_NODE_REFERRER_INFOS_H
#define NACRE_NODE_REFERRER_INFOS_H

#include <nacre/pathinfo.h>
#include <nacre/transport.h>

/* One set a referrer, since one must not hide another. */
struct referrer_infos {
	struct path_infos *sets; /* owned, each */
	size_t len, cap;
};
void referrer_infos_release(struct referrer_infos *infos);
#define cleanup_referrer_infos __attribute__((cleanup(referrer_infos_release)))

/* Adds those that refer to the image manifest `subject`, with paths of `store_dir`: of the first 32, and
 * of 64 MiB. Negative only when the list of referrers cannot be had. */
int referrer_infos_read(struct referrer_infos *ret, struct image_source *source,
			const struct hash *subject, const char *store_dir, struct err *err);

#endif
