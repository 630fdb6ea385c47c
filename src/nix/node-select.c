/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "nix/node-select.h"

static struct slice next_component(const char *rest)
{
	return slice_make(rest, strcspn(rest, "/"));
}

static const char *skip_slashes(const char *rest)
{
	return rest + strspn(rest, "/");
}

int node_path_init(struct node_path *p, const char *path, struct err *err)
{
	for (const char *at = skip_slashes(path); *at;) {
		struct slice name = next_component(at);

		if (slice_equal_str(name, ".") || slice_equal_str(name, ".."))
			return err_set(err, E_INVALID,
				       "\"%s\": \".\" and \"..\" have no meaning in a NAR", path);
		at = skip_slashes(at + name.len);
	}
	*p = (struct node_path){.rest = skip_slashes(path)};
	return 0;
}

int node_path_step(struct node_path *p, const struct node_event *ev)
{
	struct slice want = next_component(p->rest);
	int order;

	switch (ev->type) {
	case NODE_DIRECTORY:
	case NODE_REGULAR:
	case NODE_SYMLINK:
		if (ev->depth != p->depth)
			return 0;
		order = ev->depth ? slice_compare(ev->name, want) : 0;
		if (order > 0) /* names are sorted: it would have come */
			return E_NOTFOUND;
		if (order < 0)
			return 0;
		if (ev->depth)
			p->rest = skip_slashes(p->rest + want.len);
		if (!*p->rest)
			return 1;
		if (ev->type != NODE_DIRECTORY)
			return E_NOTFOUND;
		p->depth++;
		return 0;
	case NODE_DIRECTORY_END:
		/* The directory that should have had it is over. */
		return ev->depth + 1 == p->depth ? E_NOTFOUND : 0;
	case NODE_CONTENT:
	case NODE_REGULAR_END:
	case NODE_END:
		break;
	}
	return 0;
}

/* The object is complete with this event. */
static bool is_last(const struct node_select *s, const struct node_event *ev)
{
	return ev->depth == s->depth && (ev->type == NODE_SYMLINK || ev->type == NODE_REGULAR_END ||
					 ev->type == NODE_DIRECTORY_END);
}

static int pass_on(struct node_select *s, const struct node_event *ev, struct err *err)
{
	struct node_event end = {.type = NODE_END}, moved = *ev;
	int r;

	moved.depth -= s->depth;
	if (moved.depth == 0)
		moved.name = slice_make(NULL, 0);
	r = node_sink_event(s->out, &moved, err);
	if (r < 0 || !is_last(s, ev))
		return r;
	s->state = SELECT_DONE;
	return node_sink_event(s->out, &end, err);
}

static int node_select_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct node_select *s = container_of(self, struct node_select, node_sink);
	int r;

	if (s->state == SELECT_INSIDE)
		return pass_on(s, ev, err);
	if (s->state != SELECT_SEARCHING)
		return 0;
	r = node_path_step(&s->path, ev);
	if (r == E_NOTFOUND)
		s->state = SELECT_MISSING;
	if (r <= 0)
		return 0;
	s->state = SELECT_INSIDE;
	s->depth = ev->depth;
	return pass_on(s, ev, err);
}

int node_select_init(struct node_select *s, const char *path, struct node_sink *out,
		     struct err *err)
{
	*s = (struct node_select){.node_sink = {node_select_event}, .out = out, .name = path};
	return node_path_init(&s->path, path, err);
}

int node_select_finish(const struct node_select *s, struct err *err)
{
	if (s->state == SELECT_DONE)
		return 0;
	return err_set(err, E_NOTFOUND, "the NAR has no \"%s\"", s->name);
}
