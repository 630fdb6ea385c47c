/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/workers.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/mem.h"

enum {
	/* The deepest are SQLite and the codecs; sanitizers need more. Untouched pages cost
	 * nothing. */
	THREAD_STACK = 2 << 20,
	IDLE_S = 10,
};

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t wanted; /* a call, or the end */
	pthread_cond_t ended;  /* a thread did */
	struct work *head, **tail;
	unsigned max, threads;
	unsigned idle;  /* threads that wait and that nobody called yet */
	unsigned calls; /* to waiting threads that did not hear them yet */
	bool stopping;
};

struct workers *workers_new(unsigned max_threads)
{
	struct workers *w = xcalloc(1, sizeof(*w));
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wanted, &attr);
	pthread_cond_init(&w->ended, NULL);
	pthread_condattr_destroy(&attr);
	w->tail = &w->head;
	w->max = max_threads;
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

/* Waits to be called; false: nobody did for a while, or all is over. */
static bool wait_for_call(struct workers *w)
{
	struct timespec until;
	int r = 0;

	if (w->stopping)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_S;
	w->idle++;
	while (!w->calls && !w->stopping && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&w->wanted, &w->lock, &until);
	if (w->calls) {
		w->calls--;
		return true;
	}
	w->idle--;
	return false;
}

static void *work(void *arg)
{
	struct workers *w = arg;

	pthread_mutex_lock(&w->lock);
	do {
		struct work *item;

		while ((item = take(w))) {
			pthread_mutex_unlock(&w->lock);
			item->run(item);
			pthread_mutex_lock(&w->lock);
		}
	} while (wait_for_call(w));
	w->threads--;
	pthread_cond_broadcast(&w->ended);
	pthread_mutex_unlock(&w->lock);
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

bool workers_run(struct workers *w, struct work *item)
{
	bool taken = true, alone = false, call = false;

	pthread_mutex_lock(&w->lock);
	if (w->stopping) {
		taken = false;
	} else if (w->idle) {
		w->idle--;
		w->calls++;
		call = true;
	} else if (w->threads < w->max && !spawn(w)) {
		/* The system gives no more threads; one that works will come to it. */
		alone = !w->threads;
	}
	if (taken && !alone) {
		item->next = NULL;
		*w->tail = item;
		w->tail = &item->next;
	}
	pthread_mutex_unlock(&w->lock);
	/* Without the lock, which the thread would run into as soon as it wakes up. */
	if (call)
		pthread_cond_signal(&w->wanted);
	if (alone)
		item->run(item);
	return taken;
}

void workers_stop(struct workers *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_cond_broadcast(&w->wanted);
	while (w->threads)
		pthread_cond_wait(&w->ended, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	workers_stop(w);
	pthread_cond_destroy(&w->wanted);
	pthread_cond_destroy(&w->ended);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
