/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/libcrypto.h"

/* Registered before the library is loaded, so called after what it registered. */
static void at_the_end(void)
{
	EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);

	_exit(md ? 0 : 1);
}

/* Threads that still run when the process ends may be in it. */
static void test_lives_to_the_end(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	assert_true(child >= 0);
	if (!child) {
		atexit(at_the_end);
		libcrypto_need();
		EVP_MD_free(EVP_MD_fetch(NULL, "SHA256", NULL));
		exit(2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lives_to_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
