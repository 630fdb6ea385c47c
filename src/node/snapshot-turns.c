/* SPDX-License-Identifier: Apache-2.0 */
#include "node/snapshot-internal.h"

int snapshot_turn_take(struct snapshot_turns *turns, struct err *err)
{
	int r = 0;

	pthread_mutex_lock(&turns->lock);
	if (turns->n_inside == SNAPSHOT_TURNS && turns->n_waiting == SNAPSHOT_TURNS_WAITING) {
		r = err_set(err, E_LIMIT, "%d layers are being fetched, and %d wait",
			    SNAPSHOT_TURNS, SNAPSHOT_TURNS_WAITING);
	} else {
		turns->n_waiting++;
		while (turns->n_inside == SNAPSHOT_TURNS)
			cond_wait(&turns->over, &turns->lock);
		turns->n_waiting--;
		turns->n_inside++;
	}
	pthread_mutex_unlock(&turns->lock);
	return r;
}

void snapshot_turn_end(struct snapshot_turns *turns)
{
	pthread_mutex_lock(&turns->lock);
	turns->n_inside--;
	cond_wake_one(&turns->over);
	pthread_mutex_unlock(&turns->lock);
}
