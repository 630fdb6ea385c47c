/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/body-queue.h"

#include <string.h>

#include "base/mem.h"

void body_queue_init(struct body_queue *q, size_t block_bytes)
{
	*q = (struct body_queue){.size = block_bytes};
	pthread_mutex_init(&q->lock, NULL);
}

void body_queue_release(struct body_queue *q)
{
	if (!q->size)
		return;
	free(q->filling);
	free(q->taken);
	pthread_mutex_destroy(&q->lock);
	q->size = 0;
}

enum body_put body_queue_put(struct body_queue *q, const void *data, size_t len, size_t *ret_put,
			     void (*suspend)(void *cls), void *cls)
{
	enum body_put result = BODY_TAKEN;
	size_t n;

	pthread_mutex_lock(&q->lock);
	n = q->size - q->filled < len ? q->size - q->filled : len;
	if (n) {
		/* The worker takes full blocks only, so it has no business with this one: it need not
		 * wait for the copy. */
		pthread_mutex_unlock(&q->lock);
		if (!q->filling)
			q->filling = xmalloc(q->size);
		memcpy(q->filling + q->filled, data, n);
		pthread_mutex_lock(&q->lock);
	}
	q->filled += n;
	*ret_put = n;
	if (q->filled == q->size && !q->busy) {
		q->busy = true;
		result = BODY_CALL;
	} else if (n < len) {
		q->awaited = true;
		suspend(cls);
		result = BODY_SUSPENDED;
	}
	pthread_mutex_unlock(&q->lock);
	return result;
}

void body_queue_uncall(struct body_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->busy = false;
	pthread_mutex_unlock(&q->lock);
}

bool body_queue_end(struct body_queue *q, void (*suspend)(void *cls), void *cls)
{
	bool over;

	pthread_mutex_lock(&q->lock);
	over = !q->busy;
	if (!over) {
		q->ended = true;
		suspend(cls);
	}
	pthread_mutex_unlock(&q->lock);
	return over;
}

struct slice body_queue_take(struct body_queue *q, bool *ret_ended, void (*resume)(void *cls),
			     void *cls)
{
	struct slice next = {0};
	bool awaited;

	pthread_mutex_lock(&q->lock);
	awaited = q->awaited;
	q->awaited = false;
	/* A block that is not full yet can wait for more, or for the end. */
	if (q->filled == q->size && !q->given_up) {
		uint8_t *full = q->filling;

		q->filling = q->taken;
		q->taken = full;
		q->filled = 0;
		next = slice_make(full, q->size);
	} else {
		q->busy = false;
		cond_wake_all(&q->rest);
	}
	*ret_ended = q->ended && !next.len;
	pthread_mutex_unlock(&q->lock);
	/* Without the lock, which the loop would run into as soon as it is woken up. Until then nobody
	 * else touches the queue. */
	if (awaited)
		resume(cls);
	return next;
}

struct slice body_queue_rest(struct body_queue *q)
{
	size_t n = q->filled;

	q->filled = 0;
	return slice_make(q->filling, n);
}

void body_queue_close(struct body_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->given_up = true;
	pthread_mutex_unlock(&q->lock);
}

void body_queue_give_up(struct body_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->given_up = true;
	while (q->busy)
		cond_wait(&q->rest, &q->lock);
	pthread_mutex_unlock(&q->lock);
}
