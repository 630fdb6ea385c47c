/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream-flight.h"

#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/cond.h"
#include "base/fs.h"
#include "base/mem.h"

enum { STACK = 2 << 20 };

struct flight {
	struct flight *next;
	struct flights *set;
	char *key;     /* owned */
	unsigned refs; /* under the lock of the set; so all below */
	struct cond moved;
	bool ended, opened;
	int result;
	struct err err;
	struct sink sink;
	int fd;           /* owned; -1: none */
	uint64_t size;    /* bytes that there will be */
	uint64_t written; /* bytes that are in the file */
};

void flights_init(struct flights *set)
{
	*set = (struct flights){0};
	pthread_mutex_init(&set->lock, NULL);
}

void flights_stop(struct flights *set)
{
	atomic_store(&set->stopping, true);
	pthread_mutex_lock(&set->lock);
	cond_wake_all(&set->changed);
	while (set->threads)
		cond_wait(&set->changed, &set->lock);
	pthread_mutex_unlock(&set->lock);
	pthread_mutex_destroy(&set->lock);
}

struct work {
	struct flights *set;
	void (*run)(void *arg);
	void *arg;
};

static void thread_ended(struct flights *set)
{
	pthread_mutex_lock(&set->lock);
	set->threads--;
	cond_wake_all(&set->changed);
	pthread_mutex_unlock(&set->lock);
}

static void *run_work(void *arg)
{
	struct work w = *(struct work *)arg;

	free(arg);
	w.run(w.arg);
	thread_ended(w.set);
	return NULL;
}

int flights_spawn(struct flights *set, void (*work)(void *arg), void *arg, struct err *err)
{
	struct work *w;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_mutex_lock(&set->lock);
	while (set->threads >= FLIGHT_THREADS_MAX && !atomic_load(&set->stopping))
		cond_wait(&set->changed, &set->lock);
	if (atomic_load(&set->stopping)) {
		pthread_mutex_unlock(&set->lock);
		return err_set(err, E_CANCELLED, "the server stops");
	}
	set->threads++;
	pthread_mutex_unlock(&set->lock);
	w = xmalloc(sizeof(*w));
	*w = (struct work){set, work, arg};
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	r = pthread_create(&thread, &attr, run_work, w);
	pthread_attr_destroy(&attr);
	if (!r)
		return 0;
	free(w);
	thread_ended(set);
	return err_set(err, E_NOMEM, "start a thread");
}

/* The set keeps no reference: a flight that is in it is not over, and who carries it out has
 * one. */
struct flight *flights_join(struct flights *set, const char *key, bool *ret_mine)
{
	struct flight *f;

	pthread_mutex_lock(&set->lock);
	for (f = set->head; f && strcmp(f->key, key) != 0; f = f->next)
		;
	*ret_mine = !f;
	if (!f) {
		f = xcalloc(1, sizeof(*f));
		f->set = set;
		f->key = xstrdup(key);
		f->fd = -1;
		f->next = set->head;
		set->head = f;
	}
	f->refs++;
	pthread_mutex_unlock(&set->lock);
	return f;
}

struct flight *flight_ref(struct flight *f)
{
	pthread_mutex_lock(&f->set->lock);
	f->refs++;
	pthread_mutex_unlock(&f->set->lock);
	return f;
}

void flight_unref(struct flight *f)
{
	unsigned left;

	if (!f)
		return;
	pthread_mutex_lock(&f->set->lock);
	left = --f->refs;
	pthread_mutex_unlock(&f->set->lock);
	if (left)
		return;
	close_fd(&f->fd);
	free(f->key);
	free(f);
}

void flight_end(struct flight *f, int result, const struct err *err)
{
	struct flight **at = &f->set->head;

	pthread_mutex_lock(&f->set->lock);
	while (*at && *at != f)
		at = &(*at)->next;
	if (*at)
		*at = f->next;
	f->ended = true;
	f->result = result;
	if (result < 0)
		f->err = *err;
	cond_wake_all(&f->moved);
	pthread_mutex_unlock(&f->set->lock);
}

/* Under the lock. */
static int outcome(const struct flight *f, struct err *err)
{
	if (f->result < 0)
		*err = f->err;
	return f->result;
}

int flight_wait(struct flight *f, struct err *err)
{
	int r;

	pthread_mutex_lock(&f->set->lock);
	while (!f->ended)
		cond_wait(&f->moved, &f->set->lock);
	r = outcome(f, err);
	pthread_mutex_unlock(&f->set->lock);
	return r;
}

static int spool_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct flight *f = container_of(self, struct flight, sink);

	if (atomic_load(&f->set->stopping))
		return err_set(err, E_CANCELLED, "the server stops");
	if (write_full(f->fd, data, len) < 0)
		return err_errno(err, "write a temporary file");
	pthread_mutex_lock(&f->set->lock);
	f->written += len;
	f->set->bytes += len;
	cond_wake_all(&f->moved);
	pthread_mutex_unlock(&f->set->lock);
	return 0;
}

int flight_open(struct flight *f, uint64_t size, struct err *err)
{
	int fd = scratch_file(err);

	if (fd < 0)
		return fd;
	pthread_mutex_lock(&f->set->lock);
	f->fd = fd;
	f->size = size;
	f->sink = (struct sink){.write = spool_write};
	f->opened = true;
	cond_wake_all(&f->moved);
	pthread_mutex_unlock(&f->set->lock);
	return 0;
}

struct sink *flight_sink(struct flight *f)
{
	return &f->sink;
}

int flight_size(struct flight *f, uint64_t *ret, struct err *err)
{
	int r;

	pthread_mutex_lock(&f->set->lock);
	while (!f->ended && !f->opened)
		cond_wait(&f->moved, &f->set->lock);
	r = outcome(f, err);
	if (r == 0)
		*ret = f->size;
	pthread_mutex_unlock(&f->set->lock);
	return r;
}

/* Bytes that may be shown; under the lock. */
static uint64_t shown(const struct flight *f)
{
	if (f->ended)
		return f->written < f->size ? f->written : f->size;
	return f->written < f->size ? f->written : f->size ? f->size - 1 : 0;
}

int flight_ready(struct flight *f, uint64_t bytes, struct err *err)
{
	int r;

	pthread_mutex_lock(&f->set->lock);
	while (!f->ended && shown(f) < bytes)
		cond_wait(&f->moved, &f->set->lock);
	r = outcome(f, err);
	pthread_mutex_unlock(&f->set->lock);
	return r;
}

int flight_read(struct flight *f, uint64_t offset, void *buf, size_t len, size_t *ret_got,
		struct err *err)
{
	uint64_t end;
	ssize_t n;
	int r;

	pthread_mutex_lock(&f->set->lock);
	while (!f->ended && shown(f) <= offset)
		cond_wait(&f->moved, &f->set->lock);
	r = outcome(f, err);
	end = shown(f);
	pthread_mutex_unlock(&f->set->lock);
	if (r < 0)
		return r;
	*ret_got = 0;
	if (offset >= end)
		return 0;
	n = pread_full(f->fd, buf, len < end - offset ? len : (size_t)(end - offset), offset);
	if (n < 0)
		return err_errno(err, "read a temporary file");
	*ret_got = (size_t)n;
	return 0;
}
