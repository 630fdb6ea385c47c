/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by node-sources.c and node-signatures.c. */
#ifndef NACRE_NODE_NODE_SOURCES_INTERNAL_H
#define NACRE_NODE_NODE_SOURCES_INTERNAL_H

#include <nacre/buf.h>

#include "net/path-source.h"
#include "node/node-sources.h"

enum { NODE_JOBS_MAX = 32 };

struct node_sources {
	char *host;         /* owned; or NULL */
	struct strv caches; /* owned */
	char *auth_file;    /* owned; or NULL */
	bool insecure;
	struct public_key *trusted; /* owned */
	size_t n_trusted;
	bool require_signatures;
	unsigned n_jobs; /* 1 to NODE_JOBS_MAX */
};

/* One for each of s->caches, NULL where it cannot be opened; `why` is then one reason. */
struct path_source **node_sources_open_caches(struct node_sources *s, const char *store_dir,
					      struct err *why);
void node_sources_close_caches(const struct node_sources *s, struct path_source **caches);

#endif
