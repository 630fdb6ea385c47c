/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nacre 4.1: grouping g1. */
#include <nacre/closure.h>
#include <nacre/group.h>

#include "base/mem.h"

enum { BINS_MAX = 16 };

/* What orders single-path layers. */
struct ranked {
	const struct path_info *info;
	uint32_t height;
	size_t index;
};

void grouping_release(struct grouping *g)
{
	for (size_t i = 0; i < g->len; i++)
		free(g->layers[i].paths);
	free(g->layers);
	*g = (struct grouping){0};
}

static int by_size(const struct ranked *a, const struct ranked *b)
{
	if (a->info->nar_size != b->info->nar_size)
		return a->info->nar_size > b->info->nar_size ? -1 : 1;
	return strcmp(a->info->path.text, b->info->path.text);
}

static int compare_size(const void *a, const void *b)
{
	return by_size(a, b);
}

static int compare_height(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->height != y->height)
		return x->height < y->height ? -1 : 1;
	return by_size(x, y);
}

static size_t bin_of(const struct path_info *info, size_t bins)
{
	char pname[STORE_NAME_MAX + 1], text[STORE_NAME_MAX + 8];
	struct hash h;
	uint64_t first = 0;

	store_pname(pname, store_path_name(&info->path));
	snprintf(text, sizeof(text), "g1:%s", pname);
	hash_bytes(&h, HASH_SHA256, text, strlen(text));
	for (size_t i = 0; i < 8; i++)
		first = first << 8 | h.bytes[i];
	return (size_t)(first % bins);
}

static void add_path(struct layer_group *layer, size_t index)
{
	array_grow(layer->paths, layer->cap, layer->len + 1);
	layer->paths[layer->len++] = index;
}

/* Moves the paths that get a layer of their own to the front of `all`; returns their number. */
static size_t choose_singles(struct ranked *all, size_t n, size_t slots)
{
	size_t singles = 0;

	qsort(all, n, sizeof(*all), compare_size);
	while (singles < n && singles < slots && all[singles].info->nar_size >= GROUP_SMALL)
		singles++;
	return singles;
}

static int compare_indices(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return (x > y) - (x < y);
}

static void fill(struct grouping *g, struct ranked *all, size_t n, size_t singles, size_t n_bins)
{
	struct layer_group bins[BINS_MAX] = {0};

	qsort(all, singles, sizeof(*all), compare_height);
	for (size_t i = 0; i < singles; i++)
		add_path(&g->layers[g->len++], all[i].index);
	for (size_t i = singles; i < n; i++)
		add_path(&bins[bin_of(all[i].info, n_bins)], all[i].index);
	for (size_t i = 0; i < n_bins; i++) {
		if (bins[i].len == 0)
			continue;
		/* The set is sorted by store path, so are indices. */
		qsort(bins[i].paths, bins[i].len, sizeof(size_t), compare_indices);
		g->layers[g->len++] = bins[i];
	}
}

int grouping_make(struct grouping *ret, const struct path_infos *set, size_t max_layers,
		  bool has_root, struct err *err)
{
	cleanup_free uint32_t *heights = xcalloc(set->len, sizeof(*heights));
	cleanup_free struct ranked *all = xcalloc(set->len, sizeof(*all));
	size_t n = set->len, room, n_bins = 0, singles = n;
	struct grouping g = {0};

	if (max_layers && max_layers < 1u + has_root)
		return err_set(err, E_USAGE, "at most %zu layers: there must be room for %d",
			       max_layers, 1 + has_root);
	if (path_infos_heights(set, heights, err) < 0)
		return err->code;
	for (size_t i = 0; i < n; i++)
		all[i] = (struct ranked){&set->items[i], heights[i], i};
	room = max_layers - has_root;
	if (max_layers && n > room) {
		n_bins = room / 2 < BINS_MAX ? room / 2 : BINS_MAX;
		n_bins = n_bins ? n_bins : 1;
		singles = choose_singles(all, n, room - n_bins);
	}
	g.layers = xcalloc(singles + n_bins, sizeof(*g.layers));
	fill(&g, all, n, singles, n_bins ? n_bins : 1);
	*ret = g;
	return 0;
}
