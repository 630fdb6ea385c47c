/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image's view was made of when it was last mounted, so that the next start looks at a few files
 * whatever the number of store paths. It holds as long as nothing was added to ROOT/paths and ROOT/layers
 * or taken from there: their times say so. A file of the cache:
 *
 * 	ROOT/views/<manifest's digest in hex>.ready
 *
 * Nothing is lost where there is none, or where it does not hold any more.
 */
#ifndef NACRE_NODE_NODE_READY_H
#define NACRE_NODE_NODE_READY_H

#include <nacre/buf.h>
#include <nacre/hash.h>

#include "node/node-store.h"

struct node_ready {
	char *image;        /* owned; the metadata image; NULL: nothing is known */
	char *data_dir;     /* owned; where all contents are */
	size_t n_paths;     /* at least 1 */
	struct strv layers; /* directories of ordinary layers, topmost first */
};
void node_ready_release(struct node_ready *r);

/* The state of ROOT/paths and ROOT/layers. */
struct node_stamp {
	char text[200];  /* empty: it cannot be told */
	bool is_settled; /* a change from now on will show: the clock of files is a coarse one */
};
/* Take it before anything is looked at. */
void node_stamp_take(struct node_stamp *ret, const struct node_store *store);

/* True: the image is here, whole, and *ret says how to mount it. */
bool node_ready_load(struct node_ready *ret, const struct node_store *store,
		     const struct hash *manifest);
/* Notes it. Not brought to the disk: what a crash damages counts as missing. */
void node_ready_store(const struct node_ready *ready, const struct node_store *store,
		      const struct hash *manifest, const struct node_stamp *stamp);

#endif
