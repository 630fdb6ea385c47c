/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files that implement path-source.h. */
#ifndef NACRE_NET_PATH_SOURCE_INTERNAL_H
#define NACRE_NET_PATH_SOURCE_INTERNAL_H

#include "base/mem.h"
#include "net/path-source.h"

/* Keys that a source keeps for itself. */
struct trusted_keys {
	struct public_key *items; /* owned */
	size_t len;
};
static inline void trusted_keys_copy(struct trusted_keys *ret, const struct path_source_options *o)
{
	*ret = (struct trusted_keys){.len = o->n_trusted};
	if (ret->len)
		ret->items = xmemdup(o->trusted, ret->len * sizeof(*ret->items));
}

int local_source_open(struct path_source **ret, const char *root,
		      const struct path_source_options *options, struct err *err);
int local_source_follow(struct path_source *self, const char *text, struct store_path *ret,
			struct err *err);
/* Sends the object of a path in the directory `dirfd`, NODE_END only if NarHash and NarSize are
 * right. */
int proven_dump(int dirfd, const struct path_info *info, struct node_sink *out, struct err *err);
/* In registration-source.c. */
int registration_source_open(struct path_source **ret, const char *file,
			     const struct path_source_options *options, struct err *err);
/* In cache-source.c. */
int cache_source_open(struct path_source **ret, const char *url,
		      const struct path_source_options *options, struct err *err);
/* In package-source.c. */
#define PACKAGE_SOURCE_PREFIX "docker://"
int package_source_open(struct path_source **ret, const char *url,
			const struct path_source_options *options, struct err *err);

#endif
