/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts of what the server does, in the text format of Prometheus. Counting is an addition to an
 * atomic number; nothing waits. Private to src/serve.
 */
#ifndef NACRE_SERVE_METRICS_H
#define NACRE_SERVE_METRICS_H

#include <nacre/buf.h>

struct metrics;
struct request;
struct server;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m); /* NULL is nothing */

/* A request is over. */
void metrics_request(struct metrics *m, const struct request *req, bool complete);
/* What is counted besides. */
enum metric {
	METRIC_CONNECTIONS, /* that were ever taken */
	METRIC_LIMITED,     /* requests that came too fast */
	METRIC_AUTH_FAILED, /* credentials that were no good */
	METRIC_RELOADS,
	METRIC_RELOADS_FAILED,
	METRIC_COUNT,
};
void metrics_count(struct metrics *m, enum metric metric);

/* Appends all of it, and what the store and the process say of themselves. */
void metrics_format(struct server *server, struct buf *b);
/* "manifest", "narinfo", …: what an endpoint is called in metrics and logs. */
const char *endpoint_name(unsigned endpoint);

#endif
