/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sink whose `next` works in a thread of its own, so that hashing goes on while more is read. What
 * is written is copied into one of a few blocks, and what is put into its room is there already, so
 * memory is bounded; less than a block costs no thread, and where none can be had `next` is written
 * to at once.
 *
 *	struct thread_sink t;
 *
 *	thread_sink_init(&t, &hash.sink);
 *	r = tree_dump(…, &t.sink, err);
 *	r = r < 0 ? r : sink_finish(&t.sink, err);
 *	thread_sink_release(&t);
 *
 * `next` is the thread's until finish() or release() came back. A failure of `next` is reported by
 * a later write or by finish().
 */
#ifndef NACRE_BASE_THREAD_SINK_H
#define NACRE_BASE_THREAD_SINK_H

#include <pthread.h>
#include <stdbool.h>

#include <nacre/sink.h>

#include "base/cond.h"
#include "base/room.h"

enum { THREAD_SINK_BLOCK = 64 << 10, THREAD_SINK_BLOCKS = 8 };

struct thread_sink {
	struct sink sink;
	struct room room;
	struct sink *next;                   /* borrowed */
	uint8_t *blocks[THREAD_SINK_BLOCKS]; /* owned; NULL: not needed so far */
	size_t len;                          /* bytes in the block that is being filled */
	pthread_t thread;
	bool is_running, is_direct; /* direct: there is no thread to be had */
	pthread_mutex_t lock;       /* guards what follows */
	struct cond changed;
	uint64_t filled, taken; /* blocks so far; those between wait */
	bool is_ended;
	struct err err; /* of `next` */
};

void thread_sink_init(struct thread_sink *s, struct sink *next);
/* Waits for the thread; what it has not taken is dropped. */
void thread_sink_release(struct thread_sink *s);
#define cleanup_thread_sink __attribute__((cleanup(thread_sink_release)))

#endif
