/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node has, and how it gets rid of what nobody uses.
 *
 * Used is what can be reached from references (the images that were pulled), containers that run,
 * root file systems that are mounted, and holds: manifests and configs, layers, store paths. A
 * collection marks and moves the rest to ROOT/trash/ while it has the store alone, which takes
 * moments; it deletes afterwards. Killed at any point, it leaves nothing half visible, and the next
 * one deletes what is in the trash. Threads and processes: any, at the same time.
 */
#ifndef NACRE_NODE_NODE_GC_H
#define NACRE_NODE_NODE_GC_H

#include "node/node-store.h"

struct gc_options {
	/* References that were last used longer ago than this many seconds are dropped first;
	 * < 0: none. */
	int64_t older_than_s;
	bool dry_run; /* count only */
};

struct gc_stats {
	size_t refs, paths, layers, blobs, views; /* dropped; layers: directories and records */
	uint64_t bytes;                           /* on disk, of what was deleted */
};

/* E_IO and the like when something cannot be read that may name what is in use: then nothing is
 * dropped. */
int node_gc(struct node_store *store, const struct gc_options *options, struct gc_stats *ret,
	    struct err *err);

/* Bytes on disk of `name` in `dirfd`, with all below it. */
uint64_t node_usage(int dirfd, const char *name);

/* A reference to an image on this node. */
struct node_ref {
	char *text; /* owned; NULL: written by an older nacre */
	char *file; /* owned; its name in refs/ */
	struct hash digest;
	int64_t used_s; /* when it was last pulled or used; seconds since 1970 */
};
struct node_refs {
	struct node_ref *items; /* owned; by text */
	size_t len, cap;
};
void node_refs_release(struct node_refs *r);
#define cleanup_node_refs __attribute__((cleanup(node_refs_release)))
int node_refs_list(struct node_refs *ret, const struct node_store *store, struct err *err);
/* E_NOTFOUND. The image goes with the next collection. */
int node_store_remove_ref(struct node_store *store, const char *ref, struct err *err);

#endif
