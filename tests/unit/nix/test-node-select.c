/* SPDX-License-Identifier: Apache-2.0 */
#include "nar-spec.h"

#include "nix/node-select.h"

#define TREE                                                                                  \
	NIX_HEAD "directory "                                                                 \
		 "entry ( name a node ( type directory entry ( name b node ( type directory " \
		 "entry ( name f node ( type regular executable %empty contents one ) ) ) ) " \
		 "entry ( name f node ( type regular contents two ) ) ) ) "                   \
		 "entry ( name b node ( type symlink target a/b ) ) "                         \
		 "entry ( name f node ( type regular contents %empty ) ) )"

static int select_path(const char *spec, const char *path, struct record *rec, struct err *err)
{
	cleanup_buf struct buf nar = {0};
	struct node_select s;
	struct nar_decoder d;
	uint64_t mark;
	int r = node_select_init(&s, path, &rec->sink, err);

	if (r < 0)
		return r;
	spec_build(&nar, spec, &mark);
	nar_decoder_init(&d, &s.node_sink);
	r = sink_write(&d.sink, nar.data, nar.len, err);
	nar_decoder_release(&d);
	return r < 0 ? r : node_select_finish(&s, err);
}

static const struct {
	const char *path, *events;
} selected[] = {
	{"a/b/f", "file 0 <> x 3 @536\none\nend-file 0 x 3\nend\n"},
	{"a/f", "file 0 <> 3 @760\ntwo\nend-file 0 3\nend\n"},
	{"//a//b/", "dir 0 <>\nfile 1 <f> x 3 @536\none\nend-file 1 x 3\nend-dir 0\nend\n"},
	{"a", "dir 0 <>\ndir 1 <b>\nfile 2 <f> x 3 @536\none\nend-file 2 x 3\nend-dir 1\n"
	      "file 1 <f> 3 @760\ntwo\nend-file 1 3\nend-dir 0\nend\n"},
	{"b", "link 0 <> -> a/b\nend\n"},
	{"f", "file 0 <> 0 @1176\nend-file 0 0\nend\n"},
};

static void test_selected(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(selected); i++) {
		struct record rec = RECORD_INIT;
		struct err err = ERR_INIT;

		assert_ok(select_path(TREE, selected[i].path, &rec, &err), err);
		assert_string_equal(record_text(&rec), selected[i].events);
		record_release(&rec);
	}
}

/* The root is everything. */
static void test_root(void **state)
{
	struct record all = RECORD_INIT, file = RECORD_INIT;
	struct err err = ERR_INIT;

	assert_ok(select_path(TREE, "/", &all, &err), err);
	assert_int_equal(all.events, 16);
	assert_ok(select_path(NIX_HEAD "regular contents x )", "", &file, &err), err);
	assert_string_equal(record_text(&file), "file 0 <> 1 @96\nx\nend-file 0 1\nend\n");
	record_release(&all);
	record_release(&file);
}

static void test_missing(void **state)
{
	static const char *const paths[] = {"0",   "aa",    "z",   "a/a",     "a/c",
					    "a/g", "a/b/a", "b/f", "a/b/f/x", "f/f"};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct record rec = RECORD_INIT;
		struct err err = ERR_INIT;
		char want[64];

		assert_int_equal(select_path(TREE, paths[i], &rec, &err), E_NOTFOUND);
		snprintf(want, sizeof(want), "the NAR has no \"%s\"", paths[i]);
		assert_string_equal(err.text, want);
		assert_int_equal(rec.events, 0);
	}
}

static void test_invalid(void **state)
{
	static const char *const paths[] = {".", "..", "a/..", "a/./b", "/.."};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct record rec = RECORD_INIT;
		struct err err = ERR_INIT;

		assert_int_equal(select_path(TREE, paths[i], &rec, &err), E_INVALID);
	}
}

/* What the sink says stops it. */
static void test_sink_fails(void **state)
{
	for (size_t n = 1; n <= 6; n++) {
		struct record rec = RECORD_INIT;
		struct err err = ERR_INIT;

		rec.fail_after = n;
		assert_int_equal(select_path(TREE, "a/b", &rec, &err), E_CANCELLED);
		assert_int_equal(rec.events, n);
		record_release(&rec);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_selected),   cmocka_unit_test(test_root),
		cmocka_unit_test(test_missing),    cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_sink_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
