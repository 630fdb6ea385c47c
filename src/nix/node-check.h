/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar of events (event.h), checked: what a sink asks before it believes a source.
 * Constant memory; leaf code but for the text of its errors. All-zero is the valid state before
 * the first event.
 */
#ifndef NACRE_NIX_NODE_CHECK_H
#define NACRE_NIX_NODE_CHECK_H

#include <nacre/event.h>

struct node_check {
	enum { NODE_AT_START, NODE_IN_FILE, NODE_IN_DIR, NODE_AT_END, NODE_WAS_END } place;
	bool headers_only; /* set by the owner: contents may be left out */
	unsigned dirs;     /* directories that are open; the depth of the next node */
	uint64_t left;     /* contents of the open file that are still to come, bytes */
	/* names[d] is the last name seen at depth d while its directory is open, with a NUL. */
	char names[NODE_DEPTH_MAX][NODE_NAME_MAX + 1];
};

/* 0, or E_INVALID or E_LIMIT for an event that may not come now. */
int node_check_event(struct node_check *c, const struct node_event *ev, struct err *err);

/* The name of the node that a DIRECTORY, REGULAR or SYMLINK event just checked is about, as a
 * string. */
static inline const char *node_check_name(const struct node_check *c, const struct node_event *ev)
{
	return c->names[ev->depth];
}

/* The path below the root of the node at `depth`, for messages: cut at `size`. "" for the root. */
void node_check_path(const struct node_check *c, unsigned depth, char *ret, size_t size);

#endif
