/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "serve/http-syntax.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* SPEC rfc-9110 14.2 */
static const struct {
	const char *header;
	uint64_t size;
	enum range_kind kind;
	uint64_t first, last;
} ranges[] = {
	{"bytes=0-0", 10, RANGE_PART, 0, 0},
	{"bytes=0-9", 10, RANGE_PART, 0, 9},
	{"bytes=0-", 10, RANGE_PART, 0, 9},
	{"bytes=9-", 10, RANGE_PART, 9, 9},
	{"bytes=5-100", 10, RANGE_PART, 5, 9},
	{"bytes=-3", 10, RANGE_PART, 7, 9},
	{"bytes=-10", 10, RANGE_PART, 0, 9},
	{"bytes=-11", 10, RANGE_PART, 0, 9},
	{"Bytes=1-2", 10, RANGE_PART, 1, 2},
	{"  bytes= 1-2 ", 10, RANGE_PART, 1, 2},
	{"bytes=0-18446744073709551615", 10, RANGE_PART, 0, 9},
	{"bytes=0-99999999999999999999999", 10, RANGE_PART, 0, 9},
	{"bytes=-99999999999999999999999", 10, RANGE_PART, 0, 9},
	{"bytes=0-18446744073709551615", UINT64_MAX, RANGE_PART, 0, UINT64_MAX - 1},
	/* Cannot be served. */
	{"bytes=10-", 10, RANGE_BAD},
	{"bytes=10-20", 10, RANGE_BAD},
	{"bytes=5-0", 10, RANGE_BAD},
	{"bytes=-0", 10, RANGE_BAD},
	{"bytes=0-", 0, RANGE_BAD},
	{"bytes=-1", 0, RANGE_BAD},
	{"bytes=99999999999999999999999-", 10, RANGE_BAD},
	/* May be ignored. */
	{"", 10, RANGE_WHOLE},
	{"bytes", 10, RANGE_WHOLE},
	{"bytes=", 10, RANGE_WHOLE},
	{"bytes=-", 10, RANGE_WHOLE},
	{"bytes=a-b", 10, RANGE_WHOLE},
	{"bytes=1", 10, RANGE_WHOLE},
	{"bytes=1-2-3", 10, RANGE_WHOLE},
	{"bytes=--2", 10, RANGE_WHOLE},
	{"bytes=-2x", 10, RANGE_WHOLE},
	{"bytes=+1-2", 10, RANGE_WHOLE},
	{"bytes=0-1,3-4", 10, RANGE_WHOLE},
	{"lines=0-1", 10, RANGE_WHOLE},
};

static void test_range(void **state)
{
	for (size_t i = 0; i < LEN(ranges); i++) {
		struct byte_range r = {77, 78};
		enum range_kind kind =
			http_range_parse(&r, slice_str(ranges[i].header), ranges[i].size);

		if (kind != ranges[i].kind)
			fail_msg("%s of %llu: %d", ranges[i].header,
				 (unsigned long long)ranges[i].size, (int)kind);
		assert_int_equal(r.first, kind == RANGE_PART ? ranges[i].first : 77);
		assert_int_equal(r.last, kind == RANGE_PART ? ranges[i].last : 78);
	}
}

/* SPEC dist-1.1 end-5 */
static void test_content_range(void **state)
{
	static const char *const good[] = {
		"0-0",       "5-1023",     " 5-1023 ", "bytes 5-1023/*", "bytes 5-1023/1024",
		"Bytes 0-1", "bytes 0-1/2"};
	static const char *const bad[] = {
		"",
		"-",
		"0",
		"0-",
		"-0",
		"1-0",
		"a-b",
		"0-1-2",
		"0 - 1",
		"bytes=0-1",
		"bytes 0-1/",
		"bytes 0-1/1",
		"0-1/2",
		"bytes */5",
		"+0-1",
		"0-+1",
		"0x0-0x1",
		"0-18446744073709551615",
		"0-99999999999999999999",
	};
	struct byte_range r;

	for (size_t i = 0; i < LEN(good); i++)
		if (http_content_range_parse(&r, slice_str(good[i])) != 0)
			fail_msg("'%s' is refused", good[i]);
	for (size_t i = 0; i < LEN(bad); i++)
		if (http_content_range_parse(&r, slice_str(bad[i])) != E_INVALID)
			fail_msg("'%s' is taken", bad[i]);
	assert_int_equal(http_content_range_parse(&r, slice_str("5-1023")), 0);
	assert_int_equal(r.first, 5);
	assert_int_equal(r.last, 1023);
}

/* SPEC rfc-9110 12.5.3 */
static void test_accept_encoding(void **state)
{
	static const struct {
		const char *header, *coding;
		unsigned q;
	} cases[] = {
		{"zstd", "zstd", 1000},
		{"ZSTD", "zstd", 1000},
		{"gzip, zstd", "zstd", 1000},
		{"gzip;q=0.5 , zstd ; q=0.25", "zstd", 250},
		{"zstd, br, gzip, deflate, bzip2, xz", "gzip", 1000},
		{"*", "zstd", 1000},
		{"*;q=0.1, zstd;q=0", "zstd", 0},
		{"zstd;q=0, *", "zstd", 0},
		{"zstd;q=1.000", "zstd", 1000},
		{"zstd;q=0.001", "zstd", 1},
		{"zstd;q=0.", "zstd", 0},
		{"", "zstd", 0},
		{"gzip", "zstd", 0},
		{"zstdx", "zstd", 0},
		{"zstd;q=1.1", "zstd", 0},
		{"zstd;q=2", "zstd", 0},
		{"zstd;q=0.0001", "zstd", 0},
		{"zstd;q=x", "zstd", 0},
		{"zstd;q=", "zstd", 0},
		{",,;,", "zstd", 0},
	};

	for (size_t i = 0; i < LEN(cases); i++) {
		unsigned q = http_accept_encoding(slice_str(cases[i].header), cases[i].coding);

		if (q != cases[i].q)
			fail_msg("'%s': %u", cases[i].header, q);
	}
	assert_int_equal(http_accept_encoding(slice_make(NULL, 0), "zstd"), 0);
}

static void test_etag(void **state)
{
	assert_true(http_etag_listed(slice_str("\"a\""), "\"a\""));
	assert_true(http_etag_listed(slice_str("W/\"a\""), "\"a\""));
	assert_true(http_etag_listed(slice_str("\"b\", \"a\""), "\"a\""));
	assert_true(http_etag_listed(slice_str("*"), "\"a\""));
	assert_false(http_etag_listed(slice_str("\"b\""), "\"a\""));
	assert_false(http_etag_listed(slice_str("a"), "\"a\""));
	assert_false(http_etag_listed(slice_str(""), "\"a\""));
	assert_false(http_etag_listed(slice_make(NULL, 0), "\"a\""));
}

static void test_media_type(void **state)
{
	assert_true(slice_equal_str(http_media_type(slice_str("a/b")), "a/b"));
	assert_true(slice_equal_str(http_media_type(slice_str(" a/b ; charset=utf-8")), "a/b"));
	assert_true(slice_equal_str(http_media_type(slice_str("")), ""));
	assert_int_equal(http_media_type(slice_make(NULL, 0)).len, 0);
}

static void test_uri_decode(void **state)
{
	static const char *const bad[] = {"%", "%2", "%zz", "a%0", "%00", "a%00b", "%-1", "%%41"};
	char text[32];

	assert_int_equal(uri_decode(text, sizeof(text), slice_str("a%3Fb%3D+%21%c3%a4")), 8);
	assert_string_equal(text, "a?b=+!\xc3\xa4");
	for (size_t i = 0; i < LEN(bad); i++)
		if (uri_decode(text, sizeof(text), slice_str(bad[i])) != E_INVALID)
			fail_msg("'%s' is taken", bad[i]);
	assert_int_equal(uri_decode(text, sizeof(text), slice_make("a\0b", 3)), E_INVALID);
	assert_int_equal(uri_decode(text, 4, slice_str("abc")), 3);
	assert_int_equal(uri_decode(text, 4, slice_str("abcd")), E_LIMIT);
	assert_int_equal(uri_decode(text, 1, slice_str("")), 0);
	assert_int_equal(uri_decode(text, 0, slice_str("")), E_LIMIT);
}

static void test_query(void **state)
{
	struct slice q = slice_str("n=5&tag=a&last=x%2By+z&tag=b&empty=&flag&tag=c");
	char v[8];

	assert_int_equal(query_get(v, sizeof(v), q, "n", 0), 1);
	assert_string_equal(v, "5");
	assert_int_equal(query_get(v, sizeof(v), q, "last", 0), 1);
	assert_string_equal(v, "x+y+z");
	assert_int_equal(query_get(v, sizeof(v), q, "tag", 1), 1);
	assert_string_equal(v, "b");
	assert_int_equal(query_get(v, sizeof(v), q, "tag", 2), 1);
	assert_string_equal(v, "c");
	assert_int_equal(query_get(v, sizeof(v), q, "tag", 3), 0);
	assert_int_equal(query_get(v, sizeof(v), q, "empty", 0), 1);
	assert_string_equal(v, "");
	assert_int_equal(query_get(v, sizeof(v), q, "flag", 0), 1);
	assert_string_equal(v, "");
	assert_int_equal(query_get(v, sizeof(v), q, "fla", 0), 0);
	assert_int_equal(query_get(v, sizeof(v), slice_str(""), "n", 0), 0);
	assert_int_equal(query_get(v, sizeof(v), slice_make(NULL, 0), "n", 0), 0);
	assert_int_equal(query_get(v, sizeof(v), slice_str("n=%zz"), "n", 0), E_INVALID);
	assert_int_equal(query_get(v, sizeof(v), slice_str("n=12345678"), "n", 0), E_LIMIT);
}

static void test_uri_encode(void **state)
{
	char text[16] = "x/";

	assert_int_equal(uri_encode(text, sizeof(text), slice_str("a-_.~+%")), 0);
	assert_string_equal(text, "x/a-_.~%2B%25");
	assert_int_equal(uri_encode(text, sizeof(text), slice_str("ab")), 0);
	assert_int_equal(uri_encode(text, sizeof(text), slice_str("c")), E_LIMIT);
	assert_string_equal(text, "x/a-_.~%2B%25ab");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_range),           cmocka_unit_test(test_content_range),
		cmocka_unit_test(test_accept_encoding), cmocka_unit_test(test_etag),
		cmocka_unit_test(test_media_type),      cmocka_unit_test(test_uri_decode),
		cmocka_unit_test(test_query),           cmocka_unit_test(test_uri_encode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
