/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next layers of an image, fetched while containerd works on the ones before; private to the snapshotter.
 *
 * containerd asks for a layer once it has the answer for the one below. Where the image's registry may be asked
 * (--image-ref), its manifest says what else will be asked for: a thread brings the store paths of the layers that follow, as
 * if they were asked for, and not further than AHEAD_LAYERS beyond what was. Whether they are the layers is proven when
 * containerd asks; what cannot be had is tried again then, and said.
 *
 * One image at a time; those that are pulled beside it come as they are asked for.
 */
#ifndef NACRE_NODE_SNAPSHOT_AHEAD_H
#define NACRE_NODE_SNAPSHOT_AHEAD_H

#include <pthread.h>
#include <stdbool.h>

#include <nacre/manifest.h>

#include "base/cond.h"

struct snapshotter;

/* All bytes 0 but the lock: at rest. */
struct snapshot_ahead {
	pthread_mutex_t lock; /* guards what follows */
	struct cond moved;
	pthread_t thread;
	bool is_started; /* the thread is to be joined */
	bool is_running, is_stopping;
	struct annotations
		labels; /* owned; of the layer that was asked for first: the image, its registry */
	struct manifest manifest; /* owned; empty until it was read */
	size_t asked;             /* the highest layer that containerd asked for */
	size_t done;              /* the thread is through with those below */
};

void snapshot_ahead_init(struct snapshot_ahead *a);
/* Ends the thread after the layer that it is at. */
void snapshot_ahead_stop(struct snapshot_ahead *a);

/* containerd asks for the layer that the labels name. */
void snapshot_ahead_ask(struct snapshotter *s, const struct annotations *labels);
/* The same; waits while the thread has yet to bring it. */
void snapshot_ahead_wait(struct snapshotter *s, const struct annotations *labels);
/* It is not here: begins with those behind it, if nothing else is under way and their image's registry may be asked. */
void snapshot_ahead_begin(struct snapshotter *s, const struct annotations *labels);

#endif
