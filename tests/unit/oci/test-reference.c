/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nacre/reference.h>

#define HEX  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define A16  "aaaaaaaaaaaaaaaa"
#define A64  A16 A16 A16 A16
#define A128 A64 A64

struct good {
	const char *text, *domain, *repository, *tag, *digest;
};

/* The rules of the reference implementation's own test table, and their borders. */
static const struct good parse_good[] = {
	{"test_com", "", "test_com", "", ""},
	{"test.com:tag", "", "test.com", "tag", ""},
	{"test.com:5000", "", "test.com", "5000", ""},
	{"test.com/repo:tag", "test.com", "repo", "tag", ""},
	{"test:5000/repo", "test:5000", "repo", "", ""},
	{"test:5000/repo:tag", "test:5000", "repo", "tag", ""},
	{"test:5000/repo@sha256:" HEX, "test:5000", "repo", "", "sha256:" HEX},
	{"test:5000/repo:tag@sha256:" HEX, "test:5000", "repo", "tag", "sha256:" HEX},
	{"repo@sha512:" HEX HEX, "", "repo", "", "sha512:" HEX HEX},
	{"lowercase:Uppercase", "", "lowercase", "Uppercase", ""},
	{"a/b", "a", "b", "", ""},
	{"a_b/c", "", "a_b/c", "", ""},
	{"a/a/a/a", "a", "a/a/a", "", ""},
	{"aa/aa/bb/bb", "aa", "aa/bb/bb", "", ""},
	{"sub-dom1.foo.com/bar/baz/quux", "sub-dom1.foo.com", "bar/baz/quux", "", ""},
	{"sub-dom1.foo.com/bar/baz/quux:some-long-tag", "sub-dom1.foo.com", "bar/baz/quux",
	 "some-long-tag", ""},
	{"b.gcr.io/test.example.com/my-app:test.example.com", "b.gcr.io", "test.example.com/my-app",
	 "test.example.com", ""},
	{"xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com", "myimage", "xn--n3h.com", ""},
	{"foo_bar.com:8080", "", "foo_bar.com", "8080", ""},
	{"foo/foo_bar.com:8080", "foo", "foo_bar.com", "8080", ""},
	{"Foo/bar", "Foo", "bar", "", ""},
	{"192.168.1.1", "", "192.168.1.1", "", ""},
	{"192.168.1.1:5000/repo", "192.168.1.1:5000", "repo", "", ""},
	{"[2001:db8::1]/repo", "[2001:db8::1]", "repo", "", ""},
	{"[2001:db8::1]:5000/repo:tag", "[2001:db8::1]:5000", "repo", "tag", ""},
	{"[::]:5000/repo", "[::]:5000", "repo", "", ""},
	{"a__b", "", "a__b", "", ""},
	{"a---b", "", "a---b", "", ""},
	{"a.b_c-d", "", "a.b_c-d", "", ""},
	{"x:_", "", "x", "_", ""},
	{"x:" A128, "", "x", A128, ""},
	{A128 A64 A16 A16 A16 "aaaaaaaaaaaaaaa", "", A128 A64 A16 A16 A16 "aaaaaaaaaaaaaaa", "",
	 ""},
};

static void check(const struct good *c, int r, const struct reference *ref)
{
	if (r < 0)
		fail_msg("'%s': %d", c->text, r);
	assert_string_equal(ref->domain, c->domain);
	assert_string_equal(ref->repository, c->repository);
	assert_string_equal(ref->tag, c->tag);
	assert_string_equal(ref->digest, c->digest);
}

static void test_parse(void **state)
{
	for (size_t i = 0; i < sizeof(parse_good) / sizeof(parse_good[0]); i++) {
		struct reference ref;
		char text[REFERENCE_TEXT_MAX];

		check(&parse_good[i], reference_parse(&ref, slice_str(parse_good[i].text)), &ref);
		reference_format(text, &ref);
		assert_string_equal(text, parse_good[i].text);
	}
}

static const struct {
	const char *text;
	int code;
} parse_bad[] = {
	{"", E_INVALID},
	{":justtag", E_INVALID},
	{"@sha256:" HEX, E_INVALID},
	{"repo@sha256:" A16 A16 "ff", E_INVALID},
	{"validname@invaliddigest:" HEX, E_UNSUPPORTED},
	{"repo@sha384:" HEX "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", E_UNSUPPORTED},
	{"Uppercase:tag", E_INVALID},
	{"test:5000/Uppercase/lowercase:tag", E_INVALID},
	{"a//b", E_INVALID},
	{"/a", E_INVALID},
	{"a/", E_INVALID},
	{"a:", E_INVALID},
	{"a@", E_INVALID},
	{"aa/asdf$$^/aa", E_INVALID},
	{"-a", E_INVALID},
	{"a-", E_INVALID},
	{"a..b", E_INVALID},
	{"a.-b", E_INVALID},
	{"a___b", E_INVALID},
	{"a_.b", E_INVALID},
	{".", E_INVALID},
	{"..", E_INVALID},
	{"a/../b", E_INVALID},
	{"a b", E_INVALID},
	{"a\n", E_INVALID},
	{"a:.tag", E_INVALID},
	{"a:-tag", E_INVALID},
	{"a:t/ag", E_INVALID},
	{"a:t:ag", E_INVALID},
	{"a:t\xc3\xa4g", E_INVALID},
	{"x:" A128 "a", E_LIMIT},
	{A128 A128, E_LIMIT},
	{"-foo.com/bar", E_INVALID},
	{"foo-.com/bar", E_INVALID},
	{"foo..com/bar", E_INVALID},
	{"foo.com:/bar", E_INVALID},
	{"foo.com:80a/bar", E_INVALID},
	{"[2001:db8::1]", E_INVALID},
	{"[2001:db8::1]:5000", E_INVALID},
	{"[fe80::1%eth0]:5000/repo", E_INVALID},
	{"[]/repo", E_INVALID},
	{"[::1/repo", E_INVALID},
	{"[fe80::1%@invalidzone]:5000/repo", E_INVALID},
};

static void test_parse_bad(void **state)
{
	for (size_t i = 0; i < sizeof(parse_bad) / sizeof(parse_bad[0]); i++) {
		struct reference ref = {.tag = "untouched"};
		int r = reference_parse(&ref, slice_str(parse_bad[i].text));

		if (r != parse_bad[i].code)
			fail_msg("'%s': %d, expected %d", parse_bad[i].text, r, parse_bad[i].code);
		assert_string_equal(ref.tag, "untouched");
	}
	/* NUL bytes. */
	struct reference ref;
	assert_int_equal(reference_parse(&ref, slice_make("a\0b", 3)), E_INVALID);
	assert_int_equal(reference_parse(&ref, slice_make("a:b\0", 4)), E_INVALID);
	assert_int_equal(reference_parse_normalized(&ref, slice_make("a\0b", 3)), E_INVALID);
	assert_int_equal(reference_parse_normalized(&ref, slice_make("a\0", 2)), E_INVALID);
}

static void test_normalized(void **state)
{
	static const struct good good[] = {
		{"busybox", "docker.io", "library/busybox", "", ""},
		{"busybox:1.36", "docker.io", "library/busybox", "1.36", ""},
		{"dmcgowan/myapp", "docker.io", "dmcgowan/myapp", "", ""},
		{"docker.io/busybox", "docker.io", "library/busybox", "", ""},
		{"index.docker.io/busybox", "docker.io", "library/busybox", "", ""},
		{"index.docker.io/library/busybox", "docker.io", "library/busybox", "", ""},
		{"docker.io/private/moonbase", "docker.io", "private/moonbase", "", ""},
		{"localhost/x", "localhost", "x", "", ""},
		{"localhost:5000/x:t", "localhost:5000", "x", "t", ""},
		{"localhost:5000", "docker.io", "library/localhost", "5000", ""},
		{"127.0.0.1:5000/a/b", "127.0.0.1:5000", "a/b", "", ""},
		{"[::1]:5000/a", "[::1]:5000", "a", "", ""},
		{"Foo/bar", "Foo", "bar", "", ""},
		{"xn--7o8h.com/myimage", "xn--7o8h.com", "myimage", "", ""},
		{"busybox@sha256:" HEX, "docker.io", "library/busybox", "", "sha256:" HEX},
	};
	static const char *const bad[] = {
		"docker///docker",
		"docker.io/",
		"docker.io/docker/Docker:tag",
		"Docker",
		"",
		HEX,
		"foo.com:x/y",
		"https://github.com/docker/docker",
	};
	struct reference ref;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check(&good[i], reference_parse_normalized(&ref, slice_str(good[i].text)), &ref);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(reference_parse_err(&ref, slice_str(bad[i]), &err), E_INVALID);
	/* "library/" counts. */
	assert_int_equal(
		reference_parse_normalized(&ref, slice_str(A128 A64 A16 A16 A16 "aaaaaaaaaaaaaaa")),
		E_LIMIT);
}

static void test_default_tag(void **state)
{
	struct reference ref;

	reference_parse_normalized(&ref, slice_str("a"));
	reference_default_tag(&ref);
	assert_string_equal(ref.tag, "latest");
	reference_parse_normalized(&ref, slice_str("a:b"));
	reference_default_tag(&ref);
	assert_string_equal(ref.tag, "b");
	reference_parse_normalized(&ref, slice_str("a@sha256:" HEX));
	reference_default_tag(&ref);
	assert_string_equal(ref.tag, "");
}

static void test_referrers_tag(void **state)
{
	char tag[TAG_MAX + 1];
	struct hash h;

	digest_parse(&h, slice_str("sha256:" HEX));
	referrers_tag(tag, &h);
	assert_string_equal(tag, "sha256-" HEX);
	digest_parse(&h, slice_str("sha512:" HEX HEX));
	referrers_tag(tag, &h);
	assert_string_equal(tag, "sha512-" HEX);
	assert_int_equal(tag_check(slice_str(tag)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),         cmocka_unit_test(test_parse_bad),
		cmocka_unit_test(test_normalized),    cmocka_unit_test(test_default_tag),
		cmocka_unit_test(test_referrers_tag),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
