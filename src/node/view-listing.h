/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store path consists of, without its contents: events (<nacre/event.h>, no NODE_CONTENT)
 * found by walking a tree with lstat, and the same events kept in a small file so that the next view
 * need not walk.
 *
 * The file, a cache of this machine alone: "nacre listing 1\n", then a record a node in the order of
 * the events, then the sha256 of all before it. A record is a letter (d directory, f file,
 * x executable, l symlink, e end of a directory), except for e the length of the name as one byte
 * and the name, for f and x the size as eight bytes, for l the length of the target as two bytes and
 * the target; numbers are little-endian.
 */
#ifndef NACRE_NODE_VIEW_LISTING_H
#define NACRE_NODE_VIEW_LISTING_H

#include <nacre/buf.h>
#include <nacre/event.h>

/* Sends the tree `name` of `dirfd` (or AT_FDCWD and a path) to `out`; never follows a symlink.
 * E_UNSUPPORTED for a device, fifo or socket. *ret_nodes counts. */
int listing_walk(int dirfd, const char *name, struct node_sink *out, size_t *ret_nodes,
		 struct err *err);

/* Writes the events it gets as a listing; complete after NODE_END. */
struct listing_sink {
	struct node_sink node_sink;
	struct buf text; /* owned by the caller */
};
void listing_sink_init(struct listing_sink *s);

/* Sends a listing's events to `out`. E_INVALID for one that is damaged: before the first event was
 * sent when its hash is wrong. */
int listing_read(struct slice text, struct node_sink *out, struct err *err);

#endif
