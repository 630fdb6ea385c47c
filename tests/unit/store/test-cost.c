/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request costs the same, however much there is: no statement reads a table from end to end, and
 * what a request does in the database is the same in a small store and in a large one.
 */
#include <fnmatch.h>
#include <stdatomic.h>

#include "gc-fixture.h"

/* ---- Plans ---- */

/* Statements that may read whole tables, and why. */
static const struct {
	const char *pattern; /* of fnmatch() */
	const char *reason;
	size_t matches; /* at the least: what nothing needs any more has to go from here */
} scans_allowed[] = {
	{"SELECT *, (SELECT *) FROM total", "fsck counts", 10},
	{"SELECT sum(*), (SELECT *) FROM repository", "fsck counts", 3},
	{"SELECT sum(*), (SELECT *) FROM view", "fsck counts", 2},
	{"SELECT *, (SELECT *) FROM path_use", "fsck counts", 2},
	{"SELECT count(*), 0 FROM *", "fsck looks for what nobody holds", 4},
	{"UPDATE * SET * > ?1 AND ?2", "the clock was put back", 3},
	{"SELECT id, file FROM object WHERE file IS NOT NULL *", "a backup copies every file", 1},
};

/* One row for a view that the operator configured, or one row. */
static const char *const small_tables[] = {"view", "total"};

static bool scan_is_small(const char *plan)
{
	for (size_t i = 0; i < ARRAY_LEN(small_tables); i++) {
		size_t n = strlen(small_tables[i]);

		if (strncmp(plan, small_tables[i], n) == 0 && (plan[n] == ' ' || !plan[n]))
			return true;
	}
	/* Rows that another part of the statement found: by its own plan, which is looked at. */
	return strncmp(plan, "CONSTANT ROW", 12) == 0 || strncmp(plan, "closure", 7) == 0 ||
	       strncmp(plan, "holder", 6) == 0 || strncmp(plan, "(subquery-", 10) == 0;
}

static size_t scan_allowed(const char *sql)
{
	size_t i = 0;

	while (i < ARRAY_LEN(scans_allowed) && fnmatch(scans_allowed[i].pattern, sql, 0) != 0)
		i++;
	return i;
}

/* What is wrong with the plan, or NULL. Valid until the next call. */
static const char *scan_found(sqlite3 *db, const char *sql)
{
	static char found[200];
	cleanup_free char *explain = xasprintf("EXPLAIN QUERY PLAN %s", sql);
	sqlite3_stmt *stmt;

	found[0] = '\0';
	if (sqlite3_prepare_v2(db, explain, -1, &stmt, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *plan = (const char *)sqlite3_column_text(stmt, 3);

		/* A row without text begins a trigger. */
		if (plan && strncmp(plan, "SCAN ", 5) == 0 && !scan_is_small(plan + 5))
			snprintf(found, sizeof(found), "%s", plan);
	}
	sqlite3_finalize(stmt);
	return found[0] ? found : NULL;
}

/* Texts are string literals (db.h), so all of them lie in this program, which has the whole module
 * in it: none is missed, whichever a test happens to run. */
static void program_read(struct buf *ret)
{
	char part[65536];
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0);
	*ret = BUF_INIT(1 << 30);
	while ((n = read(fd, part, sizeof(part))) > 0)
		assert_int_equal(buf_add(ret, part, (size_t)n), 0);
	close(fd);
	assert_int_equal(buf_add(ret, "", 1), 0);
}

static bool is_statement(const char *text)
{
	static const char *const verbs[] = {"SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "};

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (strncmp(text, verbs[i], strlen(verbs[i])) == 0)
			return text[strlen(verbs[i])] != '\0';
	return false;
}

/* Ours lie there, too. */
static bool is_pattern(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(scans_allowed); i++)
		if (strcmp(text, scans_allowed[i].pattern) == 0)
			return true;
	return false;
}

/* With the plans of triggers and foreign keys. */
static sqlite3 *plans_open(struct fixture *f)
{
	char path[100];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/meta.sqlite", f->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA foreign_keys=ON", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_TRIGGER_EQP, 1, NULL), SQLITE_OK);
	/* It does see them. */
	assert_null(scan_found(db, "DELETE FROM tag WHERE repository = 1 AND name = 'x'"));
	assert_int_equal(sqlite3_exec(db,
				      "CREATE TEMP TRIGGER scans AFTER DELETE ON tag BEGIN"
				      " DELETE FROM garbage WHERE object + 1 = 2; END",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	assert_non_null(scan_found(db, "DELETE FROM tag WHERE repository = 1 AND name = 'x'"));
	assert_int_equal(sqlite3_exec(db, "DROP TRIGGER scans", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static void test_plans(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf program = {0};
	size_t n = 0, allowed[ARRAY_LEN(scans_allowed) + 1] = {0};
	sqlite3 *db;

	(void)state;
	fixture_open(&f);
	db = plans_open(&f);
	program_read(&program);
	for (size_t at = 0; at < program.len; at += strlen((char *)program.data + at) + 1) {
		const char *sql = (const char *)program.data + at, *scan;

		if (!is_statement(sql) || is_pattern(sql))
			continue;
		n++;
		scan = scan_found(db, sql);
		if (scan && scan_allowed(sql) == ARRAY_LEN(scans_allowed))
			fail_msg("%s\n%s", sql, scan);
		allowed[scan ? scan_allowed(sql) : ARRAY_LEN(scans_allowed)]++;
	}
	sqlite3_close(db);
	for (size_t i = 0; i < ARRAY_LEN(scans_allowed); i++)
		if (allowed[i] < scans_allowed[i].matches)
			fail_msg("%s: %zu statements", scans_allowed[i].pattern, allowed[i]);
	assert_true(n > 150);
	fixture_close(&f);
}

/* ---- Steps ---- */

/* Of SQLite's virtual machine, by all statements of all connections. */
static _Atomic uint64_t steps;

static int steps_count(unsigned type, void *arg, void *stmt, void *ns)
{
	(void)type, (void)arg, (void)ns;
	steps += (uint64_t)sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_VM_STEP, 1);
	return 0;
}

static int steps_watch(sqlite3 *db, const char **ret_error, const void *api)
{
	(void)ret_error, (void)api;
	return sqlite3_trace_v2(db, SQLITE_TRACE_PROFILE, steps_count, NULL);
}

#define SUBJECT "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void put_referrer(struct fixture *f, int i, const char *type)
{
	cleanup_buf struct buf bytes = BUF_INIT(1 << 20);
	struct manifest_put_result result;
	struct hash empty, h;
	char digest[DIGEST_TEXT_MAX];

	assert_ok(put_blob(f, "r", slice_str(OCI_EMPTY_JSON), &empty), f->err);
	buf_addf(&bytes,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
		 "\",\"artifactType\":\"%s\",\"config\":{\"mediaType\":\"" MT_OCI_EMPTY
		 "\",\"digest\":\"" OCI_EMPTY_DIGEST "\",\"size\":2},\"layers\":[],"
		 "\"annotations\":{\"i\":\"%d\"},\"subject\":{\"mediaType\":\"" MT_OCI_MANIFEST
		 "\",\"digest\":\"" SUBJECT "\",\"size\":9}}",
		 type, i);
	hash_bytes(&h, HASH_SHA256, bytes.data, bytes.len);
	digest_format(digest, &h);
	assert_ok(put_manifest(f, "r", digest, &bytes, &result), f->err);
}

/* So many of everything. */
static void populate(struct fixture *f, int from, int to)
{
	for (int i = from; i < to; i++) {
		char name[32];
		struct hash h;

		snprintf(name, sizeof(name), "n%06d", i);
		put_image(f, "r", name, name);
		put_image(f, name, "latest", name);
		put_image(f, "shared", name, "the same in all of them");
		assert_ok(put_blob(f, "r", slice_str(name), &h), f->err);
		put_small_path(f, name, i ? "n000000" : NULL);
		put_referrer(f, i, "a/many");
		assert_ok(store_pin(f->root, "r", name, &f->err), f->err);
	}
}

static void image_digest(struct fixture *f, const char *tag, char *ret)
{
	struct manifest_stat stat;

	assert_ok(store_manifest_stat(f->root, "r", tag, &stat, &f->err), f->err);
	digest_format(ret, &stat.digest);
}

static void do_manifest_get(struct fixture *f)
{
	cleanup_manifest_bytes struct manifest_bytes by_tag = {0}, by_digest = {0};
	char digest[DIGEST_TEXT_MAX];

	image_digest(f, "n000007", digest);
	assert_ok(store_manifest_get(f->root, "r", "n000007", &by_tag, &f->err), f->err);
	assert_ok(store_manifest_get(f->root, "r", digest, &by_digest, &f->err), f->err);
}

static void do_manifest_missing(struct fixture *f)
{
	struct manifest_stat stat;

	assert_fails(store_manifest_stat(f->root, "r", "none", &stat, &f->err), E_NOTFOUND, f->err,
		     NULL);
	assert_fails(store_manifest_stat(f->root, "r", SUBJECT, &stat, &f->err), E_NOTFOUND, f->err,
		     NULL);
	assert_fails(store_manifest_stat(f->root, "none", "none", &stat, &f->err), E_NOTFOUND,
		     f->err, NULL);
	assert_int_equal(store_repository_exists(f->root, "none", &f->err), 0);
}

static void do_push(struct fixture *f)
{
	put_image(f, "r", "new", "new");
}

static void do_tag_move(struct fixture *f)
{
	put_image(f, "r", "new", "newer");
}

static void do_tag_delete(struct fixture *f)
{
	assert_ok(store_manifest_delete(f->root, "r", "new", &f->err), f->err);
}

static void do_manifest_delete(struct fixture *f)
{
	char digest[DIGEST_TEXT_MAX];

	image_digest(f, "n000005", digest);
	assert_ok(store_manifest_delete(f->root, "r", digest, &f->err), f->err);
}

static void do_new_repository(struct fixture *f)
{
	put_image(f, "another", "v1", "another");
}

static void do_blob_get(struct fixture *f)
{
	assert_true(has_blob(f, "r", "n000003"));
	assert_false(has_blob(f, "r", "none"));
	assert_false(has_blob(f, "n000004", "n000003"));
}

static void do_blob_mount(struct fixture *f)
{
	struct hash h;

	hash_bytes(&h, HASH_SHA256, "n000003", 7);
	assert_ok(store_blob_mount(f->root, "mounted", &h, "r", &f->err), f->err);
	hash_bytes(&h, HASH_SHA256, "the same in all of them", 23);
	assert_ok(store_blob_mount(f->root, "mounted", &h, NULL, &f->err), f->err);
}

static void do_blob_delete(struct fixture *f)
{
	struct hash h;

	hash_bytes(&h, HASH_SHA256, "n000003", 7);
	assert_ok(store_blob_delete(f->root, "r", &h, &f->err), f->err);
}

static void do_tags(struct fixture *f)
{
	static const char *const starts[] = {NULL, "n000005", "n000004x"};

	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		const struct store_page page = {5, starts[i]};
		struct names_list names = NAMES_LIST_INIT;
		bool more;

		assert_ok(store_tags(f->root, "r", &page, &names.names, &more, &f->err), f->err);
		assert_int_equal(names.list.len, 5);
		strv_release(&names.list);
		assert_true(more);
	}
}

static void do_catalog(struct fixture *f)
{
	const struct store_page page = {5, "n000003"};
	struct names_list names = NAMES_LIST_INIT;
	bool more;

	assert_ok(store_catalog(f->root, &page, &names.names, &more, &f->err), f->err);
	assert_int_equal(names.list.len, 5);
	strv_release(&names.list);
	assert_true(more);
}

static void do_referrers(struct fixture *f)
{
	static const char *const types[] = {NULL, "a/many", "a/few", "a/none"};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct referrers_query q = {.artifact_type = types[i], .n = 5};
		cleanup_buf struct buf text = BUF_INIT(1 << 20);
		uint64_t after;

		assert_int_equal(digest_parse(&q.subject, slice_str(SUBJECT)), 0);
		assert_ok(store_referrers(f->root, "r", &q, &text, &after, &f->err), f->err);
		assert_int_equal(after != 0, i < 2);
	}
}

static void do_narinfo(struct fixture *f)
{
	cleanup_narinfo struct narinfo n = {0};
	cleanup_buf struct buf nar = {0};

	assert_true(use_path(f, "n000006"));
	assert_false(use_path(f, "none"));
	assert_ok(get_info(f, "n000006", &n), f->err);
	get_nar(f, n.url, &nar);
}

static void do_path_put(struct fixture *f)
{
	put_small_path(f, "new", "n000000 n000001");
}

static void do_pin(struct fixture *f)
{
	assert_ok(store_pin(f->root, "r", "some", &f->err), f->err);
}

static void do_unpin(struct fixture *f)
{
	char digest[DIGEST_TEXT_MAX], base[STORE_BASE_MAX + 1];

	image_digest(f, "n000008", digest);
	assert_ok(store_pin(f->root, "r", digest, &f->err), f->err);
	assert_ok(store_pin(f->root, "r", "", &f->err), f->err);
	assert_ok(store_pin_path(f->root, base_of("n000002", base), &f->err), f->err);
	assert_ok(store_unpin(f->root, "r", "n000008", &f->err), f->err);
	assert_ok(store_unpin(f->root, "r", digest, &f->err), f->err);
	assert_ok(store_unpin(f->root, "r", "", &f->err), f->err);
	assert_ok(store_unpin_path(f->root, base, &f->err), f->err);
}

static void do_statistics(struct fixture *f)
{
	struct store_statistics s;

	assert_ok(store_statistics(f->store, &s, &f->err), f->err);
}

/* In this order. */
static const struct {
	const char *name;
	void (*run)(struct fixture *f);
} requests[] = {
	{"manifest GET", do_manifest_get},
	{"manifest HEAD that finds nothing", do_manifest_missing},
	{"push", do_push},
	{"push again with the tag", do_tag_move},
	{"tag DELETE", do_tag_delete},
	{"manifest DELETE", do_manifest_delete},
	{"push into a new repository", do_new_repository},
	{"blob GET", do_blob_get},
	{"blob mount", do_blob_mount},
	{"blob DELETE", do_blob_delete},
	{"tags", do_tags},
	{"catalog", do_catalog},
	{"referrers", do_referrers},
	{"narinfo and NAR GET", do_narinfo},
	{"upload of a store path", do_path_put},
	{"pin", do_pin},
	{"unpin", do_unpin},
	{"statistics", do_statistics},
};

/* Steps of each request in a store with `n` of everything. */
static void measure(int n, uint64_t *ret)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;

	fixture_open(&f);
	populate(&f, 0, n);
	put_referrer(&f, n, "a/few");
	tag_rule_add(&rules, "**")->keep_last = 100000;
	path_rule_add(&rules, "/")->keep_used_for_s = 100 * DAY;
	rules.quotas = xcalloc(1, sizeof(*rules.quotas));
	rules.n_quotas = 1;
	rules.quotas[0] = (struct quota_rule){.repositories = words("**"),
					      .caches = words("/"),
					      .bytes = 1 << 30,
					      .paths = 1 << 20,
					      .tags = 1 << 20};
	rules_set(&f, &rules);
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		steps = 0;
		requests[i].run(&f);
		ret[i] = steps;
		assert_true(ret[i] > 0);
	}
	store_rules_release(&rules);
	fixture_close(&f);
}

/* SPEC dist-1.1 end-2, end-3, end-7, end-8, end-9, end-10, end-11, end-12 */
static void test_steps(void **state)
{
	uint64_t small[ARRAY_LEN(requests)], large[ARRAY_LEN(requests)];
	bool differ = false;

	(void)state;
	sqlite3_auto_extension((void (*)(void))steps_watch);
	measure(15, small);
	measure(150, large);
	sqlite3_reset_auto_extension();
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		print_message("%s: %llu steps, %llu among many\n", requests[i].name,
			      (unsigned long long)small[i], (unsigned long long)large[i]);
		differ |= large[i] > small[i] + small[i] / 20 + 20;
	}
	assert_false(differ);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plans),
		cmocka_unit_test(test_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
