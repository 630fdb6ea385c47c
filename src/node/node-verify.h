/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what a node keeps and says whether it is what its name says; and counts. */
#ifndef NACRE_NODE_NODE_VERIFY_H
#define NACRE_NODE_NODE_VERIFY_H

#include "node/node-store.h"

struct verify_options {
	/* Called for everything that is damaged. */
	void (*damaged)(void *data, const char *what);
	void *data;
	bool remove; /* what is damaged is deleted by way of the trash, and fetched anew when it is needed */
};

struct verify_stats {
	size_t paths, layers, blobs, damaged;
};

/* Every path against its NarHash, every manifest and config against its digest, every record of a
 * layer against its paths. What ordinary layers hold cannot be checked once it is unpacked. Negative
 * when something cannot be read at all, or, once all was looked at, when something that is damaged
 * cannot be removed. */
int node_verify(struct node_store *store, const struct verify_options *options,
		struct verify_stats *ret, struct err *err);

struct node_stats {
	size_t images, paths, host_paths, layers, containers, mounts, holds, views;
	uint64_t path_bytes, layer_bytes, view_bytes; /* on disk */
};
int node_statistics(struct node_store *store, struct node_stats *ret, struct err *err);

/* Calls `take` for each name in ROOT/`name`, but for those that begin with a dot, until it returns a
 * negative code. A directory that is not there has none. */
int node_each(const struct node_store *store, const char *name,
	      int (*take)(void *data, int dirfd, const char *entry, struct err *err), void *data,
	      struct err *err);

#endif
