/* SPDX-License-Identifier: Apache-2.0 */
#include "store/uses.h"
#include "store/clock.h"

/* Tables of open addressing, by the hash of the key, so that readers seldom meet. What does not
 * fit is not noted: a million different things between two flushes, some minutes. */
enum {
	SHARDS = 32,
	SLOTS_FIRST = 64,
	SLOTS_MAX = 1 << 16,
	BATCH = 512,      /* slots written in one transaction */
	TAKEN_MAX = 4096, /* between two settlings */
};

struct use {
	struct use_key key; /* USE_NONE: the slot is free */
	int64_t at;         /* when it was noted last; seconds */
	bool noted, taken;  /* not both */
};

struct shard {
	pthread_mutex_t lock;
	struct use *slots; /* owned; under the lock, so all else */
	size_t n_slots, n;
};

struct uses {
	struct shard shards[SHARDS];
	_Atomic uint64_t epoch;          /* counts the times that something taken went */
	struct use_key taken[TAKEN_MAX]; /* by the one that collects */
	size_t n_taken;
	size_t unflushed; /* shards that a flush has yet to look at: the first so many; by the same */
};

struct uses *uses_new(void)
{
	struct uses *u = xcalloc(1, sizeof(*u));

	for (size_t i = 0; i < SHARDS; i++)
		pthread_mutex_init(&u->shards[i].lock, NULL);
	return u;
}

void uses_free(struct uses *u)
{
	for (size_t i = 0; u && i < SHARDS; i++) {
		pthread_mutex_destroy(&u->shards[i].lock);
		free(u->shards[i].slots);
	}
	free(u);
}

static uint64_t key_hash(struct use_key key)
{
	uint64_t h = ((uint64_t)key.a << 20) ^ (uint64_t)key.b ^ ((uint64_t)key.kind << 60);

	h = (h ^ h >> 32) * 0x9e3779b97f4a7c15u;
	h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
	return h ^ h >> 32;
}

static bool key_equal(struct use_key x, struct use_key y)
{
	return x.kind == y.kind && x.a == y.a && x.b == y.b;
}

/* The slot of the key, or the free one where it belongs. */
static struct use *slot_of(struct shard *shard, struct use_key key)
{
	size_t i = (size_t)(key_hash(key) / SHARDS) & (shard->n_slots - 1);

	while (shard->slots[i].key.kind != USE_NONE && !key_equal(shard->slots[i].key, key))
		i = (i + 1) & (shard->n_slots - 1);
	return &shard->slots[i];
}

/* Room for one more; false: there is none. */
static bool shard_room(struct shard *shard)
{
	struct shard old = *shard;

	if (shard->n_slots && shard->n < shard->n_slots / 4 * 3)
		return true;
	if (shard->n_slots == SLOTS_MAX)
		return false;
	shard->n_slots = old.n_slots ? 2 * old.n_slots : SLOTS_FIRST;
	shard->slots = xcalloc(shard->n_slots, sizeof(*shard->slots));
	for (size_t i = 0; i < old.n_slots; i++)
		if (old.slots[i].key.kind != USE_NONE)
			*slot_of(shard, old.slots[i].key) = old.slots[i];
	free(old.slots);
	return true;
}

static struct shard *shard_lock(struct store *s, struct use_key key)
{
	struct shard *shard = &s->uses->shards[key_hash(key) % SHARDS];

	pthread_mutex_lock(&shard->lock);
	return shard;
}

/* Finds or makes the key's slot; NULL: there is no room. */
static struct use *slot_make(struct shard *shard, struct use_key key)
{
	struct use *slot = shard->n_slots ? slot_of(shard, key) : NULL;

	if (slot && slot->key.kind != USE_NONE)
		return slot;
	if (!shard_room(shard))
		return NULL;
	slot = slot_of(shard, key);
	slot->key = key;
	shard->n++;
	return slot;
}

bool use_note(struct store *s, struct use_key key)
{
	struct shard *shard = shard_lock(s, key);
	struct use *slot = slot_make(shard, key);
	bool taken = slot && slot->taken;

	if (slot && !taken) {
		slot->noted = true;
		slot->at = now_seconds();
	}
	pthread_mutex_unlock(&shard->lock);
	return !taken;
}

uint64_t use_epoch(struct store *s)
{
	return atomic_load(&s->uses->epoch);
}

bool use_is_noted(struct store *s, struct use_key key)
{
	struct shard *shard = shard_lock(s, key);
	bool noted = shard->n_slots && slot_of(shard, key)->noted;

	pthread_mutex_unlock(&shard->lock);
	return noted;
}

bool use_take(struct store *s, struct use_key key)
{
	struct uses *u = s->uses;
	struct shard *shard = shard_lock(s, key);
	struct use *slot = slot_make(shard, key);
	bool may = slot && !slot->noted && (slot->taken || u->n_taken < TAKEN_MAX);

	if (may && !slot->taken) {
		slot->taken = true;
		u->taken[u->n_taken++] = key;
	}
	pthread_mutex_unlock(&shard->lock);
	return may;
}

void uses_settle(struct store *s)
{
	struct uses *u = s->uses;

	if (u->n_taken)
		atomic_fetch_add(&u->epoch, 1);
	for (size_t i = 0; i < u->n_taken; i++) {
		struct shard *shard = shard_lock(s, u->taken[i]);

		slot_of(shard, u->taken[i])->taken = false;
		pthread_mutex_unlock(&shard->lock);
	}
	u->n_taken = 0;
}

/* ---- Writing down ---- */

static int path_used(struct conn *c, int64_t binding, int64_t at, struct err *err)
{
	struct query q;

	query_init(&q, c, "UPDATE path_use SET used = ?2 WHERE binding = ?1 AND used < ?3");
	query_bind_int(&q, 1, binding);
	query_bind_int(&q, 2, at);
	query_bind_int(&q, 3, at - USE_GRAIN_S);
	return query_run(&q, err);
}

/* Who pulls the image of a store path uses the path. */
static int manifest_used(struct conn *c, int64_t manifest, int64_t at, struct err *err)
{
	int64_t binding = 0;
	struct query q;
	int r;

	query_init(&q, c,
		   "INSERT INTO manifest_use (manifest, used)"
		   " SELECT id, ?2 FROM manifest WHERE id = ?1"
		   " ON CONFLICT DO UPDATE SET used = ?2 WHERE used < ?3");
	query_bind_int(&q, 1, manifest);
	query_bind_int(&q, 2, at);
	query_bind_int(&q, 3, at - USE_GRAIN_S);
	r = query_run(&q, err);
	if (r < 0)
		return r;
	query_init(&q, c,
		   "SELECT binding.id FROM made JOIN manifest ON manifest.id = made.manifest"
		   " JOIN repository ON repository.id = manifest.repository"
		   " JOIN binding ON binding.view = repository.view"
		   "  AND binding.hash_part = made.hash_part"
		   " WHERE made.manifest = ?1");
	query_bind_int(&q, 1, manifest);
	r = query_step(&q, err);
	if (r > 0)
		binding = query_int(&q, 0);
	query_end(&q);
	return r > 0 ? path_used(c, binding, at, err) : r;
}

/* Its grace begins anew. */
static int link_used(struct conn *c, struct use_key key, int64_t at, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "UPDATE candidate SET since = ?3 WHERE kind = 4 AND a = ?1 AND b = ?2"
		   " AND name = ''");
	query_bind_int(&q, 1, key.a);
	query_bind_int(&q, 2, key.b);
	query_bind_int(&q, 3, at);
	return query_run(&q, err);
}

static int pending_used(struct conn *c, struct use_key key, int64_t at, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "UPDATE pending SET added = ?3 WHERE view = ?1 AND nar = ?2 AND added < ?3");
	query_bind_int(&q, 1, key.a);
	query_bind_int(&q, 2, key.b);
	query_bind_int(&q, 3, at);
	return query_run(&q, err);
}

struct flush_job {
	const struct use *uses;
	size_t n;
};

static int flush_job(struct conn *c, void *arg, struct err *err)
{
	const struct flush_job *job = arg;
	int r = 0;

	for (size_t i = 0; i < job->n && r >= 0; i++) {
		struct use_key key = job->uses[i].key;
		int64_t at = job->uses[i].at;

		if (!job->uses[i].noted)
			continue;
		if (key.kind == USE_PATH)
			r = path_used(c, key.a, at, err);
		else if (key.kind == USE_MANIFEST)
			r = manifest_used(c, key.a, at, err);
		else if (key.kind == USE_LINK)
			r = link_used(c, key, at, err);
		else if (key.kind == USE_PENDING)
			r = pending_used(c, key, at, err);
	}
	return r < 0 ? r : 0;
}

/* What was not written down is noted as before, unless it is noted anew or taken by now. */
static void shard_put_back(struct shard *shard, const struct use *slots, size_t n)
{
	pthread_mutex_lock(&shard->lock);
	for (size_t i = 0; i < n; i++) {
		struct use *slot = slots[i].noted ? slot_make(shard, slots[i].key) : NULL;

		if (!slot || slot->noted || slot->taken)
			continue;
		slot->noted = true;
		slot->at = slots[i].at;
	}
	pthread_mutex_unlock(&shard->lock);
}

/* 1: time was up before all was written down. */
static int shard_flush(struct store *s, struct shard *shard, uint64_t deadline_ms, bool *ret_wrote,
		       struct err *err)
{
	struct shard old;
	size_t done = 0;
	int r = 0;

	pthread_mutex_lock(&shard->lock);
	old = *shard;
	shard->slots = NULL;
	shard->n_slots = shard->n = 0;
	pthread_mutex_unlock(&shard->lock);
	while (r >= 0 && done < old.n_slots && !(done && time_is_up(deadline_ms))) {
		size_t left = old.n_slots - done;
		struct flush_job job = {old.slots + done, left < BATCH ? left : BATCH};

		*ret_wrote = true;
		r = db_write(s->db, flush_job, &job, err);
		if (r >= 0)
			done += job.n;
	}
	if (done < old.n_slots)
		shard_put_back(shard, old.slots + done, old.n_slots - done);
	free(old.slots);
	return r < 0 ? r : done < old.n_slots;
}

int uses_flush(struct store *s, uint64_t deadline_ms, struct err *err)
{
	struct uses *u = s->uses;
	bool wrote = false;
	int r;

	if (!u->unflushed || !deadline_ms)
		u->unflushed = SHARDS;
	for (; u->unflushed; u->unflushed--) {
		if (wrote && time_is_up(deadline_ms))
			return 1;
		r = shard_flush(s, &u->shards[u->unflushed - 1], deadline_ms, &wrote, err);
		if (r != 0)
			return r;
	}
	return 0;
}
