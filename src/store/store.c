/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a data directory. */
#include <errno.h>
#include <string.h>
#include <sys/file.h>

#include <nacre/frame.h>

#include "base/fs.h"
#include "store/clock.h"
#include "store/garbage.h"
#include "store/made.h"
#include "store/objects.h"
#include "store/quarantine.h"
#include "store/rules.h"
#include "store/settle.h"
#include "store/uploads.h"
#include "store/uses.h"
#include "store/views.h"

enum { MAINTAIN_MS = 3000 };

#define VERSION_TEXT "nacre store 1\n"

int io_errno(struct err *err, const char *what)
{
	int saved = errno;

	err_set(err, E_IO, "%s: %s", what, strerror(saved));
	err->sys_errno = saved;
	return E_IO;
}

static int make_dir(int dirfd, const char *name, struct err *err)
{
	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return err_errno(err, "create %s", name);
	return 0;
}

static int open_dir(int dirfd, const char *name, int *ret, struct err *err)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "open %s", name);
	*ret = fd;
	return 0;
}

/* One process at a time. The lock goes with the process, however it ends. */
static int lock_take(struct store *s, const char *dir, struct err *err)
{
	s->lock_fd = openat(s->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return err_errno(err, "open %s/lock", dir);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return err_errno(err, "lock %s", dir);
	return err_set(err, E_CONFLICT,
		       "%s is in use by another process: stop it, or take another directory", dir);
}

/* 1: a directory that is empty but for the lock. */
static int is_fresh(struct store *s, struct err *err)
{
	cleanup_buf struct buf text = {0};
	int r = read_file_at(s->dirfd, "version", 256, &text, err);

	if (r == E_NOTFOUND) {
		if (faccessat(s->dirfd, "meta.sqlite", F_OK, 0) == 0)
			return err_set(err, E_UNSUPPORTED,
				       "the data directory has no file 'version'");
		*err = ERR_INIT;
		return 1;
	}
	if (r < 0)
		return r;
	if (!slice_equal_str(buf_slice(&text), VERSION_TEXT))
		return err_set(err, E_UNSUPPORTED,
			       "the data directory was written by another version of nacre (%.*s)",
			       (int)strcspn((char *)text.data, "\n"), (char *)text.data);
	return 0;
}

static int layout_make(struct store *s, struct err *err)
{
	int r = make_dir(s->dirfd, "objects", err);

	if (r >= 0)
		r = make_dir(s->dirfd, "incoming", err);
	if (r >= 0)
		r = open_dir(s->dirfd, "objects", &s->objects_fd, err);
	if (r >= 0)
		r = open_dir(s->dirfd, "incoming", &s->incoming_fd, err);
	return r;
}

static int database_open(struct store *s, const char *dir, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/meta.sqlite", dir);

	return db_open(&s->db, path, err);
}

static struct store *store_alloc(const struct store_options *options)
{
	struct store *s = xcalloc(1, sizeof(*s));

	s->dirfd = s->objects_fd = s->incoming_fd = s->lock_fd = -1;
	s->options = *options;
	s->options.root = (struct store_view_options){0};
	s->options.architecture = options->architecture ? xstrdup(options->architecture) : NULL;
	s->sessions = xcalloc(SESSION_SLOTS, sizeof(*s->sessions));
	pthread_mutex_init(&s->views_lock, NULL);
	pthread_mutex_init(&s->sessions_lock, NULL);
	pthread_mutex_init(&s->contents_lock, NULL);
	pthread_mutex_init(&s->garbage_lock, NULL);
	pthread_mutex_init(&s->collect_lock, NULL);
	pthread_mutex_init(&s->collected_lock, NULL);
	s->frame_pool = frame_pool_new(options->threads);
	clock_begin(s);
	rules_init(s);
	s->uses = uses_new();
	made_begin(s);
	return s;
}

static int store_start(struct store *s, const char *dir, const struct store_options *options,
		       struct err *err)
{
	int fresh, r = open_dir(AT_FDCWD, dir, &s->dirfd, err);

	if (r >= 0)
		r = lock_take(s, dir, err);
	fresh = r >= 0 ? is_fresh(s, err) : r;
	r = fresh;
	if (r >= 0)
		r = layout_make(s, err);
	if (r >= 0 && fresh)
		r = objects_prepare(s, err);
	/* The version comes before the database: what has a database has a version. */
	if (r >= 0 && fresh)
		r = write_file_at(s->dirfd, "version", VERSION_TEXT, strlen(VERSION_TEXT), true,
				  err);
	if (r >= 0)
		r = database_open(s, dir, err);
	if (r >= 0)
		r = incoming_recover(s, err);
	if (r >= 0)
		r = quarantine_count(s, err);
	if (r >= 0)
		r = store_view_open(&s->root, s, "", &options->root, err);
	return r < 0 ? r : settler_start(s, err);
}

int store_open(struct store **ret, const char *dir, const struct store_options *options,
	       struct err *err)
{
	struct store *s;
	int r = make_dir(AT_FDCWD, dir, err);

	if (r < 0)
		return r;
	s = store_alloc(options);
	r = store_start(s, dir, options, err);
	if (r < 0) {
		store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	struct err ignored = ERR_INIT;

	if (!s)
		return;
	settler_free(s);
	sessions_expire(s, INT64_MAX);
	if (s->root)
		uses_flush(s, 0, &ignored); /* what cannot be written down now was not used */
	db_close(s->db);
	views_close(s);
	pthread_mutex_destroy(&s->views_lock);
	pthread_mutex_destroy(&s->sessions_lock);
	pthread_mutex_destroy(&s->contents_lock);
	pthread_mutex_destroy(&s->garbage_lock);
	pthread_mutex_destroy(&s->collect_lock);
	pthread_mutex_destroy(&s->collected_lock);
	frame_pool_free(s->frame_pool);
	rules_free(s);
	uses_free(s->uses);
	single_flight_release(&s->making);
	free(s->sessions);
	free((char *)(uintptr_t)s->options.architecture);
	close_fd(&s->incoming_fd);
	close_fd(&s->objects_fd);
	close_fd(&s->lock_fd);
	close_fd(&s->dirfd);
	free(s);
}

static int probe_job(struct conn *c, void *arg, struct err *err)
{
	struct query q;

	(void)arg;
	/* A write that changes nothing takes the log and its disk all the same. */
	query_init(&q, c, "UPDATE view SET generation = generation WHERE name = ''");
	return query_run(&q, err);
}

uint64_t store_changes(struct store *s)
{
	return db_changes(s->db);
}

int store_probe(struct store *s, struct err *err)
{
	cleanup_fd int fd = openat(s->incoming_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	int r;

	if (fd < 0 && errno != EOPNOTSUPP)
		return io_errno(err, "write a file");
	if (fd >= 0 && write_full(fd, "x", 1) < 0)
		return io_errno(err, "write a file");
	r = room_check(s, err);
	return r < 0 ? r : db_write(s->db, probe_job, NULL, err);
}

int store_maintain(struct store *s, struct err *err)
{
	struct store_gc_options options = {.budget_ms = MAINTAIN_MS};
	struct store_gc_result result;
	bool told, holds;
	int r;

	sessions_expire(s, steady_seconds() - s->options.upload_idle_s);
	r = store_gc(s, &options, &result, err);
	if (r >= 0)
		r = settler_failure(s, err);
	if (r >= 0)
		return result.more;
	/* That nothing is collected is said once. */
	pthread_mutex_lock(&s->collect_lock);
	holds = s->held_until_s || s->behind_until_s;
	told = holds && s->hold_told;
	s->hold_told = holds;
	pthread_mutex_unlock(&s->collect_lock);
	return r == E_CONFLICT && told ? 0 : r;
}
