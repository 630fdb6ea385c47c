/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files that implement path-source.h. */
#ifndef NACRE_NET_PATH_SOURCE_INTERNAL_H
#define NACRE_NET_PATH_SOURCE_INTERNAL_H

#include "net/path-source.h"

int local_source_open(struct path_source **ret, const char *root, const char *store_dir,
		      struct err *err);
int local_source_follow(struct path_source *self, const char *text, struct store_path *ret,
			struct err *err);
/* Sends the object of a path in the directory `dirfd`, NODE_END only if NarHash and NarSize are
 * right. */
int proven_dump(int dirfd, const struct path_info *info, struct node_sink *out, struct err *err);
/* In registration-source.c. */
int registration_source_open(struct path_source **ret, const char *file, const char *store_dir,
			     struct err *err);
/* In cache-source.c. */
int cache_source_open(struct path_source **ret, const char *url,
		      const struct path_source_options *options, struct err *err);

#endif
