/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Store layers (SPEC nacre 7). What the labels say is the image author's: they are only a hint of
 * which paths to look for. That these paths are the layer is proven: the diffID of their canonical
 * tar is computed from the node's content, and must give, with the parent's chainID, the chainID
 * that containerd asks for. containerd compares nothing itself for a layer that it need not fetch.
 */
#include <errno.h>
#include <stdlib.h>

#include <nacre/image.h>

#include "base/mem.h"
#include "node/layer-import.h"
#include "node/snapshot-internal.h"

enum { CHAIN_TEXT = 7 + 64 + 1 };

/* One question. */
struct question {
	struct snapshotter *s;
	const char *ref;                  /* borrowed; the chainID that is asked for */
	const struct annotations *labels; /* borrowed */
	struct snapshot parent;           /* id 0: none */
	struct layer_record record;
	struct staged_record staged;
	struct hash diff_id;
	char *why; /* borrowed; ERR_TEXT_MAX */
};

static int decline(struct question *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int decline(struct question *q, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(q->why, ERR_TEXT_MAX, fmt, ap);
	va_end(ap);
	return 0;
}

/* SPEC oci-image config "chainID" */
static void make_chain(const struct question *q, const char *parent, char ret[CHAIN_TEXT])
{
	char diff_id[HASH_TEXT_MAX], text[HASH_TEXT_MAX];

	hash_format(diff_id, &q->diff_id, HASH_HEX);
	if (*parent) {
		cleanup_free char *both = xasprintf("%s %s", parent, diff_id);
		struct hash chain;

		hash_bytes(&chain, HASH_SHA256, both, strlen(both));
		hash_format(text, &chain, HASH_HEX);
	} else {
		memcpy(text, diff_id, sizeof(text));
	}
	snprintf(ret, CHAIN_TEXT, "%.*s", CHAIN_TEXT - 1, text);
}

/* 1: `q->record` holds what the labels claim; 0: nothing. */
static int read_claims(struct question *q, const struct annotations *labels)
{
	struct annotations paths = {0};
	int r;

	for (size_t i = 0; i < labels->len; i++) {
		if (strncmp(labels->items[i].key, ANNOTATION_PATH_PREFIX,
			    strlen(ANNOTATION_PATH_PREFIX)) != 0)
			continue;
		array_grow(paths.items, paths.cap, paths.len + 1);
		paths.items[paths.len++] = labels->items[i]; /* borrowed */
	}
	if (!paths.len)
		return 0;
	r = layer_record_from_annotations(&q->record, &paths);
	free(paths.items);
	return r < 0 ? decline(q, "its annotations are malformed") : 1;
}

/* Names the claimed paths with their content. */
static void name_list(const struct layer_record *record, char ret[HASH_TEXT_MAX])
{
	struct hasher hasher;
	struct hash hash;

	hasher_init(&hasher, HASH_SHA256);
	hasher_update(&hasher, record->store_dir, strlen(record->store_dir) + 1);
	for (size_t i = 0; i < record->len; i++) {
		hasher_update(&hasher, record->paths[i].base, strlen(record->paths[i].base) + 1);
		hasher_update(&hasher, record->paths[i].nar_hash.bytes, hash_size(HASH_SHA256));
	}
	hasher_final(&hasher, &hash);
	hasher_release(&hasher);
	hash_format_bare(ret, &hash, HASH_NIX32);
}

int snapshot_prove_record(struct snapshotter *s, const struct layer_record *record,
			  struct hash *ret, struct err *err)
{
	char list[HASH_TEXT_MAX];
	struct err local = ERR_INIT;
	int r;

	name_list(record, list);
	pthread_mutex_lock(&s->lock);
	r = snapshot_get_proof(s->state, list, ret, &local);
	pthread_mutex_unlock(&s->lock);
	if (r != E_NOTFOUND) {
		if (r < 0)
			*err = local;
		return r;
	}
	if (layer_record_diff_id(s->o.store, record, ret, err) < 0)
		return err->code;
	/* One that is lost is computed again. */
	pthread_mutex_lock(&s->lock);
	r = snapshot_state_begin_unsynced(s->state, err);
	if (r >= 0)
		r = snapshot_state_end(s->state, snapshot_put_proof(s->state, list, ret, err), err);
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* The layer itself, from where the image is from. What it cannot do is no failure. */
static void ask_registry(struct snapshotter *s, const struct layer_record *record,
			 const struct annotations *labels, struct sources_stats *stats, char *why)
{
	const char *layer = image_registry_layer(labels);
	cleanup_fd int lock = -1;
	struct err local = ERR_INIT;
	struct hash digest;

	if (!s->o.registries || !layer || digest_parse(&digest, slice_str(layer)) < 0)
		return;
	lock = node_store_lock_content(s->o.store, &digest, &local);
	/* Another pull may have brought it meanwhile. */
	if (lock >= 0 && !node_store_has_paths(s->o.store, record))
		image_registry_fetch(s->o.registries, s->o.store, labels, stats, &local);
	if (local.code < 0)
		snprintf(why, ERR_TEXT_MAX, "%s", local.text);
}

int snapshot_fetch_paths(struct snapshotter *s, const struct layer_record *record,
			 const struct annotations *labels, char *why, struct err *err)
{
	struct sources_stats stats = {0};
	int64_t from_us = snapshot_now_us();
	bool is_here = false;
	int r = 0;

	*why = '\0';
	if (s->o.sources) {
		pthread_mutex_lock(&s->fetching);
		r = node_sources_provide(s->o.sources, s->o.store, record, &stats, why, err);
		pthread_mutex_unlock(&s->fetching);
		is_here = r >= 0 && node_store_has_paths(s->o.store, record);
	}
	if (r >= 0 && !is_here) {
		ask_registry(s, record, labels, &stats, why);
		is_here = node_store_has_paths(s->o.store, record);
	}
	snapshot_metrics_fetch(&s->metrics, &stats, r < 0 || *why, snapshot_now_us() - from_us);
	return r < 0 ? r : is_here;
}

/* In its turn. */
static int fetch(struct question *q, struct err *err)
{
	char why[ERR_TEXT_MAX];
	int r;

	snapshot_ahead_wait(q->s, q->labels);
	if (node_store_has_paths(q->s->o.store, &q->record))
		return 1;
	snapshot_ahead_begin(q->s, q->labels);
	/* The sync of the paths is that of their record, too. */
	if (node_store_stage_record(q->s->o.store, &q->record, &q->staged, err) < 0)
		return err->code;
	r = snapshot_fetch_paths(q->s, &q->record, q->labels, why, err);
	if (r != 0)
		return r;
	return decline(q, "not all of its store paths could be had%s%s", *why ? ": " : "", why);
}

/* 1: all paths are here; 0: not, and nobody has them. */
static int provide(struct question *q, struct err *err)
{
	struct err busy = ERR_INIT;
	int r;

	snapshot_ahead_ask(q->s, q->labels);
	if (node_store_has_paths(q->s->o.store, &q->record))
		return 1;
	if (snapshot_turn_take(&q->s->turns, &busy) < 0)
		return decline(q, "%s", busy.text);
	r = fetch(q, err);
	snapshot_turn_end(&q->s->turns);
	return r;
}

/* 1: the paths are the layer. */
static int prove(struct question *q, struct err *err)
{
	const char *parent = q->parent.id ? q->parent.chain : "";
	char chain[CHAIN_TEXT];

	if (q->parent.id && !*parent)
		return decline(q, "its parent has no chainID");
	if (snapshot_prove_record(q->s, &q->record, &q->diff_id, err) < 0)
		return err->code;
	make_chain(q, parent, chain);
	if (strcmp(chain, q->ref) != 0)
		return decline(q, "its annotations name store paths that are not this layer");
	return 1;
}

static int put_record(struct question *q, struct err *err)
{
	struct node_store *store = q->s->o.store;
	struct layer_record other = {0};
	struct err ignored = ERR_INIT;

	/* Under this diffID it can be no other. */
	if (node_store_layer_record(store, &q->diff_id, &other, &ignored) >= 0) {
		layer_record_release(&other);
		return 0;
	}
	if (q->staged.file.fd < 0 &&
	    node_store_stage_record(store, &q->record, &q->staged, err) < 0)
		return err->code;
	return node_store_name_record(store, &q->diff_id, &q->staged, err);
}

/* 1: a row was made; 0: it was there, of a crash or of somebody who was faster. */
static int put_row(struct question *q, int64_t *ret_id, struct err *err)
{
	struct snapshotter *s = q->s;
	cleanup_snapshot struct snapshot row = {
		.kind = SNAPSHOT_COMMITTED,
		.parent_id = q->parent.id,
		.chain = xstrdup(q->ref),
		.uses = xstrdup(""),
		.is_store = true,
		.diff_id = q->diff_id,
	};
	cleanup_snapshot struct snapshot there = {0};
	struct err local = ERR_INIT;
	int r;

	row.name = xasprintf("nacre/%lld/%s", (long long)row.parent_id, q->ref);
	/* The labels of the image that came first are not those of the next. */
	annotations_set(&row.labels, SNAPSHOT_REF, q->ref);
	r = snapshot_insert(s->state, &row, &local);
	if (r == E_EXISTS && snapshot_get(s->state, row.name, &there, err) < 0)
		return err->code;
	if (r < 0 && r != E_EXISTS) {
		*err = local;
		return r;
	}
	*ret_id = r < 0 ? there.id : row.id;
	return r >= 0;
}

static int put_hold(struct snapshotter *s, int64_t id, const struct hash *diff_id, struct err *err)
{
	char name[64];

	snapshot_hold_name(name, id);
	return node_store_hold_layer(s->o.store, name, diff_id, err);
}

/* The row and its hold, not yet on the disk. Returns 1 when the row is new. */
static int put_unsynced(struct question *q, int64_t *ret_id, struct err *err)
{
	struct snapshotter *s = q->s;
	int r = s->is_one_disk ? snapshot_state_begin_unsynced(s->state, err)
			       : snapshot_state_begin(s->state, err);
	int is_new;

	if (r < 0)
		return r;
	is_new = put_row(q, ret_id, err);
	r = is_new < 0 ? is_new : put_hold(s, *ret_id, &q->diff_id, err);
	r = snapshot_state_end(s->state, r, err);
	return r < 0 ? r : is_new;
}

/*
 * Under the parent's id: it must still be there.
 *
 * containerd takes the answer for durable, so all of it is on the disk before: the paths under their names, the layer's record,
 * the row, the hold. A sync takes as long as the disk is busy, and an image may have a layer a path; two are made:
 *
 * 	paths and record under temporary names; SYNC; paths named; proof; record named; row and hold; SYNC; answer
 *
 * The first comes before any name: a crash of the machine leaves nothing torn under one, whatever the file system writes first. Of
 * what comes behind it each is there as a whole or not at all: a name, a symlink, a transaction of SQLite (whose log has checksums).
 * Which of these a crash between the syncs leaves is open, and does not matter, as nothing was answered: containerd asks
 * again, and a row without paths, record or hold is completed then (look_up(), put_row()), or removed by its collection.
 * The lock is held over the second sync, or somebody else would find the row and answer before it is on the disk. A row that a
 * killed snapshotter has left unsynced is synced when the next one starts (snapshotter_new()).
 */
static int commit(struct question *q, struct err *err)
{
	struct snapshotter *s = q->s;
	cleanup_snapshot struct snapshot row = {0};
	struct err ignored = ERR_INIT;
	int64_t id = 0;
	int r;

	if (put_record(q, err) < 0)
		return err->code;
	pthread_mutex_lock(&s->lock);
	r = put_unsynced(q, &id, err);
	if (r >= 0 && node_store_sync(s->o.store, err) < 0) {
		if (r > 0 && snapshot_get_id(s->state, id, &row, &ignored) >= 0)
			snapshot_delete(s->state, &row, &ignored);
		r = err->code;
	}
	pthread_mutex_unlock(&s->lock);
	return r < 0 ? r : 1;
}

/* The parent, and 1 when the layer stands on it already, whole. */
static int look_up(struct question *q, const char *parent, struct err *err)
{
	cleanup_snapshot struct snapshot there = {0};
	struct err local = ERR_INIT;
	int r;

	if (*parent) {
		if (snapshot_get(q->s->state, parent, &q->parent, err) < 0)
			return err_wrap(err, "parent");
		if (q->parent.kind != SNAPSHOT_COMMITTED)
			return err_set(err, E_INVALID, "parent %s is not committed", parent);
	}
	r = snapshot_find_store(q->s->state, q->ref, q->parent.id, &there, &local);
	if (r < 0 && r != E_NOTFOUND)
		*err = local;
	if (r < 0)
		return r == E_NOTFOUND ? 0 : r;
	if (node_store_layer_record(q->s->o.store, &there.diff_id, &q->record, &local) < 0)
		return 0;
	q->diff_id = there.diff_id;
	if (node_store_has_paths(q->s->o.store, &q->record)) {
		r = put_hold(q->s, there.id, &q->diff_id, err);
		if (r > 0)
			r = node_store_sync(q->s->o.store, err);
		return r < 0 ? r : 1;
	}
	layer_record_release(&q->record);
	return 0;
}

/* 1: signed as the policy wants it. An image that is not must not start at all. */
static int check_signatures(struct question *q, struct err *err)
{
	int r = snapshot_check_signatures(q->s, q->labels, &q->diff_id, &q->record, err);

	return r < 0 ? r : 1;
}

/* What is left to containerd becomes an ordinary layer, whose content nobody has signed. */
static int refuse_unchecked(const struct question *q, struct err *err)
{
	const struct node_sources *sources = q->s->o.sources;

	if (!sources || !node_sources_require_signatures(sources))
		return 0;
	return err_set(err, E_DENIED, "the signatures of its store paths cannot be checked: %s",
		       q->why);
}

static int answer(struct question *q, const char *parent, const struct annotations *labels,
		  struct err *err)
{
	int r;

	pthread_mutex_lock(&q->s->lock);
	r = look_up(q, parent, err);
	pthread_mutex_unlock(&q->s->lock);
	if (r < 0)
		return r;
	/* It may have come under another policy. */
	if (r > 0)
		return check_signatures(q, err);
	r = read_claims(q, labels);
	if (r <= 0)
		return r;
	if (!q->s->has_views)
		r = decline(q, "this kernel has no views in one overlay");
	if (r > 0)
		r = provide(q, err);
	if (r > 0)
		r = prove(q, err);
	if (r > 0)
		r = snapshot_check_below(q->s, q->parent.id, &q->record, q->why, err);
	if (r > 0)
		r = check_signatures(q, err);
	if (r == 0)
		r = refuse_unchecked(q, err);
	return r > 0 ? commit(q, err) : r;
}

int snapshot_answer_layer(struct snapshotter *s, const char *parent,
			  const struct annotations *labels, char *why, struct err *err)
{
	struct question q = {
		.s = s,
		.ref = annotations_get(labels, SNAPSHOT_REF),
		.labels = labels,
		.staged = STAGED_RECORD_INIT,
		.why = why,
	};
	cleanup_fd int in_use = node_store_use(s->o.store, err);
	struct err local = ERR_INIT;
	int r;

	if (in_use < 0)
		return in_use;
	r = answer(&q, parent, labels, &local);
	snapshot_release(&q.parent);
	layer_record_release(&q.record);
	staged_record_release(&q.staged);
	/* What the node cannot do, containerd can; but not without signatures, nor a parent. */
	if (r == E_DENIED || r == E_NOTFOUND || r == E_INVALID) {
		*err = local;
	} else if (r < 0) {
		snprintf(why, ERR_TEXT_MAX, "%s", local.text);
		r = refuse_unchecked(&q, err);
	}
	return r;
}
