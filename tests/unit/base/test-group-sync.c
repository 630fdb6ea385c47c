/* SPDX-License-Identifier: Apache-2.0 */
/* With a syncfs() that takes its time, and fails when it is told to. */
#include "../unit.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "base/group-sync.h"
#include "base/mem.h"

enum { THREADS = 8, CALLS = 50, NOT_SYNCED = 12345 /* a descriptor */ };

static atomic_uint begun, ended, at_once;
static atomic_int result;

int __wrap_syncfs(int fd);
int __wrap_syncfs(int fd)
{
	int r = result;

	assert_int_equal(fd, NOT_SYNCED);
	assert_int_equal(atomic_fetch_add(&at_once, 1), 0);
	atomic_fetch_add(&begun, 1);
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	atomic_fetch_add(&ended, 1);
	atomic_fetch_sub(&at_once, 1);
	errno = r;
	return r ? -1 : 0;
}

/* Each call waits for a sync that began after it. */
static void *caller(void *arg)
{
	uintptr_t bad = 0;

	for (int i = 0; i < CALLS; i++) {
		unsigned before = begun;

		bad += group_sync(arg, NOT_SYNCED) != 0;
		bad += ended <= before;
	}
	return (void *)bad;
}

static void test_shared(void **state)
{
	struct group_sync g;
	pthread_t threads[THREADS];

	group_sync_init(&g);
	begun = ended = 0;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, caller, &g), 0);
	for (int i = 0; i < THREADS; i++) {
		void *bad;

		pthread_join(threads[i], &bad);
		assert_null(bad);
	}
	assert_in_range(begun, CALLS, THREADS * CALLS / 2);
	group_sync_release(&g);
}

static void test_failure(void **state)
{
	static const int results[] = {0, EIO, 0, ENOSPC, EIO, 0};
	struct group_sync g;

	group_sync_init(&g);
	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		result = results[i];
		assert_int_equal(group_sync(&g, NOT_SYNCED), results[i] ? -1 : 0);
		if (results[i])
			assert_int_equal(errno, results[i]);
	}
	result = 0;
	group_sync_release(&g);
}

static void *sync_once(void *arg)
{
	group_sync(arg, NOT_SYNCED);
	return NULL;
}

/* What wants no sync of its own. */
static void test_number(void **state)
{
	struct group_sync g;
	pthread_t thread;
	uint64_t first, during, next;

	group_sync_init(&g);
	result = 0;
	first = group_sync_next(&g);
	assert_false(group_sync_is_past(&g, first));
	begun = 0;
	assert_int_equal(pthread_create(&thread, NULL, sync_once, &g), 0);
	while (!begun)
		sched_yield();
	/* One that has begun does not count, whether or not it has ended by now. */
	during = group_sync_next(&g);
	pthread_join(thread, NULL);
	assert_true(group_sync_is_past(&g, first));
	assert_false(group_sync_is_past(&g, during));
	assert_int_equal(group_sync(&g, NOT_SYNCED), 0);
	assert_true(group_sync_is_past(&g, during));
	/* Nor does one that failed. */
	next = group_sync_next(&g);
	result = EIO;
	assert_int_equal(group_sync(&g, NOT_SYNCED), -1);
	assert_false(group_sync_is_past(&g, next));
	result = 0;
	assert_int_equal(group_sync(&g, NOT_SYNCED), 0);
	assert_false(group_sync_is_past(&g, next));
	assert_true(group_sync_is_past(&g, group_sync_next(&g) - 1));
	group_sync_release(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_number),
		cmocka_unit_test(test_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
