/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "nix/nar-format.h"
#include "nix/node-check.h"

/* Of ERR_TEXT_MAX, what a path may take of a message. */
enum { PATH_TEXT_MAX = 800 };

void node_check_path(const struct node_check *c, unsigned depth, char *ret, size_t size)
{
	size_t used = 0;

	ret[0] = '\0';
	for (unsigned d = 1; d <= depth && d < NODE_DEPTH_MAX && used < size; d++)
		used += (size_t)snprintf(ret + used, size - used, "%s%s", d > 1 ? "/" : "",
					 c->names[d]);
}

static int refuse(const struct node_check *c, int code, const char *what, struct err *err)
{
	char path[PATH_TEXT_MAX];

	node_check_path(c, c->dirs, path, sizeof(path));
	return err_set(err, code, "%s (at \"%s\")", what, path);
}

/* SPEC nix-nar names */
static int check_name(struct node_check *c, struct slice name, struct err *err)
{
	char *last = c->names[c->dirs];

	if (c->dirs == 0)
		return name.len ? refuse(c, E_INVALID, "the root must not have a name", err) : 0;
	if (name.len == 0)
		return refuse(c, E_INVALID, "an empty name", err);
	if (name.len > NODE_NAME_MAX)
		return refuse(c, E_LIMIT, "a name of more than 255 bytes", err);
	if (memchr(name.data, '/', name.len) || memchr(name.data, 0, name.len) ||
	    slice_equal_str(name, ".") || slice_equal_str(name, ".."))
		return refuse(c, E_INVALID, "a name that is \".\", \"..\" or has a \"/\" or NUL",
			      err);
	if (*last && slice_compare(name, slice_str(last)) <= 0)
		return refuse(c, E_INVALID, "a name that does not sort behind the one before it",
			      err);
	memcpy(last, name.data, name.len);
	last[name.len] = '\0';
	return 0;
}

static int check_node(struct node_check *c, const struct node_event *ev, struct err *err)
{
	if (c->place != NODE_AT_START && c->place != NODE_IN_DIR)
		return refuse(c, E_INVALID, "a node where none may be", err);
	if (c->dirs >= NODE_DEPTH_MAX)
		return err_set(err, E_LIMIT, "directories nested more than %d deep",
			       NODE_DEPTH_MAX);
	if (ev->depth != c->dirs)
		return refuse(c, E_INVALID, "a node at the wrong depth", err);
	return check_name(c, ev->name, err);
}

static int check_symlink(struct node_check *c, const struct node_event *ev, struct err *err)
{
	/* SPEC nix-nar targets */
	if (ev->data.len == 0)
		return refuse(c, E_INVALID, "an empty symlink target", err);
	if (ev->data.len > NODE_TARGET_MAX)
		return refuse(c, E_LIMIT, "a symlink target of more than 4095 bytes", err);
	if (memchr(ev->data.data, 0, ev->data.len))
		return refuse(c, E_INVALID, "a symlink target with a NUL", err);
	c->place = c->dirs ? NODE_IN_DIR : NODE_AT_END;
	return 0;
}

static int check_content(struct node_check *c, const struct node_event *ev, struct err *err)
{
	if (c->place != NODE_IN_FILE)
		return refuse(c, E_INVALID, "contents outside a file", err);
	if (ev->data.len > c->left)
		return refuse(c, E_INVALID, "more contents than the file has bytes", err);
	c->left -= ev->data.len;
	return 0;
}

static int check_file_end(struct node_check *c, struct err *err)
{
	if (c->place != NODE_IN_FILE)
		return refuse(c, E_INVALID, "the end of a file outside a file", err);
	if (c->left && !c->headers_only)
		return refuse(c, E_INVALID, "less contents than the file has bytes", err);
	c->place = c->dirs ? NODE_IN_DIR : NODE_AT_END;
	return 0;
}

static int check_begin(struct node_check *c, const struct node_event *ev, struct err *err)
{
	int r = check_node(c, ev, err);

	if (r < 0)
		return r;
	if (ev->type == NODE_SYMLINK)
		return check_symlink(c, ev, err);
	if (ev->type == NODE_DIRECTORY) {
		c->place = NODE_IN_DIR;
		if (++c->dirs < NODE_DEPTH_MAX)
			c->names[c->dirs][0] = '\0';
		return 0;
	}
	if (ev->size > NAR_SIZE_MAX)
		return refuse(c, E_LIMIT, "a file of 2^63 bytes or more", err);
	c->place = NODE_IN_FILE;
	c->left = ev->size;
	return 0;
}

int node_check_event(struct node_check *c, const struct node_event *ev, struct err *err)
{
	switch (ev->type) {
	case NODE_DIRECTORY:
	case NODE_REGULAR:
	case NODE_SYMLINK:
		return check_begin(c, ev, err);
	case NODE_CONTENT:
		return check_content(c, ev, err);
	case NODE_REGULAR_END:
		return check_file_end(c, err);
	case NODE_DIRECTORY_END:
		if (c->place != NODE_IN_DIR)
			return refuse(c, E_INVALID, "the end of a directory outside one", err);
		c->place = --c->dirs ? NODE_IN_DIR : NODE_AT_END;
		return 0;
	case NODE_END:
		if (c->place != NODE_AT_END)
			return refuse(c, E_INVALID, "the end before all is complete", err);
		c->place = NODE_WAS_END;
		return 0;
	}
	return err_set(err, E_INVALID, "an event of unknown type %d", (int)ev->type);
}
