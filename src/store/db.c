/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "store/db-internal.h"

enum {
	BUSY_MS = 10000,
	WOKEN_MAX = 64, /* at a time, without the lock */
};

static const char recount[] =
#include "recount.inc"
	;

/* What makes of a database of version i one of version i + 1; 0: an empty one. */
static const char *const upgrades[DB_VERSION] = {
#include "schema.inc"
	,
/* What is recounted has to be there first. */
/* clang-format off */
#include "upgrade-2.inc"
#include "recount.inc"
	/* clang-format on */
	,
#include "upgrade-3.inc"
	,
#include "upgrade-4.inc"
	,
#include "upgrade-5.inc"
	,
};

int db_error(struct err *err, sqlite3 *handle, int rc, const char *what)
{
	int r, sys = 0;

	if (rc == SQLITE_FULL)
		sys = ENOSPC;
	else if ((rc & 0xff) == SQLITE_BUSY)
		sys = EBUSY;
	else if ((rc & 0xff) == SQLITE_READONLY)
		sys = EROFS;
	else if ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN)
		sys = handle ? sqlite3_system_errno(handle) : 0;
	if (!sys && (rc & 0xff) == SQLITE_IOERR)
		sys = EIO; /* of a commit SQLite does not keep more */
	r = err_set(err,
		    (rc & 0xff) == SQLITE_NOMEM                                        ? E_NOMEM
		    : (rc & 0xff) == SQLITE_CONSTRAINT || (rc & 0xff) == SQLITE_MISUSE ? E_INTERNAL
										       : E_IO,
		    "database: %s: %s%s%s", what,
		    handle ? sqlite3_errmsg(handle) : sqlite3_errstr(rc), sys ? ": " : "",
		    sys ? strerror(sys) : "");
	err->sys_errno = sys;
	return r;
}

static int conn_exec(struct conn *c, const char *sql, struct err *err)
{
	int rc = sqlite3_exec(c->handle, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : db_error(err, c->handle, rc, "execute");
}

static void conn_free(struct conn *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < ARRAY_LEN(c->statements); i++)
		sqlite3_finalize(c->statements[i].stmt);
	sqlite3_close(c->handle);
	free(c);
}
CLEANUP_FUNC(struct conn, conn_free)

/* The writer's. synchronous=FULL: a commit has reached the disk before it is answered (and before
 * others see it, which log-vfs.h counts on). The log keeps its size, because overwriting is cheaper
 * to sync than growing; it is part of what room_check() leaves on the disk. What is deleted need
 * not be overwritten, as Debian's SQLite does otherwise. */
static const char writer_setup[] =
	"PRAGMA page_size=4096; PRAGMA synchronous=FULL; PRAGMA journal_mode=WAL;"
	"PRAGMA foreign_keys=ON; PRAGMA cache_size=-2048; PRAGMA temp_store=MEMORY;"
	"PRAGMA secure_delete=OFF; PRAGMA journal_size_limit=16777216";

static const char reader_setup[] =
	"PRAGMA query_only=ON; PRAGMA cache_size=-512; PRAGMA temp_store=MEMORY";

/* `log_vfs` makes it the writer. */
static int conn_open(struct conn **ret, const char *path, const struct log_vfs *log_vfs,
		     struct err *err)
{
	CLEANUP(conn_free) struct conn *c = xcalloc(1, sizeof(*c));
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
	int rc, r;

	rc = sqlite3_open_v2(path, &c->handle, flags | (log_vfs ? SQLITE_OPEN_CREATE : 0),
			     log_vfs ? log_vfs_name(log_vfs) : NULL);
	if (rc != SQLITE_OK)
		return db_error(err, c->handle, rc, "open");
	sqlite3_extended_result_codes(c->handle, 1);
	sqlite3_busy_timeout(c->handle, BUSY_MS);
	r = conn_exec(c, log_vfs ? writer_setup : reader_setup, err);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

static int version_get(struct conn *c, int *ret, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(c->handle, "PRAGMA user_version", -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW ? 0 : db_error(err, c->handle, rc, "read the version");
}

/* In one transaction: a crash leaves the old version, and nothing else has the database open. */
static int schema_apply(struct conn *c, struct err *err)
{
	int version, r = version_get(c, &version, err);
	char sql[64];

	if (r < 0 || version == DB_VERSION)
		return r;
	if (version < 0 || version > DB_VERSION)
		return err_set(err, E_UNSUPPORTED,
			       "the database has version %d, this program knows version %d: use a "
			       "newer one",
			       version, DB_VERSION);
	r = conn_exec(c, "BEGIN EXCLUSIVE", err);
	for (; version < DB_VERSION && r >= 0; version++)
		r = conn_exec(c, upgrades[version], err);
	snprintf(sql, sizeof(sql), "PRAGMA user_version=%d; COMMIT", DB_VERSION);
	return r >= 0 ? conn_exec(c, sql, err) : r;
}

int db_recount(struct conn *c, struct err *err)
{
	return conn_exec(c, recount, err);
}

/* ---- Waiting for each other ---- */

/* Under jobs_lock. */
static struct waiter *waiter_take(struct db *db)
{
	struct waiter *w = db->waiters;

	if (w) {
		db->waiters = w->next;
		return w;
	}
	w = xcalloc(1, sizeof(*w));
	sem_init(&w->sem, 0, 0);
	return w;
}

static void waiter_give(struct db *db, struct waiter *w)
{
	w->next = db->waiters;
	db->waiters = w;
}

static void waiters_free(struct db *db)
{
	for (struct waiter *w; (w = db->waiters);) {
		db->waiters = w->next;
		sem_destroy(&w->sem);
		free(w);
	}
}

int db_open(struct db **ret, const char *path, struct err *err)
{
	struct db *db = xcalloc(1, sizeof(*db));
	int r;

	db->path = xstrdup(path);
	db->jobs_tail = &db->jobs;
	pthread_mutex_init(&db->readers_lock, NULL);
	pthread_mutex_init(&db->jobs_lock, NULL);
	/* SQLite counts its memory under a lock; nobody asks. Fails, harmlessly, where it is in use. */
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	r = log_vfs_new(&db->log_vfs, err);
	if (r >= 0)
		r = conn_open(&db->writer, path, db->log_vfs, err);
	if (r >= 0)
		r = schema_apply(db->writer, err);
	if (r < 0) {
		db_close(db);
		return r;
	}
	*ret = db;
	return 0;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	while (db->n_idle)
		conn_free(db->idle[--db->n_idle]);
	conn_free(db->writer); /* last: it folds the log into the database */
	log_vfs_free(db->log_vfs);
	pthread_mutex_destroy(&db->readers_lock);
	pthread_mutex_destroy(&db->jobs_lock);
	waiters_free(db);
	free(db->path);
	free(db);
}

struct conn *db_reader(struct db *db, struct err *err)
{
	struct conn *c = NULL;

	pthread_mutex_lock(&db->readers_lock);
	while (db->n_idle == 0 && db->n_readers == READERS_MAX)
		cond_wait(&db->readers_idle, &db->readers_lock);
	if (db->n_idle)
		c = db->idle[--db->n_idle];
	else
		db->n_readers++;
	pthread_mutex_unlock(&db->readers_lock);
	if (c || conn_open(&c, db->path, NULL, err) >= 0)
		return c;
	pthread_mutex_lock(&db->readers_lock);
	db->n_readers--;
	cond_wake_one(&db->readers_idle);
	pthread_mutex_unlock(&db->readers_lock);
	return NULL;
}

void db_reader_done(struct db *db, struct conn *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&db->readers_lock);
	db->idle[db->n_idle++] = c;
	cond_wake_one(&db->readers_idle);
	pthread_mutex_unlock(&db->readers_lock);
}

int db_snapshot_begin(struct conn *c, struct err *err)
{
	struct query q;

	query_init(&q, c, "BEGIN");
	return query_run(&q, err);
}

void db_snapshot_end(struct conn *c)
{
	struct err ignored = ERR_INIT;
	struct query q;

	query_init(&q, c, "COMMIT");
	query_run(&q, &ignored); /* nothing was written; a failure leaves nothing to do */
}

static int statement(struct conn *c, const char *sql, struct err *err)
{
	struct query q;

	query_init(&q, c, sql);
	return query_run(&q, err);
}

/* Runs one job; with `alone` the transaction is its savepoint. < 0: the whole transaction is
 * lost. */
static int job_run(struct conn *c, struct db_job *job, bool alone, struct err *err)
{
	int r;

	if (!alone) {
		r = statement(c, "SAVEPOINT job", err);
		if (r < 0)
			return r;
	}
	job->result = job->fn(c, job->arg, job->err);
	/* Some failures (a full disk) make SQLite take back the transaction itself. */
	if (sqlite3_get_autocommit(c->handle)) {
		*err = *job->err;
		return job->result < 0
			       ? job->result
			       : err_set(err, E_INTERNAL, "database: the transaction ended early");
	}
	if (alone)
		return job->result < 0 ? statement(c, "ROLLBACK", err) : 0;
	if (job->result < 0) {
		r = statement(c, "ROLLBACK TO job", err);
		if (r < 0)
			return r;
	}
	return statement(c, "RELEASE job", err);
}

static int batch_try(struct conn *c, struct db_job *batch, struct err *err)
{
	int r = statement(c, "BEGIN IMMEDIATE", err);

	for (struct db_job *job = batch; job && r >= 0; job = job->next)
		r = job_run(c, job, !batch->next, err);
	if (r >= 0 && !sqlite3_get_autocommit(c->handle))
		r = statement(c, "COMMIT", err);
	return r;
}

static void batch_run(struct conn *c, struct db_job *batch)
{
	struct err err = ERR_INIT, ignored = ERR_INIT;
	int r = batch_try(c, batch, &err);

	if (r >= 0)
		return;
	if (!sqlite3_get_autocommit(c->handle))
		statement(c, "ROLLBACK", &ignored);
	for (struct db_job *job = batch; job; job = job->next) {
		job->result = r;
		*job->err = err;
	}
}

/* Those to be woken once the lock is free: woken before, they would run into it. */
struct woken {
	struct waiter *items[WOKEN_MAX];
	size_t len;
};

static void woken_post(struct woken *w)
{
	while (w->len)
		sem_post(&w->items[--w->len]->sem);
}

static void woken_add(struct woken *w, const struct db_job *job)
{
	if (!job->waiter)
		return;
	if (w->len == WOKEN_MAX)
		woken_post(w);
	w->items[w->len++] = job->waiter;
}

/* Runs everything that waits; jobs_lock is held before, not after. Of those who came meanwhile the
 * first leads next. */
static void jobs_lead(struct db *db)
{
	struct db_job *batch = db->jobs;
	struct woken woken = {.len = 0};

	db->jobs = NULL;
	db->jobs_tail = &db->jobs;
	pthread_mutex_unlock(&db->jobs_lock);
	db->shared = batch->next != NULL;
	batch_run(db->writer, batch);
	/* Before anybody hears of what was done. */
	atomic_fetch_add(&db->changes, 1);
	pthread_mutex_lock(&db->jobs_lock);
	for (struct db_job *next; batch; batch = next) {
		next = batch->next; /* a job is gone once its owner sees it done */
		batch->done = true;
		woken_add(&woken, batch);
	}
	db->leading = db->jobs != NULL;
	if (db->jobs) {
		db->jobs->leads = true;
		woken_add(&woken, db->jobs);
	}
	pthread_mutex_unlock(&db->jobs_lock);
	woken_post(&woken);
}

/* Until the job is done or its owner leads; under jobs_lock. */
static void job_wait(struct db *db, struct db_job *job)
{
	struct waiter *w = waiter_take(db);

	job->waiter = w;
	while (!job->done && !job->leads) {
		pthread_mutex_unlock(&db->jobs_lock);
		sem_wait(&w->sem);
		pthread_mutex_lock(&db->jobs_lock);
	}
	job->waiter = NULL;
	waiter_give(db, w);
}

int db_write(struct db *db, db_job_fn *fn, void *arg, struct err *err)
{
	struct err failure = ERR_INIT;
	struct db_job job = {.fn = fn, .arg = arg, .err = &failure};

	pthread_mutex_lock(&db->jobs_lock);
	*db->jobs_tail = &job;
	db->jobs_tail = &job.next;
	if (!db->leading)
		db->leading = job.leads = true;
	else
		job_wait(db, &job);
	if (job.leads)
		jobs_lead(db);
	else
		pthread_mutex_unlock(&db->jobs_lock);
	if (job.result < 0)
		*err = failure;
	return job.result;
}

bool db_is_awaited(struct db *db)
{
	bool awaited;

	pthread_mutex_lock(&db->jobs_lock);
	awaited = db->shared || db->jobs;
	pthread_mutex_unlock(&db->jobs_lock);
	return awaited;
}

uint64_t db_changes(struct db *db)
{
	return atomic_load(&db->changes);
}

static uint64_t file_bytes(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

int db_bytes(struct db *db, uint64_t *ret, struct err *err)
{
	cleanup_free char *log = xasprintf("%s-wal", db->path);

	*ret = file_bytes(db->path) + file_bytes(log);
	return 0;
}
