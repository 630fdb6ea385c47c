/* SPDX-License-Identifier: Apache-2.0 */
/* Nobody who is waited for is overlooked, and the time is kept. */
#include "../unit.h"

#include <time.h>

#include "base/cond.h"

enum { TAKERS = 6, GIVERS = 3, ROUNDS = 20000 };

/* Tokens that some give and others take: who gives waits until its token is taken, so that one wake-up lost is the
 * end of it. */
struct exchange {
	pthread_mutex_t lock;
	struct cond given, taken;
	unsigned tokens, n_given, n_taken;
	bool over;
};

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void *take(void *arg)
{
	struct exchange *x = arg;

	pthread_mutex_lock(&x->lock);
	for (;;) {
		while (!x->tokens && !x->over)
			cond_wait(&x->given, &x->lock);
		if (!x->tokens)
			break;
		x->tokens--;
		x->n_taken++;
		cond_wake_all(&x->taken);
	}
	pthread_mutex_unlock(&x->lock);
	return NULL;
}

static void *give(void *arg)
{
	struct exchange *x = arg;
	uintptr_t lost = 0;

	for (unsigned i = 0; i < ROUNDS && !lost; i++) {
		int64_t until = now_us() + 60000000;
		unsigned mine;

		pthread_mutex_lock(&x->lock);
		x->tokens++;
		mine = ++x->n_given;
		pthread_mutex_unlock(&x->lock);
		cond_wake_one(&x->given);
		pthread_mutex_lock(&x->lock);
		while (x->n_taken < mine && !lost)
			lost = !cond_wait_until(&x->taken, &x->lock, until);
		pthread_mutex_unlock(&x->lock);
	}
	return (void *)lost;
}

static void exchange(unsigned n_takers, unsigned n_givers)
{
	struct exchange x = {.lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t takers[TAKERS], givers[GIVERS];

	for (unsigned i = 0; i < n_takers; i++)
		assert_int_equal(pthread_create(&takers[i], NULL, take, &x), 0);
	for (unsigned i = 0; i < n_givers; i++)
		assert_int_equal(pthread_create(&givers[i], NULL, give, &x), 0);
	for (unsigned i = 0; i < n_givers; i++) {
		void *lost;

		pthread_join(givers[i], &lost);
		assert_null(lost);
	}
	pthread_mutex_lock(&x.lock);
	x.over = true;
	pthread_mutex_unlock(&x.lock);
	cond_wake_all(&x.given);
	for (unsigned i = 0; i < n_takers; i++)
		pthread_join(takers[i], NULL);
	assert_int_equal(x.n_taken, n_givers * ROUNDS);
	assert_int_equal(atomic_load(&x.given.waiters), 0);
}

/* With more than one of a kind, the next wake-up hides that one was lost. */
static void nothing_is_lost_between_two(void **state)
{
	(void)state;
	exchange(1, 1);
}

static void nothing_is_lost_among_many(void **state)
{
	(void)state;
	exchange(TAKERS, 1);
	exchange(TAKERS, GIVERS);
}

static void the_time_is_kept(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct cond c = {0};
	int64_t begin = now_us();

	(void)state;
	pthread_mutex_lock(&lock);
	while (cond_wait_until(&c, &lock, begin + 20000))
		;
	assert_true(now_us() - begin >= 20000);
	/* What is past does not wait. */
	assert_false(cond_wait_until(&c, &lock, begin));
	/* The lock is held again. */
	assert_int_not_equal(pthread_mutex_trylock(&lock), 0);
	pthread_mutex_unlock(&lock);
	assert_int_equal(atomic_load(&c.waiters), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_between_two),
		cmocka_unit_test(nothing_is_lost_among_many),
		cmocka_unit_test(the_time_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
