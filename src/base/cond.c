/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cond.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* False: it is `until`. Nothing is lost: `turn` is read under the lock, so what changes afterwards moves it, and
 * the kernel lets nobody sleep on a number that has moved. Only 2^32 wakings between the two would be
 * overlooked. */
static bool wait_turn(struct cond *c, pthread_mutex_t *lock, const struct timespec *until)
{
	uint32_t turn = atomic_load(&c->turn);
	bool late;

	atomic_fetch_add(&c->waiters, 1);
	pthread_mutex_unlock(lock);
	late = syscall(SYS_futex, &c->turn, FUTEX_WAIT_BITSET_PRIVATE, turn, until, NULL,
		       FUTEX_BITSET_MATCH_ANY) < 0 &&
	       errno == ETIMEDOUT;
	pthread_mutex_lock(lock);
	atomic_fetch_sub(&c->waiters, 1);
	return !late;
}

void cond_wait(struct cond *c, pthread_mutex_t *lock)
{
	wait_turn(c, lock, NULL);
}

bool cond_wait_until(struct cond *c, pthread_mutex_t *lock, int64_t until_us)
{
	const struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

	return wait_turn(c, lock, &until);
}

/* Who waits without being counted yet has not let go of the lock, and so sees what changed before. */
static void wake(struct cond *c, int n)
{
	if (!atomic_load(&c->waiters))
		return;
	atomic_fetch_add(&c->turn, 1);
	syscall(SYS_futex, &c->turn, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

void cond_wake_one(struct cond *c)
{
	wake(c, 1);
}

void cond_wake_all(struct cond *c)
{
	wake(c, INT_MAX);
}
