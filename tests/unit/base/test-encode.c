/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nacre/encode.h>

/* Produced by `nix hash to-base32 --type …` and `nix-hash --to-base32`. */
static const struct {
	const char *hex, *nix32;
} nix32_cases[] = {
	{"", ""},
	{"1f", "0z"},
	{"0839703786356bca59b0f4a32987eb2e6de43ae8", "x0xf8v9fxf3jk8zln1cwlsrmhqvp0f88"},
	{"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	 "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s"},
	{"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
	 "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	 "2gs8k559z4rlahfx0y688s49m2vvszylcikrfinm30ly9rak69236nkam5ydvly1ai7xac99vxfc4ii84hawjbk87"
	 "6blyk1j"
	 "fhkbbyx"},
};

static void test_nix32_known(void **state)
{
	for (size_t i = 0; i < sizeof(nix32_cases) / sizeof(nix32_cases[0]); i++) {
		uint8_t bytes[64], back[64];
		char text[128], hex[129];
		size_t len = strlen(nix32_cases[i].hex) / 2;

		assert_int_equal(hex_decode(bytes, len, slice_str(nix32_cases[i].hex)), len);
		nix32_encode(text, bytes, len);
		assert_string_equal(text, nix32_cases[i].nix32);
		assert_int_equal(nix32_decode(back, len, slice_str(text)), len);
		hex_encode(hex, back, len);
		assert_string_equal(hex, nix32_cases[i].hex);
	}
}

static void test_nix32_bad(void **state)
{
	static const char *const bad[] = {
		"",                         /* too short */
		"0",                        /* too short */
		"000",                      /* too long */
		"e0",  "o0", "u0",    "t0", /* not in the alphabet */
		"Z0",  " 0", "0\xff", "80", /* spare bits: 8 << 5 = 256 */
		"zz",
	};
	uint8_t byte[1];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(nix32_decode(byte, 1, slice_str(bad[i])), E_INVALID);
	/* A NUL is a character like another, not an end. */
	assert_int_equal(nix32_decode(byte, 1, slice_make("0\0", 2)), E_INVALID);
	assert_int_equal(nix32_decode(byte, 1, slice_str("7z")), 1);
	assert_int_equal(byte[0], 255);
}

static void test_hex_bad(void **state)
{
	static const char *const bad[] = {"", "a", "abc", "AB", "g0", "0g", " 0", "0x"};
	uint8_t byte[1];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(hex_decode(byte, 1, slice_str(bad[i])), E_INVALID);
	assert_int_equal(hex_decode(byte, 1, slice_str("fe")), 1);
	assert_int_equal(byte[0], 0xfe);
}

/* SPEC rfc-4648 10 */
static void test_base64_known(void **state)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[32];
		uint8_t back[32];
		size_t len = strlen(cases[i][0]);

		base64_encode(text, cases[i][0], len);
		assert_string_equal(text, cases[i][1]);
		assert_int_equal(base64_decode(back, sizeof(back), slice_str(text)), len);
		assert_memory_equal(back, cases[i][0], len);
	}
}

static void test_base64_bad(void **state)
{
	static const char *const bad[] = {
		"Zg",                                 /* no padding */
		"Zg=",  "Z===", "====",   "Zg==Zg==", /* padding in the middle */
		"Zh==",                               /* spare bits */
		"Zm9=", "Zm 9", "Zm9v\n", "Zm-v",     "=m9v",
	};
	uint8_t bytes[32];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(base64_decode(bytes, sizeof(bytes), slice_str(bad[i])), E_INVALID);
	/* More than fits. */
	assert_int_equal(base64_decode(bytes, 5, slice_str("Zm9vYmFy")), E_INVALID);
	assert_int_equal(base64_decode(bytes, 6, slice_str("Zm9vYmFy")), 6);
}

static void test_parse_u64(void **state)
{
	static const char *const bad[] = {
		"",
		"-1",
		"+1",
		" 1",
		"1 ",
		"0x1",
		"1.0",
		"18446744073709551616",
		"99999999999999999999",
	};
	uint64_t v = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse_u64(&v, slice_str(bad[i])), E_INVALID);
		assert_int_equal(v, 7); /* untouched */
	}
	assert_int_equal(parse_u64(&v, slice_str("18446744073709551615")), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(parse_u64(&v, slice_str("007")), 0);
	assert_int_equal(v, 7);
}

static void test_nix32_chars(void **state)
{
	for (int c = 0; c < 256; c++)
		assert_int_equal(nix32_is_char((char)c),
				 c && strchr("0123456789abcdfghijklmnpqrsvwxyz", c) != NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nix32_chars),  cmocka_unit_test(test_nix32_known),
		cmocka_unit_test(test_nix32_bad),    cmocka_unit_test(test_hex_bad),
		cmocka_unit_test(test_base64_known), cmocka_unit_test(test_base64_bad),
		cmocka_unit_test(test_parse_u64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
