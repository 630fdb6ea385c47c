/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/cache-internal.h"

static void test_good(void **state)
{
	static const struct {
		const char *text, *store_dir;
		bool mass;
		int priority;
	} cases[] = {
		{"", "", false, 0},
		{"StoreDir: /nix/store\n", "/nix/store", false, 0},
		{"StoreDir:/gnu/store\nWantMassQuery: 1\nPriority: 40\n", "/gnu/store", true, 40},
		{"WantMassQuery: 0\r\nStoreDir: /nix/store\r\nPriority: 0", "/nix/store", false, 0},
		{"hello\n\n: x\nWantMassQuery: yes\nFoo: bar\nPriority:2147483647", "", false,
		 2147483647},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cache_info info;

		assert_int_equal(cache_info_parse(&info, slice_str(cases[i].text)), 0);
		assert_string_equal(info.store_dir, cases[i].store_dir);
		assert_int_equal(info.want_mass_query, cases[i].mass);
		assert_int_equal(info.priority, cases[i].priority);
	}
}

static void test_bad(void **state)
{
	static const char *const cases[] = {
		"StoreDir: nix/store\n",   "StoreDir: \n",  "StoreDir: /nix/../store\n",
		"StoreDir: /nix/store/\n", "Priority: x\n", "Priority: -1\n",
		"Priority: 2147483648\n",  "Priority:\n",
	};
	struct cache_info info = {.priority = 7};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (cache_info_parse(&info, slice_str(cases[i])) != E_INVALID)
			fail_msg("accepted %s", cases[i]);
	}
	assert_int_equal(info.priority, 7);
}

static void test_nar_name(void **state)
{
	static const struct {
		enum codec codec;
		const char *suffix;
	} cases[] = {{CODEC_NONE, ""},  {CODEC_GZIP, ""},      {CODEC_ZSTD, ".zst"},
		     {CODEC_XZ, ".xz"}, {CODEC_BZIP2, ".bz2"}, {CODEC_BROTLI, ".br"}};
	struct hash h = {.algo = HASH_SHA256};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_free char *name = cache_nar_name(&h, cases[i].codec);
		cleanup_free char *want =
			xasprintf("nar/0000000000000000000000000000000000000000000000000000.nar%s",
				  cases[i].suffix);

		assert_string_equal(name, want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_nar_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
