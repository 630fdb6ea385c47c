/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/rate.h"

#include <pthread.h>

#include "base/mem.h"

enum {
	SLOTS = 4096,
	WAYS = 4, /* slots that a client may have */
	LOCKS = 64,
	US = 1000000,
};

struct bucket {
	uint64_t client;
	int64_t tokens_us; /* each token is a second's worth divided by the rate */
	int64_t seen_us;   /* 0: the slot is free */
};

struct rate_table {
	pthread_mutex_t locks[LOCKS];
	struct bucket slots[SLOTS];
};

struct rate_table *rate_table_new(void)
{
	struct rate_table *t = xcalloc(1, sizeof(*t));

	for (size_t i = 0; i < LOCKS; i++)
		pthread_mutex_init(&t->locks[i], NULL);
	return t;
}

void rate_table_free(struct rate_table *t)
{
	for (size_t i = 0; t && i < LOCKS; i++)
		pthread_mutex_destroy(&t->locks[i]);
	free(t);
}

/* Threads look at the clock before they have the lock, so the last one may be behind. */
static void fill(struct bucket *b, int64_t full, int64_t now_us)
{
	if (now_us <= b->seen_us)
		return;
	b->tokens_us += now_us - b->seen_us;
	if (b->tokens_us > full)
		b->tokens_us = full;
	b->seen_us = now_us;
}

/* The client's bucket. If it has none it takes the fullest of the slots that may be its own: of that client nothing is
 * forgotten, or the least. */
static struct bucket *find(struct bucket *set, uint64_t client, int64_t full, int64_t now_us)
{
	struct bucket *fullest = set;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].client == client && set[i].seen_us)
			return &set[i];
		fill(&set[i], full, now_us);
		if (!set[i].seen_us || (fullest->seen_us && set[i].tokens_us > fullest->tokens_us))
			fullest = &set[i];
	}
	*fullest = (struct bucket){client, full, now_us};
	return fullest;
}

bool rate_take(struct rate_table *t, uint64_t client, unsigned per_second, unsigned burst,
	       int64_t now_us, unsigned *ret_wait_ms)
{
	/* Fibonacci hashing: addresses of one network differ in their last bits. */
	size_t set = (size_t)((client * 0x9e3779b97f4a7c15ull) >> 54);
	pthread_mutex_t *lock = &t->locks[set % LOCKS];
	int64_t cost = US / per_second, full = cost * burst;
	struct bucket *b;
	bool taken;

	_Static_assert(SLOTS / WAYS == 1 << (64 - 54), "a set for each hash");
	if (!cost)
		return true;
	pthread_mutex_lock(lock);
	b = find(&t->slots[set * WAYS], client, full, now_us);
	fill(b, full, now_us);
	taken = b->tokens_us >= cost;
	if (taken)
		b->tokens_us -= cost;
	else
		*ret_wait_ms = (unsigned)((cost - b->tokens_us) / 1000 + 1);
	pthread_mutex_unlock(lock);
	return taken;
}
