/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded database: SQLite in WAL mode with one writing connection and a pool of reading
 * ones; private to src/store.
 *
 * Reading: take a connection, run queries, give it back. Two queries that have to agree with each
 * other go between db_snapshot_begin() and db_snapshot_end().
 *
 * 	struct conn *c = db_reader(db, err);
 * 	query_init(&q, c, "SELECT size FROM object WHERE id = ?1");
 * 	query_bind_int(&q, 1, id);
 * 	r = query_step(&q, err);      1: a row, 0: no more, < 0: failed
 * 	query_end(&q);
 * 	db_reader_done(db, c);
 *
 * Writing: db_write() runs a function inside a transaction and returns when it is durable.
 * Functions of several threads that wait at the same time share one transaction and one fsync,
 * each within its own savepoint, so one that fails takes back what it did and nothing else.
 *
 * Statements are prepared once per connection and found again by the address of their text, which
 * therefore must be a string literal. Threads: any; a connection and its queries belong to the
 * thread that took it.
 */
#ifndef NACRE_STORE_DB_H
#define NACRE_STORE_DB_H

#include <sqlite3.h>

#include <nacre/buf.h>
#include <nacre/err.h>
#include <nacre/hash.h>

struct db;
struct conn;

/* Opens or creates `path`; a new database gets the schema. E_UNSUPPORTED: of another version. */
int db_open(struct db **ret, const char *path, struct err *err);
void db_close(struct db *db);

/* Waits while all reading connections are in use. NULL with `err` set when none can be opened. */
struct conn *db_reader(struct db *db, struct err *err);
/* NULL is nothing. */
void db_reader_done(struct db *db, struct conn *c);
int db_snapshot_begin(struct conn *c, struct err *err);
void db_snapshot_end(struct conn *c);

/* What to do inside a transaction. It must not wait for another db_write(), and may run in another
 * thread than the one that asked. */
typedef int db_job_fn(struct conn *c, void *arg, struct err *err);
/* Returns what `fn` returned, or an error of the commit. */
int db_write(struct db *db, db_job_fn *fn, void *arg, struct err *err);
/* Inside a transaction: does anybody wait for it to end? */
bool db_is_awaited(struct db *db);
/* A number that is another one after each db_write(), before that returns: what was read before
 * may be old then. */
uint64_t db_changes(struct db *db);
/* Inside a transaction: makes anew what triggers keep (recount.sql). Reads everything. */
int db_recount(struct conn *c, struct err *err);
/* Bytes of the database and its log. */
int db_bytes(struct db *db, uint64_t *ret, struct err *err);

struct query {
	sqlite3_stmt *stmt; /* borrowed from the connection; NULL: could not be prepared */
	struct conn *conn;
};
/* Never fails; query_step() reports what went wrong here or in a bind. */
void query_init(struct query *q, struct conn *c, const char *sql);
void query_bind_int(struct query *q, int i, int64_t value);
/* The bytes are borrowed until query_end(). A slice without data is NULL. */
void query_bind_text(struct query *q, int i, struct slice text);
/* NULL: SQL's NULL. */
void query_bind_str(struct query *q, int i, const char *text);
void query_bind_blob(struct query *q, int i, struct slice bytes);
void query_bind_hash(struct query *q, int i, const struct hash *h);
int query_step(struct query *q, struct err *err);
/* Steps once and ends: for statements without a result. */
int query_run(struct query *q, struct err *err);
/* The same of a statement about one row. */
int query_run_id(struct conn *c, const char *sql, int64_t id, struct err *err);
/* Ready to be bound and stepped again. */
void query_reset(struct query *q);
void query_end(struct query *q);
#define cleanup_query __attribute__((cleanup(query_end)))

int64_t query_int(struct query *q, int column);
/* Borrowed until the next step or end; SQL's NULL is a slice without data. */
struct slice query_bytes(struct query *q, int column);
/* A digest by its length: sha256 or sha512. */
void query_hash(struct query *q, int column, struct hash *ret);
/* A copy, NULL for SQL's NULL. Owned by the caller. */
char *query_dup(struct query *q, int column);
bool query_is_null(struct query *q, int column);
/* Id of the row that the last statement inserted. */
int64_t conn_last_id(struct conn *c);
/* Rows that the last statement changed. */
int64_t conn_changes(struct conn *c);

#endif
