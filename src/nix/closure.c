/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/closure.h>

#include "base/mem.h"

int path_infos_check_closed(const struct path_infos *set, struct err *err)
{
	for (size_t i = 0; i < set->len; i++) {
		const struct path_info *info = &set->items[i];

		for (size_t j = 0; j < info->references.len; j++)
			if (!path_infos_find(set, info->references.items[j]))
				return err_set(err, E_NOTFOUND, "%s refers to %s, which is missing",
					       info->path.text, info->references.items[j]);
	}
	return 0;
}

/* The state of a depth-first walk with a stack of its own. */
struct walk {
	const struct path_infos *set;
	uint32_t *height;
	uint8_t *state;       /* 0 not seen, 1 on the stack, 2 done */
	size_t *stack, *next; /* item, and the reference to look at next */
	size_t depth;
};

static void push(struct walk *w, size_t item)
{
	w->state[item] = 1;
	w->stack[w->depth] = item;
	w->next[w->depth] = 0;
	w->depth++;
}

/* One step at the top of the stack. */
static int step(struct walk *w, struct err *err)
{
	size_t item = w->stack[w->depth - 1];
	const struct path_info *info = &w->set->items[item];
	const struct path_info *ref;
	size_t child;

	if (w->next[w->depth - 1] == info->references.len) {
		w->state[item] = 2;
		w->depth--;
		if (w->depth) {
			uint32_t *above = &w->height[w->stack[w->depth - 1]];

			if (*above < w->height[item] + 1)
				*above = w->height[item] + 1;
		}
		return 0;
	}
	ref = path_infos_find(w->set, info->references.items[w->next[w->depth - 1]++]);
	if (!ref || ref == info)
		return 0;
	child = (size_t)(ref - w->set->items);
	if (w->state[child] == 1)
		return err_set(err, E_INVALID, "the references of %s form a cycle", ref->path.text);
	if (w->state[child] == 0)
		push(w, child);
	else if (w->height[item] < w->height[child] + 1)
		w->height[item] = w->height[child] + 1;
	return 0;
}

int path_infos_heights(const struct path_infos *set, uint32_t *ret, struct err *err)
{
	struct walk w = {
		.set = set,
		.height = ret,
		.state = xcalloc(set->len, 1),
		.stack = xcalloc(set->len, sizeof(size_t)),
		.next = xcalloc(set->len, sizeof(size_t)),
	};
	int r = 0;

	if (set->len)
		memset(ret, 0, set->len * sizeof(*ret));
	for (size_t i = 0; r >= 0 && i < set->len; i++) {
		if (w.state[i] == 0)
			push(&w, i);
		while (r >= 0 && w.depth)
			r = step(&w, err);
	}
	free(w.state);
	free(w.stack);
	free(w.next);
	return r;
}
