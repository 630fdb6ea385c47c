/* SPDX-License-Identifier: Apache-2.0 */
/* The layer below SQLite: what is gathered is there for who may see it, and gone where it failed. */
#include "../unit.h"

#include <signal.h>
#include <sys/resource.h>

#include "store/log-vfs.h"

struct place {
	char dir[64], file[72];
	int fd;
	struct log_vfs *vfs;
	sqlite3 *writer, *reader;
};

static void run(sqlite3 *db, const char *sql)
{
	char *error = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
		fail_msg("%s: %s", sql, error);
}

static int64_t ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t number;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	number = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return number;
}

/* A cache so small that large transactions write to the log before they end. */
static void place_open(struct place *p)
{
	struct err err = ERR_INIT;

	p->fd = unit_tempdir(p->dir);
	snprintf(p->file, sizeof(p->file), "%s/db", p->dir);
	assert_int_equal(log_vfs_new(&p->vfs, &err), 0);
	assert_int_equal(sqlite3_open_v2(p->file, &p->writer,
					 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
					 log_vfs_name(p->vfs)),
			 SQLITE_OK);
	run(p->writer, "PRAGMA synchronous=FULL; PRAGMA journal_mode=WAL; PRAGMA cache_size=8;"
		       "CREATE TABLE t (n INTEGER PRIMARY KEY, data BLOB)");
	assert_int_equal(sqlite3_open(p->file, &p->reader), SQLITE_OK);
}

static void place_close(struct place *p)
{
	char name[80];

	assert_int_equal(ask(p->writer, "SELECT count(*) FROM pragma_integrity_check"
					" WHERE integrity_check = 'ok'"),
			 1);
	sqlite3_close(p->reader);
	assert_int_equal(sqlite3_close(p->writer), SQLITE_OK);
	log_vfs_free(p->vfs);
	snprintf(name, sizeof(name), "%s-wal", p->file);
	assert_int_not_equal(access(name, F_OK), 0); /* SQLite took it away when it was closed */
	unit_tempdir_end(p->fd, p->dir);
}

#define ROWS(from, n, size)                                                                     \
	"INSERT INTO t WITH RECURSIVE c(n) AS (VALUES(" #from ") UNION ALL SELECT n + 1 FROM c" \
	" WHERE n < " #from " + " #n " - 1) SELECT n, randomblob(" #size ") FROM c"

static void test_commits(void **state)
{
	static const struct {
		const char *sql;
		int64_t rows;
	} steps[] = {
		{ROWS(0, 1, 10), 1},
		{ROWS(1, 50, 3000), 51},
		/* Far more than is gathered, and than the cache holds. */
		{ROWS(51, 400, 3000), 451},
		{"BEGIN;" ROWS(451, 300, 3000) "; ROLLBACK", 451},
		{"BEGIN;" ROWS(451, 100, 3000) "; SAVEPOINT s;" ROWS(551, 300,
								     3000) "; ROLLBACK TO s;"
									   "RELEASE s; COMMIT",
		 551},
		/* Pages that are in the log are written again in the same transaction. */
		{"BEGIN; UPDATE t SET data = randomblob(3100); UPDATE t SET data = "
		 "randomblob(2900);"
		 "COMMIT",
		 551},
		{"PRAGMA wal_checkpoint(TRUNCATE)", 551},
		{"DELETE FROM t WHERE n >= 100", 100},
		{ROWS(100, 1, 200000), 101},
	};
	struct place p;

	(void)state;
	place_open(&p);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		run(p.writer, steps[i].sql);
		/* Another connection sees it, whole, as soon as it is committed. */
		assert_int_equal(ask(p.reader, "SELECT count(*) FROM t"), steps[i].rows);
		assert_int_equal(ask(p.reader, "SELECT sum(length(data)) FROM t"),
				 ask(p.writer, "SELECT sum(length(data)) FROM t"));
	}
	place_close(&p);
}

/* No byte more fits into a file: the commit says so, and the next one is not hurt by it. */
static void test_failures(void **state)
{
	struct rlimit none, all;
	struct place p;

	(void)state;
	place_open(&p);
	run(p.writer, ROWS(0, 10, 3000));
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
	none = all;
	none.rlim_cur = 4096;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
		assert_int_not_equal(sqlite3_exec(p.writer, ROWS(1000, 20, 3000), NULL, NULL, NULL),
				     SQLITE_OK);
		assert_int_not_equal(
			sqlite3_exec(p.writer, ROWS(1000, 400, 3000), NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
		assert_int_equal(ask(p.reader, "SELECT count(*) FROM t"), 10 + i);
		run(p.writer, "INSERT INTO t (data) VALUES (randomblob(5000))");
		assert_int_equal(ask(p.reader, "SELECT count(*) FROM t"), 11 + i);
	}
	place_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commits),
		cmocka_unit_test(test_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
