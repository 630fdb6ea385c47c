/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts of what a snapshotter does, in the text format of Prometheus. All-zero is the beginning;
 * counting is an addition to an atomic number. Threads: any.
 */
#ifndef NACRE_NODE_SNAPSHOT_METRICS_H
#define NACRE_NODE_SNAPSHOT_METRICS_H

#include <stdatomic.h>

#include "node/grpc.h"
#include "node/node-sources.h"

enum { SNAPSHOT_METHODS = 10, SNAPSHOT_CODES = 17, SNAPSHOT_BUCKETS = 8 };

/* What was done about a layer that containerd asked for. */
enum layer_outcome { LAYER_ANSWERED, LAYER_DECLINED, LAYER_REFUSED, LAYER_OUTCOMES };

struct snapshot_metrics {
	atomic_uint_fast64_t calls[SNAPSHOT_METHODS][SNAPSHOT_CODES];
	atomic_uint_fast64_t call_buckets[SNAPSHOT_METHODS][SNAPSHOT_BUCKETS];
	atomic_uint_fast64_t call_us[SNAPSHOT_METHODS];
	atomic_uint_fast64_t layers[LAYER_OUTCOMES];
	atomic_uint_fast64_t paths_host, paths_caches, paths_registries;
	atomic_uint_fast64_t bytes;        /* of NARs and layers that came over the network */
	atomic_uint_fast64_t fetches;      /* layers for which sources were asked */
	atomic_uint_fast64_t fetch_us;     /* the time that this took */
	atomic_uint_fast64_t fetch_errors; /* of these, where a source could not be used */
	atomic_uint_fast64_t ahead;        /* layers that were here before containerd asked */
};

/* `method` is the number of its place in snapshot_methods[]. */
void snapshot_metrics_call(struct snapshot_metrics *m, size_t method, enum grpc_code code,
			   int64_t us);
void snapshot_metrics_layer(struct snapshot_metrics *m, enum layer_outcome outcome);
void snapshot_metrics_fetch(struct snapshot_metrics *m, const struct sources_stats *stats,
			    bool has_failed, int64_t us);
void snapshot_metrics_ahead(struct snapshot_metrics *m);
/* `methods` are snapshot_methods[]. */
void snapshot_metrics_format(const struct snapshot_metrics *m, const struct grpc_method *methods,
			     struct buf *text);
/* A clock that only goes forward. */
int64_t snapshot_now_us(void);

#endif
