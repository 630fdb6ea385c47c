/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include <sqlite3.h>

#include "base/mem.h"
#include "node/snapshot-state.h"

struct place {
	char dir[64];
	char file[96];
	int fd;
	struct snapshot_state *state;
	struct err err;
};

static void place_init(struct place *p)
{
	*p = (struct place){.fd = -1};
	p->fd = unit_tempdir(p->dir);
	snprintf(p->file, sizeof(p->file), "%s/state.db", p->dir);
	assert_ok(snapshot_state_open(&p->state, p->file, &p->err), p->err);
}

static void place_release(struct place *p)
{
	snapshot_state_free(p->state);
	unit_tempdir_end(p->fd, p->dir);
}

static int add(struct place *p, const char *name, enum snapshot_kind kind, int64_t parent_id,
	       int64_t *ret_id)
{
	cleanup_snapshot struct snapshot row = {
		.name = xstrdup(name), .kind = kind, .parent_id = parent_id};

	annotations_set(&row.labels, "label", name);
	p->err = ERR_INIT;
	if (snapshot_insert(p->state, &row, &p->err) < 0)
		return p->err.code;
	*ret_id = row.id;
	return 0;
}

static void test_rows(void **state)
{
	cleanup_snapshot struct snapshot row = {0};
	cleanup_snapshot struct snapshot child = {0};
	int64_t a, b, c;
	struct place p;

	(void)state;
	place_init(&p);
	assert_int_equal(add(&p, "a", SNAPSHOT_ACTIVE, 0, &a), 0);
	assert_int_equal(add(&p, "a", SNAPSHOT_VIEW, 0, &b), E_EXISTS);
	assert_ok(snapshot_get(p.state, "a", &row, &p.err), p.err);
	assert_string_equal(annotations_get(&row.labels, "label"), "a");
	annotations_set(&row.labels, "more", "x");
	assert_ok(snapshot_commit_row(p.state, &row, "A", &p.err), p.err);
	assert_int_equal(snapshot_get(p.state, "a", &child, &p.err), E_NOTFOUND);
	assert_int_equal(add(&p, "b", SNAPSHOT_ACTIVE, a, &b), 0);
	p.err = ERR_INIT;
	assert_ok(snapshot_get(p.state, "b", &child, &p.err), p.err);
	assert_string_equal(child.parent, "A");
	assert_int_equal(snapshot_delete(p.state, &row, &p.err), E_CONFLICT);
	p.err = ERR_INIT;
	assert_ok(snapshot_delete(p.state, &child, &p.err), p.err);
	assert_ok(snapshot_delete(p.state, &row, &p.err), p.err);
	/* An id never names another directory. */
	assert_int_equal(add(&p, "c", SNAPSHOT_ACTIVE, 0, &c), 0);
	assert_true(c > b);
	place_release(&p);
}

/* An unsynced transaction is one, and leaves the next as durable as before. */
static void test_unsynced(void **state)
{
	cleanup_snapshot struct snapshot row = {0};
	struct place p;
	int64_t id;

	(void)state;
	place_init(&p);
	for (int fails = 0; fails < 2; fails++) {
		assert_ok(snapshot_state_begin_unsynced(p.state, &p.err), p.err);
		assert_int_equal(add(&p, fails ? "b" : "a", SNAPSHOT_COMMITTED, 0, &id), 0);
		p.err = ERR_INIT;
		if (fails)
			err_set(&p.err, E_IO, "made up");
		assert_int_equal(snapshot_state_end(p.state, fails ? E_IO : 7, &p.err),
				 fails ? E_IO : 7);
	}
	p.err = ERR_INIT;
	assert_ok(snapshot_get(p.state, "a", &row, &p.err), p.err);
	snapshot_release(&row);
	assert_int_equal(snapshot_get(p.state, "b", &row, &p.err), E_NOTFOUND);
	p.err = ERR_INIT;
	assert_ok(snapshot_state_begin(p.state, &p.err), p.err);
	/* In a transaction there is none to begin, and that is all that is wrong then. */
	assert_int_equal(snapshot_state_begin_unsynced(p.state, &p.err), E_IO);
	p.err = ERR_INIT;
	assert_int_equal(add(&p, "c", SNAPSHOT_COMMITTED, 0, &id), 0);
	assert_int_equal(snapshot_state_end(p.state, 0, &p.err), 0);
	place_release(&p);
}

static void test_proofs(void **state)
{
	struct hash hash, got;
	struct place p;

	(void)state;
	place_init(&p);
	hash_bytes(&hash, HASH_SHA256, "x", 1);
	assert_int_equal(snapshot_get_proof(p.state, "list", &got, &p.err), E_NOTFOUND);
	p.err = ERR_INIT;
	assert_ok(snapshot_put_proof(p.state, "list", &hash, &p.err), p.err);
	assert_ok(snapshot_get_proof(p.state, "list", &got, &p.err), p.err);
	assert_true(hash_equal(&hash, &got));
	place_release(&p);
}

static void test_uses(void **state)
{
	cleanup_snapshot struct snapshot row = {
		.name = xstrdup("v"), .uses = xstrdup("aa bb cc"), .kind = SNAPSHOT_VIEW};
	static const struct {
		const char *name;
		bool want;
	} cases[] = {{"aa", true}, {"bb", true}, {"cc", true},
		     {"a", false}, {"b", false}, {"", false}};
	struct place p;

	(void)state;
	place_init(&p);
	assert_ok(snapshot_insert(p.state, &row, &p.err), p.err);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool got;

		assert_ok(snapshot_mount_is_used(p.state, cases[i].name, &got, &p.err), p.err);
		assert_int_equal(got, cases[i].want);
	}
	place_release(&p);
}

/* Killed in the middle of a transaction: what was acknowledged is there, nothing else. */
static void test_crash(void **state)
{
	cleanup_snapshot struct snapshot row = {0};
	struct place p;
	int64_t id;
	pid_t pid;

	(void)state;
	place_init(&p);
	snapshot_state_free(p.state);
	p.state = NULL;
	pid = fork();
	if (pid == 0) {
		if (snapshot_state_open(&p.state, p.file, &p.err) < 0 ||
		    add(&p, "whole", SNAPSHOT_ACTIVE, 0, &id) < 0 ||
		    snapshot_state_begin(p.state, &p.err) < 0 ||
		    add(&p, "half", SNAPSHOT_ACTIVE, 0, &id) < 0)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_ok(snapshot_state_open(&p.state, p.file, &p.err), p.err);
	assert_ok(snapshot_get(p.state, "whole", &row, &p.err), p.err);
	assert_int_equal(snapshot_get(p.state, "half", &row, &p.err), E_NOTFOUND);
	place_release(&p);
}

/* Neither garbage nor a database of a later nacre is taken or changed. */
static void test_damaged(void **state)
{
	struct snapshot_state *s = NULL;
	struct place p;
	FILE *file;

	(void)state;
	place_init(&p);
	snapshot_state_free(p.state);
	p.state = NULL;
	file = fopen(p.file, "w");
	assert_non_null(file);
	for (int i = 0; i < 1000; i++)
		fputs("this is no database", file);
	fclose(file);
	assert_int_equal(snapshot_state_open(&s, p.file, &p.err), E_IO);
	assert_null(s);
	place_release(&p);
}

/* A database of version 1 had no paths of ordinary layers. */
static void test_upgrade(void **state)
{
	cleanup_snapshot struct snapshot row = {0};
	struct place p;
	sqlite3 *db;
	int64_t id;

	(void)state;
	place_init(&p);
	assert_int_equal(add(&p, "old", SNAPSHOT_ACTIVE, 0, &id), 0);
	snapshot_state_free(p.state);
	p.state = NULL;
	assert_int_equal(sqlite3_open(p.file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				      "ALTER TABLE snapshots DROP COLUMN paths;"
				      "PRAGMA user_version = 1",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(snapshot_state_open(&p.state, p.file, &p.err), 0);
	assert_int_equal(snapshot_get(p.state, "old", &row, &p.err), 0);
	assert_false(row.has_paths);
	row.has_paths = true;
	hash_bytes(&row.paths, HASH_SHA256, "x", 1);
	assert_int_equal(snapshot_commit_row(p.state, &row, "new", &p.err), 0);
	snapshot_release(&row);
	assert_int_equal(snapshot_get(p.state, "new", &row, &p.err), 0);
	assert_true(row.has_paths);
	assert_false(row.is_store);
	place_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),    cmocka_unit_test(test_unsynced),
		cmocka_unit_test(test_proofs),  cmocka_unit_test(test_uses),
		cmocka_unit_test(test_crash),   cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_upgrade),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
