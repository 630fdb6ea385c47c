/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <nacre/nar.h>
#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/node-gc.h"
#include "node/node-verify.h"

struct verify {
	struct node_store *store; /* borrowed */
	const struct verify_options *options;
	struct verify_stats stats;
	struct err first; /* of what could not be removed */
	int trash;        /* owned; where nothing is removed -1 */
};

int node_each(const struct node_store *store, const char *name,
	      int (*take)(void *data, int dirfd, const char *entry, struct err *err), void *data,
	      struct err *err)
{
	cleanup_free char *path = xasprintf("%s/%s", node_store_root(store), name);
	DIR *dir = opendir(path);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : err_errno(err, "open %s", path);
	while (r >= 0 && (errno = 0, entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			r = take(data, dirfd(dir), entry->d_name, err);
	if (r >= 0 && errno)
		r = err_errno(err, "read %s", path);
	closedir(dir);
	return r;
}

/* By way of the trash, as a collection does: whoever is killed in between leaves no half of it under its name. */
static int discard(struct verify *v, int dirfd, const char *entry, struct err *err)
{
	char to[NAME_MAX + 1];

	snprintf(to, sizeof(to), "verify-%d-%zu-%.180s", getpid(), v->stats.damaged, entry);
	if (renameat(dirfd, entry, v->trash, to) < 0)
		return err_errno(err, "move %s to the trash", entry);
	return tree_remove(v->trash, to, err);
}

/* Says so, and takes it away where that is wanted. What cannot be removed keeps nothing else from
 * being looked at. */
static int report(struct verify *v, int dirfd, const char *kind, const char *entry, const char *why)
{
	cleanup_free char *what = xasprintf("%s/%s: %s", kind, entry, why);
	struct err local = ERR_INIT;

	v->stats.damaged++;
	if (v->options->damaged)
		v->options->damaged(v->options->data, what);
	if (v->options->remove && discard(v, dirfd, entry, &local) < 0 && !v->first.code)
		v->first = local;
	return 0;
}

static int hash_tree(int dirfd, const char *name, struct hash *ret, struct err *err)
{
	uint64_t size;

	return tree_hash(dirfd, name, HASH_SHA256, ret, &size, err);
}

static int verify_path(void *data, int dirfd, const char *entry, struct err *err)
{
	struct verify *v = data;
	struct err why = ERR_INIT;
	struct hash want, got;

	(void)err;
	v->stats.paths++;
	if (hash_parse(&want, HASH_SHA256, slice_str(entry)) < 0)
		return report(v, dirfd, "paths", entry, "is no NarHash");
	if (hash_tree(dirfd, entry, &got, &why) < 0)
		return report(v, dirfd, "paths", entry, why.text);
	if (!hash_equal(&want, &got))
		return report(v, dirfd, "paths", entry, "its content has another NarHash");
	return 0;
}

/* A link to a path of the host's own store. */
static int verify_host_path(void *data, int dirfd, const char *entry, struct err *err)
{
	struct verify *v = data;
	struct err why = ERR_INIT;
	char target[4096];
	struct hash want, got;
	ssize_t n = readlinkat(dirfd, entry, target, sizeof(target) - 1);

	(void)err;
	if (strchr(entry, '.')) /* "<NarHash>.root" */
		return 0;
	v->stats.paths++;
	if (n < 0 || hash_parse(&want, HASH_SHA256, slice_str(entry)) < 0)
		return report(v, dirfd, "host", entry, "is no link to a store path");
	target[n] = '\0';
	if (hash_tree(AT_FDCWD, target, &got, &why) < 0)
		return report(v, dirfd, "host", entry, why.text);
	if (!hash_equal(&want, &got))
		return report(v, dirfd, "host", entry, "its content has another NarHash");
	return 0;
}

static int verify_blob(void *data, int dirfd, const char *entry, struct err *err)
{
	struct verify *v = data;
	cleanup_buf struct buf text = {0};
	struct err why = ERR_INIT;
	struct hash digest;

	(void)err;
	if (strchr(entry, '.')) /* "<digest>.config" */
		return 0;
	v->stats.blobs++;
	if (hash_parse(&digest, HASH_SHA256, slice_str(entry)) < 0)
		return report(v, dirfd, "blobs", entry, "is no digest");
	if (node_store_get_blob(v->store, &digest, &text, &why) < 0)
		return report(v, dirfd, "blobs", entry, why.text);
	return 0;
}

/* "<diffID>.paths"; a directory has nothing to be checked against. */
static int verify_layer(void *data, int dirfd, const char *entry, struct err *err)
{
	struct verify *v = data;
	size_t len = strcspn(entry, ".");
	struct layer_record record;
	struct err why = ERR_INIT;
	struct hash diff_id;
	size_t missing = 0;

	(void)err;
	v->stats.layers++;
	if (hash_parse(&diff_id, HASH_SHA256, slice_make(entry, len)) < 0)
		return report(v, dirfd, "layers", entry, "is no diffID");
	if (!entry[len])
		return 0;
	if (node_store_layer_record(v->store, &diff_id, &record, &why) < 0)
		return report(v, dirfd, "layers", entry, why.text);
	for (size_t i = 0; i < record.len; i++)
		missing += !node_store_has_path(v->store, &record.paths[i].nar_hash);
	layer_record_release(&record);
	return missing ? report(v, dirfd, "layers", entry, "not all of its paths are here") : 0;
}

static int verify_all(struct verify *v, struct err *err)
{
	if (node_each(v->store, "paths", verify_path, v, err) < 0 ||
	    node_each(v->store, "host", verify_host_path, v, err) < 0 ||
	    node_each(v->store, "blobs", verify_blob, v, err) < 0)
		return err->code;
	return node_each(v->store, "layers", verify_layer, v, err);
}

int node_verify(struct node_store *store, const struct verify_options *options,
		struct verify_stats *ret, struct err *err)
{
	struct verify v = {.store = store, .options = options, .first = ERR_INIT, .trash = -1};
	cleanup_free char *trash = xasprintf("%s/trash", node_store_root(store));
	/* No collection meanwhile: what it moves would look as if it were missing. */
	cleanup_fd int in_use = node_store_use(store, err);
	int r = in_use;

	if (r >= 0 && options->remove)
		r = v.trash = node_open_private_dir(trash, err);
	if (r >= 0)
		r = verify_all(&v, err);
	close_fd(&v.trash);
	if (r < 0)
		return r;
	if (v.first.code) {
		*err = v.first;
		return err->code;
	}
	*ret = v.stats;
	return 0;
}

/* One count and one sum. */
struct count {
	size_t *n;
	uint64_t *bytes; /* may be NULL */
};

static int count_entry(void *data, int dirfd, const char *entry, struct err *err)
{
	struct count *c = data;

	(void)err;
	++*c->n;
	if (c->bytes)
		*c->bytes += node_usage(dirfd, entry);
	return 0;
}

int node_statistics(struct node_store *store, struct node_stats *ret, struct err *err)
{
	struct node_stats s = {0};
	const struct {
		const char *name;
		struct count count;
	} dirs[] = {
		{"refs", {&s.images, NULL}},     {"paths", {&s.paths, &s.path_bytes}},
		{"host", {&s.host_paths, NULL}}, {"layers", {&s.layers, &s.layer_bytes}},
		{"run", {&s.containers, NULL}},  {"mounts", {&s.mounts, NULL}},
		{"holds", {&s.holds, NULL}},     {"views", {&s.views, &s.view_bytes}},
	};

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		struct count count = dirs[i].count;

		if (node_each(store, dirs[i].name, count_entry, &count, err) < 0)
			return err->code;
	}
	*ret = s;
	return 0;
}
