/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncfs() for several threads: whoever asks while one is under way waits for the next, which is made
 * once for all of them. Threads: any.
 */
#ifndef NACRE_BASE_GROUP_SYNC_H
#define NACRE_BASE_GROUP_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cond.h"

struct group_sync {
	pthread_mutex_t lock;
	struct cond changed;
	uint64_t begun, ended; /* syncs so far; at most one is under way */
	int error;             /* errno of the last that failed */
	uint64_t failed;       /* which that was; 0: none */
};

void group_sync_init(struct group_sync *g);
void group_sync_release(struct group_sync *g);
/* All that was written to the file system of `fd` before the call is on the disk. -1: errno; it may be that of a
 * later sync than the one that was waited for. */
int group_sync(struct group_sync *g, int fd);

/* For what is written now and wants no sync of its own: the number of a sync that will have brought it to the disk, and
 * whether that has been made. */
uint64_t group_sync_next(struct group_sync *g);
bool group_sync_is_past(struct group_sync *g, uint64_t number);

#endif
