/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>

#include <nacre/manifest.h>
#include <nacre/tree.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "node/mount.h"
#include "node/node-gc.h"
#include "node/node-verify.h"

enum { NAME_SIZE = 140, TEXT_MAX = 64 << 20, VIEW_UNUSED_S = 7 * 24 * 3600 };

/* What is in use, by the names of files; sorted before the sweep. */
struct marks {
	struct strv blobs, layers, paths;
};

struct gc {
	struct node_store *store; /* borrowed */
	const struct gc_options *options;
	struct gc_stats *stats;
	struct marks marks;
	int trash;      /* owned */
	size_t n_moved; /* there */
	int64_t now_s;
};

static void mark(struct strv *list, const struct hash *hash, enum hash_notation notation)
{
	char name[NAME_SIZE];

	hash_format_bare(name, hash, notation);
	strv_add(list, name);
}

/* A layer and, where it is one of store paths, those. Not being there is no error. */
static int mark_layer(struct gc *gc, const struct hash *diff_id, struct err *err)
{
	struct layer_record record;
	struct err local = ERR_INIT;
	int r = node_store_layer_record(gc->store, diff_id, &record, &local);

	mark(&gc->marks.layers, diff_id, HASH_HEX);
	if (r == E_NOTFOUND)
		return 0;
	if (r < 0) {
		*err = local;
		return r;
	}
	for (size_t i = 0; i < record.len; i++)
		mark(&gc->marks.paths, &record.paths[i].nar_hash, HASH_NIX32);
	layer_record_release(&record);
	return 0;
}

static int mark_config(struct gc *gc, const struct hash *digest, struct err *err)
{
	cleanup_buf struct buf text = {0};
	cleanup_image_config struct image_config config = {0};

	mark(&gc->marks.blobs, digest, HASH_HEX);
	if (node_store_get_blob(gc->store, digest, &text, err) < 0 ||
	    image_config_parse(&config, buf_slice(&text), err) < 0)
		return err->code;
	for (size_t i = 0; i < config.n_diff_ids; i++)
		if (mark_layer(gc, &config.diff_ids[i], err) < 0)
			return err->code;
	return 0;
}

/* An image whose manifest or config is not there names nothing. */
static int mark_image(struct gc *gc, const struct hash *digest, struct err *err)
{
	cleanup_buf struct buf text = {0};
	cleanup_manifest struct manifest manifest = {0};
	struct err local = ERR_INIT;
	int r;

	mark(&gc->marks.blobs, digest, HASH_HEX);
	r = node_store_get_blob(gc->store, digest, &text, &local);
	if (r >= 0)
		r = manifest_parse(&manifest, NULL, buf_slice(&text), &local);
	if (r >= 0 && manifest.has_config)
		r = mark_config(gc, &manifest.config.digest, &local);
	if (r < 0 && r != E_NOTFOUND) {
		*err = local;
		return r;
	}
	return 0;
}

static int mark_image_file(struct gc *gc, int dirfd, const char *name, struct err *err)
{
	cleanup_buf struct buf text = {0};
	struct err local = ERR_INIT;
	struct hash digest;
	int r = read_file_at(dirfd, name, HASH_TEXT_MAX, &text, &local);

	if (r == E_NOTFOUND)
		return 0;
	if (r < 0 || hash_parse(&digest, HASH_NONE, buf_slice(&text)) < 0)
		return err_set(err, E_INVALID, "%s does not name an image: remove it", name);
	return mark_image(gc, &digest, err);
}

static int mark_container(void *data, int dirfd, const char *entry, struct err *err)
{
	struct gc *gc = data;
	cleanup_free char *name = xasprintf("%s/image", entry);
	cleanup_fd int dir = openat(dirfd, entry, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* One whose nacre was killed is locked by nobody, and is swept by the next. */
	if (dir >= 0 && flock(dir, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return mark_image_file(gc, dirfd, name, err);
}

static int mark_mount(void *data, int dirfd, const char *entry, struct err *err)
{
	struct gc *gc = data;
	cleanup_free char *name = xasprintf("%s/image", entry);

	/* After a restart of the machine nothing is mounted. */
	if (node_mount_is_stale(dirfd, entry))
		return gc->options->dry_run ? 0 : tree_remove(dirfd, entry, err);
	return mark_image_file(gc, dirfd, name, err);
}

static int mark_hold(void *data, int dirfd, const char *entry, struct err *err)
{
	struct gc *gc = data;
	cleanup_buf struct buf text = BUF_INIT(TEXT_MAX);
	struct slice rest;
	struct hold_line line;

	if (hold_read(dirfd, entry, &text, err) < 0)
		return err->code;
	rest = buf_slice(&text);
	while (rest.len) {
		int r = 0;

		if (hold_next_line(&rest, &line) < 0)
			return err_set(err, E_INVALID, "holds/%s is damaged", entry);
		if (line.kind == HOLD_PATH)
			mark(&gc->marks.paths, &line.hash, HASH_NIX32);
		else if (line.kind == HOLD_LAYER)
			r = mark_layer(gc, &line.hash, err);
		else
			r = mark_image(gc, &line.hash, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int mark_refs(struct gc *gc, struct err *err)
{
	cleanup_node_refs struct node_refs refs = {0};
	cleanup_free char *path = xasprintf("%s/refs", node_store_root(gc->store));
	cleanup_fd int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || node_refs_list(&refs, gc->store, err) < 0)
		return dir < 0 ? err_errno(err, "open %s", path) : err->code;
	for (size_t i = 0; i < refs.len; i++) {
		const struct node_ref *ref = &refs.items[i];

		if (gc->options->older_than_s >= 0 &&
		    gc->now_s - ref->used_s >= gc->options->older_than_s) {
			gc->stats->refs++;
			if (!gc->options->dry_run && unlinkat(dir, ref->file, 0) < 0 &&
			    errno != ENOENT)
				return err_errno(err, "remove %s", ref->file);
		} else if (mark_image(gc, &ref->digest, err) < 0) {
			return err->code;
		}
	}
	return 0;
}

static bool is_marked(const struct strv *list, const char *name)
{
	return list->len &&
	       bsearch(&name, list->items, list->len, sizeof(name), strv_compare_items) != NULL;
}

/* Moves it to the trash, under a name that nothing there has. */
static int sweep(struct gc *gc, int dirfd, const char *name, size_t *count, struct err *err)
{
	char to[NAME_MAX + 1];

	(*count)++;
	if (gc->options->dry_run) {
		gc->stats->bytes += node_usage(dirfd, name);
		return 0;
	}
	snprintf(to, sizeof(to), "%d-%zu-%.180s", getpid(), gc->n_moved++, name);
	if (renameat(dirfd, name, gc->trash, to) < 0 && errno != ENOENT)
		return err_errno(err, "move %s to the trash", name);
	return 0;
}

static int sweep_path(void *data, int dirfd, const char *entry, struct err *err)
{
	struct gc *gc = data;
	cleanup_free char *name = xstrndup(entry, strcspn(entry, ".")); /* or "<NarHash>.root" */
	size_t uncounted = 0, *count = strchr(entry, '.') ? &uncounted : &gc->stats->paths;

	return is_marked(&gc->marks.paths, name) ? 0 : sweep(gc, dirfd, entry, count, err);
}

static int sweep_blob(void *data, int dirfd, const char *entry, struct err *err)
{
	struct gc *gc = data;
	cleanup_free char *name = xstrndup(entry, strcspn(entry, ".")); /* or "<digest>.config" */
	size_t uncounted = 0, *count = strchr(entry, '.') ? &uncounted : &gc->stats->blobs;

	return is_marked(&gc->marks.blobs, name) ? 0 : sweep(gc, dirfd, entry, count, err);
}

/* "<diffID>" or "<diffID>.paths" */
static int sweep_layer(void *data, int dirfd, const char *entry, struct err *err)
{
	struct gc *gc = data;
	cleanup_free char *name = xstrndup(entry, strcspn(entry, "."));

	return is_marked(&gc->marks.layers, name)
		       ? 0
		       : sweep(gc, dirfd, entry, &gc->stats->layers, err);
}

/* What is known of a layer goes with it. */
static int sweep_signed(void *data, int dirfd, const char *entry, struct err *err)
{
	struct gc *gc = data;
	size_t uncounted = 0;

	return is_marked(&gc->marks.layers, entry) ? 0 : sweep(gc, dirfd, entry, &uncounted, err);
}

/* Listings go with their paths, images of views when they were not used for a while: both are made
 * again where they are missing. What is mounted has its image open. */
static int sweep_view(void *data, int dirfd, const char *entry, struct err *err)
{
	struct gc *gc = data;
	const char *ending = strchr(entry, '.');
	struct stat st;

	if (!ending || fstatat(dirfd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (strcmp(ending, ".list") == 0) {
		cleanup_free char *name = xstrndup(entry, (size_t)(ending - entry));

		if (is_marked(&gc->marks.paths, name))
			return 0;
	} else if (strcmp(ending, ".ready") == 0) {
		cleanup_free char *name = xstrndup(entry, (size_t)(ending - entry));

		if (is_marked(&gc->marks.blobs, name))
			return 0;
	} else if (strcmp(ending, ".erofs") != 0 || gc->now_s - st.st_mtime < VIEW_UNUSED_S) {
		return 0;
	}
	return sweep(gc, dirfd, entry, &gc->stats->views, err);
}

static int mark_all(struct gc *gc, struct err *err)
{
	struct strv *lists[] = {&gc->marks.blobs, &gc->marks.layers, &gc->marks.paths};

	if (mark_refs(gc, err) < 0 || node_each(gc->store, "run", mark_container, gc, err) < 0 ||
	    node_each(gc->store, "mounts", mark_mount, gc, err) < 0 ||
	    node_each(gc->store, "holds", mark_hold, gc, err) < 0)
		return err->code;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		strv_sort_unique(lists[i]);
	return 0;
}

/* Records before the paths that they name, so that a crash in between leaves no record without its
 * paths. */
static int sweep_all(struct gc *gc, struct err *err)
{
	if (node_each(gc->store, "blobs", sweep_blob, gc, err) < 0 ||
	    node_each(gc->store, "layers", sweep_layer, gc, err) < 0 ||
	    node_each(gc->store, "signed", sweep_signed, gc, err) < 0 ||
	    node_each(gc->store, "views", sweep_view, gc, err) < 0 ||
	    node_each(gc->store, "host", sweep_path, gc, err) < 0)
		return err->code;
	return node_each(gc->store, "paths", sweep_path, gc, err);
}

/* A tree that cannot be deleted (chattr +i) stays; all others go. */
static int empty_trash(void *data, int dirfd, const char *entry, struct err *err)
{
	struct gc *gc = data;
	uint64_t bytes = node_usage(dirfd, entry), rest;
	struct err local = ERR_INIT;

	(void)err;
	if (tree_remove(dirfd, entry, &local) < 0) {
		log_warn("%s/trash/%s cannot be deleted: %s", node_store_root(gc->store), entry,
			 local.text);
		rest = node_usage(dirfd, entry);
		bytes = bytes > rest ? bytes - rest : 0;
	}
	gc->stats->bytes += bytes;
	return 0;
}

int node_gc(struct node_store *store, const struct gc_options *options, struct gc_stats *ret,
	    struct err *err)
{
	struct gc_stats stats = {0};
	struct gc gc = {.store = store, .options = options, .stats = &stats, .now_s = time(NULL)};
	cleanup_free char *trash = xasprintf("%s/trash", node_store_root(store));
	cleanup_fd int lock = -1;
	int r = gc.trash = node_open_private_dir(trash, err);

	/* A dry run holds up nobody who brings something, and so may count what has no name yet. */
	if (r >= 0)
		r = lock = options->dry_run ? node_store_use(store, err)
					    : node_store_use_alone(store, err);
	if (r >= 0)
		r = mark_all(&gc, err);
	if (r >= 0)
		r = sweep_all(&gc, err);
	close_fd(&lock); /* the others go on while this deletes */
	if (r >= 0 && !options->dry_run)
		r = node_each(gc.store, "trash", empty_trash, &gc, err);
	close_fd(&gc.trash);
	strv_release(&gc.marks.blobs);
	strv_release(&gc.marks.layers);
	strv_release(&gc.marks.paths);
	if (r < 0)
		return r;
	*ret = stats;
	return 0;
}
