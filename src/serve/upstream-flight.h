/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single-flight: who wants what somebody fetches already, waits for that or reads along; private to
 * src/serve. A flight goes on when those who wait for it leave.
 *
 * 	f = flights_join(set, "nar/…", &mine);
 * 	if (mine)
 * 		flights_spawn(set, work, job);  // ends with flight_end(f, r, &err)
 * 	r = flight_read(f, offset, buf, len, &got, err);
 * 	flight_unref(f);
 *
 * The bytes lie in a file without a name. The last one is shown to nobody before the flight ended
 * well: a reader that was told the size sees a body that is short when what came was wrong.
 *
 * Threads: any. A flight is written by one.
 */
#ifndef NACRE_SERVE_UPSTREAM_FLIGHT_H
#define NACRE_SERVE_UPSTREAM_FLIGHT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <nacre/sink.h>

#include "base/cond.h"

struct flight;

struct flights {
	pthread_mutex_t lock;
	struct cond changed; /* of `threads` */
	struct flight *head; /* under way */
	unsigned threads;    /* at work */
	_Atomic bool stopping;
	_Atomic uint64_t bytes; /* that all flights brought */
};

enum { FLIGHT_THREADS_MAX = 64 };

void flights_init(struct flights *set);
/* Waits until every thread has ended, which stopping makes happen soon. */
void flights_stop(struct flights *set);
/* Runs `work` in a thread of its own; waits while too many are at work. */
int flights_spawn(struct flights *set, void (*work)(void *arg), void *arg, struct err *err);

/* The flight of that name, with a reference. *ret_mine: it is new, and the caller carries it out:
 * flight_end() takes it out of the set. */
struct flight *flights_join(struct flights *set, const char *key, bool *ret_mine);
struct flight *flight_ref(struct flight *f);
void flight_unref(struct flight *f); /* NULL is nothing */
/* `result` 0, or a failure with its text. */
void flight_end(struct flight *f, int result, const struct err *err);
/* Until it ended; 0 or the failure. */
int flight_wait(struct flight *f, struct err *err);

/* For who carries it out, once: it brings `size` bytes. */
int flight_open(struct flight *f, uint64_t size, struct err *err);
/* Where they go. */
struct sink *flight_sink(struct flight *f);
/* For who reads: waits until the size is known; 0, or the failure. */
int flight_size(struct flight *f, uint64_t *ret, struct err *err);
/* Waits until so many bytes, or as many as there will be before the end, can be read without
 * waiting, and it is likely that it goes well. 0, or the failure. */
int flight_ready(struct flight *f, uint64_t bytes, struct err *err);
/* At least one byte, unless `offset` is the end. */
int flight_read(struct flight *f, uint64_t offset, void *buf, size_t len, size_t *ret_got,
		struct err *err);

#endif
