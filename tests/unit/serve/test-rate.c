/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "serve/rate.h"

enum { SECOND = 1000000, RATE = 10, BURST = 20, NOW = 5 * SECOND };

static unsigned take_all(struct rate_table *t, uint64_t client, int64_t now_us)
{
	unsigned wait_ms, n = 0;

	while (n <= BURST && rate_take(t, client, RATE, BURST, now_us, &wait_ms))
		n++;
	return n;
}

static void test_bucket(void **state)
{
	struct rate_table *t = rate_table_new();
	unsigned wait_ms = 0;

	(void)state;
	assert_int_equal(take_all(t, 7, NOW), BURST);
	assert_false(rate_take(t, 7, RATE, BURST, NOW, &wait_ms));
	assert_in_range(wait_ms, 100, 101);
	assert_int_equal(take_all(t, 7, NOW + SECOND / 2), RATE / 2);
	assert_int_equal(take_all(t, 7, NOW + 60 * SECOND), BURST);
	rate_table_free(t);
}

/* Threads look at the clock before they have the lock: one that comes late brings no new tokens. */
static void test_earlier(void **state)
{
	struct rate_table *t = rate_table_new();

	(void)state;
	assert_int_equal(take_all(t, 7, NOW), BURST);
	for (int i = 1; i < 100; i++)
		assert_int_equal(take_all(t, 7, NOW - i), 0);
	assert_int_equal(take_all(t, 7, NOW + SECOND / 10), 1);
	rate_table_free(t);
}

/* Of many more clients than slots, those that ask all the time are not forgotten for those that ask once. */
static void test_many(void **state)
{
	struct rate_table *t = rate_table_new();
	unsigned taken = 0;

	(void)state;
	assert_int_equal(take_all(t, 1, NOW), BURST);
	for (uint64_t client = 2; client < 20000; client++) {
		unsigned wait_ms;

		assert_true(rate_take(t, client, RATE, BURST, NOW, &wait_ms));
		taken += rate_take(t, 1, RATE, BURST, NOW, &wait_ms);
	}
	assert_int_equal(taken, 0);
	rate_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_earlier),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
