/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work that several threads want at the same time is done by the first of them; the others wait for it,
 * and get its result. Private to src/store. Threads: any.
 */
#ifndef NACRE_STORE_SINGLE_FLIGHT_H
#define NACRE_STORE_SINGLE_FLIGHT_H

#include <pthread.h>
#include <stdbool.h>

#include <nacre/err.h>

#include "base/cond.h"

struct flight; /* one that is under way */

struct single_flight {
	int (*work)(void *arg, struct err *err);
	bool (*same)(const void *a, const void *b); /* whether the work for two `arg` is the same */
	pthread_mutex_t lock;                       /* guards what follows */
	struct cond changed;
	struct flight *flights; /* borrowed */
};

void single_flight_init(struct single_flight *f, int (*work)(void *arg, struct err *err),
			bool (*same)(const void *a, const void *b));
void single_flight_release(struct single_flight *f);
/* What work(arg) returned, of this call or of one under way. `arg` is borrowed until then. */
int single_flight_do(struct single_flight *f, void *arg, struct err *err);

#endif
