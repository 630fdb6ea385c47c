/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "store/db-internal.h"

static sqlite3_stmt *statement_find(struct conn *c, const char *sql)
{
	size_t mask = STATEMENTS_MAX - 1;
	size_t i = ((uintptr_t)sql >> 2) * 0x9e3779b97f4a7c15u >> 20 & mask;

	/* There are far fewer texts than slots. */
	for (; c->statements[i].sql; i = (i + 1) & mask)
		if (c->statements[i].sql == sql)
			return c->statements[i].stmt;
	c->prepare_rc = sqlite3_prepare_v3(c->handle, sql, -1, SQLITE_PREPARE_PERSISTENT,
					   &c->statements[i].stmt, NULL);
	if (c->prepare_rc != SQLITE_OK)
		return NULL;
	c->statements[i].sql = sql;
	return c->statements[i].stmt;
}

void query_init(struct query *q, struct conn *c, const char *sql)
{
	q->conn = c;
	q->stmt = statement_find(c, sql);
}

void query_bind_int(struct query *q, int i, int64_t value)
{
	if (q->stmt)
		sqlite3_bind_int64(q->stmt, i, value);
}

void query_bind_text(struct query *q, int i, struct slice text)
{
	if (q->stmt && text.data)
		sqlite3_bind_text64(q->stmt, i, (const char *)text.data, text.len, SQLITE_STATIC,
				    SQLITE_UTF8);
	else if (q->stmt)
		sqlite3_bind_null(q->stmt, i);
}

void query_bind_str(struct query *q, int i, const char *text)
{
	query_bind_text(q, i, text ? slice_str(text) : slice_make(NULL, 0));
}

void query_bind_blob(struct query *q, int i, struct slice bytes)
{
	if (q->stmt && bytes.data)
		sqlite3_bind_blob64(q->stmt, i, bytes.data, bytes.len, SQLITE_STATIC);
	else if (q->stmt)
		sqlite3_bind_null(q->stmt, i);
}

void query_bind_hash(struct query *q, int i, const struct hash *h)
{
	query_bind_blob(q, i, slice_make(h->bytes, hash_size(h->algo)));
}

int query_step(struct query *q, struct err *err)
{
	int rc;

	if (!q->stmt)
		return db_error(err, q->conn->handle, q->conn->prepare_rc, "prepare");
	rc = sqlite3_step(q->stmt);
	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	return db_error(err, q->conn->handle, rc, sqlite3_sql(q->stmt));
}

int query_run(struct query *q, struct err *err)
{
	int r = query_step(q, err);

	query_end(q);
	return r < 0 ? r : 0;
}

int query_run_id(struct conn *c, const char *sql, int64_t id, struct err *err)
{
	struct query q;

	query_init(&q, c, sql);
	query_bind_int(&q, 1, id);
	return query_run(&q, err);
}

void query_reset(struct query *q)
{
	if (q->stmt)
		sqlite3_reset(q->stmt);
}

void query_end(struct query *q)
{
	if (!q->stmt)
		return;
	sqlite3_reset(q->stmt);
	sqlite3_clear_bindings(q->stmt);
	q->stmt = NULL;
}

int64_t query_int(struct query *q, int column)
{
	return sqlite3_column_int64(q->stmt, column);
}

struct slice query_bytes(struct query *q, int column)
{
	/* Text and blobs alike; an empty one has no address in SQLite, but is not NULL. */
	const void *data = sqlite3_column_blob(q->stmt, column);

	if (!data && !query_is_null(q, column))
		return slice_make("", 0);
	return slice_make(data, (size_t)sqlite3_column_bytes(q->stmt, column));
}

void query_hash(struct query *q, int column, struct hash *ret)
{
	struct slice s = query_bytes(q, column);

	*ret = (struct hash){.algo = s.len == hash_size(HASH_SHA512) ? HASH_SHA512 : HASH_SHA256};
	if (s.data && s.len == hash_size(ret->algo))
		memcpy(ret->bytes, s.data, s.len);
	else
		ret->algo = HASH_NONE;
}

char *query_dup(struct query *q, int column)
{
	struct slice s = query_bytes(q, column);

	return s.data ? xstrndup((const char *)s.data, s.len) : NULL;
}

bool query_is_null(struct query *q, int column)
{
	return sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
}

int64_t conn_last_id(struct conn *c)
{
	return sqlite3_last_insert_rowid(c->handle);
}

int64_t conn_changes(struct conn *c)
{
	return sqlite3_changes64(c->handle);
}
