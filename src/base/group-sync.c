/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/group-sync.h"

void group_sync_init(struct group_sync *g)
{
	*g = (struct group_sync){0};
	pthread_mutex_init(&g->lock, NULL);
}

void group_sync_release(struct group_sync *g)
{
	pthread_mutex_destroy(&g->lock);
}

/* Under the lock, which is free while the system works. */
static void sync_once(struct group_sync *g, int fd)
{
	uint64_t which = ++g->begun;
	int r;

	pthread_mutex_unlock(&g->lock);
	r = syncfs(fd) < 0 ? errno : 0;
	pthread_mutex_lock(&g->lock);
	g->ended = which;
	if (r) {
		g->error = r;
		g->failed = which;
	}
	cond_wake_all(&g->changed);
}

int group_sync(struct group_sync *g, int fd)
{
	uint64_t wanted;
	int error;

	pthread_mutex_lock(&g->lock);
	/* One that is under way may have passed what the caller wrote. */
	wanted = g->begun + 1;
	while (g->ended < wanted)
		if (g->begun == g->ended)
			sync_once(g, fd);
		else
			cond_wait(&g->changed, &g->lock);
	error = g->failed >= wanted ? g->error : 0;
	pthread_mutex_unlock(&g->lock);
	errno = error;
	return error ? -1 : 0;
}

uint64_t group_sync_next(struct group_sync *g)
{
	uint64_t next;

	pthread_mutex_lock(&g->lock);
	/* One that is under way may have passed what the caller wrote. */
	next = g->begun + 1;
	pthread_mutex_unlock(&g->lock);
	return next;
}

bool group_sync_is_past(struct group_sync *g, uint64_t number)
{
	bool is_past;

	pthread_mutex_lock(&g->lock);
	is_past = g->ended >= number && g->failed < number;
	pthread_mutex_unlock(&g->lock);
	return is_past;
}
