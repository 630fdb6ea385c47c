/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <nacre/tree.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "node/node-verify.h"
#include "node/snapshot-internal.h"

void snapshot_hold_name(char *ret, int64_t id)
{
	snprintf(ret, 64, "snapshot-%lld", (long long)id);
}

/* A failure of this machine: never one that containerd takes for an answer about snapshots. */
static int as_io(struct err *err)
{
	if (err->code == E_NOTFOUND || err->code == E_EXISTS || err->code == E_CONFLICT ||
	    err->code == E_INVALID)
		err->code = E_IO;
	return err->code;
}

/* ---- opening ---- */

static int lock_root(struct snapshotter *s, struct err *err)
{
	cleanup_free char *file = xasprintf("%s/lock", s->dir);

	s->lock_fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return err_errno(err, "open %s", file);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, E_CONFLICT, "another nacre snapshotter serves %s", s->dir);
	return 0;
}

static void probe(struct snapshotter *s)
{
	cleanup_free char *cache = xasprintf("%s/views", node_store_root(s->o.store));
	enum view_kind kind = s->o.kind;
	struct err err = ERR_INIT;

	s->has_index = access("/sys/module/overlay/parameters/index", F_OK) == 0;
	if (kind == VIEW_AUTO && view_probe(cache, &kind, &s->why_no_views, &err) < 0)
		s->why_no_views = xstrdup(err.text);
	else
		s->has_views = kind != VIEW_BIND;
	s->o.kind = s->has_views ? kind : VIEW_AUTO;
}

static bool is_one_disk(const struct snapshotter *s)
{
	cleanup_free char *store = xasprintf("%s/tmp", node_store_root(s->o.store));
	struct stat a, b;

	return stat(s->dir, &a) == 0 && stat(store, &b) == 0 && a.st_dev == b.st_dev;
}

static int make_private_dir(const char *dir, struct err *err)
{
	cleanup_fd int fd = node_open_private_dir(dir, err);

	return fd < 0 ? fd : 0;
}

static int open_all(struct snapshotter *s, struct err *err)
{
	static const char *const dirs[] = {"s", "m", "trash"};
	cleanup_free char *file = xasprintf("%s/state.db", s->dir);

	if (make_private_dir(s->dir, err) < 0 || lock_root(s, err) < 0)
		return err->code;
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		cleanup_free char *dir = xasprintf("%s/%s", s->dir, dirs[i]);

		if (make_private_dir(dir, err) < 0)
			return err->code;
	}
	if (snapshot_state_open(&s->state, file, err) < 0)
		return err->code;
	s->is_one_disk = is_one_disk(s);
	/* What is in the state counts as acknowledged from here on: one that was killed may not have come to its sync. */
	if (node_store_sync(s->o.store, err) < 0)
		return err->code;
	probe(s);
	return 0;
}

int snapshotter_new(struct snapshotter **ret, const struct snapshotter_options *options,
		    struct err *err)
{
	struct snapshotter *s = xcalloc(1, sizeof(*s));
	struct err local = ERR_INIT;

	s->o = *options;
	s->lock_fd = -1;
	s->dir = xasprintf("%s/snapshots", node_store_root(options->store));
	pthread_mutex_init(&s->turns.lock, NULL);
	pthread_mutex_init(&s->fetching, NULL);
	snapshot_ahead_init(&s->ahead);
	pthread_mutex_init(&s->views, NULL);
	pthread_mutex_init(&s->lock, NULL);
	if (open_all(s, err) < 0) {
		snapshotter_free(s);
		return err->code;
	}
	if (!s->has_views)
		log_warn("store layers are left to containerd: this kernel cannot show them in "
			 "one overlay: %s",
			 s->why_no_views ? s->why_no_views : "unknown");
	if (snapshotter_cleanup(s, &local) < 0)
		log_warn("cleanup: %s", local.text);
	*ret = s;
	return 0;
}

void snapshotter_free(struct snapshotter *s)
{
	if (!s)
		return;
	snapshot_ahead_stop(&s->ahead);
	snapshot_state_free(s->state);
	close_fd(&s->lock_fd);
	said_of_image_release(&s->said);
	snapshot_seen_release(&s->seen);
	pthread_mutex_destroy(&s->turns.lock);
	pthread_mutex_destroy(&s->fetching);
	pthread_mutex_destroy(&s->views);
	pthread_mutex_destroy(&s->lock);
	free(s->why_no_views);
	free(s->dir);
	free(s);
}

/* ---- prepare and view ---- */

/* Moves what a crash has left under a name that is needed. */
static int to_trash(struct snapshotter *s, const char *from, struct err *err)
{
	cleanup_free char *to = xasprintf("%s/trash/XXXXXX", s->dir);

	if (!mkdtemp(to))
		return err_errno(err, "create %s", to);
	if (rename(from, to) < 0 && errno != ENOENT)
		return err_errno(err, "move %s to the trash", from);
	return 0;
}

static int make_dir(const char *dir, mode_t mode, struct err *err)
{
	if (mkdir(dir, mode) < 0 || chmod(dir, mode) < 0)
		return err_errno(err, "create %s", dir);
	return 0;
}

/* The root directory belongs to whom it belongs to below. */
static int take_owner(struct snapshotter *s, const struct snapshot_chain *chain, const char *fs,
		      struct err *err)
{
	struct stat st;

	for (size_t i = 0; i < chain->len; i++) {
		cleanup_free char *parent = NULL;

		if (chain->items[i].is_store)
			continue;
		parent = snapshot_fs(s, chain->items[i].id);
		if (stat(parent, &st) < 0 || lchown(fs, st.st_uid, st.st_gid) < 0)
			return err_errno(err, "%s", parent);
		return 0;
	}
	return 0;
}

static int make_dirs(struct snapshotter *s, const struct snapshot *row,
		     const struct snapshot_chain *chain, struct err *err)
{
	cleanup_free char *dir = xasprintf("%s/s/%lld", s->dir, (long long)row->id);
	cleanup_free char *fs = snapshot_fs(s, row->id);
	cleanup_free char *work = xasprintf("%s/work", dir);

	if (access(dir, F_OK) == 0 && to_trash(s, dir, err) < 0)
		return err->code;
	if (make_dir(dir, 0700, err) < 0 || make_dir(fs, 0755, err) < 0 ||
	    make_dir(work, 0711, err) < 0)
		return err->code;
	return take_owner(s, chain, fs, err);
}

static int find_parent(struct snapshotter *s, const char *parent, struct snapshot_chain *ret,
		       struct err *err)
{
	cleanup_snapshot struct snapshot row = {0};

	if (!*parent)
		return 0;
	if (snapshot_get(s->state, parent, &row, err) < 0)
		return err_wrap(err, "parent");
	if (row.kind != SNAPSHOT_COMMITTED)
		return err_set(err, E_INVALID, "parent %s is not committed", parent);
	return snapshot_chain_load(s, row.id, ret, err);
}

static const char *uses_of(const struct mount_plan *plan)
{
	return plan->uses.len ? (const char *)plan->uses.data : "";
}

/* The row and its directories, or neither. */
static int create(struct snapshotter *s, struct snapshot *row, const char *parent,
		  struct snapshot_chain *chain, struct mount_plan *plan, struct err *err)
{
	int r = snapshot_state_begin(s->state, err);

	if (r < 0)
		return r;
	r = find_parent(s, parent, chain, err);
	if (r >= 0)
		r = mount_plan_make(s, chain, plan, err);
	if (r >= 0) {
		row->parent_id = chain->len ? chain->items[0].id : 0;
		row->uses = xstrdup(uses_of(plan));
		r = snapshot_insert(s->state, row, err);
	}
	if (r >= 0 && make_dirs(s, row, chain, err) < 0)
		r = as_io(err);
	return snapshot_state_end(s->state, r, err);
}

static int prepare_ordinary(struct snapshotter *s, struct snapshot *row, const char *parent,
			    struct snapshot_mount *ret, struct err *err)
{
	cleanup_snapshot_chain struct snapshot_chain chain = {0};
	cleanup_mount_plan struct mount_plan plan = {0};
	struct err ignored = ERR_INIT;
	int r;

	pthread_mutex_lock(&s->views);
	pthread_mutex_lock(&s->lock);
	r = create(s, row, parent, &chain, &plan, err);
	pthread_mutex_unlock(&s->lock);
	if (r >= 0 && snapshot_mount_make(s, row, &plan, ret, err) < 0) {
		r = as_io(err);
		pthread_mutex_lock(&s->lock);
		snapshot_delete(s->state, row, &ignored);
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_unlock(&s->views);
	return r;
}

/* Under a name that is taken, nothing is fetched first. */
static int check_name(struct snapshotter *s, const char *key, struct err *err)
{
	cleanup_snapshot struct snapshot row = {0};
	struct err local = ERR_INIT;
	int r;

	if (!*key)
		return err_set(err, E_INVALID, "a snapshot needs a key");
	pthread_mutex_lock(&s->lock);
	r = snapshot_get(s->state, key, &row, &local);
	pthread_mutex_unlock(&s->lock);
	if (r >= 0)
		return err_set(err, E_EXISTS, "snapshot %s exists already", key);
	if (r != E_NOTFOUND)
		*err = local;
	return r == E_NOTFOUND ? 0 : r;
}

static int answer_layer(struct snapshotter *s, const char *parent, const struct annotations *labels,
			struct err *err)
{
	const char *ref = annotations_get(labels, SNAPSHOT_REF);
	char why[ERR_TEXT_MAX] = "";
	int r;

	if (!ref)
		return 0;
	r = snapshot_answer_layer(s, parent, labels, why, err);
	if (r > 0) {
		snapshot_metrics_layer(&s->metrics, LAYER_ANSWERED);
		log_debug("layer %s: its store paths are here", ref);
		return err_set(err, E_EXISTS, "layer %s is here", ref);
	}
	if (r == 0 && *why) {
		snapshot_metrics_layer(&s->metrics, LAYER_DECLINED);
		log_warn("layer %s is left to containerd: %s", ref, why);
	}
	if (r == E_DENIED) {
		snapshot_metrics_layer(&s->metrics, LAYER_REFUSED);
		log_warn("layer %s is refused: %s", ref, err->text);
	}
	return r;
}

/* containerd 2.2 and later unpacks side by side for snapshotters that are configured to rebase. Then no layer but the
 * lowest could be answered, and all would be fetched before the first commit shows that it cannot be. 2.3 and later
 * says on what a layer will stand. */
static int check_rebase(const struct snapshot_request *request, struct err *err)
{
	if (request->kind != SNAPSHOT_ACTIVE || *request->parent ||
	    !annotations_get(request->labels, SNAPSHOT_REF) ||
	    !annotations_get(request->labels, SNAPSHOT_PARENT_CHAIN))
		return 0;
	return err_set(err, E_CONFLICT, SNAPSHOT_NO_REBASE);
}

int snapshotter_prepare(struct snapshotter *s, const struct snapshot_request *request,
			struct snapshot_mount *ret, struct err *err)
{
	cleanup_snapshot struct snapshot row = {.kind = request->kind};
	cleanup_places struct places places = {0};

	if (check_name(s, request->key, err) < 0 || check_rebase(request, err) < 0)
		return err->code;
	if (request->kind == SNAPSHOT_ACTIVE &&
	    answer_layer(s, request->parent, request->labels, err) < 0)
		return err->code;
	if (annotations_get(request->labels, SNAPSHOT_REF) &&
	    snapshot_places_claims(&places, request->labels, err) < 0)
		return err->code;
	row.name = xstrdup(request->key);
	annotations_copy(&row.labels, request->labels);
	return prepare_ordinary(s, &row, request->parent, ret, err);
}

/* What lay elsewhere when the snapshot was made has another name in m/ now. A cleanup that does not know of it would take it away
 * before containerd has mounted what it is told. */
static int note_uses(struct snapshotter *s, const struct snapshot *row,
		     const struct mount_plan *plan, struct err *err)
{
	if (strcmp(row->uses, uses_of(plan)) == 0)
		return 0;
	return snapshot_set_uses(s->state, row->id, uses_of(plan), err);
}

int snapshotter_mounts(struct snapshotter *s, const char *key, struct snapshot_mount *ret,
		       struct err *err)
{
	cleanup_snapshot struct snapshot row = {0};
	cleanup_snapshot_chain struct snapshot_chain chain = {0};
	cleanup_mount_plan struct mount_plan plan = {0};
	int r;

	pthread_mutex_lock(&s->views);
	pthread_mutex_lock(&s->lock);
	r = snapshot_get(s->state, key, &row, err);
	if (r >= 0 && row.kind == SNAPSHOT_COMMITTED)
		r = err_set(err, E_CONFLICT, "snapshot %s is committed", key);
	if (r >= 0)
		r = snapshot_chain_load(s, row.parent_id, &chain, err);
	if (r >= 0)
		r = mount_plan_make(s, &chain, &plan, err);
	if (r >= 0)
		r = note_uses(s, &row, &plan, err);
	pthread_mutex_unlock(&s->lock);
	if (r >= 0 && snapshot_mount_make(s, &row, &plan, ret, err) < 0)
		r = as_io(err);
	pthread_mutex_unlock(&s->views);
	return r;
}

/* ---- commit, remove ---- */

static int sync_dir(const char *dir, struct err *err)
{
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || syncfs(fd) < 0 ? err_errno(err, "sync %s", dir) : 0;
}

static int get_active(struct snapshotter *s, const char *key, struct snapshot *ret, struct err *err)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = snapshot_get(s->state, key, ret, err);
	pthread_mutex_unlock(&s->lock);
	if (r >= 0 && ret->kind != SNAPSHOT_ACTIVE)
		return err_set(err, E_CONFLICT, "snapshot %s is not active", key);
	return r;
}

/* containerd names the snapshot of an unpacked layer by its chainID, "<name space>/<n>/sha256:…",
 * after it has compared the diffID. */
static const char *chain_of_name(const char *name)
{
	const char *slash = strrchr(name, '/');
	const char *chain = slash ? slash + 1 : name;
	struct hash hash;

	return strncmp(chain, "sha256:", 7) == 0 && strlen(chain) == 7 + 64 &&
			       hash_parse(&hash, HASH_SHA256, slice_str(chain)) >= 0
		       ? chain
		       : "";
}

int snapshotter_commit(struct snapshotter *s, const char *name, const char *key,
		       const struct annotations *labels, struct err *err)
{
	cleanup_snapshot struct snapshot row = {0};
	cleanup_free char *fs = NULL;
	int r;

	if (!*name)
		return err_set(err, E_INVALID, "a snapshot needs a name");
	if (get_active(s, key, &row, err) < 0)
		return err->code;
	fs = snapshot_fs(s, row.id);
	if (*chain_of_name(name) && snapshot_take_places(s, &row, err) < 0)
		return err->code;
	if (sync_dir(fs, err) < 0 || snapshot_measure(fs, &row.size, &row.inodes, err) < 0)
		return as_io(err);
	annotations_release(&row.labels);
	annotations_copy(&row.labels, labels);
	free(row.chain);
	row.chain = xstrdup(chain_of_name(name));
	pthread_mutex_lock(&s->lock);
	r = snapshot_state_begin(s->state, err);
	if (r >= 0) {
		cleanup_snapshot struct snapshot now = {0};

		/* Somebody may have been faster. */
		r = snapshot_get(s->state, key, &now, err);
		if (r >= 0 && (now.kind != SNAPSHOT_ACTIVE || now.id != row.id))
			r = err_set(err, E_CONFLICT, "snapshot %s is not active", key);
		if (r >= 0)
			r = snapshot_commit_row(s->state, &row, name, err);
		r = snapshot_state_end(s->state, r, err);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int snapshotter_remove(struct snapshotter *s, const char *key, struct err *err)
{
	cleanup_snapshot struct snapshot row = {0};
	int r;

	pthread_mutex_lock(&s->lock);
	r = snapshot_state_begin(s->state, err);
	if (r >= 0) {
		r = snapshot_get(s->state, key, &row, err);
		if (r >= 0)
			r = snapshot_delete(s->state, &row, err);
		r = snapshot_state_end(s->state, r, err);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* ---- questions ---- */

int snapshotter_stat(struct snapshotter *s, const char *key, struct snapshot *ret, struct err *err)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = snapshot_get(s->state, key, ret, err);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void remove_label(struct annotations *labels, const char *key)
{
	struct annotations rest = {0};

	for (size_t i = 0; i < labels->len; i++)
		if (strcmp(labels->items[i].key, key) != 0)
			annotations_set(&rest, labels->items[i].key, labels->items[i].value);
	annotations_release(labels);
	*labels = rest;
}

static int apply_mask(struct annotations *to, const struct annotations *from,
		      const struct strv *mask, struct err *err)
{
	if (!mask->len) {
		annotations_release(to);
		annotations_copy(to, from);
	}
	for (size_t i = 0; i < mask->len; i++) {
		const char *path = mask->items[i];
		const char *value;

		if (strcmp(path, "labels") == 0) {
			annotations_release(to);
			annotations_copy(to, from);
			continue;
		}
		if (strncmp(path, "labels.", 7) != 0)
			return err_set(err, E_INVALID, "only labels can be updated, not %s", path);
		value = annotations_get(from, path + 7);
		if (value && *value)
			annotations_set(to, path + 7, value);
		else
			remove_label(to, path + 7);
	}
	return 0;
}

int snapshotter_update(struct snapshotter *s, const char *key, const struct annotations *labels,
		       const struct strv *mask, struct snapshot *ret, struct err *err)
{
	cleanup_snapshot struct snapshot row = {0};
	int r;

	pthread_mutex_lock(&s->lock);
	r = snapshot_state_begin(s->state, err);
	if (r >= 0) {
		r = snapshot_get(s->state, key, &row, err);
		if (r >= 0)
			r = apply_mask(&row.labels, labels, mask, err);
		if (r >= 0)
			r = snapshot_set_labels(s->state, &row, err);
		r = snapshot_state_end(s->state, r, err);
	}
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		return r;
	*ret = row;
	row = (struct snapshot){0};
	return 0;
}

int snapshotter_list(struct snapshotter *s, int64_t after_id,
		     int (*take)(void *data, const struct snapshot *row, struct err *err),
		     void *data, struct err *err)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = snapshot_each(s->state, after_id, take, data, err);
	pthread_mutex_unlock(&s->lock);
	return r;
}

int snapshotter_usage(struct snapshotter *s, const char *key, int64_t *ret_bytes,
		      int64_t *ret_inodes, struct err *err)
{
	cleanup_snapshot struct snapshot row = {0};
	cleanup_free char *fs = NULL;

	if (snapshotter_stat(s, key, &row, err) < 0)
		return err->code;
	if (row.kind != SNAPSHOT_ACTIVE) {
		*ret_bytes = row.size;
		*ret_inodes = row.inodes;
		return 0;
	}
	fs = snapshot_fs(s, row.id);
	return snapshot_measure(fs, ret_bytes, ret_inodes, err) < 0 ? as_io(err) : 0;
}

void snapshotter_stats(struct snapshotter *s, struct snapshotter_stats *ret)
{
	ret->layers_answered = atomic_load(&s->metrics.layers[LAYER_ANSWERED]);
	ret->layers_declined = atomic_load(&s->metrics.layers[LAYER_DECLINED]);
}

void snapshotter_observe(void *data, size_t method, const struct grpc_call *call, int64_t us)
{
	struct snapshotter *s = data;

	snapshot_metrics_call(&s->metrics, method, call->code, us);
}

void snapshotter_format_metrics(void *data, struct buf *text)
{
	const struct snapshotter *s = data;

	snapshot_metrics_format(&s->metrics, snapshot_methods, text);
}

int snapshotter_check(void *data, struct err *err)
{
	struct snapshotter *s = data;
	cleanup_snapshot struct snapshot row = {0};
	int r;

	if (access(s->dir, W_OK) < 0)
		return err_errno(err, "%s", s->dir);
	pthread_mutex_lock(&s->lock);
	r = snapshot_get_id(s->state, 0, &row, err);
	pthread_mutex_unlock(&s->lock);
	return r == E_NOTFOUND ? 0 : r;
}

/* ---- cleanup ---- */

static bool row_exists(struct snapshotter *s, int64_t id, struct err *err)
{
	cleanup_snapshot struct snapshot row = {0};
	struct err local = ERR_INIT;

	if (snapshot_get_id(s->state, id, &row, &local) >= 0)
		return true;
	if (local.code != E_NOTFOUND)
		*err = local;
	return false;
}

/* Directories without a row. The lock is taken for each: others go on in between. */
static int sweep_snapshot(void *data, int dirfd, const char *entry, struct err *err)
{
	struct snapshotter *s = data;
	cleanup_free char *dir = xasprintf("%s/s/%s", s->dir, entry);
	int64_t id = strtoll(entry, NULL, 10);

	(void)dirfd;
	pthread_mutex_lock(&s->lock);
	if (!row_exists(s, id, err) && err->code == 0)
		to_trash(s, dir, err);
	pthread_mutex_unlock(&s->lock);
	return err->code;
}

/* A container may have made something that cannot be deleted (chattr +i). Its tree stays; all others go. */
static int sweep_trash(void *data, int dirfd, const char *entry, struct err *err)
{
	const struct snapshotter *s = data;
	struct err local = ERR_INIT;

	(void)err;
	if (tree_remove(dirfd, entry, &local) < 0)
		log_warn("%s/trash/%s cannot be deleted: %s", s->dir, entry, local.text);
	return 0;
}

/* What is in use goes with the cleanup after. */
static int sweep_mount(void *data, int dirfd, const char *entry, struct err *err)
{
	struct snapshotter *s = data;
	cleanup_free char *dir = xasprintf("%s/m/%s", s->dir, entry);
	struct err local = ERR_INIT;
	bool is_used = true;
	int r;

	pthread_mutex_lock(&s->views);
	pthread_mutex_lock(&s->lock);
	r = snapshot_mount_is_used(s->state, entry, &is_used, err);
	pthread_mutex_unlock(&s->lock);
	if (r >= 0 && !is_used) {
		r = view_umount(dir, &local);
		if (r >= 0 || r == E_NOTFOUND)
			unlinkat(dirfd, entry, AT_REMOVEDIR);
		else
			log_warn("unmount %s: %s", dir, local.text);
	}
	pthread_mutex_unlock(&s->views);
	return is_used && r < 0 ? r : 0;
}

static int sweep_hold(void *data, int dirfd, const char *entry, struct err *err)
{
	static const char prefix[] = "snapshot-";
	struct snapshotter *s = data;
	int64_t id;

	(void)dirfd;
	if (strncmp(entry, prefix, sizeof(prefix) - 1) != 0)
		return 0;
	id = strtoll(entry + sizeof(prefix) - 1, NULL, 10);
	pthread_mutex_lock(&s->lock);
	if (!row_exists(s, id, err) && err->code == 0)
		node_store_remove_hold(s->o.store, entry, err);
	pthread_mutex_unlock(&s->lock);
	return err->code;
}

int snapshotter_cleanup(struct snapshotter *s, struct err *err)
{
	struct node_store *store = s->o.store;

	/* Whoever has it may wait for the network; there will be another cleanup. */
	if (pthread_mutex_trylock(&s->fetching) == 0) {
		said_of_image_release(&s->said);
		pthread_mutex_unlock(&s->fetching);
	}
	pthread_mutex_lock(&s->lock);
	snapshot_seen_release(&s->seen);
	pthread_mutex_unlock(&s->lock);
	if (node_each(store, "snapshots/s", sweep_snapshot, s, err) < 0 ||
	    node_each(store, "snapshots/m", sweep_mount, s, err) < 0 ||
	    node_each(store, "holds", sweep_hold, s, err) < 0 ||
	    node_each(store, "snapshots/trash", sweep_trash, s, err) < 0)
		return as_io(err);
	return 0;
}
