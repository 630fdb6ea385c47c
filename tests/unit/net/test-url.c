/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/url.h"

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		bool https;
		const char *user, *password, *host;
		uint16_t port;
		const char *clean;
	} cases[] = {
		{"http://example.org", false, NULL, NULL, "example.org", 80, "http://example.org/"},
		{"https://Example.ORG/a?b=c#d", true, NULL, NULL, "example.org", 443,
		 "https://Example.ORG/a?b=c"},
		{"http://u:p%40q@h:81/x", false, "u", "p@q", "h", 81, "http://h:81/x"},
		{"http://u@h/", false, "u", NULL, "h", 80, "http://h/"},
		{"http://[::1]:5000/v2/", false, NULL, NULL, "[::1]", 5000,
		 "http://[::1]:5000/v2/"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_url struct url u = {0};

		assert_int_equal(url_parse(&u, slice_str(cases[i].text)), 0);
		assert_int_equal(u.https, cases[i].https);
		assert_string_equal(u.host, cases[i].host);
		assert_int_equal(u.port, cases[i].port);
		assert_string_equal(u.text, cases[i].clean);
		assert_int_equal(!u.user, !cases[i].user);
		assert_int_equal(!u.password, !cases[i].password);
		if (u.user)
			assert_string_equal(u.user, cases[i].user);
		if (u.password)
			assert_string_equal(u.password, cases[i].password);
	}
}

static void test_parse_refuses(void **state)
{
	static const char *const cases[] = {
		"",
		"example.org",
		"/a",
		"ftp://h/",
		"file:///etc/passwd",
		"http://",
		"http://h:0/",
		"http://h:99999/",
		"http://h/\n",
		"http://h/\x01",
		"http://h\x7f/",
		"javascript:x",
		"http://a b/",
	};
	cleanup_url struct url u = {0};
	cleanup_buf struct buf big = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (url_parse(&u, slice_str(cases[i])) != E_INVALID)
			fail_msg("accepted %s", cases[i]);
	}
	assert_int_equal(url_parse(&u, slice_make("http://h/\0x", 11)), E_INVALID);
	assert_int_equal(buf_add_str(&big, "http://h/"), 0);
	for (int i = 0; i < URL_MAX; i++)
		assert_int_equal(buf_add(&big, "x", 1), 0);
	assert_int_equal(url_parse(&u, buf_slice(&big)), E_INVALID);
	assert_null(u.text);
}

static void test_resolve(void **state)
{
	static const struct {
		const char *base, *ref, *want;
	} cases[] = {
		{"http://h/p/", "nar/x", "http://h/p/nar/x"},
		{"http://h/p", "nar/x", "http://h/nar/x"},
		{"http://h/p/", "/nar/x?y=1", "http://h/nar/x?y=1"},
		{"http://h/p/", "//o/z", "http://o/z"},
		{"http://h/p/", "https://o:44/z#f", "https://o:44/z"},
		{"http://h/a/b/c?d=e", "?x", "http://h/a/b/c?x"},
		{"http://h/a/b/c", "../../../d", "http://h/d"},
		{"http://h/a/b/c", "./d/../e", "http://h/a/b/e"},
		{"http://h/a/b?c=d", "", "http://h/a/b?c=d"},
		{"http://h/a/b?c=d", "#x", "http://h/a/b?c=d"},
		{"http://h/a?q=a/b/c/", "x", "http://h/x"},
		{"http://u:p@h/a", "b", "http://h/b"},
		{"http://h/a/", "http://u:p@h2/x", "http://h2/x"},
		{"http://[::1]:80/a/", "../b", "http://[::1]:80/b"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_free char *got = NULL;

		assert_int_equal(url_resolve(&got, cases[i].base, slice_str(cases[i].ref)), 0);
		assert_string_equal(got, cases[i].want);
	}
}

static void test_resolve_refuses(void **state)
{
	static const char *const cases[] = {"file:///etc/passwd", "ftp://h/",   "x:y", "a\nb",
					    "http://h:x/",        "gopher://h/"};
	char *got = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(url_resolve(&got, "http://h/", slice_str(cases[i])), E_INVALID);
	assert_int_equal(url_resolve(&got, "nonsense", slice_str("x")), E_INVALID);
	assert_null(got);
}

static void test_origin(void **state)
{
	(void)state;
	assert_true(url_same_origin("http://h/a", "http://H:80/b?c"));
	assert_true(url_same_origin("https://h/a", "https://h:443/"));
	assert_false(url_same_origin("http://h/", "https://h/"));
	assert_false(url_same_origin("http://h/", "http://h:81/"));
	assert_false(url_same_origin("http://h/", "http://i/"));
	assert_false(url_same_origin("http://h/", "http://h.i/"));
	assert_false(url_same_origin("http://h/", "x"));
	assert_true(url_downgrades("https://h/", "http://h/"));
	assert_false(url_downgrades("http://h/", "https://h/"));
	assert_false(url_downgrades("https://h/", "HTTPS://h/"));
	assert_true(url_host_is_local("localhost"));
	assert_true(url_host_is_local("[::1]"));
	assert_false(url_host_is_local("localhost.example.org"));
	assert_false(url_host_is_local("127.0.0.1.example.org"));
}

static void test_display_and_encode(void **state)
{
	cleanup_buf struct buf b = {0};
	char text[32];

	(void)state;
	url_display(text, sizeof(text), "http://h/a?secret=1");
	assert_string_equal(text, "http://h/a?…");
	url_display(text, sizeof(text), "http://h/a");
	assert_string_equal(text, "http://h/a");
	assert_int_equal(url_encode(&b, slice_str("aZ9-._~/: ?%+\xff"), "/"), 0);
	assert_string_equal((char *)b.data, "aZ9-._~/%3A%20%3F%25%2B%FF");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),   cmocka_unit_test(test_parse_refuses),
		cmocka_unit_test(test_resolve), cmocka_unit_test(test_resolve_refuses),
		cmocka_unit_test(test_origin),  cmocka_unit_test(test_display_and_encode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
