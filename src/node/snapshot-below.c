/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies below a store layer. A chain is asked for layer by layer, from the lowest on, and may have a layer a path: what was
 * found of it is kept, so that each layer adds itself and nothing is read twice. That holds for as long as anybody can ask: what is
 * committed does not change, what has something standing on it cannot be removed, and no row gets the id of another.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/layer-touch.h"
#include "node/snapshot-internal.h"

enum { SLOTS_MIN = 64 };

/* A path of one of the layers: its name (by the hash of it) and its content. */
struct seen_path {
	uint8_t name[SEEN_NAME_SIZE], content[SEEN_CONTENT_SIZE];
	bool is_used;
};

void snapshot_seen_release(struct snapshot_seen *seen)
{
	free(seen->slots);
	free(seen->ordinary);
	*seen = (struct snapshot_seen){0};
}

static void name_of(const char *base, uint8_t ret[SEEN_NAME_SIZE])
{
	struct hash hash;

	hash_bytes(&hash, HASH_SHA256, base, strlen(base));
	memcpy(ret, hash.bytes, SEEN_NAME_SIZE);
}

/* Where it is, or the free slot where it would be. There is always a free one. */
static struct seen_path *find(const struct snapshot_seen *seen, const uint8_t *name)
{
	size_t i;

	memcpy(&i, name, sizeof(i));
	for (;; i++) {
		struct seen_path *slot = &seen->slots[i & (seen->n_slots - 1)];

		if (!slot->is_used || memcmp(slot->name, name, SEEN_NAME_SIZE) == 0)
			return slot;
	}
}

static void make_room(struct snapshot_seen *seen)
{
	struct snapshot_seen larger = *seen;

	if (seen->n_paths * 2 < seen->n_slots)
		return;
	larger.n_slots = seen->n_slots ? 2 * seen->n_slots : SLOTS_MIN;
	larger.slots = xcalloc(larger.n_slots, sizeof(*larger.slots));
	for (size_t i = 0; i < seen->n_slots; i++)
		if (seen->slots[i].is_used)
			*find(&larger, seen->slots[i].name) = seen->slots[i];
	free(seen->slots);
	*seen = larger;
}

static void add_path(struct snapshot_seen *seen, const struct layer_path *path)
{
	struct seen_path new = {.is_used = true};
	struct seen_path *slot;

	make_room(seen);
	name_of(path->base, new.name);
	memcpy(new.content, path->nar_hash.bytes, SEEN_CONTENT_SIZE);
	slot = find(seen, new.name);
	seen->n_paths += !slot->is_used;
	*slot = new;
}

/* One more layer, which stands on those that were seen. */
static int add_row(struct snapshotter *s, struct snapshot_seen *seen, const struct snapshot *row,
		   struct err *err)
{
	struct layer_record record = {0};

	if (!row->is_store) {
		array_grow(seen->ordinary, seen->cap_ordinary, seen->n_ordinary + 1);
		seen->ordinary[seen->n_ordinary++] = row->id;
	}
	if (row->is_store || row->has_paths) {
		if (node_store_layer_record(s->o.store, snapshot_record_of(row), &record, err) < 0)
			return err->code;
		memcpy(seen->store_dir, record.store_dir, sizeof(seen->store_dir));
		for (size_t i = 0; i < record.len; i++)
			add_path(seen, &record.paths[i]);
		layer_record_release(&record);
	}
	seen->top = row->id;
	return 0;
}

/* Brings what was seen to the row of that id: by this row alone, or all of its chain. */
static int advance(struct snapshotter *s, struct snapshot_seen *seen, int64_t id, struct err *err)
{
	cleanup_snapshot_chain struct snapshot_chain chain = {0};
	cleanup_snapshot struct snapshot row = {0};
	int r;

	if (seen->top == id)
		return 0;
	pthread_mutex_lock(&s->lock);
	r = id ? snapshot_get_id(s->state, id, &row, err) : 0;
	if (r >= 0 && (!seen->top || row.parent_id != seen->top)) {
		snapshot_seen_release(seen);
		r = snapshot_chain_load(s, id, &chain, err);
	}
	pthread_mutex_unlock(&s->lock);
	if (r >= 0 && seen->top)
		return add_row(s, seen, &row, err);
	for (size_t i = chain.len; r >= 0 && i-- > 0;)
		r = add_row(s, seen, &chain.items[i], err);
	return r;
}

/* 1: nothing that was seen is in the way of these paths. */
static int check(const struct snapshotter *s, const struct snapshot_seen *seen,
		 const struct layer_record *record, char *why)
{
	bool is_other = seen->n_paths && strcmp(seen->store_dir, record->store_dir) != 0;

	for (size_t i = 0; i < seen->n_ordinary; i++) {
		cleanup_free char *fs = snapshot_fs(s, seen->ordinary[i]);
		cleanup_fd int fd = open(fs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (layer_touches(fd, record)) {
			snprintf(why, ERR_TEXT_MAX,
				 "a layer below it holds its store paths too, or has its store dir "
				 "with another mode or owner");
			return 0;
		}
	}
	for (size_t i = 0; !is_other && seen->n_paths && i < record->len; i++) {
		uint8_t name[SEEN_NAME_SIZE];
		const struct seen_path *slot;

		name_of(record->paths[i].base, name);
		slot = find(seen, name);
		is_other = slot->is_used && memcmp(slot->content, record->paths[i].nar_hash.bytes,
						   SEEN_CONTENT_SIZE) != 0;
	}
	if (is_other)
		snprintf(why, ERR_TEXT_MAX,
			 "a layer below it holds one of its paths with other content, or "
			 "has another store dir");
	return !is_other;
}

/* Nobody else has it meanwhile; who comes then reads the chain. */
static struct snapshot_seen take_seen(struct snapshotter *s)
{
	struct snapshot_seen seen;

	pthread_mutex_lock(&s->lock);
	seen = s->seen;
	s->seen = (struct snapshot_seen){0};
	pthread_mutex_unlock(&s->lock);
	return seen;
}

static void put_seen(struct snapshotter *s, struct snapshot_seen *seen)
{
	pthread_mutex_lock(&s->lock);
	snapshot_seen_release(&s->seen);
	s->seen = *seen;
	pthread_mutex_unlock(&s->lock);
}

int snapshot_check_below(struct snapshotter *s, int64_t parent_id,
			 const struct layer_record *record, char *why, struct err *err)
{
	struct snapshot_seen seen = take_seen(s);
	int r = advance(s, &seen, parent_id, err);

	if (r < 0) {
		snapshot_seen_release(&seen);
		return r;
	}
	r = check(s, &seen, record, why);
	put_seen(s, &seen);
	return r;
}
