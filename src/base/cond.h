/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Condition variables that lose no wake-up. Those of glibc from 2.25 to 2.40 do (its bug 25847): a waiter
 * that takes a signal meant for an older one, and is slow, can leave the next with nobody to hear it. Debian 12
 * has 2.36; a server that runs for months under load would stand still once.
 *
 * Used as those of POSIX: under a mutex, in a loop that looks at what is waited for, whose changes are made
 * under the mutex; waking may follow after it. All bytes 0 is ready for use, and nothing is to be released. Who
 * wakes must be sure that the variable is still there. Threads: any.
 */
#ifndef NACRE_BASE_COND_H
#define NACRE_BASE_COND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct cond {
	_Atomic uint32_t turn; /* moves with each waking; what waiters sleep on */
	_Atomic uint32_t waiters;
};

/* Lets go of `lock` while it waits. May return without having been woken. */
void cond_wait(struct cond *c, pthread_mutex_t *lock);
/* The same; false: it is `until_us` microseconds by CLOCK_MONOTONIC. */
bool cond_wait_until(struct cond *c, pthread_mutex_t *lock, int64_t until_us);
void cond_wake_one(struct cond *c);
void cond_wake_all(struct cond *c);

#endif
