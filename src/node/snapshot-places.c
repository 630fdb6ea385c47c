/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers of nix-snapshotter's images. They hold places, an empty directory or an empty file for each
 * store path, and annotations that tell that snapshotter what to bind there. The diffID is that of
 * the places, so what is shown must not depend on annotations: two images can share the layer and
 * say different things. What counts are the places themselves: each is a store path's name, and the
 * path is had from this machine's Nix store or from the configured sources. The annotations say where
 * the store dir is, and that without its paths the layer is of no use.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <nacre/storepath.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "node/snapshot-internal.h"

#define NIX_LAYER       "containerd.io/snapshot/nix-layer"
#define NIX_CLOSURE     "containerd.io/snapshot/nix-closure"
#define NIX_PATH_PREFIX "containerd.io/snapshot/nix-store-path."

enum { PLACES_MAX = 100000 };

/* ---- what the labels say ---- */

static bool names_path(const struct annotation *label)
{
	return strcmp(label->key, NIX_CLOSURE) == 0 ||
	       strncmp(label->key, NIX_PATH_PREFIX, strlen(NIX_PATH_PREFIX)) == 0;
}

/* All paths lie in one store dir. */
static int take_store_dir(struct places *p, const struct annotation *label, struct err *err)
{
	struct store_path path;

	if (store_path_parse_any(&path, slice_str(label->value)) < 0)
		return err_set(err, E_INVALID, "label %.80s: '%.200s' is no store path", label->key,
			       label->value);
	if (p->is_claimed && (strlen(p->store_dir) != path.dir_len ||
			      strncmp(p->store_dir, path.text, path.dir_len) != 0))
		return err_set(err, E_INVALID,
			       "label %.80s: %.200s lies in another store dir than %s", label->key,
			       label->value, p->store_dir);
	snprintf(p->store_dir, sizeof(p->store_dir), "%.*s", (int)path.dir_len, path.text);
	return 0;
}

int snapshot_places_claims(struct places *ret, const struct annotations *labels, struct err *err)
{
	struct places p = {.store_dir = STORE_DIR_DEFAULT};

	for (size_t i = 0; i < labels->len; i++) {
		const struct annotation *label = &labels->items[i];

		if (names_path(label)) {
			if (take_store_dir(&p, label, err) < 0)
				return err->code;
			p.is_claimed = true;
		}
	}
	p.is_claimed |= annotations_get(labels, NIX_LAYER) != NULL;
	*ret = p;
	return 0;
}

void places_release(struct places *p)
{
	strv_release(&p->bases);
	*p = (struct places){0};
}

/* ---- what the layer has ---- */

static int open_store_dir(const char *fs, const char *store_dir)
{
	cleanup_free char *dirs = xstrdup(store_dir);
	cleanup_fd int fd = open(fs, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	char *rest = dirs + 1, *name;

	while (fd >= 0 && (name = strsep(&rest, "/"))) {
		int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		close_fd(&fd);
		fd = next;
	}
	return take_fd(&fd);
}

static bool is_empty_dir(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;
	bool is_empty = dir != NULL;

	if (!dir) {
		close_fd(&fd);
		return false;
	}
	while (is_empty && (entry = readdir(dir)))
		is_empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(dir);
	return is_empty;
}

static bool is_place(int dirfd, const char *name)
{
	struct stat st;

	if (store_base_check(slice_str(name)) < 0 ||
	    fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	return S_ISDIR(st.st_mode) ? is_empty_dir(dirfd, name)
				   : S_ISREG(st.st_mode) && st.st_size == 0;
}

static int find_places(struct places *p, int store_fd, struct err *err)
{
	int fd = openat(store_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;

	if (!dir) {
		close_fd(&fd);
		return err_errno(err, "read a layer's %s", p->store_dir);
	}
	while (p->bases.len <= PLACES_MAX && (entry = readdir(dir)))
		if (is_place(store_fd, entry->d_name))
			strv_add(&p->bases, entry->d_name);
	closedir(dir);
	if (p->bases.len > PLACES_MAX)
		return err_set(err, E_LIMIT, "more than %d places for store paths", PLACES_MAX);
	strv_sort_unique(&p->bases);
	return 0;
}

static int remove_places(const struct places *p, int store_fd, struct err *err)
{
	for (size_t i = 0; i < p->bases.len; i++) {
		const char *base = p->bases.items[i];

		if (unlinkat(store_fd, base, 0) < 0 && unlinkat(store_fd, base, AT_REMOVEDIR) < 0)
			return err_errno(err, "remove the place of %s", base);
	}
	return 0;
}

/* ---- the paths ---- */

/* The record of all places, with every path here. E_CONFLICT: not all can be had. */
static int provide_places(struct snapshotter *s, const struct places *p,
			  struct layer_record *record, struct err *err)
{
	struct sources_stats stats = {0};
	char why[ERR_TEXT_MAX] = "";
	int64_t from_us = snapshot_now_us();
	int r;

	if (!s->has_views)
		return err_set(err, E_CONFLICT, "this kernel has no views in one overlay");
	if (!s->o.sources)
		return err_set(err, E_CONFLICT, "there are no sources");
	if (snapshot_turn_take(&s->turns, err) < 0)
		return err->code;
	pthread_mutex_lock(&s->fetching);
	r = node_sources_find(s->o.sources, p->store_dir, &p->bases, record, why, err);
	if (r >= 0)
		r = node_sources_provide(s->o.sources, s->o.store, record, &stats, why, err);
	pthread_mutex_unlock(&s->fetching);
	snapshot_turn_end(&s->turns);
	snapshot_metrics_fetch(&s->metrics, &stats, r < 0 || *why, snapshot_now_us() - from_us);
	for (size_t i = 0; r >= 0 && i < record->len; i++)
		if (!node_store_has_path(s->o.store, &record->paths[i].nar_hash))
			r = err_set(err, E_CONFLICT, "%s/%s could not be had%s%s", p->store_dir,
				    record->paths[i].base, *why ? ": " : "", why);
	return r;
}

/* From here on the paths are part of the row, and kept. */
static int settle(struct snapshotter *s, struct snapshot *row, const struct layer_record *record,
		  struct err *err)
{
	char why[ERR_TEXT_MAX] = "", text[HASH_TEXT_MAX], name[64];
	cleanup_free char *hold = NULL;
	int r = snapshot_check_below(s, row->parent_id, record, why, err);

	if (r == 0)
		return err_set(err, E_CONFLICT, "%s", why);
	if (r < 0 || snapshot_prove_record(s, record, &row->paths, err) < 0 ||
	    snapshot_check_signatures(s, &row->labels, &row->paths, record, err) < 0 ||
	    node_store_put_layer_record(s->o.store, &row->paths, record, err) < 0)
		return err->code;
	hash_format(text, &row->paths, HASH_HEX);
	hold = xasprintf("layer %s\n", text);
	snapshot_hold_name(name, row->id);
	row->has_paths = true;
	return node_store_put_hold(s->o.store, name, slice_str(hold), err);
}

static int take_places(struct snapshotter *s, struct snapshot *row, const struct places *p,
		       int store_fd, struct err *err)
{
	cleanup_fd int in_use = node_store_use(s->o.store, err);
	struct layer_record record = {0};
	int r;

	if (in_use < 0)
		return in_use;
	r = provide_places(s, p, &record, err);
	if (r >= 0)
		r = settle(s, row, &record, err);
	if (r >= 0)
		r = remove_places(p, store_fd, err);
	row->has_paths = r >= 0;
	layer_record_release(&record);
	return r;
}

static bool is_in(const struct strv *sorted, const char *base)
{
	return sorted->len && bsearch(&base, sorted->items, sorted->len, sizeof(*sorted->items),
				      strv_compare_items);
}

static bool has_place_of(const struct places *p, const struct layer_record *record)
{
	for (size_t i = 0; i < record->len; i++)
		if (is_in(&p->bases, record->paths[i].base))
			return true;
	return false;
}

/* 1: a layer below shows one of the paths already. Then an empty directory is what has become of it:
 * emptied, or with modes of its own. */
static int hides_below(struct snapshotter *s, const struct snapshot *row, const struct places *p,
		       struct err *err)
{
	cleanup_snapshot_chain struct snapshot_chain chain = {0};
	int r;

	pthread_mutex_lock(&s->lock);
	r = snapshot_chain_load(s, row->parent_id, &chain, err);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; r == 0 && i < chain.len; i++) {
		struct layer_record record = {0};

		if (!chain.items[i].is_store && !chain.items[i].has_paths)
			continue;
		r = node_store_layer_record(s->o.store, snapshot_record_of(&chain.items[i]),
					    &record, err);
		if (r >= 0)
			r = has_place_of(p, &record);
		layer_record_release(&record);
	}
	return r;
}

int snapshot_take_places(struct snapshotter *s, struct snapshot *row, struct err *err)
{
	cleanup_free char *fs = snapshot_fs(s, row->id);
	cleanup_places struct places p = {0};
	cleanup_fd int store_fd = -1;
	struct err local = ERR_INIT;
	int r;

	if (snapshot_places_claims(&p, &row->labels, err) < 0)
		return err->code;
	store_fd = open_store_dir(fs, p.store_dir);
	if (store_fd < 0)
		return 0;
	if (find_places(&p, store_fd, err) < 0)
		return err->code;
	r = p.bases.len && !p.is_claimed ? hides_below(s, row, &p, err) : 0;
	if (r != 0 || !p.bases.len)
		return r < 0 ? r : 0;
	if (take_places(s, row, &p, store_fd, &local) >= 0) {
		snapshot_metrics_layer(&s->metrics, LAYER_ANSWERED);
		log_debug("a layer has places for %zu store paths, which are here", p.bases.len);
		return 0;
	}
	snapshot_metrics_layer(&s->metrics, p.is_claimed ? LAYER_REFUSED : LAYER_DECLINED);
	log_warn("a layer with places for %zu store paths: %s", p.bases.len, local.text);
	/* An empty directory may be just that. */
	if (!p.is_claimed)
		return 0;
	if (local.code != E_DENIED)
		local.code = E_CONFLICT;
	*err = local;
	return err_wrap(err, "a layer of nix-snapshotter's");
}
