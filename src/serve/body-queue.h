/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a request on its way from the event loop, which receives it, to a worker, which
 * takes it in: two blocks, one that is filled and one that is worked on. So receiving goes on
 * while the worker hashes and writes, and a client that is faster than that waits. Private to
 * src/serve.
 *
 * Threads: the loop puts and asks, one worker at a time takes; `taken` belongs to it between
 * body_queue_take() calls. What the worker did is seen by the loop once the queue is not busy.
 */
#ifndef NACRE_SERVE_BODY_QUEUE_H
#define NACRE_SERVE_BODY_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nacre/slice.h>

#include "base/cond.h"

enum { BODY_BLOCK = 128 << 10 };

struct body_queue {
	pthread_mutex_t lock;
	struct cond rest; /* `busy` became false */
	uint8_t *filling; /* owned; of `size` bytes, or NULL */
	uint8_t *taken;   /* owned; the same */
	size_t size, filled;
	bool busy;     /* a worker is at it */
	bool awaited;  /* the loop waits for what the worker does next */
	bool ended;    /* nothing more comes, and the worker that is at it has the rest */
	bool given_up; /* nothing more is to be taken */
};

void body_queue_init(struct body_queue *q, size_t block_bytes);
void body_queue_release(struct body_queue *q);

enum body_put {
	BODY_TAKEN,     /* nothing to do */
	BODY_CALL,      /* taken, and a worker has to be called; the queue is busy from here on */
	BODY_SUSPENDED, /* what was not taken comes later: `suspend` was called */
};
/* Puts up to `len` bytes; *ret_put says how many. `suspend` is called under the lock, where the
 * worker cannot be faster. */
enum body_put body_queue_put(struct body_queue *q, const void *data, size_t len, size_t *ret_put,
			     void (*suspend)(void *cls), void *cls);
/* After BODY_CALL, when there is no worker to be had: nobody is at it, and what is there can be had by
 * body_queue_rest(). */
void body_queue_uncall(struct body_queue *q);
/* At the end of the body. True: no worker is at it, and what is left is body_queue_rest(). False:
 * the worker that is at it hears of the end by body_queue_take(); `suspend` was called, and `resume`
 * is up to that worker. */
bool body_queue_end(struct body_queue *q, void (*suspend)(void *cls), void *cls);
/* For a worker: what there is to do next, an empty slice when that is nothing; then the queue is
 * no longer busy, and *ret_ended tells whether the end of the body is this worker's business.
 * `resume` is called where the loop waits for room. */
struct slice body_queue_take(struct body_queue *q, bool *ret_ended, void (*resume)(void *cls),
			     void *cls);
/* What is left, when the queue is not busy. */
struct slice body_queue_rest(struct body_queue *q);
/* Nothing more is taken. For the worker that is at it, instead of taking all that comes. */
void body_queue_close(struct body_queue *q);
/* The same for the loop; waits until no worker is at it. */
void body_queue_give_up(struct body_queue *q);

#endif
