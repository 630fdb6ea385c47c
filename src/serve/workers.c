/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/workers.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "base/cond.h"
#include "base/mem.h"
#include "serve/conn.h"

enum {
	/* The deepest are SQLite and the codecs; sanitizers need more. Untouched pages cost
	 * nothing. */
	THREAD_STACK = 2 << 20,
};

/* A thread that waits; on its stack. */
struct idle {
	struct idle *next;
	struct work *item; /* what it is called for; NULL: the end */
	sem_t called;
};

/* Who fell idle last is called first: its stack, its heap and the caches of its processor are warm, and
 * threads that are not needed get to their end. */
struct workers {
	pthread_mutex_t lock;
	struct cond ended;         /* a thread did */
	struct work *head, **tail; /* what no thread was there for */
	unsigned max, threads;
	unsigned idle_ms;
	struct idle *idle; /* threads that wait and that nobody called yet */
	bool stopping;
};

struct workers *workers_new(unsigned max_threads, unsigned idle_ms)
{
	struct workers *w = xcalloc(1, sizeof(*w));

	pthread_mutex_init(&w->lock, NULL);
	w->tail = &w->head;
	w->max = max_threads;
	w->idle_ms = idle_ms;
	return w;
}

static struct work *take(struct workers *w)
{
	struct work *item = w->head;

	if (!item)
		return NULL;
	w->head = item->next;
	if (!w->head)
		w->tail = &w->head;
	return item;
}

/* Under the lock; false: somebody called it by now. */
static bool stop_waiting(struct workers *w, const struct idle *me)
{
	for (struct idle **at = &w->idle; *at; at = &(*at)->next) {
		if (*at == me) {
			*at = me->next;
			return true;
		}
	}
	return false;
}

/* Under the lock. Waits to be called; NULL: nobody did for a while, or all is over. */
static struct work *wait_for_call(struct workers *w, struct idle *me)
{
	int64_t until_us = clock_us() + (int64_t)w->idle_ms * 1000;
	const struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
	bool late = false;

	if (w->stopping)
		return NULL;
	me->item = NULL;
	me->next = w->idle;
	w->idle = me;
	pthread_mutex_unlock(&w->lock);
	while (!late && sem_clockwait(&me->called, CLOCK_MONOTONIC, &until) < 0)
		late = errno != EINTR;
	pthread_mutex_lock(&w->lock);
	if (late && !stop_waiting(w, me)) {
		pthread_mutex_unlock(&w->lock);
		/* Whoever was quicker than the clock has yet to say so. */
		while (sem_wait(&me->called) < 0)
			;
		pthread_mutex_lock(&w->lock);
	}
	/* Who was not called has held the lock since it left the idle ones: what comes now sees one
	 * thread less, and nothing is put where nobody looks. */
	return me->item;
}

static void *work(void *arg)
{
	struct workers *w = arg;
	struct work *item;
	struct idle me;

	sem_init(&me.called, 0, 0);
	pthread_mutex_lock(&w->lock);
	while ((item = take(w)) || (item = wait_for_call(w, &me))) {
		pthread_mutex_unlock(&w->lock);
		item->run(item);
		pthread_mutex_lock(&w->lock);
	}
	w->threads--;
	cond_wake_all(&w->ended);
	pthread_mutex_unlock(&w->lock);
	sem_destroy(&me.called);
	return NULL;
}

/* Under the lock; false: there is no thread to be had. */
static bool spawn(struct workers *w)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	r = pthread_create(&thread, &attr, work, w);
	pthread_attr_destroy(&attr);
	if (r == 0)
		w->threads++;
	return r == 0;
}

/* Under the lock: takes the one that fell idle last. */
static struct idle *call(struct workers *w, struct work *item)
{
	struct idle *called = w->idle;

	if (called) {
		w->idle = called->next;
		called->item = item;
	}
	return called;
}

bool workers_run(struct workers *w, struct work *item)
{
	bool taken, alone = false;
	struct idle *called = NULL;

	pthread_mutex_lock(&w->lock);
	taken = !w->stopping;
	if (taken)
		called = call(w, item);
	/* If the system gives no more threads, one that works will come to it. */
	if (taken && !called && w->threads < w->max && !spawn(w))
		alone = !w->threads;
	if (taken && !called && !alone) {
		item->next = NULL;
		*w->tail = item;
		w->tail = &item->next;
	}
	pthread_mutex_unlock(&w->lock);
	/* Without the lock, which the thread would run into as soon as it wakes up. */
	if (called)
		sem_post(&called->called);
	if (alone)
		item->run(item);
	return taken;
}

void workers_stop(struct workers *w)
{
	struct idle *called;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	while ((called = call(w, NULL)))
		sem_post(&called->called);
	while (w->threads)
		cond_wait(&w->ended, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	workers_stop(w);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
