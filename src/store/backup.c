/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Online backup: the database as it is at one moment, and every object that it names. Nothing is
 * removed while that goes on, and what comes meanwhile is not in it. The file `version` is
 * written last: what has none is no store.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <nacre/tree.h>

#include "base/fs.h"
#include "store/db-internal.h"
#include "store/garbage.h"
#include "store/objects.h"
#include "store/stored-content.h"

enum { COPY_CHUNK = 1 << 20, SHARDS = 256 };

struct backup {
	struct store *store;
	const struct store_backup_options *o;
	const char *dir;       /* borrowed */
	int dirfd, objects_fd; /* owned */
	bool made;             /* the directory was */
	sqlite3 *db;           /* owned; the copy */
	struct store_backup_result result;
};

/* ---- The directory ---- */

static bool is_empty(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	size_t n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n == 2; /* "." and ".." */
}

static int dir_make(struct backup *b, struct err *err)
{
	b->made = mkdir(b->dir, 0700) == 0;
	if (!b->made && errno != EEXIST)
		return err_errno(err, "create %s", b->dir);
	b->dirfd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->dirfd < 0)
		return err_errno(err, "open %s", b->dir);
	if (!b->made && !is_empty(b->dirfd))
		return err_set(err, E_EXISTS,
			       "%s is not empty: a backup needs a directory of its own", b->dir);
	if (mkdirat(b->dirfd, "incoming", 0700) < 0 || mkdirat(b->dirfd, "objects", 0700) < 0)
		return err_errno(err, "create directories in %s", b->dir);
	b->objects_fd = openat(b->dirfd, "objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->objects_fd < 0)
		return err_errno(err, "open %s/objects", b->dir);
	for (unsigned i = 0; i < SHARDS; i++) {
		char name[3];

		snprintf(name, sizeof(name), "%02x", i);
		if (mkdirat(b->objects_fd, name, 0700) < 0)
			return err_errno(err, "create %s/objects/%s", b->dir, name);
	}
	return 0;
}

/* ---- The database ---- */

static int database_failed(struct err *err, sqlite3 *db, int rc, const char *what)
{
	db_error(err, db, rc, what);
	return err_wrap(err, "backup");
}

/* In one go: a reader stands in nobody's way. */
static int database_copy(struct backup *b, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/meta.sqlite", b->dir);
	struct conn *c = db_reader(b->store->db, err);
	sqlite3_backup *copy;
	int rc;

	if (!c)
		return err->code;
	rc = sqlite3_open_v2(path, &b->db,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			     NULL);
	if (rc == SQLITE_OK) {
		copy = sqlite3_backup_init(b->db, "main", c->handle, "main");
		if (copy)
			sqlite3_backup_step(copy, -1);
		rc = copy ? sqlite3_backup_finish(copy) : sqlite3_errcode(b->db);
	}
	db_reader_done(b->store->db, c);
	if (rc != SQLITE_OK)
		return database_failed(err, b->db, rc, "copy the database");
	return 0;
}

/* ---- Objects ---- */

static int object_copy(struct backup *b, const char *file, struct err *err)
{
	cleanup_fd int from = openat(b->store->objects_fd, file, O_RDONLY | O_CLOEXEC);
	cleanup_fd int to =
		openat(b->objects_fd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cleanup_free uint8_t *buf = NULL;
	ssize_t n;

	if (from < 0 || to < 0)
		return io_errno(err, from < 0 ? "open an object" : "create an object");
	buf = xmalloc(COPY_CHUNK);
	while ((n = read_full(from, buf, COPY_CHUNK)) > 0) {
		if (write_full(to, buf, (size_t)n) < 0)
			return io_errno(err, "write an object");
		b->result.bytes += (uint64_t)n;
	}
	if (n < 0)
		return io_errno(err, "read an object");
	return fsync(to) < 0 ? io_errno(err, "fsync an object") : 0;
}

static int copy_mark(struct backup *b, int64_t id, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(b->db, "UPDATE object SET damaged = 1 WHERE id = ?1", -1, &stmt,
				    NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, 1, id);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : database_failed(err, b->db, rc, "mark an object");
}

/* A file that is not there: was it quarantined after the database was copied? Then it is in the copy, too. */
static int object_lost(struct backup *b, int64_t id, const char *file, struct err *err)
{
	struct conn *c = db_reader(b->store->db, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c, "SELECT 1 FROM object WHERE id = ?1 AND damaged = 0");
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	query_end(&q);
	db_reader_done(b->store->db, c);
	if (r < 0)
		return r;
	if (r > 0)
		return err_set(
			err, E_NOTFOUND,
			"the file %s of an object is gone: nacre fsck --repair tells of which,"
			" and lets a backup be made",
			file);
	return copy_mark(b, id, err);
}

static int object_take(struct backup *b, int64_t id, const char *file, struct err *err)
{
	if (!b->o->copy && linkat(b->store->objects_fd, file, b->objects_fd, file, 0) == 0) {
		b->result.objects++;
		b->result.linked++;
		return 0;
	}
	if (faccessat(b->store->objects_fd, file, F_OK, 0) < 0 && errno == ENOENT)
		return object_lost(b, id, file, err);
	b->result.objects++;
	/* Another file system, or one without links (or with too many). */
	if (!b->o->copy && errno != EXDEV && errno != EPERM && errno != EMLINK &&
	    errno != EOPNOTSUPP)
		return io_errno(err, "link an object");
	return object_copy(b, file, err);
}

/* What the copy of the database names; what is quarantined has no file. */
static int objects_take(struct backup *b, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc, r = 0;

	rc = sqlite3_prepare_v2(
		b->db, "SELECT id, file FROM object WHERE file IS NOT NULL AND damaged = 0", -1,
		&stmt, NULL);
	while (r >= 0 && rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		rc = SQLITE_OK;
		if (b->o->cancel && atomic_load(b->o->cancel))
			r = err_set(err, E_CANCELLED, "stopped on request");
		else
			r = object_take(b, sqlite3_column_int64(stmt, 0),
					(const char *)sqlite3_column_text(stmt, 1), err);
	}
	sqlite3_finalize(stmt);
	if (r >= 0 && rc != SQLITE_DONE)
		r = database_failed(err, b->db, rc, "list the objects");
	return r;
}

/* ---- The end ---- */

static int shards_sync(struct backup *b, struct err *err)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		char name[3];
		cleanup_fd int fd = -1;

		snprintf(name, sizeof(name), "%02x", i);
		fd = openat(b->objects_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fsync(fd) < 0)
			return io_errno(err, "fsync a directory of objects");
	}
	return fsync(b->objects_fd) < 0 ? io_errno(err, "fsync objects") : 0;
}

static int version_take(struct backup *b, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(256);
	struct stat st;
	int r = read_file_at(b->store->dirfd, "version", 256, &text, err);

	if (r < 0)
		return r;
	if (fstatat(b->dirfd, "meta.sqlite", &st, 0) == 0)
		b->result.bytes += (uint64_t)st.st_size;
	return write_file_at(b->dirfd, "version", (const char *)text.data, text.len, true, err);
}

/* That it is there at all is written in the folder above. */
static int name_sync(const struct backup *b, struct err *err)
{
	cleanup_fd int above = openat(b->dirfd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fsync(b->dirfd) < 0 || (above >= 0 && fsync(above) < 0))
		return io_errno(err, "fsync the folder of the backup");
	return 0;
}

static void backup_remove(struct backup *b)
{
	static const char *const names[] = {"version", "meta.sqlite", "meta.sqlite-wal",
					    "meta.sqlite-shm", "meta.sqlite-journal"};
	struct err ignored = ERR_INIT;

	if (b->dirfd < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unlinkat(b->dirfd, names[i], 0);
	tree_remove(b->dirfd, "objects", &ignored);
	tree_remove(b->dirfd, "incoming", &ignored);
	if (b->made)
		rmdir(b->dir);
}

int store_backup(struct store *s, const char *dir, const struct store_backup_options *options,
		 struct store_backup_result *ret, struct err *err)
{
	struct backup b = {.store = s, .o = options, .dir = dir, .dirfd = -1, .objects_fd = -1};
	CLEANUP(content_free) struct content *guard = content_new(s);
	int made, r;

	garbage_unmark(s);
	made = r = dir_make(&b, err);
	if (r >= 0)
		r = database_copy(&b, err);
	if (r >= 0)
		r = objects_take(&b, err);
	sqlite3_close(b.db);
	if (r >= 0)
		r = shards_sync(&b, err);
	if (r >= 0)
		r = version_take(&b, err);
	if (r >= 0)
		r = name_sync(&b, err);
	/* What was there before is somebody else's. */
	if (r < 0 && made != E_EXISTS)
		backup_remove(&b);
	close_fd(&b.objects_fd);
	close_fd(&b.dirfd);
	if (r < 0)
		return r;
	*ret = b.result;
	return 0;
}
