/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include <nacre/buf.h>

#include "node/snapshot-metrics.h"

enum { US_PER_S = 1000000 };

/* Upper bounds in microseconds; the last bucket has none. */
static const int64_t bounds_us[SNAPSHOT_BUCKETS - 1] = {
	1000, 10000, 100000, 500000, 2000000, 10000000, 60000000,
};

static const char *const outcomes[LAYER_OUTCOMES] = {"answered", "declined", "refused"};

/* SPEC grpc statuscodes */
static const char *const codes[SNAPSHOT_CODES] = {
	"OK",
	"CANCELLED",
	"UNKNOWN",
	"INVALID_ARGUMENT",
	"DEADLINE_EXCEEDED",
	"NOT_FOUND",
	"ALREADY_EXISTS",
	"PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION",
	"ABORTED",
	"OUT_OF_RANGE",
	"UNIMPLEMENTED",
	"INTERNAL",
	"UNAVAILABLE",
	"DATA_LOSS",
	"UNAUTHENTICATED",
};

int64_t snapshot_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * US_PER_S + t.tv_nsec / 1000;
}

static void add(atomic_uint_fast64_t *to, uint64_t n)
{
	atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static uint64_t get(const atomic_uint_fast64_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

void snapshot_metrics_call(struct snapshot_metrics *m, size_t method, enum grpc_code code,
			   int64_t us)
{
	size_t bucket = 0;

	if (method >= SNAPSHOT_METHODS || (size_t)code >= SNAPSHOT_CODES)
		return;
	while (bucket < SNAPSHOT_BUCKETS - 1 && us > bounds_us[bucket])
		bucket++;
	add(&m->calls[method][code], 1);
	add(&m->call_buckets[method][bucket], 1);
	add(&m->call_us[method], (uint64_t)us);
}

void snapshot_metrics_layer(struct snapshot_metrics *m, enum layer_outcome outcome)
{
	add(&m->layers[outcome], 1);
}

void snapshot_metrics_fetch(struct snapshot_metrics *m, const struct sources_stats *stats,
			    bool has_failed, int64_t us)
{
	add(&m->paths_host, stats->from_host);
	add(&m->paths_caches, stats->from_caches);
	add(&m->paths_registries, stats->from_registries);
	add(&m->bytes, stats->bytes);
	add(&m->fetches, 1);
	add(&m->fetch_us, (uint64_t)us);
	add(&m->fetch_errors, has_failed);
}

void snapshot_metrics_ahead(struct snapshot_metrics *m)
{
	add(&m->ahead, 1);
}

/* ---- the text; SPEC prometheus text 0.0.4 ---- */

static void head(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_addf(b, "# HELP nacre_snapshotter_%s %s\n# TYPE nacre_snapshotter_%s %s\n", name, help,
		 name, type);
}

static void put_seconds(struct buf *b, uint64_t us)
{
	buf_addf(b, "%" PRIu64 ".%06" PRIu64 "\n", us / US_PER_S, us % US_PER_S);
}

static void put(struct buf *b, const char *name, const char *labels, uint64_t value)
{
	buf_addf(b, "nacre_snapshotter_%s%s %" PRIu64 "\n", name, labels, value);
}

static const char *name_of(const struct grpc_method *method)
{
	const char *slash = strrchr(method->path, '/');

	return slash ? slash + 1 : method->path;
}

static void format_calls(const struct snapshot_metrics *m, const struct grpc_method *methods,
			 struct buf *b)
{
	head(b, "calls_total", "counter", "Calls of containerd, by method and code.");
	for (size_t i = 0; i < SNAPSHOT_METHODS; i++)
		for (size_t code = 0; code < SNAPSHOT_CODES; code++)
			if (get(&m->calls[i][code]))
				buf_addf(b,
					 "nacre_snapshotter_calls_total{method=\"%s\",code=\"%s\"} "
					 "%" PRIu64 "\n",
					 name_of(&methods[i]), codes[code],
					 get(&m->calls[i][code]));
}

static void format_call_time(const struct snapshot_metrics *m, const char *name, size_t method,
			     struct buf *b)
{
	uint64_t n = 0;

	for (size_t k = 0; k < SNAPSHOT_BUCKETS; k++) {
		n += get(&m->call_buckets[method][k]);
		buf_addf(b, "nacre_snapshotter_call_seconds_bucket{method=\"%s\",le=\"", name);
		if (k < SNAPSHOT_BUCKETS - 1)
			buf_addf(b, "%g", (double)bounds_us[k] / US_PER_S);
		else
			buf_add_str(b, "+Inf");
		buf_addf(b, "\"} %" PRIu64 "\n", n);
	}
	buf_addf(b, "nacre_snapshotter_call_seconds_sum{method=\"%s\"} ", name);
	put_seconds(b, get(&m->call_us[method]));
	buf_addf(b, "nacre_snapshotter_call_seconds_count{method=\"%s\"} %" PRIu64 "\n", name, n);
}

void snapshot_metrics_format(const struct snapshot_metrics *m, const struct grpc_method *methods,
			     struct buf *text)
{
	format_calls(m, methods, text);
	head(text, "call_seconds", "histogram", "Time that calls took.");
	for (size_t i = 0; i < SNAPSHOT_METHODS; i++)
		format_call_time(m, name_of(&methods[i]), i, text);
	head(text, "layers_total", "counter",
	     "Layers with store paths: answered here, left to containerd, refused.");
	for (size_t i = 0; i < LAYER_OUTCOMES; i++)
		buf_addf(text, "nacre_snapshotter_layers_total{outcome=\"%s\"} %" PRIu64 "\n",
			 outcomes[i], get(&m->layers[i]));
	head(text, "layers_ahead_total", "counter",
	     "Store layers that were fetched before containerd asked.");
	put(text, "layers_ahead_total", "", get(&m->ahead));
	head(text, "paths_total", "counter", "Store paths that came to this node, by where from.");
	put(text, "paths_total", "{from=\"host\"}", get(&m->paths_host));
	put(text, "paths_total", "{from=\"cache\"}", get(&m->paths_caches));
	put(text, "paths_total", "{from=\"registry\"}", get(&m->paths_registries));
	head(text, "fetched_bytes_total", "counter", "Bytes of NARs and layers fetched.");
	put(text, "fetched_bytes_total", "", get(&m->bytes));
	head(text, "fetches_total", "counter", "Layers for which sources were asked.");
	put(text, "fetches_total", "", get(&m->fetches));
	head(text, "fetch_errors_total", "counter",
	     "Of these, those for which a source could not be used.");
	put(text, "fetch_errors_total", "", get(&m->fetch_errors));
	head(text, "fetch_seconds_total", "counter", "Time that asking sources took.");
	buf_add_str(text, "nacre_snapshotter_fetch_seconds_total ");
	put_seconds(text, get(&m->fetch_us));
}
