/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nacre/buf.h>

#include "base/sinks.h"

static void test_limit(void **state)
{
	struct buf b = BUF_INIT(10);
	struct buf_sink sink;
	struct err err = ERR_INIT;

	assert_int_equal(buf_add(&b, "12345", 5), 0);
	assert_int_equal(buf_addf(&b, "%d", 678), 0);
	assert_int_equal(buf_add(&b, "901", 3), E_LIMIT);
	assert_int_equal(buf_addf(&b, "%d", 901), E_LIMIT);
	assert_string_equal((char *)b.data, "12345678"); /* as it was */
	assert_int_equal(buf_add(&b, "90", 2), 0);
	buf_sink_init(&sink, &b);
	assert_int_equal(sink_write(&sink.sink, "x", 1, &err), E_LIMIT);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), E_LIMIT);
	assert_int_equal(b.len, 10);
	buf_release(&b);
}

static void test_grows_from_zero(void **state)
{
	struct buf b = {0};
	char *text;

	for (int i = 0; i < 10000; i++)
		assert_int_equal(buf_addf(&b, "%d,", i), 0);
	assert_memory_equal(b.data + b.len - 5, "9999,", 6); /* with its NUL */
	text = buf_take_str(&b);
	assert_null(b.data);
	assert_int_equal(strlen(text), 48890);
	free(text);
	text = buf_take_str(&b);
	assert_string_equal(text, "");
	free(text);
}

static void test_strv(void **state)
{
	struct strv v = {0}, copy;

	strv_sort_unique(&v);
	strv_add(&v, "b");
	strv_add_slice(&v, slice_make("abc", 1));
	strv_addf(&v, "%c", 'b');
	strv_sort_unique(&v);
	assert_int_equal(v.len, 2);
	assert_string_equal(v.items[0], "a");
	assert_string_equal(v.items[1], "b");
	assert_null(v.items[2]);
	strv_copy(&copy, &v);
	strv_release(&v);
	assert_true(strv_contains(&copy, "b"));
	assert_false(strv_contains(&copy, "c"));
	strv_release(&copy);
}

static void test_tee_and_limit(void **state)
{
	struct buf one = {0}, two = {0};
	struct buf_sink s1, s2;
	struct limit_sink limit;
	struct tee_sink tee;
	struct err err = ERR_INIT;

	buf_sink_init(&s1, &one);
	buf_sink_init(&s2, &two);
	limit_sink_init(&limit, &s2.sink, 3, "the NAR");
	tee_sink_init(&tee, &s1.sink, &limit.sink);
	assert_ok(sink_write(&tee.sink, "abc", 3, &err), err);
	assert_int_equal(sink_write(&tee.sink, "d", 1, &err), E_LIMIT);
	assert_string_equal(err.text, "the NAR is larger than 3 bytes");
	assert_string_equal((char *)two.data, "abc");
	assert_string_equal((char *)one.data, "abcd");
	buf_release(&one);
	buf_release(&two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_grows_from_zero),
		cmocka_unit_test(test_strv),
		cmocka_unit_test(test_tee_and_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
