/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nacre/descriptor.h>

static void test_annotations(void **state)
{
	struct annotations a = {0}, b;

	annotations_set(&a, "m", "1");
	annotations_set(&a, "z", "2");
	annotations_set(&a, "a", "3");
	annotations_set(&a, "m", "4");
	assert_int_equal(a.len, 3);
	assert_string_equal(a.items[0].key, "a");
	assert_string_equal(a.items[2].key, "z");
	assert_string_equal(annotations_get(&a, "m"), "4");
	assert_null(annotations_get(&a, ""));
	/* A value may come from the set itself. */
	annotations_set(&a, "m", annotations_get(&a, "m"));
	annotations_copy(&b, &a);
	annotations_release(&a);
	assert_string_equal(annotations_get(&b, "m"), "4");
	annotations_release(&b);
}

/* Many, in no order, and each key twice. */
static void test_many_annotations(void **state)
{
	enum { N = 20011 }; /* a prime: the steps below meet every number */
	struct annotations a = {0};
	char key[32], value[32];

	annotations_sort(&a);
	assert_int_equal(a.len, 0);
	for (int i = 0; i < 2 * N; i++) {
		snprintf(key, sizeof(key), "k%d", (int)((int64_t)i * 7919 % N));
		snprintf(value, sizeof(value), "%d", i);
		annotations_append(&a, key, value);
	}
	annotations_sort(&a);
	assert_int_equal(a.len, N);
	for (size_t i = 1; i < a.len; i++)
		assert_true(strcmp(a.items[i - 1].key, a.items[i].key) < 0);
	for (int i = N; i < 2 * N; i++) {
		snprintf(key, sizeof(key), "k%d", (int)((int64_t)i * 7919 % N));
		snprintf(value, sizeof(value), "%d", i);
		assert_string_equal(annotations_get(&a, key), value);
	}
	annotations_set(&a, "k", "v"); /* and goes on as any */
	assert_string_equal(a.items[0].value, "v");
	annotations_release(&a);
}

static void test_platform_parse(void **state)
{
	static const struct {
		const char *text, *result; /* NULL: refused */
	} cases[] = {
		{"linux/amd64", "linux/amd64"},
		{"amd64", "linux/amd64"},
		{"linux/x86_64", "linux/amd64"},
		{"aarch64", "linux/arm64"},
		{"linux/arm64/v8", "linux/arm64/v8"},
		{"armhf", "linux/arm/v7"},
		{"linux/armhf/v6", "linux/arm/v6"},
		{"windows/amd64", "windows/amd64"},
		{"", NULL},
		{"/", NULL},
		{"linux/", NULL},
		{"/amd64", NULL},
		{"linux//v7", NULL},
		{"linux/arm/v7/x", NULL},
		{"Linux/amd64", NULL},
		{"linux amd64", NULL},
		{"linux/amd64\n", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_platform struct platform p = {0};
		cleanup_buf struct buf text = {0};
		int r = platform_parse(&p, slice_str(cases[i].text));

		if ((r == 0) != (cases[i].result != NULL))
			fail_msg("'%s': %d", cases[i].text, r);
		if (r < 0)
			continue;
		platform_format(&text, &p);
		assert_string_equal((char *)text.data, cases[i].result);
	}
}

static void test_platform_match(void **state)
{
	static const struct {
		const char *wanted, *offered;
		bool matches;
	} cases[] = {
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64", "linux/arm64", false},
		{"linux/amd64", "windows/amd64", false},
		{"linux/amd64", "linux/amd64/v2", false},
		{"linux/amd64/v3", "linux/amd64", true},
		{"linux/amd64/v3", "linux/amd64/v2", true},
		{"linux/arm64", "linux/arm64/v8", true},
		{"linux/arm64/v8", "linux/arm64", true},
		{"linux/arm64", "linux/arm64/v9", false},
		{"linux/arm", "linux/arm/v7", true},
		{"linux/arm/v6", "linux/arm", false},
		{"linux/ppc64le", "linux/ppc64le", true},
		{"linux/ppc64le/power9", "linux/ppc64le", true},
		{"linux/ppc64le", "linux/ppc64le/power9", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_platform struct platform w = {0}, o = {0};

		assert_int_equal(platform_parse(&w, slice_str(cases[i].wanted)), 0);
		assert_int_equal(platform_parse(&o, slice_str(cases[i].offered)), 0);
		if ((platform_match(&w, &o) > 0) != cases[i].matches)
			fail_msg("%s, %s: %d", cases[i].wanted, cases[i].offered,
				 platform_match(&w, &o));
	}
	struct platform empty = {0};
	assert_int_equal(platform_match(&empty, &empty), 0);
}

static void test_host(void **state)
{
	cleanup_platform struct platform p = {0};

	platform_host(&p);
	assert_string_equal(p.os, "linux");
	assert_string_not_equal(p.architecture, "");
	assert_true(platform_match(&p, &p) > 0);
}

static void test_data(void **state)
{
	static const struct {
		const char *data;
		uint64_t size;
		int result;
	} cases[] = {
		{"e30=", 2, 0},           {NULL, 2, E_NOTFOUND},   {"e30", 2, E_INVALID},
		{"e31=", 2, E_INVALID},   {"e30=", 3, E_MISMATCH}, {"e3t9", 2, E_MISMATCH},
		{"e30=\n", 2, E_INVALID}, {"", 2, E_MISMATCH},
	};
	struct hash h;

	hash_bytes(&h, HASH_SHA256, "{}", 2);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct descriptor d = {
			.digest = h, .size = cases[i].size, .data = (char *)cases[i].data};
		cleanup_buf struct buf out = {0};

		buf_add_str(&out, "x");
		if (descriptor_data(&d, &out) != cases[i].result)
			fail_msg("%s", cases[i].data);
		assert_string_equal((char *)out.data, cases[i].result ? "x" : "x{}");
	}
}

static void test_copy(void **state)
{
	struct descriptor a, b;
	cleanup_descriptors struct descriptors list = {0};
	struct hash h;

	hash_bytes(&h, HASH_SHA512, "", 0);
	descriptor_make(&a, "a/b", &h, 0);
	annotations_set(&a.annotations, "k", "v");
	strv_add(&a.urls, "u");
	a.has_platform = true;
	platform_parse(&a.platform, slice_str("linux/arm/v7"));
	descriptor_copy(&b, &a);
	descriptor_release(&a);
	assert_string_equal(b.platform.variant, "v7");
	assert_string_equal(b.urls.items[0], "u");
	assert_string_equal(annotations_get(&b.annotations, "k"), "v");
	descriptors_take(&list, &b);
	assert_null(b.media_type);
	assert_string_equal(list.items[0].media_type, "a/b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_annotations),
		cmocka_unit_test(test_platform_parse),
		cmocka_unit_test(test_platform_match),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_many_annotations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
