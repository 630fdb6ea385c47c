/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/snapshot-internal.h"

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

int snapshot_chain_load(struct snapshotter *s, int64_t id, struct snapshot_chain *ret,
			struct err *err)
{
	struct snapshot_chain chain = {0};

	while (id) {
		array_grow(chain.items, chain.cap, chain.len + 1);
		if (snapshot_get_id(s->state, id, &chain.items[chain.len], err) < 0) {
			snapshot_chain_release(&chain);
			return err_set(err, E_IO, "the snapshotter's database lacks a parent");
		}
		id = chain.items[chain.len++].parent_id;
	}
	*ret = chain;
	return 0;
}

char *snapshot_fs(const struct snapshotter *s, int64_t id)
{
	return xasprintf("%s/s/%lld/fs", s->dir, (long long)id);
}

void chain_paths_release(struct chain_paths *p)
{
	free(p->items);
	strv_release(&p->strings);
	*p = (struct chain_paths){0};
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

	qsort(p->items, p->len, sizeof(*p->items), compare_paths);
	for (size_t i = 0; i < p->len; i++)
		if (!n || strcmp(p->items[n - 1].path, p->items[i].path) != 0)
			p->items[n++] = p->items[i];
	p->len = n;
}

/* The same content may be found at another place later, which is another image. */
static void name_set(struct chain_paths *p)
{
	struct hasher hasher;
	struct hash hash;

	hasher_init(&hasher, HASH_SHA256);
	for (size_t i = 0; i < p->len; i++) {
		hasher_update(&hasher, p->items[i].path, strlen(p->items[i].path) + 1);
		hasher_update(&hasher, p->items[i].content, strlen(p->items[i].content) + 1);
		hasher_update(&hasher, p->items[i].nar_hash.bytes, hash_size(HASH_SHA256));
	}
	hasher_final(&hasher, &hash);
	hasher_release(&hasher);
	hash_format_bare(p->meta, &hash, HASH_NIX32);
}

int chain_paths_collect(struct snapshotter *s, const struct snapshot_chain *chain,
			struct chain_paths *ret, struct err *err)
{
	cleanup_chain_paths struct chain_paths p = {0};

	for (size_t i = 0; i < chain->len; i++) {
		struct layer_record record = {0};
		struct err local = ERR_INIT;
		int r;

		if (!chain->items[i].is_store)
			continue;
		r = node_store_layer_record(s->o.store, &chain->items[i].diff_id, &record, &local);
		if (r < 0)
			return err_set(err, E_IO, "a store layer is gone from this node: %s",
				       local.text);
		r = add_record(s, &record, &p, err);
		layer_record_release(&record);
		if (r < 0)
			return r;
	}
	if (p.len) {
		sort_unique(&p);
		name_set(&p);
	}
	*ret = p;
	p = (struct chain_paths){0};
	return 0;
}

static void make_bind(struct snapshot_mount *ret, char *source, bool is_writable)
{
	*ret = (struct snapshot_mount){.type = "bind", .source = source};
	strv_add(&ret->options, is_writable ? "rw" : "ro");
	strv_add(&ret->options, "rbind");
}

static int make_meta_dir(const char *dir, struct err *err)
{
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_errno(err, "create %s", dir);
	return 0;
}

static int make_overlay(struct snapshotter *s, const struct snapshot *row,
			const struct strv *layers, const struct chain_paths *paths,
			struct snapshot_mount *ret, struct err *err)
{
	cleanup_free char *upper = snapshot_fs(s, row->id);
	cleanup_free char *work = xasprintf("%s/s/%lld/work", s->dir, (long long)row->id);
	cleanup_free char *meta = xasprintf("%s/m/%s", s->dir, paths->meta);
	cleanup_free char *cache = xasprintf("%s/views", node_store_root(s->o.store));
	cleanup_view_mounts struct view_mounts mounts = {0};
	struct view_spec spec = {
		.paths = paths->items,
		.n_paths = paths->len,
		.layers = (const char *const *)layers->items,
		.n_layers = layers->len,
		.cache = cache,
		.kind = s->o.kind,
	};

	if (row->kind == SNAPSHOT_ACTIVE) {
		spec.upper = upper;
		spec.work = work;
	}
	if (paths->len && make_meta_dir(meta, err) < 0)
		return err->code;
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
			const struct snapshot_chain *chain, const struct chain_paths *paths,
			struct snapshot_mount *ret, struct err *err)
{
	cleanup_strv struct strv layers = {0};

	for (size_t i = 0; i < chain->len; i++)
		if (!chain->items[i].is_store)
			strv_take(&layers, snapshot_fs(s, chain->items[i].id));
	if (!paths->len && !layers.len) {
		make_bind(ret, snapshot_fs(s, row->id), row->kind == SNAPSHOT_ACTIVE);
		return 0;
	}
	if (!paths->len && layers.len == 1 && row->kind == SNAPSHOT_VIEW) {
		make_bind(ret, xstrdup(layers.items[0]), false);
		return 0;
	}
	return make_overlay(s, row, &layers, paths, ret, err);
}
