/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <time.h>

#include <sqlite3.h>

#include "base/mem.h"
#include "node/snapshot-state.h"

enum {
	BUSY_MS = 10000,
	VERSION = 2,
	NAME_BYTES_MAX = 32 << 10,  /* of containerd's own database */
	LABELS_BYTES_MAX = 8 << 20, /* so that one snapshot is no more than half a message */
	LABEL_OVERHEAD = 16,        /* of each, there */
};

struct snapshot_state {
	sqlite3 *db;      /* owned */
	bool is_unsynced; /* the transaction */
};

static const char schema[] =
	"CREATE TABLE snapshots("
	" id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	" parent INTEGER REFERENCES snapshots(id), kind INTEGER NOT NULL,"
	" created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,"
	" size INTEGER NOT NULL, inodes INTEGER NOT NULL,"
	" chain TEXT NOT NULL, diff_id BLOB, uses TEXT NOT NULL, paths BLOB);"
	"CREATE INDEX by_parent ON snapshots(parent);"
	"CREATE UNIQUE INDEX by_chain ON snapshots(chain, ifnull(parent, 0))"
	" WHERE diff_id IS NOT NULL;"
	"CREATE INDEX by_uses ON snapshots(uses) WHERE uses <> '';"
	"CREATE TABLE labels("
	" snapshot INTEGER NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE,"
	" key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(snapshot, key)) WITHOUT ROWID;"
	"CREATE TABLE proofs(list TEXT PRIMARY KEY, diff_id BLOB NOT NULL) WITHOUT ROWID;"
	"PRAGMA user_version = 2;";

/* By the version that is left. */
static const char *const upgrades[VERSION] = {
	schema,
	"ALTER TABLE snapshots ADD COLUMN paths BLOB; PRAGMA user_version = 2;",
};

/* Columns in the order of read_row(). */
#define SELECT                                                                                 \
	"SELECT s.id, s.name, ifnull(s.parent, 0), ifnull(p.name, ''), s.kind, s.created_ns, " \
	"s.updated_ns, s.size, s.inodes, s.chain, s.diff_id, s.uses, s.paths "                 \
	"FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent "

void snapshot_release(struct snapshot *s)
{
	free(s->name);
	free(s->parent);
	free(s->chain);
	free(s->uses);
	annotations_release(&s->labels);
	*s = (struct snapshot){0};
}

static int failed(struct snapshot_state *s, struct err *err)
{
	return err_set(err, E_IO, "the snapshotter's database: %s", sqlite3_errmsg(s->db));
}

static int execute(struct snapshot_state *s, const char *sql, struct err *err)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(s, err);
}

static void finalize(sqlite3_stmt **q)
{
	sqlite3_finalize(*q);
}
#define cleanup_query __attribute__((cleanup(finalize)))

/* NULL when it cannot be prepared: sqlite3 takes NULL for a misuse that the step reports. */
static sqlite3_stmt *query(struct snapshot_state *s, const char *sql)
{
	sqlite3_stmt *q = NULL;

	sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);
	return q;
}

static void bind_text(sqlite3_stmt *q, int i, const char *text)
{
	sqlite3_bind_text(q, i, text ? text : "", -1, SQLITE_STATIC);
}

static int run(struct snapshot_state *s, sqlite3_stmt *q, struct err *err)
{
	return sqlite3_step(q) == SQLITE_DONE ? 0 : failed(s, err);
}

static int set_up(struct snapshot_state *s, struct err *err)
{
	sqlite3_stmt *q;
	int version = -1;

	sqlite3_busy_timeout(s->db, BUSY_MS);
	if (execute(s,
		    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		    "PRAGMA foreign_keys = ON; PRAGMA locking_mode = EXCLUSIVE;",
		    err) < 0)
		return err->code;
	q = query(s, "PRAGMA user_version");
	if (sqlite3_step(q) == SQLITE_ROW)
		version = sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	if (version < 0)
		return failed(s, err);
	if (version > VERSION)
		return err_set(err, E_UNSUPPORTED,
			       "the snapshotter's database has version %d, this nacre knows %d",
			       version, VERSION);
	if (snapshot_state_begin(s, err) < 0)
		return err->code;
	return snapshot_state_end(s, version < VERSION ? execute(s, upgrades[version], err) : 0,
				  err);
}

int snapshot_state_open(struct snapshot_state **ret, const char *file, struct err *err)
{
	struct snapshot_state *s = xcalloc(1, sizeof(*s));
	int r = sqlite3_open_v2(file, &s->db,
				SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
				NULL);

	r = r == SQLITE_OK ? set_up(s, err) : failed(s, err);
	if (r < 0) {
		snapshot_state_free(s);
		return err_wrap(err, "%s", file);
	}
	*ret = s;
	return 0;
}

void snapshot_state_free(struct snapshot_state *s)
{
	if (s)
		sqlite3_close(s->db);
	free(s);
}

int snapshot_state_begin(struct snapshot_state *s, struct err *err)
{
	return execute(s, "BEGIN IMMEDIATE", err);
}

/* It cannot be set within a transaction. */
static int set_synced(struct snapshot_state *s, struct err *err)
{
	if (s->is_unsynced && execute(s, "PRAGMA synchronous = FULL", err) < 0)
		return err->code;
	s->is_unsynced = false;
	return 0;
}

int snapshot_state_begin_unsynced(struct snapshot_state *s, struct err *err)
{
	struct err ignored = ERR_INIT;

	if (execute(s, "PRAGMA synchronous = NORMAL", err) < 0)
		return err->code;
	s->is_unsynced = true;
	if (snapshot_state_begin(s, err) < 0) {
		set_synced(s, &ignored);
		return err->code;
	}
	return 0;
}

static int end(struct snapshot_state *s, int result, struct err *err)
{
	struct err ignored = ERR_INIT;

	if (result >= 0 && execute(s, "COMMIT", err) >= 0)
		return result;
	execute(s, "ROLLBACK", &ignored);
	return err->code;
}

int snapshot_state_end(struct snapshot_state *s, int result, struct err *err)
{
	struct err local = ERR_INIT;

	result = end(s, result, err);
	if (set_synced(s, &local) >= 0 || result < 0)
		return result;
	*err = local;
	return local.code;
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static char *column(sqlite3_stmt *q, int i)
{
	const unsigned char *text = sqlite3_column_text(q, i);

	return xstrdup(text ? (const char *)text : "");
}

static void read_diff_id(sqlite3_stmt *q, int i, struct hash *ret)
{
	*ret = (struct hash){.algo = HASH_SHA256};
	if ((size_t)sqlite3_column_bytes(q, i) == hash_size(HASH_SHA256))
		memcpy(ret->bytes, sqlite3_column_blob(q, i), hash_size(HASH_SHA256));
}

static int read_labels(struct snapshot_state *s, struct snapshot *ret, struct err *err)
{
	cleanup_query sqlite3_stmt *q =
		query(s, "SELECT key, value FROM labels WHERE snapshot = ? ORDER BY key");
	int r;

	sqlite3_bind_int64(q, 1, ret->id);
	while ((r = sqlite3_step(q)) == SQLITE_ROW) {
		cleanup_free char *key = column(q, 0);
		cleanup_free char *value = column(q, 1);

		annotations_set(&ret->labels, key, value);
	}
	return r == SQLITE_DONE ? 0 : failed(s, err);
}

static void read_columns(sqlite3_stmt *q, struct snapshot *ret)
{
	*ret = (struct snapshot){
		.id = sqlite3_column_int64(q, 0),
		.name = column(q, 1),
		.parent_id = sqlite3_column_int64(q, 2),
		.parent = column(q, 3),
		.kind = (enum snapshot_kind)sqlite3_column_int(q, 4),
		.created_ns = sqlite3_column_int64(q, 5),
		.updated_ns = sqlite3_column_int64(q, 6),
		.size = sqlite3_column_int64(q, 7),
		.inodes = sqlite3_column_int64(q, 8),
		.chain = column(q, 9),
		.is_store = sqlite3_column_type(q, 10) != SQLITE_NULL,
		.uses = column(q, 11),
		.has_paths = sqlite3_column_type(q, 12) != SQLITE_NULL,
	};

	if (ret->is_store)
		read_diff_id(q, 10, &ret->diff_id);
	if (ret->has_paths)
		read_diff_id(q, 12, &ret->paths);
}

static int read_row(struct snapshot_state *s, sqlite3_stmt *q, struct snapshot *ret,
		    struct err *err)
{
	struct snapshot row;

	read_columns(q, &row);
	if (read_labels(s, &row, err) < 0) {
		snapshot_release(&row);
		return err->code;
	}
	*ret = row;
	return 0;
}

/* The one row of a query. */
static int read_one(struct snapshot_state *s, sqlite3_stmt *q, const char *what,
		    struct snapshot *ret, struct err *err)
{
	switch (sqlite3_step(q)) {
	case SQLITE_ROW:
		return read_row(s, q, ret, err);
	case SQLITE_DONE:
		return err_set(err, E_NOTFOUND, "snapshot %s does not exist", what);
	default:
		return failed(s, err);
	}
}

int snapshot_get(struct snapshot_state *s, const char *name, struct snapshot *ret, struct err *err)
{
	cleanup_query sqlite3_stmt *q = query(s, SELECT "WHERE s.name = ?");

	bind_text(q, 1, name);
	return read_one(s, q, name, ret, err);
}

int snapshot_get_id(struct snapshot_state *s, int64_t id, struct snapshot *ret, struct err *err)
{
	cleanup_query sqlite3_stmt *q = query(s, SELECT "WHERE s.id = ?");

	sqlite3_bind_int64(q, 1, id);
	return read_one(s, q, "of that number", ret, err);
}

int snapshot_find_store(struct snapshot_state *s, const char *chain, int64_t parent_id,
			struct snapshot *ret, struct err *err)
{
	cleanup_query sqlite3_stmt *q =
		query(s, SELECT "WHERE s.chain = ? AND ifnull(s.parent, 0) = ?"
				" AND s.diff_id IS NOT NULL");

	bind_text(q, 1, chain);
	sqlite3_bind_int64(q, 2, parent_id);
	return read_one(s, q, chain, ret, err);
}

/* What could not be listed would end containerd's collections. */
static int check_labels(const struct snapshot *snapshot, struct err *err)
{
	size_t bytes = 0;

	for (size_t i = 0; i < snapshot->labels.len; i++)
		bytes += strlen(snapshot->labels.items[i].key) +
			 strlen(snapshot->labels.items[i].value) + LABEL_OVERHEAD;
	if (bytes > LABELS_BYTES_MAX)
		return err_set(err, E_LIMIT, "snapshot %.64s has more than %d bytes of labels",
			       snapshot->name, LABELS_BYTES_MAX);
	return 0;
}

static int write_labels(struct snapshot_state *s, const struct snapshot *snapshot, struct err *err)
{
	cleanup_query sqlite3_stmt *drop = query(s, "DELETE FROM labels WHERE snapshot = ?");
	cleanup_query sqlite3_stmt *q = query(s, "INSERT OR REPLACE INTO labels VALUES(?, ?, ?)");

	if (check_labels(snapshot, err) < 0)
		return err->code;
	sqlite3_bind_int64(drop, 1, snapshot->id);
	if (run(s, drop, err) < 0)
		return err->code;
	for (size_t i = 0; i < snapshot->labels.len; i++) {
		sqlite3_bind_int64(q, 1, snapshot->id);
		bind_text(q, 2, snapshot->labels.items[i].key);
		bind_text(q, 3, snapshot->labels.items[i].value);
		if (run(s, q, err) < 0)
			return err->code;
		sqlite3_reset(q);
	}
	return 0;
}

static int check_free(struct snapshot_state *s, const char *name, struct err *err)
{
	cleanup_query sqlite3_stmt *q = query(s, "SELECT 1 FROM snapshots WHERE name = ?");

	if (strlen(name) > NAME_BYTES_MAX)
		return err_set(err, E_INVALID, "a snapshot's name has more than %d bytes",
			       NAME_BYTES_MAX);
	bind_text(q, 1, name);
	switch (sqlite3_step(q)) {
	case SQLITE_ROW:
		return err_set(err, E_EXISTS, "snapshot %s exists already", name);
	case SQLITE_DONE:
		return 0;
	default:
		return failed(s, err);
	}
}

int snapshot_insert(struct snapshot_state *s, struct snapshot *snapshot, struct err *err)
{
	cleanup_query sqlite3_stmt *q =
		query(s, "INSERT INTO snapshots(name, parent, kind, created_ns, updated_ns, size,"
			 " inodes, chain, diff_id, uses)"
			 " VALUES(?, nullif(?, 0), ?, ?, ?, 0, 0, ?, ?, ?)");

	if (check_free(s, snapshot->name, err) < 0)
		return err->code;
	snapshot->created_ns = snapshot->updated_ns = now_ns();
	bind_text(q, 1, snapshot->name);
	sqlite3_bind_int64(q, 2, snapshot->parent_id);
	sqlite3_bind_int(q, 3, (int)snapshot->kind);
	sqlite3_bind_int64(q, 4, snapshot->created_ns);
	sqlite3_bind_int64(q, 5, snapshot->updated_ns);
	bind_text(q, 6, snapshot->chain);
	if (snapshot->is_store)
		sqlite3_bind_blob(q, 7, snapshot->diff_id.bytes, (int)hash_size(HASH_SHA256),
				  SQLITE_STATIC);
	bind_text(q, 8, snapshot->uses);
	if (run(s, q, err) < 0)
		return err->code;
	snapshot->id = sqlite3_last_insert_rowid(s->db);
	return write_labels(s, snapshot, err);
}

int snapshot_commit_row(struct snapshot_state *s, struct snapshot *snapshot, const char *name,
			struct err *err)
{
	cleanup_query sqlite3_stmt *q =
		query(s, "UPDATE snapshots SET name = ?, kind = ?, updated_ns = ?, size = ?,"
			 " inodes = ?, chain = ?, paths = ?, uses = '' WHERE id = ?");

	if (check_free(s, name, err) < 0)
		return err->code;
	snapshot->updated_ns = now_ns();
	bind_text(q, 1, name);
	sqlite3_bind_int(q, 2, SNAPSHOT_COMMITTED);
	sqlite3_bind_int64(q, 3, snapshot->updated_ns);
	sqlite3_bind_int64(q, 4, snapshot->size);
	sqlite3_bind_int64(q, 5, snapshot->inodes);
	bind_text(q, 6, snapshot->chain);
	if (snapshot->has_paths)
		sqlite3_bind_blob(q, 7, snapshot->paths.bytes, (int)hash_size(HASH_SHA256),
				  SQLITE_STATIC);
	sqlite3_bind_int64(q, 8, snapshot->id);
	if (run(s, q, err) < 0)
		return err->code;
	return write_labels(s, snapshot, err);
}

int snapshot_set_labels(struct snapshot_state *s, struct snapshot *snapshot, struct err *err)
{
	cleanup_query sqlite3_stmt *q =
		query(s, "UPDATE snapshots SET updated_ns = ? WHERE id = ?");

	snapshot->updated_ns = now_ns();
	sqlite3_bind_int64(q, 1, snapshot->updated_ns);
	sqlite3_bind_int64(q, 2, snapshot->id);
	if (run(s, q, err) < 0)
		return err->code;
	return write_labels(s, snapshot, err);
}

int snapshot_set_uses(struct snapshot_state *s, int64_t id, const char *uses, struct err *err)
{
	cleanup_query sqlite3_stmt *q = query(s, "UPDATE snapshots SET uses = ? WHERE id = ?");

	bind_text(q, 1, uses);
	sqlite3_bind_int64(q, 2, id);
	return run(s, q, err);
}

int snapshot_delete(struct snapshot_state *s, const struct snapshot *snapshot, struct err *err)
{
	cleanup_query sqlite3_stmt *child = query(s, "SELECT 1 FROM snapshots WHERE parent = ?");
	cleanup_query sqlite3_stmt *q = query(s, "DELETE FROM snapshots WHERE id = ?");

	sqlite3_bind_int64(child, 1, snapshot->id);
	switch (sqlite3_step(child)) {
	case SQLITE_ROW:
		return err_set(err, E_CONFLICT, "snapshot %s has children", snapshot->name);
	case SQLITE_DONE:
		break;
	default:
		return failed(s, err);
	}
	sqlite3_bind_int64(q, 1, snapshot->id);
	return run(s, q, err);
}

int snapshot_each(struct snapshot_state *s, int64_t after_id,
		  int (*take)(void *data, const struct snapshot *snapshot, struct err *err),
		  void *data, struct err *err)
{
	cleanup_query sqlite3_stmt *q = query(s, SELECT "WHERE s.id > ? ORDER BY s.id");
	int r, result = 0;

	sqlite3_bind_int64(q, 1, after_id);
	while (result == 0 && (r = sqlite3_step(q)) == SQLITE_ROW) {
		cleanup_snapshot struct snapshot row = {0};

		result = read_row(s, q, &row, err);
		if (result >= 0)
			result = take(data, &row, err);
	}
	if (result != 0)
		return result;
	return r == SQLITE_DONE ? 0 : failed(s, err);
}

int snapshot_ancestors(struct snapshot_state *s, int64_t id,
		       int (*take)(void *data, struct snapshot *row), void *data, struct err *err)
{
	cleanup_query sqlite3_stmt *q =
		query(s, "WITH RECURSIVE c(id, depth) AS (VALUES(?, 0) UNION ALL"
			 " SELECT s.parent, depth + 1 FROM c JOIN snapshots s ON s.id = c.id"
			 " WHERE s.parent IS NOT NULL) "
			 "SELECT s.id, s.name, ifnull(s.parent, 0), '', s.kind, s.created_ns,"
			 " s.updated_ns, s.size, s.inodes, s.chain, s.diff_id, s.uses, s.paths "
			 "FROM c JOIN snapshots s ON s.id = c.id ORDER BY c.depth");
	int r, result = 0;

	sqlite3_bind_int64(q, 1, id);
	while (result >= 0 && (r = sqlite3_step(q)) == SQLITE_ROW) {
		cleanup_snapshot struct snapshot row = {0};

		read_columns(q, &row);
		result = take(data, &row);
	}
	if (result < 0)
		return result;
	return r == SQLITE_DONE ? 0 : failed(s, err);
}

int snapshot_mount_is_used(struct snapshot_state *s, const char *name, bool *ret, struct err *err)
{
	cleanup_query sqlite3_stmt *q =
		query(s, "SELECT 1 FROM snapshots WHERE uses <> ''"
			 " AND instr(' ' || uses || ' ', ' ' || ? || ' ') LIMIT 1");
	int r;

	bind_text(q, 1, name);
	r = sqlite3_step(q);
	if (r != SQLITE_ROW && r != SQLITE_DONE)
		return failed(s, err);
	*ret = r == SQLITE_ROW;
	return 0;
}

int snapshot_get_proof(struct snapshot_state *s, const char *list, struct hash *ret,
		       struct err *err)
{
	cleanup_query sqlite3_stmt *q = query(s, "SELECT diff_id FROM proofs WHERE list = ?");

	bind_text(q, 1, list);
	switch (sqlite3_step(q)) {
	case SQLITE_ROW:
		read_diff_id(q, 0, ret);
		return 0;
	case SQLITE_DONE:
		return err_set(err, E_NOTFOUND, "these paths were never proven");
	default:
		return failed(s, err);
	}
}

int snapshot_put_proof(struct snapshot_state *s, const char *list, const struct hash *diff_id,
		       struct err *err)
{
	cleanup_query sqlite3_stmt *q = query(s, "INSERT OR REPLACE INTO proofs VALUES(?, ?)");

	bind_text(q, 1, list);
	sqlite3_bind_blob(q, 2, diff_id->bytes, (int)hash_size(HASH_SHA256), SQLITE_STATIC);
	return run(s, q, err);
}
