/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nacre/hash.h>

static void test_notations(void **state)
{
	/* sha256 of "abc", as `nix hash to-…` spells it. */
	static const char *const spellings[] = {
		"sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"sha256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
		"sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
	};
	struct hash want;

	hash_bytes(&want, HASH_SHA256, "abc", 3);
	for (int n = HASH_NIX32; n <= HASH_SRI; n++) {
		char text[HASH_TEXT_MAX];
		struct hash got;

		hash_format(text, &want, (enum hash_notation)n);
		assert_string_equal(text, spellings[n]);
		assert_int_equal(hash_parse(&got, HASH_NONE, slice_str(text)), 0);
		assert_true(hash_equal(&got, &want));
		assert_int_equal(hash_parse(&got, HASH_SHA256, slice_str(text)), 0);
		/* Bare, where the algorithm is known; SRI is never bare. */
		assert_int_equal(hash_parse(&got, HASH_SHA256, slice_str(text + 7)), 0);
		assert_true(hash_equal(&got, &want));
	}
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"sha256:",
		"sha256-",
		"1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s", /* no algorithm */
		"sha257:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
		"SHA256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
		"sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5",
		"sha256:zb8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s", /* spare bits */
		"sha256-1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s", /* SRI is base64 */
		"sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
		"sha256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa1=", /* spare bits */
		"sha1:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
	};
	struct hash h;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(hash_parse(&h, HASH_NONE, slice_str(bad[i])), E_INVALID);
	assert_int_equal(
		hash_parse(&h, HASH_SHA1,
			   slice_str("sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")),
		E_INVALID);
}

static void test_all_algorithms(void **state)
{
	static const char *const want[] = {
		[HASH_MD5] = "md5:900150983cd24fb0d6963f7d28e17f72",
		[HASH_SHA1] = "sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
		[HASH_SHA256] =
			"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		[HASH_SHA512] =
			"sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
			"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	};

	for (int a = HASH_MD5; a <= HASH_SHA512; a++) {
		struct hash_sink sink;
		struct err err = ERR_INIT;
		struct hash h;
		char text[HASH_TEXT_MAX];

		hash_sink_init(&sink, (enum hash_algo)a, NULL);
		assert_ok(sink_write(&sink.sink, "a", 1, &err), err);
		assert_ok(sink_write(&sink.sink, "bc", 2, &err), err);
		assert_int_equal(sink.bytes, 3);
		hash_sink_final(&sink, &h);
		hash_sink_release(&sink);
		hash_format(text, &h, HASH_HEX);
		assert_string_equal(text, want[a]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_notations),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_all_algorithms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
