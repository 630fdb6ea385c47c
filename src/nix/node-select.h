/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One object out of a tree of events, by its path: "" or "/" is the root; components are
 * separated by '/', and more than one '/', or one at either end, changes nothing.
 */
#ifndef NACRE_NIX_NODE_SELECT_H
#define NACRE_NIX_NODE_SELECT_H

#include <nacre/event.h>

/* How far along a path the events have come. */
struct node_path {
	const char *rest; /* borrowed; components still to be entered */
	unsigned depth;   /* of the node that the first of them names */
};

/* E_INVALID for a path with "." or "..", which have no meaning here. `path` is borrowed. */
int node_path_init(struct node_path *p, const char *path, struct err *err);

/* One event on the way. 1: it is about the node looked for; 0: go on; E_NOTFOUND: there is none.
 * Not to be called again after anything but 0. */
int node_path_step(struct node_path *p, const struct node_event *ev);

/* A sink that hands the object at a path to `out` (borrowed), as a tree of its own with
 * NODE_END, and drops all else. */
struct node_select {
	struct node_sink node_sink;
	struct node_sink *out;
	struct node_path path;
	const char *name; /* borrowed; the whole path, for messages */
	enum { SELECT_SEARCHING, SELECT_INSIDE, SELECT_DONE, SELECT_MISSING } state;
	unsigned depth; /* of the object, in the whole tree */
};

int node_select_init(struct node_select *s, const char *path, struct node_sink *out,
		     struct err *err);
/* E_NOTFOUND where the events, all of which have come, did not have the object. */
int node_select_finish(const struct node_select *s, struct err *err);

#endif
