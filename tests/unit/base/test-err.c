/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>

static void test_set_and_wrap(void **state)
{
	struct err err = ERR_INIT;

	assert_int_equal(err_set(&err, E_INVALID, "offset %d", 7), E_INVALID);
	assert_string_equal(err.text, "offset 7");
	assert_int_equal(err_wrap(&err, "read %s", "x.nar"), E_INVALID);
	assert_string_equal(err.text, "read x.nar: offset 7");
}

static void test_errno_codes(void **state)
{
	static const struct {
		int sys_errno, code;
	} cases[] = {{ENOENT, E_NOTFOUND}, {EEXIST, E_EXISTS}, {EACCES, E_DENIED},
		     {EPERM, E_DENIED},    {ENOMEM, E_NOMEM},  {ENOSPC, E_IO}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = ERR_INIT;

		errno = cases[i].sys_errno;
		assert_int_equal(err_errno(&err, "open x"), cases[i].code);
		assert_int_equal(err.sys_errno, cases[i].sys_errno);
		assert_memory_equal(err.text, "open x: ", 8);
	}
}

/* A hostile name must not steer the terminal, but a foreign one stays readable. */
static void test_escapes(void **state)
{
	struct err err = ERR_INIT;

	err_set(&err, E_INVALID, "name %s", "a\033[2J\nb\x7f ü");
	assert_string_equal(err.text, "name a\\x1b[2J\\x0ab\\x7f ü");
	err_wrap(&err, "x\ty");
	assert_string_equal(err.text, "x\\x09y: name a\\x1b[2J\\x0ab\\x7f ü");
}

static void test_long_texts_are_cut(void **state)
{
	struct err err = ERR_INIT;
	char big[3 * ERR_TEXT_MAX];

	memset(big, '\n', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&err, E_INVALID, "%s", big);
	assert_true(strlen(err.text) < ERR_TEXT_MAX);
	for (int i = 0; i < 10; i++)
		err_wrap(&err, "%s", big);
	assert_true(strlen(err.text) < ERR_TEXT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_and_wrap),
		cmocka_unit_test(test_errno_codes),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_long_texts_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
