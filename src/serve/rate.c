/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/rate.h"

#include <pthread.h>

#include "base/mem.h"

enum { SLOTS = 4096, LOCKS = 64, US = 1000000 };

struct bucket {
	uint64_t client;
	int64_t tokens_us; /* each token is a second's worth divided by the rate */
	int64_t seen_us;
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

bool rate_take(struct rate_table *t, uint64_t client, unsigned per_second, unsigned burst,
	       int64_t now_us, unsigned *ret_wait_ms)
{
	/* Fibonacci hashing: addresses of one network differ in their last bits. */
	size_t slot = (size_t)((client * 0x9e3779b97f4a7c15ull) >> 52);
	struct bucket *b = &t->slots[slot];
	pthread_mutex_t *lock = &t->locks[slot % LOCKS];
	int64_t cost = US / per_second, full = cost * burst;
	bool taken;

	if (!cost)
		return true;
	pthread_mutex_lock(lock);
	if (b->client != client || now_us < b->seen_us)
		*b = (struct bucket){client, full, now_us};
	b->tokens_us += now_us - b->seen_us;
	if (b->tokens_us > full)
		b->tokens_us = full;
	b->seen_us = now_us;
	taken = b->tokens_us >= cost;
	if (taken)
		b->tokens_us -= cost;
	else
		*ret_wait_ms = (unsigned)((cost - b->tokens_us) / 1000 + 1);
	pthread_mutex_unlock(lock);
	return taken;
}
