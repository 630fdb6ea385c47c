/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "store/parallel.h"

enum { THREADS_MAX = 32 };

struct run {
	atomic_size_t next;
	size_t n;
	parallel_fn *fn;
	void *arg;
	pthread_mutex_t lock;
	struct err err; /* of the first failure; under the lock */
	atomic_bool failed;
};

static void *work(void *arg)
{
	struct run *run = arg;
	size_t i;

	while (!run->failed && (i = run->next++) < run->n) {
		struct err err = ERR_INIT;

		if (run->fn(run->arg, i, &err) >= 0)
			continue;
		pthread_mutex_lock(&run->lock);
		if (!run->failed)
			run->err = err;
		run->failed = true;
		pthread_mutex_unlock(&run->lock);
	}
	return NULL;
}

static unsigned thread_count(unsigned wanted, size_t n)
{
	long processors = wanted;

	if (n <= 1)
		return 1;
	/* Opens and reads a file. */
	if (!processors)
		processors = sysconf(_SC_NPROCESSORS_ONLN);
	if (processors < 1)
		processors = 1;
	if (processors > THREADS_MAX)
		processors = THREADS_MAX;
	return (size_t)processors < n ? (unsigned)processors : (unsigned)n;
}

int parallel_run(unsigned threads, size_t n, parallel_fn *fn, void *arg, struct err *err)
{
	struct run run = {.n = n, .fn = fn, .arg = arg, .lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t others[THREADS_MAX];
	unsigned started = 0;

	threads = thread_count(threads, n);
	/* A thread that cannot be had is no failure: the others do its work. */
	while (started + 1 < threads && pthread_create(&others[started], NULL, work, &run) == 0)
		started++;
	work(&run);
	while (started)
		pthread_join(others[--started], NULL);
	pthread_mutex_destroy(&run.lock);
	if (run.failed)
		*err = run.err;
	return run.failed ? run.err.code : 0;
}
