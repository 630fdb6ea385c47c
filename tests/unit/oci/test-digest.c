/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nacre/buf.h>
#include <nacre/digest.h>

#define HEX32  "0123456789abcdef0123456789abcdef"
#define HEX64  HEX32 HEX32
#define HEX128 HEX64 HEX64

static void test_known(void **state)
{
	static const char *const good[] = {"sha256:" HEX64, "sha512:" HEX128};

	for (size_t i = 0; i < 2; i++) {
		char text[DIGEST_TEXT_MAX];
		struct hash h;

		assert_int_equal(digest_parse(&h, slice_str(good[i])), 0);
		assert_int_equal(h.algo, i ? HASH_SHA512 : HASH_SHA256);
		assert_int_equal(h.bytes[1], 0x23);
		digest_format(text, &h);
		assert_string_equal(text, good[i]);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		int code;
	} cases[] = {
		{"", E_INVALID},
		{"sha256", E_INVALID},
		{"sha256:", E_INVALID},
		{":" HEX64, E_INVALID},
		{HEX64, E_INVALID},
		{"sha256:" HEX32, E_INVALID},     /* too short */
		{"sha256:" HEX64 "0", E_INVALID}, /* too long */
		{"sha256:" HEX128, E_INVALID},    /* the length of the other */
		{"sha512:" HEX64, E_INVALID},
		{"sha256:" HEX32 "0123456789ABCDEF0123456789abcdef", E_INVALID}, /* upper case */
		{"sha256:" HEX32 "0123456789abcdeg0123456789abcdef", E_INVALID},
		{"sha256:" HEX32 "0123456789abcde/0123456789abcdef", E_INVALID},
		{" sha256:" HEX64, E_INVALID},
		{"sha256:" HEX64 "\n", E_INVALID},
		{"SHA256:" HEX64, E_INVALID}, /* algorithms are in lower case */
		{"sha-:" HEX64, E_INVALID},   /* empty component */
		{"+sha256:" HEX64, E_INVALID},
		{"sha++256:" HEX64, E_INVALID},
		{"sha256::" HEX64, E_INVALID}, /* ":" is no character of the encoded part */
		{"../..:" HEX64, E_INVALID},
		{"sha384:" HEX64 HEX32, E_UNSUPPORTED},
		{"md5:" HEX32, E_UNSUPPORTED},
		{"sha1:0123456789", E_UNSUPPORTED},
		{"multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8", E_UNSUPPORTED},
		{"none:0", E_UNSUPPORTED},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hash h = {.algo = HASH_MD5};
		struct err err = ERR_INIT;
		int r = digest_parse(&h, slice_str(cases[i].text));

		if (r != cases[i].code)
			fail_msg("'%s': %d, expected %d", cases[i].text, r, cases[i].code);
		assert_int_equal(h.algo, HASH_MD5); /* untouched */
		assert_int_equal(digest_parse_err(&h, slice_str(cases[i].text), &err),
				 cases[i].code);
		assert_int_equal(err.code, cases[i].code);
	}
	/* A NUL does not end the text. */
	struct hash h;
	assert_int_equal(digest_parse(&h, slice_make("sha256:" HEX64 "\0", 72)), E_INVALID);
}

static int verify(const char *content, const char *promised, int64_t size, struct buf *out,
		  size_t step)
{
	cleanup_verify_sink struct verify_sink s;
	struct buf_sink to;
	struct err err = ERR_INIT;
	struct hash h;
	size_t len = strlen(content);

	buf_sink_init(&to, out);
	hash_bytes(&h, HASH_SHA256, promised, strlen(promised));
	verify_sink_init(&s, &h, size, &to.sink);
	for (size_t i = 0; i < len; i += step) {
		int r = sink_write(&s.sink, content + i, len - i < step ? len - i : step, &err);

		if (r < 0)
			return r;
	}
	return sink_finish(&s.sink, &err);
}

static void test_verify_sink(void **state)
{
	static const struct {
		const char *content, *promised;
		int64_t size;
		int result;
	} cases[] = {
		{"hello", "hello", 5, 0},
		{"hello", "hello", DIGEST_SIZE_UNKNOWN, 0},
		{"", "", 0, 0},
		{"hello", "hello", 4, E_MISMATCH},
		{"hello", "hello", 6, E_MISMATCH},
		{"hello", "hallo", 5, E_MISMATCH},
		{"hello", "hallo", DIGEST_SIZE_UNKNOWN, E_MISMATCH},
		{"x", "", 0, E_MISMATCH},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t step = 1; step < 7; step += 2) {
			cleanup_buf struct buf out = {0};

			assert_int_equal(verify(cases[i].content, cases[i].promised, cases[i].size,
						&out, step),
					 cases[i].result);
			if (cases[i].size >= 0)
				assert_true(out.len <= (size_t)cases[i].size);
			if (cases[i].result == 0)
				assert_int_equal(out.len, strlen(cases[i].content));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_verify_sink),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
