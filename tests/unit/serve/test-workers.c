/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that wait, and the bodies that come while they do. */
#include "../unit.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cond.h"
#include "base/mem.h"
#include "serve/body-queue.h"
#include "serve/workers.h"

/* ---- Workers ---- */

static _Atomic unsigned done;

static void count(struct work *w)
{
	(void)w;
	atomic_fetch_add(&done, 1);
}

static void everything_is_done_before_the_end(void **state)
{
	struct workers *w = workers_new(4, 10000);
	struct work items[1000] = {0};
	struct work late = {.run = count};

	(void)state;
	atomic_store(&done, 0);
	for (size_t i = 0; i < ARRAY_LEN(items); i++) {
		items[i].run = count;
		assert_true(workers_run(w, &items[i]));
	}
	workers_stop(w);
	assert_int_equal(atomic_load(&done), ARRAY_LEN(items));
	assert_false(workers_run(w, &late));
	workers_free(w);
	assert_int_equal(atomic_load(&done), ARRAY_LEN(items));
	workers_stop(NULL);
	workers_free(NULL);
}

struct meeting {
	struct work work;
	pthread_barrier_t *all;
};

static void meet(struct work *w)
{
	pthread_barrier_wait(container_of(w, struct meeting, work)->all);
}

/* What one waits for may be another: as many run at once as there may be threads. */
static void work_does_not_wait_for_work(void **state)
{
	enum { N = 16, ROUNDS = 20 };
	struct workers *w = workers_new(N, 10000);
	struct meeting meetings[ROUNDS][N];
	pthread_barrier_t all[ROUNDS];

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		pthread_barrier_init(&all[round], NULL, N + 1);
		for (unsigned i = 0; i < N; i++) {
			meetings[round][i] = (struct meeting){{.run = meet}, &all[round]};
			assert_true(workers_run(w, &meetings[round][i].work));
		}
		pthread_barrier_wait(&all[round]);
	}
	workers_free(w);
	for (unsigned round = 0; round < ROUNDS; round++)
		pthread_barrier_destroy(&all[round]);
}

/* Who hands over one piece of work after the other, and waits for each. */
struct asker {
	struct work work;
	struct workers *workers;
	sem_t answered;
	unsigned pause_us; /* about as long as threads stay, so that they often are about to go */
	bool lost;
};

static void answer(struct work *w)
{
	sem_post(&container_of(w, struct asker, work)->answered);
}

static void *ask(void *arg)
{
	struct asker *a = arg;

	for (unsigned i = 0; i < 4000 && !a->lost; i++) {
		struct timespec until;

		assert_true(workers_run(a->workers, &a->work));
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 60;
		while (!a->lost && sem_timedwait(&a->answered, &until) < 0)
			a->lost = errno != EINTR;
		usleep(a->pause_us + i % 64);
	}
	return NULL;
}

/* Alone with one thread, each would wait forever if it could go while something is handed to it. */
static void nothing_is_handed_to_who_just_left(void **state)
{
	struct asker askers[4] = {0};
	pthread_t threads[4];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(askers); i++) {
		askers[i] = (struct asker){
			{.run = answer}, workers_new(1, 1), .pause_us = 960 + 40 * i};
		sem_init(&askers[i].answered, 0, 0);
		assert_int_equal(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(askers); i++) {
		pthread_join(threads[i], NULL);
		assert_false(askers[i].lost);
		workers_free(askers[i].workers);
		sem_destroy(&askers[i].answered);
	}
}

/* ---- Bodies ---- */

/* Stands for a connection. */
struct loop {
	struct body_queue queue;
	pthread_mutex_t lock;
	struct cond resumed;
	bool suspended;
	uint8_t got[1 << 20];
	size_t n_got;
	bool ended; /* the worker was told */
};

static void suspend(void *cls)
{
	struct loop *l = cls;

	pthread_mutex_lock(&l->lock);
	assert_false(l->suspended);
	l->suspended = true;
	pthread_mutex_unlock(&l->lock);
}

static void resume(void *cls)
{
	struct loop *l = cls;

	pthread_mutex_lock(&l->lock);
	assert_true(l->suspended);
	l->suspended = false;
	cond_wake_one(&l->resumed);
	pthread_mutex_unlock(&l->lock);
}

static void wait_resumed(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	while (l->suspended)
		cond_wait(&l->resumed, &l->lock);
	pthread_mutex_unlock(&l->lock);
}

static void take_rest(struct loop *l)
{
	struct slice rest = body_queue_rest(&l->queue);

	assert_true(rest.len < l->queue.size);
	if (rest.len)
		memcpy(l->got + l->n_got, rest.data, rest.len);
	l->n_got += rest.len;
}

static void *take_all(void *arg)
{
	struct loop *l = arg;
	struct slice block;
	bool ended;

	while ((block = body_queue_take(&l->queue, &ended, resume, l)).len) {
		memcpy(l->got + l->n_got, block.data, block.len);
		l->n_got += block.len;
	}
	if (ended) {
		take_rest(l);
		l->ended = true;
		resume(l);
	}
	return NULL;
}

struct worker {
	pthread_t thread;
	bool running;
};

static void call(struct worker *w, struct loop *l)
{
	if (w->running)
		pthread_join(w->thread, NULL);
	w->running = true;
	assert_int_equal(pthread_create(&w->thread, NULL, take_all, l), 0);
}

/* The whole of `body` in pieces, through blocks of `block` bytes. */
static void pass(struct loop *l, const uint8_t *body, size_t len, size_t piece, size_t block)
{
	struct worker worker = {0};
	size_t at = 0;

	l->n_got = 0;
	l->ended = false;
	body_queue_init(&l->queue, block);
	while (at < len) {
		size_t n = len - at < piece ? len - at : piece, put;

		switch (body_queue_put(&l->queue, body + at, n, &put, suspend, l)) {
		case BODY_CALL:
			call(&worker, l);
			break;
		case BODY_SUSPENDED:
			wait_resumed(l);
			break;
		case BODY_TAKEN:
			assert_int_equal(put, n);
			break;
		}
		at += put;
	}
	/* One of the two takes the rest, and never both. */
	if (body_queue_end(&l->queue, suspend, l)) {
		assert_false(l->ended);
		take_rest(l);
	} else {
		wait_resumed(l);
		assert_true(l->ended);
	}
	if (worker.running)
		pthread_join(worker.thread, NULL);
	body_queue_release(&l->queue);
	assert_int_equal(l->n_got, len);
	assert_memory_equal(l->got, body, len);
}

static void bodies_arrive_whole(void **state)
{
	static const struct {
		size_t len, piece, block;
	} cases[] = {
		{1, 1, 1},
		{1, 1, 4096},
		{4096, 4096, 4096},
		{4097, 4096, 4096},
		{8192, 1, 4096},
		{100000, 7, 1000},
		{300000, 65536, 4096},
		{500000, 100, 131072},
		{500000, 500000, 1000},
	};
	struct loop *l = xcalloc(1, sizeof(*l));
	uint8_t *body = xmalloc(1 << 20);

	(void)state;
	pthread_mutex_init(&l->lock, NULL);
	for (size_t i = 0; i < 1 << 20; i++)
		body[i] = (uint8_t)(i * 2654435761u >> 13);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		pass(l, body, cases[i].len, cases[i].piece, cases[i].block);
	free(body);
	free(l);
}

/* A client that went: what was not begun is not, and nobody is at it afterwards. */
static void giving_up_waits_for_the_worker(void **state)
{
	struct loop *l = xcalloc(1, sizeof(*l));
	struct worker worker = {0};
	uint8_t body[100] = {1};
	size_t put;

	(void)state;
	pthread_mutex_init(&l->lock, NULL);
	body_queue_init(&l->queue, 64);
	assert_int_equal(body_queue_put(&l->queue, body, 64, &put, suspend, l), BODY_CALL);
	call(&worker, l);
	body_queue_give_up(&l->queue);
	assert_false(l->queue.busy);
	pthread_join(worker.thread, NULL);
	assert_true(l->n_got == 0 || l->n_got == 64);
	body_queue_release(&l->queue);
	free(l);
}

/* No worker was to be had, or it takes nothing more: what came is still there. */
static void what_nobody_takes_is_the_rest(void **state)
{
	struct loop *l = xcalloc(1, sizeof(*l));
	uint8_t body[64] = {1, 2, 3};
	struct slice rest;
	size_t put;
	bool ended;

	(void)state;
	body_queue_init(&l->queue, sizeof(body));
	assert_int_equal(body_queue_put(&l->queue, body, sizeof(body), &put, suspend, l),
			 BODY_CALL);
	body_queue_uncall(&l->queue);
	assert_int_equal(body_queue_put(&l->queue, body, 1, &put, suspend, l), BODY_CALL);
	assert_int_equal(put, 0);
	body_queue_close(&l->queue);
	assert_int_equal(body_queue_take(&l->queue, &ended, resume, l).len, 0);
	assert_false(ended);
	body_queue_give_up(&l->queue);
	rest = body_queue_rest(&l->queue);
	assert_int_equal(rest.len, sizeof(body));
	assert_memory_equal(rest.data, body, sizeof(body));
	body_queue_release(&l->queue);
	free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_is_done_before_the_end),
		cmocka_unit_test(work_does_not_wait_for_work),
		cmocka_unit_test(nothing_is_handed_to_who_just_left),
		cmocka_unit_test(bodies_arrive_whole),
		cmocka_unit_test(giving_up_waits_for_the_worker),
		cmocka_unit_test(what_nobody_takes_is_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
