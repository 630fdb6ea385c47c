/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/snapshot-internal.h"

enum {
	NAME_LEN = 32,
	STACK_LEN = 64,
	LOWERS_BYTES_MAX = 3000, /* of mount(2)'s page; the rest is for the other options */
};

void snapshot_mount_release(struct snapshot_mount *m)
{
	free(m->source);
	strv_release(&m->options);
	*m = (struct snapshot_mount){0};
}

void snapshot_chain_release(struct snapshot_chain *c)
{
	for (size_t i = 0; i < c->len; i++)
		snapshot_release(&c->items[i]);
	free(c->items);
	*c = (struct snapshot_chain){0};
}

static int add_to_chain(void *data, struct snapshot *row)
{
	struct snapshot_chain *chain = data;

	array_grow(chain->items, chain->cap, chain->len + 1);
	chain->items[chain->len++] = *row;
	*row = (struct snapshot){0};
	return 0;
}

int snapshot_chain_load(struct snapshotter *s, int64_t id, struct snapshot_chain *ret,
			struct err *err)
{
	struct snapshot_chain chain = {0};

	if (snapshot_ancestors(s->state, id, add_to_chain, &chain, err) < 0) {
		snapshot_chain_release(&chain);
		return err->code;
	}
	*ret = chain;
	return 0;
}

char *snapshot_fs(const struct snapshotter *s, int64_t id)
{
	return xasprintf("%s/s/%lld/fs", s->dir, (long long)id);
}

void mount_plan_release(struct mount_plan *p)
{
	free(p->paths.items);
	strv_release(&p->paths.strings);
	strv_release(&p->layers);
	strv_release(&p->names);
	buf_release(&p->uses);
	*p = (struct mount_plan){0};
}

const struct hash *snapshot_record_of(const struct snapshot *row)
{
	return row->is_store ? &row->diff_id : &row->paths;
}

static int add_record(struct snapshotter *s, const struct layer_record *record,
		      struct chain_paths *p, struct err *err)
{
	for (size_t i = 0; i < record->len; i++) {
		const struct layer_path *path = &record->paths[i];
		char *content = node_store_path_file(s->o.store, &path->nar_hash);

		if (!content)
			return err_set(err, E_IO, "%s/%s is gone from this node", record->store_dir,
				       path->base);
		strv_addf(&p->strings, "%s/%s", record->store_dir, path->base);
		strv_take(&p->strings, content);
		array_grow(p->items, p->cap, p->len + 1);
		p->items[p->len++] = (struct view_path){
			.path = p->strings.items[p->strings.len - 2],
			.content = content,
			.nar_hash = path->nar_hash,
		};
	}
	return 0;
}

static int compare_paths(const void *a, const void *b)
{
	const struct view_path *x = a, *y = b;

	return strcmp(x->path, y->path);
}

/* Two layers may hold one path. They hold the same: see snapshot-layer.c. */
static void sort_unique(struct chain_paths *p)
{
	size_t n = 0;

	if (!p->len)
		return;
	qsort(p->items, p->len, sizeof(*p->items), compare_paths);
	for (size_t i = 0; i < p->len; i++)
		if (!n || strcmp(p->items[n - 1].path, p->items[i].path) != 0)
			p->items[n++] = p->items[i];
	p->len = n;
}

static int collect_paths(struct snapshotter *s, const struct snapshot_chain *chain,
			 struct chain_paths *p, struct err *err)
{
	for (size_t i = 0; i < chain->len; i++) {
		struct layer_record record = {0};
		struct err local = ERR_INIT;
		int r;

		if (!chain->items[i].is_store && !chain->items[i].has_paths)
			continue;
		r = node_store_layer_record(s->o.store, snapshot_record_of(&chain->items[i]),
					    &record, &local);
		if (r < 0)
			return err_set(err, E_IO, "a store layer is gone from this node: %s",
				       local.text);
		r = add_record(s, &record, p, err);
		layer_record_release(&record);
		if (r < 0)
			return r;
	}
	sort_unique(p);
	return 0;
}

/* What is mounted in m/ is named by what it is made of: `n` layers from the `first`, above the store
 * paths if they are in it. The same content may be found at another place later, which is another
 * image. */
static void add_name(struct mount_plan *p, size_t first, size_t n, bool has_paths)
{
	char text[HASH_TEXT_MAX];
	struct hasher hasher;
	struct hash hash;

	hasher_init(&hasher, HASH_SHA256);
	for (size_t i = 0; has_paths && i < p->paths.len; i++) {
		const struct view_path *path = &p->paths.items[i];

		hasher_update(&hasher, path->path, strlen(path->path) + 1);
		hasher_update(&hasher, path->content, strlen(path->content) + 1);
		hasher_update(&hasher, path->nar_hash.bytes, hash_size(HASH_SHA256));
	}
	for (size_t i = first; i < first + n; i++)
		hasher_update(&hasher, p->layers.items[i], strlen(p->layers.items[i]) + 1);
	hasher_final(&hasher, &hash);
	hasher_release(&hasher);
	hash_format_bare(text, &hash, HASH_NIX32);
	strv_addf(&p->names, "%.*s", NAME_LEN, text);
}

/* Stacks begin at the bottom and have one size, so that the snapshots of one image share them. */
static void plan_stacks(struct snapshotter *s, struct mount_plan *p)
{
	size_t stack_bytes = strlen(s->dir) + sizeof("/m/:") + NAME_LEN, bytes = 0;

	p->n_top = p->layers.len;
	for (size_t i = 0; i < p->layers.len; i++)
		bytes += strlen(p->layers.items[i]) + 1;
	while (bytes > LOWERS_BYTES_MAX && p->n_top > STACK_LEN) {
		for (size_t i = p->n_top - STACK_LEN; i < p->n_top; i++)
			bytes -= strlen(p->layers.items[i]) + 1;
		bytes += stack_bytes;
		p->n_top -= STACK_LEN;
		p->has_stacks = true;
	}
}

int mount_plan_make(struct snapshotter *s, const struct snapshot_chain *chain,
		    struct mount_plan *ret, struct err *err)
{
	cleanup_mount_plan struct mount_plan p = {0};

	if (collect_paths(s, chain, &p.paths, err) < 0)
		return err->code;
	for (size_t i = 0; i < chain->len; i++)
		if (!chain->items[i].is_store)
			strv_take(&p.layers, snapshot_fs(s, chain->items[i].id));
	plan_stacks(s, &p);
	for (size_t i = p.n_top; i < p.layers.len; i += STACK_LEN)
		add_name(&p, i, STACK_LEN, i + STACK_LEN == p.layers.len);
	if (!p.has_stacks && p.paths.len)
		add_name(&p, 0, 0, true);
	for (size_t i = 0; i < p.names.len; i++)
		buf_addf(&p.uses, "%s%s", i ? " " : "", p.names.items[i]);
	*ret = p;
	p = (struct mount_plan){0};
	return 0;
}

static void make_bind(struct snapshot_mount *ret, char *source, bool is_writable)
{
	*ret = (struct snapshot_mount){.type = "bind", .source = source};
	strv_add(&ret->options, is_writable ? "rw" : "ro");
	strv_add(&ret->options, "rbind");
}

static int make_mount_dir(const char *dir, struct err *err)
{
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_errno(err, "create %s", dir);
	return 0;
}

static bool is_overlay(const char *dir)
{
	struct statfs st;

	return statfs(dir, &st) == 0 && st.f_type == OVERLAYFS_SUPER_MAGIC;
}

/* Mounts the stacks that are not mounted, and adds their places. */
static int mount_stacks(struct snapshotter *s, const struct mount_plan *p, const char *cache,
			struct strv *ret, struct err *err)
{
	for (size_t i = 0; i < p->names.len; i++) {
		cleanup_free char *dir = xasprintf("%s/m/%s", s->dir, p->names.items[i]);
		cleanup_view_mounts struct view_mounts mounts = {0};
		size_t first = p->n_top + i * STACK_LEN;
		bool is_lowest = i + 1 == p->names.len;
		const struct view_spec spec = {
			.paths = p->paths.items,
			.n_paths = is_lowest ? p->paths.len : 0,
			.layers = (const char *const *)p->layers.items + first,
			.n_layers = STACK_LEN,
			.cache = cache,
			.kind = s->o.kind,
		};

		if (make_mount_dir(dir, err) < 0)
			return err->code;
		if (!is_overlay(dir) && view_mount(&spec, dir, &mounts, err) < 0)
			return err_wrap(err, "%zu layers", p->layers.len);
		strv_add(ret, dir);
	}
	return 0;
}

static int make_overlay(struct snapshotter *s, const struct snapshot *row,
			const struct mount_plan *p, struct snapshot_mount *ret, struct err *err)
{
	cleanup_free char *upper = snapshot_fs(s, row->id);
	cleanup_free char *work = xasprintf("%s/s/%lld/work", s->dir, (long long)row->id);
	cleanup_free char *cache = xasprintf("%s/views", node_store_root(s->o.store));
	cleanup_free char *meta =
		xasprintf("%s/m/%s", s->dir, p->names.len ? p->names.items[0] : "");
	cleanup_view_mounts struct view_mounts mounts = {0};
	cleanup_strv struct strv lowers = {0};
	struct view_spec spec = {.cache = cache, .kind = s->o.kind};

	for (size_t i = 0; i < p->n_top; i++)
		strv_add(&lowers, p->layers.items[i]);
	if (p->has_stacks) {
		if (mount_stacks(s, p, cache, &lowers, err) < 0)
			return err->code;
	} else if (p->paths.len) {
		spec.paths = p->paths.items;
		spec.n_paths = p->paths.len;
		if (make_mount_dir(meta, err) < 0)
			return err->code;
	}
	spec.layers = (const char *const *)lowers.items;
	spec.n_layers = lowers.len;
	if (row->kind == SNAPSHOT_ACTIVE) {
		spec.upper = upper;
		spec.work = work;
	}
	if (view_prepare(&spec, meta, &mounts, err) < 0)
		return err->code;
	*ret = (struct snapshot_mount){.type = "overlay", .source = xstrdup("overlay")};
	if (s->has_index)
		strv_add(&ret->options, "index=off");
	for (size_t i = 0; i < mounts.options.len; i++)
		strv_add(&ret->options, mounts.options.items[i]);
	return 0;
}

int snapshot_mount_make(struct snapshotter *s, const struct snapshot *row,
			const struct mount_plan *p, struct snapshot_mount *ret, struct err *err)
{
	if (!p->paths.len && !p->layers.len) {
		make_bind(ret, snapshot_fs(s, row->id), row->kind == SNAPSHOT_ACTIVE);
		return 0;
	}
	if (!p->paths.len && p->layers.len == 1 && row->kind == SNAPSHOT_VIEW) {
		make_bind(ret, xstrdup(p->layers.items[0]), false);
		return 0;
	}
	return make_overlay(s, row, p, ret, err);
}
