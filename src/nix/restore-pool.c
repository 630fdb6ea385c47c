/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cond.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/processors.h"
#include "nix/restore-pool.h"

enum { THREADS_MAX = 4, CANONICAL_MTIME = 1 /* SPEC nix-store: seconds */ };

struct restore_dir {
	int fd;            /* owned */
	char *path;        /* owned; for messages */
	atomic_uint users; /* who restores, and the files that are not made yet */
};

struct file {
	struct restore_dir *dir; /* counted */
	size_t name, data;       /* where they are in the batch's bytes */
	size_t size;
	bool executable;
};

struct batch {
	struct batch *next;
	size_t n, dirs;
	struct file files[RESTORE_BATCH_FILES];
	uint8_t *bytes; /* owned: names and contents. It grows: most trees need little. */
	size_t used, cap;
};

struct restore_pool {
	bool canonical;
	struct batch *open; /* owned; that is being filled; NULL: none yet */
	unsigned n_threads;
	pthread_t threads[THREADS_MAX];
	atomic_bool is_broken; /* nothing more is made: stopped, or there is an error */
	pthread_mutex_t lock;  /* guards what follows */
	struct cond work, idle;
	struct batch *first, **last; /* wait for a thread; owned */
	unsigned n_waiting, n_busy;
	struct batch *spare; /* owned */
	bool is_ended;
	struct err err; /* the first */
};

/* ---- making ------------------------------------------------------------------------------------------ */

const struct timespec restore_canonical_times[2] = {{.tv_nsec = UTIME_OMIT},
						    {.tv_sec = CANONICAL_MTIME}};

static int make_canonical(int fd, mode_t mode)
{
	return fchmod(fd, mode) < 0 || futimens(fd, restore_canonical_times) < 0 ? -1 : 0;
}

int restore_create_file(int dirfd, const char *name, bool executable, bool canonical)
{
	mode_t mode = canonical ? 0600 : executable ? 0777 : 0666;

	return safe_openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY, mode);
}

int restore_finish_file(int fd, bool executable, bool canonical)
{
	struct stat st;

	if (canonical)
		return make_canonical(fd, executable ? 0555 : 0444);
	if (!executable)
		return 0;
	if (fstat(fd, &st) < 0)
		return -1;
	return (st.st_mode & 0111) == 0111 ? 0 : fchmod(fd, (st.st_mode & 07777) | 0111);
}

static void note_failure(struct restore_pool *p, const char *what, const struct restore_dir *dir,
			 const char *name)
{
	struct err err = ERR_INIT;

	err_errno(&err, "%s %s%s%s", what, dir->path, name ? "/" : "", name ? name : "");
	pthread_mutex_lock(&p->lock);
	if (!p->err.code)
		p->err = err;
	pthread_mutex_unlock(&p->lock);
	p->is_broken = true;
}

static void make_file(struct restore_pool *p, const struct batch *b, const struct file *f)
{
	const char *name = (const char *)b->bytes + f->name;
	cleanup_fd int fd = restore_create_file(f->dir->fd, name, f->executable, p->canonical);

	if (fd < 0)
		note_failure(p, "create file", f->dir, name);
	else if (write_full(fd, b->bytes + f->data, f->size) < 0)
		note_failure(p, "write", f->dir, name);
	else if (restore_finish_file(fd, f->executable, p->canonical) < 0)
		note_failure(p, "set the mode and time of", f->dir, name);
}

static void make_batch(struct restore_pool *p, struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		if (!p->is_broken)
			make_file(p, b, &b->files[i]);
		restore_dir_end(p, b->files[i].dir);
	}
	b->n = b->used = b->dirs = 0;
}

/* ---- directories ------------------------------------------------------------------------------------- */

struct restore_dir *restore_dir_new(const struct restore_dir *parent, const char *name, int fd)
{
	struct restore_dir *d = xcalloc(1, sizeof(*d));

	d->fd = fd;
	d->path = parent ? xasprintf("%s/%s", parent->path, name) : xstrdup(name);
	d->users = 1;
	return d;
}

int restore_dir_fd(const struct restore_dir *d)
{
	return d->fd;
}

void restore_dir_end(struct restore_pool *p, struct restore_dir *d)
{
	if (atomic_fetch_sub(&d->users, 1) > 1)
		return;
	if (!p->is_broken && p->canonical && make_canonical(d->fd, 0555) < 0)
		note_failure(p, "set the mode and time of", d, NULL);
	close_fd(&d->fd);
	free(d->path);
	free(d);
}

/* ---- threads ----------------------------------------------------------------------------------------- */

/* Under the lock. */
static struct batch *take_batch(struct restore_pool *p)
{
	struct batch *b = p->first;

	if (b) {
		p->first = b->next;
		if (!p->first)
			p->last = &p->first;
		p->n_waiting--;
	}
	return b;
}

static void *work(void *arg)
{
	struct restore_pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct batch *b = take_batch(p);

		if (!b) {
			if (p->is_ended)
				break;
			cond_wait(&p->work, &p->lock);
			continue;
		}
		p->n_busy++;
		pthread_mutex_unlock(&p->lock);
		make_batch(p, b);
		pthread_mutex_lock(&p->lock);
		b->next = p->spare;
		p->spare = b;
		if (--p->n_busy == 0 && !p->first)
			cond_wake_one(&p->idle);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static struct batch *new_batch(struct restore_pool *p)
{
	struct batch *b;

	pthread_mutex_lock(&p->lock);
	b = p->spare;
	if (b)
		p->spare = b->next;
	pthread_mutex_unlock(&p->lock);
	return b ? b : xcalloc(1, sizeof(*b));
}

static void free_batch(struct batch *b)
{
	if (b)
		free(b->bytes);
	free(b);
}

/* Whether a thread takes the batch that is full. */
static bool hand_over(struct restore_pool *p)
{
	bool taken;

	if (p->n_threads < THREADS_MAX && p->n_threads + 1 < processors_usable() &&
	    pthread_create(&p->threads[p->n_threads], NULL, work, p) == 0)
		p->n_threads++;
	pthread_mutex_lock(&p->lock);
	taken = p->n_waiting < p->n_threads;
	if (taken) {
		p->open->next = NULL;
		*p->last = p->open;
		p->last = &p->open->next;
		p->n_waiting++;
		p->open = NULL;
	}
	pthread_mutex_unlock(&p->lock);
	if (taken)
		cond_wake_one(&p->work);
	return taken;
}

static int failure(struct restore_pool *p, struct err *err)
{
	if (!p->is_broken)
		return 0;
	pthread_mutex_lock(&p->lock);
	*err = p->err;
	pthread_mutex_unlock(&p->lock);
	return err->code ? err->code : err_set(err, E_INTERNAL, "restoring was stopped");
}

/* ---- who restores ------------------------------------------------------------------------------------ */

static bool fits(const struct batch *b, const struct restore_dir *dir, size_t bytes)
{
	return !b->n || (b->n < RESTORE_BATCH_FILES && b->used + bytes <= RESTORE_BATCH_BYTES &&
			 (b->files[b->n - 1].dir == dir || b->dirs < RESTORE_BATCH_DIRS));
}

int restore_pool_begin(struct restore_pool *p, struct restore_dir *dir, const char *name,
		       size_t size, bool executable, struct err *err)
{
	size_t name_size = strlen(name) + 1;
	struct batch *b;

	if (failure(p, err) < 0)
		return err->code;
	if (p->open && !fits(p->open, dir, name_size + size) && !hand_over(p))
		make_batch(p, p->open);
	if (!p->open)
		p->open = new_batch(p);
	b = p->open;
	array_grow(b->bytes, b->cap, b->used + name_size + size);
	memcpy(b->bytes + b->used, name, name_size);
	b->dirs += !b->n || b->files[b->n - 1].dir != dir;
	atomic_fetch_add(&dir->users, 1);
	b->files[b->n++] = (struct file){
		.dir = dir, .name = b->used, .data = b->used + name_size, .executable = executable};
	b->used += name_size;
	return 0;
}

void restore_pool_content(struct restore_pool *p, struct slice data)
{
	struct batch *b = p->open;

	memcpy(b->bytes + b->used, data.data, data.len);
	b->used += data.len;
	b->files[b->n - 1].size += data.len;
}

struct restore_pool *restore_pool_new(bool canonical)
{
	struct restore_pool *p = xcalloc(1, sizeof(*p));

	p->canonical = canonical;
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

int restore_pool_finish(struct restore_pool *p, struct err *err)
{
	if (p->open)
		make_batch(p, p->open);
	pthread_mutex_lock(&p->lock);
	while (p->n_busy || p->first)
		cond_wait(&p->idle, &p->lock);
	pthread_mutex_unlock(&p->lock);
	return failure(p, err);
}

void restore_pool_stop(struct restore_pool *p)
{
	p->is_broken = true;
	pthread_mutex_lock(&p->lock);
	p->is_ended = true;
	cond_wake_all(&p->work);
	pthread_mutex_unlock(&p->lock);
	while (p->n_threads)
		pthread_join(p->threads[--p->n_threads], NULL);
	if (p->open)
		make_batch(p, p->open); /* lets the directories go */
}

void restore_pool_free(struct restore_pool *p)
{
	if (!p)
		return;
	restore_pool_stop(p);
	free_batch(p->open);
	while (p->spare) {
		struct batch *b = p->spare;

		p->spare = b->next;
		free_batch(b);
	}
	pthread_mutex_destroy(&p->lock);
	free(p);
}
