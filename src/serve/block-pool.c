/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/block-pool.h"

#include <pthread.h>

#include "base/mem.h"

struct block {
	struct block_pool *pool;
	struct block *next; /* while it is free */
	max_align_t bytes[];
};

struct block_pool {
	pthread_mutex_t lock;
	struct block *free;
	size_t made;
};

struct block_pool *block_pool_new(void)
{
	struct block_pool *p = xcalloc(1, sizeof(*p));

	pthread_mutex_init(&p->lock, NULL);
	return p;
}

void block_pool_free(struct block_pool *p)
{
	if (!p)
		return;
	while (p->free) {
		struct block *next = p->free->next;

		free(p->free);
		p->free = next;
	}
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void *block_take(struct block_pool *p)
{
	struct block *b;

	pthread_mutex_lock(&p->lock);
	b = p->free;
	if (b) {
		p->free = b->next;
	} else if (p->made < POOL_BLOCKS) {
		p->made++;
		b = xmalloc(sizeof(*b) + POOL_BLOCK);
		b->pool = p;
	}
	pthread_mutex_unlock(&p->lock);
	return b ? b->bytes : NULL;
}

void block_give(void *block)
{
	struct block *b = container_of(block, struct block, bytes);
	struct block_pool *p = b->pool;

	pthread_mutex_lock(&p->lock);
	b->next = p->free;
	p->free = b;
	pthread_mutex_unlock(&p->lock);
}
