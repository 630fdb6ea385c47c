/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <string.h>

#include <nacre/closure.h>

#include "base/mem.h"

#define A   "/nix/store/00000000000000000000000000000000-a"
#define B   "/nix/store/11111111111111111111111111111111-b"
#define HEX "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static int parse(const char *text, struct path_infos *ret, struct err *err)
{
	return registration_parse(ret, "/nix/store", slice_str(text), err);
}

static void test_registration(void **state)
{
	static const char with[] =
		B "\n" HEX "\n120\n" A ".drv\n2\n" A "\n" B "\n" A "\nsha256:" HEX "\n7\n\n0\n";
	static const char without[] = B "\n\n1\n" A "\n" A "\n\n0\n";
	cleanup_path_infos struct path_infos set = {0}, bare = {0};
	struct err err = ERR_INIT;

	assert_ok(parse(with, &set, &err), err);
	assert_int_equal(set.len, 2);
	assert_string_equal(set.items[0].path.text, A);
	assert_int_equal(set.items[1].nar_size, 120);
	assert_int_equal(set.items[1].references.len, 2);
	assert_string_equal(set.items[1].deriver, "00000000000000000000000000000000-a.drv");
	assert_null(set.items[0].deriver);
	assert_ok(path_infos_check_closed(&set, &err), err);
	assert_ok(parse(without, &bare, &err), err);
	assert_int_equal(bare.items[1].nar_hash.algo, HASH_NONE);
	assert_int_equal(bare.items[1].references.len, 1);
}

static void test_bad_registration(void **state)
{
	static const char *const bad[] = {
		A,              /* no newline */
		A "\n",         /* ends */
		A "\n\n",       /* no number */
		A "\n\nx\n",    /* not a number */
		A "\n\n1\n",    /* a reference is missing */
		A "\n\n1\nx\n", /* not a path */
		"/gnu/store/00000000000000000000000000000000-a\n\n0\n",
		A "\n" HEX "\n0\n\n0\n",        /* size 0 */
		A "\n" HEX "\nx\n\n0\n",        /* size */
		A "\nfoo\n0\n",                 /* deriver */
		A "\n\n18446744073709551615\n", /* more than there can be */
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct path_infos set = {0};
		struct err err = ERR_INIT;

		if (parse(bad[i], &set, &err) >= 0)
			fail_msg("taken: %s", bad[i]);
		assert_non_null(strstr(err.text, "line "));
		assert_null(set.items);
	}
}

static void test_missing_and_heights(void **state)
{
	cleanup_path_infos struct path_infos set = {0};
	struct err err = ERR_INIT;
	uint32_t heights[2];

	assert_ok(parse(B "\n" HEX "\n1\n\n2\n" A "\n" B "\n", &set, &err), err);
	assert_int_equal(path_infos_check_closed(&set, &err), E_NOTFOUND);
	assert_string_equal(err.text,
			    B " refers to 00000000000000000000000000000000-a, which is missing");
	path_infos_release(&set);
	assert_ok(parse(B "\n" HEX "\n1\n\n2\n" A "\n" B "\n" A "\n" HEX "\n1\n\n0\n", &set, &err),
		  err);
	assert_ok(path_infos_heights(&set, heights, &err), err);
	assert_int_equal(heights[0], 0);
	assert_int_equal(heights[1], 1); /* itself does not count */
}

/* A chain as long as a closure may be: nothing recurses. */
static void test_long_chain(void **state)
{
	enum { N = 20000 };
	cleanup_path_infos struct path_infos set = {0};
	cleanup_free uint32_t *heights = xcalloc(N, sizeof(*heights));
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < N; i++) {
		struct path_info info = {.nar_size = 1};
		char base[64];

		snprintf(base, sizeof(base), "%032u-x", i);
		assert_int_equal(store_path_make(&info.path, "/nix/store", slice_str(base)), 0);
		if (i) {
			snprintf(base, sizeof(base), "%032u-x", i - 1);
			strv_add(&info.references, base);
		}
		path_infos_take(&set, &info);
	}
	assert_ok(path_infos_heights(&set, heights, &err), err);
	assert_int_equal(heights[N - 1], N - 1);
}

static void test_no_database(void **state)
{
	struct nix_store *s;
	struct err err = ERR_INIT;

	assert_int_equal(nix_store_open(&s, "/nonexistent", "/nix/store", &err), E_NOTFOUND);
	assert_int_equal(nix_store_open(&s, "/nonexistent", "nix/store", &err), E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registration),        cmocka_unit_test(test_bad_registration),
		cmocka_unit_test(test_missing_and_heights), cmocka_unit_test(test_long_chain),
		cmocka_unit_test(test_no_database),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
