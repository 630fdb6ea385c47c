/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP server for who watches a daemon: GET /metrics is a text for Prometheus, GET /healthz
 * says "ok", or 503 and what is wrong. Nothing else is answered, nothing can be changed through it.
 *
 * Threads: the callbacks run in a thread of its own, one at a time.
 */
#ifndef NACRE_NODE_METRICS_LISTENER_H
#define NACRE_NODE_METRICS_LISTENER_H

#include <nacre/buf.h>
#include <nacre/err.h>

struct metrics_listener;
struct metrics_listener_options {
	const char *address; /* borrowed; "HOST:PORT", ":PORT", "[::1]:PORT" */
	void (*format)(void *data, struct buf *text); /* appends the metrics */
	int (*check)(void *data, struct err *err);    /* < 0: it cannot do its work */
	void *data;                                   /* borrowed, of both */
};

/* E_USAGE for an address that is none. ":PORT" and names listen at all that they stand for. */
int metrics_listener_new(struct metrics_listener **ret,
			 const struct metrics_listener_options *options, struct err *err);
/* Waits for the answer that is under way. NULL is nothing. */
void metrics_listener_free(struct metrics_listener *l);

#endif
