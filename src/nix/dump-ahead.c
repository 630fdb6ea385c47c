/* SPDX-License-Identifier: Apache-2.0 */
#include "nix/dump-ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cond.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/processors.h"

struct dump_ahead {
	struct ahead_batch batches[2]; /* one is read while the other is used */
	unsigned next;                 /* which of them is begun next */
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows */
	struct cond changed;
	struct ahead_batch *asked; /* NULL: nothing to read */
	int dirfd;
	bool is_ended;
};

/* One byte more is asked for, which shows that the file did not grow. */
static bool read_content(int fd, uint8_t *to, size_t size)
{
	ssize_t n;

	do
		n = read(fd, to, size + 1);
	while (n < 0 && errno == EINTR);
	return n >= 0 && (size_t)n == size;
}

static void read_file(struct ahead_batch *b, struct ahead_file *f, int dirfd)
{
	cleanup_fd int fd =
		openat(dirfd, f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	uint8_t *to = b->bytes + b->used;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > DUMP_AHEAD_SMALL ||
	    (size_t)st.st_size >= DUMP_AHEAD_BYTES - b->used ||
	    !read_content(fd, to, (size_t)st.st_size))
		return;
	f->executable = st.st_mode & S_IXUSR;
	f->content = slice_make(to, (size_t)st.st_size);
	f->is_read = true;
	b->used += f->content.len;
}

static void read_batch(struct ahead_batch *b, int dirfd)
{
	if (!b->bytes)
		b->bytes = xmalloc(DUMP_AHEAD_BYTES);
	b->used = 0;
	for (size_t i = 0; i < b->n; i++) {
		b->files[i].is_read = false;
		if (b->files[i].name)
			read_file(b, &b->files[i], dirfd);
	}
}

static void *work(void *arg)
{
	struct dump_ahead *a = arg;

	pthread_mutex_lock(&a->lock);
	for (;;) {
		while (!a->asked && !a->is_ended)
			cond_wait(&a->changed, &a->lock);
		if (!a->asked)
			break;
		pthread_mutex_unlock(&a->lock);
		read_batch(a->asked, a->dirfd);
		pthread_mutex_lock(&a->lock);
		a->asked = NULL;
		cond_wake_one(&a->changed);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

struct dump_ahead *dump_ahead_new(void)
{
	struct dump_ahead *a;

	if (processors_usable() < 2)
		return NULL;
	a = xcalloc(1, sizeof(*a));
	pthread_mutex_init(&a->lock, NULL);
	if (pthread_create(&a->thread, NULL, work, a) == 0)
		return a;
	pthread_mutex_destroy(&a->lock);
	free(a);
	return NULL;
}

void dump_ahead_free(struct dump_ahead *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->is_ended = true;
	cond_wake_one(&a->changed);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	free(a->batches[0].bytes);
	free(a->batches[1].bytes);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

struct ahead_batch *dump_ahead_next(struct dump_ahead *a)
{
	return &a->batches[a->next];
}

void dump_ahead_begin(struct dump_ahead *a, int dirfd)
{
	pthread_mutex_lock(&a->lock);
	a->asked = &a->batches[a->next];
	a->dirfd = dirfd;
	cond_wake_one(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

const struct ahead_batch *dump_ahead_end(struct dump_ahead *a)
{
	const struct ahead_batch *b = &a->batches[a->next];

	pthread_mutex_lock(&a->lock);
	while (a->asked)
		cond_wait(&a->changed, &a->lock);
	pthread_mutex_unlock(&a->lock);
	a->next = !a->next;
	return b;
}
