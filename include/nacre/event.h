/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system object as a sequence of events: what a NAR says, without its bytes. Every format
 * is read into these and written from these, in one place each: tree, NAR and canonical tar are
 * event sources and event sinks.
 *
 * 	root  = file | symlink | dir
 * 	file  = NODE_REGULAR (name, executable, size)  NODE_CONTENT*  NODE_REGULAR_END
 * 	symlink = NODE_SYMLINK (name, data = target)
 * 	dir   = NODE_DIRECTORY (name)  (file | symlink | dir)*  NODE_DIRECTORY_END
 * 	whole = root NODE_END
 *
 * The root has the empty name. Children come in strictly increasing bytewise order of their
 * names (memcmp), so there are no duplicates; names are 1..255 bytes without '/' and NUL, not
 * "." or "..". The content events of a file add up to its size. A directory is never deeper than
 * NODE_DEPTH_MAX. A source promises this; a sink may rely on it only if it was told so by its
 * header. All slices are borrowed until the event handler or the next step returns.
 */
#ifndef NACRE_EVENT_H
#define NACRE_EVENT_H

#include <nacre/err.h>
#include <nacre/slice.h>

enum {
	NODE_NAME_MAX = 255,    /* bytes; SPEC nix-nar names */
	NODE_TARGET_MAX = 4095, /* bytes; SPEC nix-nar targets */
	NODE_DEPTH_MAX = 64,    /* a node at depth 64 is refused; the root has depth 0 */
};

enum node_event_type {
	NODE_DIRECTORY = 1,
	NODE_REGULAR,
	NODE_CONTENT,
	NODE_REGULAR_END,
	NODE_SYMLINK,
	NODE_DIRECTORY_END,
	NODE_END,
};

struct node_event {
	enum node_event_type type;
	bool executable;     /* REGULAR, CONTENT, REGULAR_END */
	unsigned depth;      /* of the node that the event is about; root 0 */
	struct slice name;   /* DIRECTORY, REGULAR, SYMLINK: name in its directory; root: empty */
	struct slice data;   /* CONTENT: the next bytes of the file; SYMLINK: the target */
	uint64_t size;       /* REGULAR, CONTENT, REGULAR_END: size of the whole file, bytes */
	uint64_t nar_offset; /* REGULAR from a NAR reader: where its contents begin; else 0 */
};

/* Where events go. As with `struct sink`: embedded first, and after a failure only releasing is
 * allowed. */
struct node_sink {
	int (*event)(struct node_sink *self, const struct node_event *ev, struct err *err);
};

static inline int node_sink_event(struct node_sink *s, const struct node_event *ev, struct err *err)
{
	return s->event(s, ev, err);
}

#endif
