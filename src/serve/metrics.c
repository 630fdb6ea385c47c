/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/metrics.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "serve/server-internal.h"
#include "serve/upstream.h"
#include "store/store.h"

enum { STATUS_CLASSES = 6, BUCKETS = 16, MICROSECONDS = 1000000 };

/* Upper bounds of the latency histogram, in microseconds; beyond them is +Inf. */
static const int64_t bounds_us[BUCKETS] = {
	250,    500,    1000,   2500,    5000,    10000,    25000,    50000,
	100000, 250000, 500000, 1000000, 2500000, 10000000, 30000000, 120000000,
};

static const char *const endpoint_names[ENDPOINT_COUNT] = {
	[ENDPOINT_NONE] = "none",
	[ENDPOINT_HOME] = "home",
	[ENDPOINT_HEALTH] = "healthz",
	[ENDPOINT_READY] = "readyz",
	[ENDPOINT_METRICS] = "metrics",
	[ENDPOINT_TOKEN] = "token",
	[ENDPOINT_ADMIN] = "admin",
	[ENDPOINT_OCI_BASE] = "base",
	[ENDPOINT_OCI_UNKNOWN] = "unknown",
	[ENDPOINT_CATALOG] = "catalog",
	[ENDPOINT_BLOB] = "blob",
	[ENDPOINT_UPLOADS] = "uploads",
	[ENDPOINT_UPLOAD] = "upload",
	[ENDPOINT_MANIFEST] = "manifest",
	[ENDPOINT_TAGS] = "tags",
	[ENDPOINT_REFERRERS] = "referrers",
	[ENDPOINT_CACHE_INFO] = "nix-cache-info",
	[ENDPOINT_NARINFO] = "narinfo",
	[ENDPOINT_LISTING] = "listing",
	[ENDPOINT_NAR] = "nar",
	[ENDPOINT_LOG] = "log",
	[ENDPOINT_DEBUGINFO] = "debuginfo",
	[ENDPOINT_REALISATION] = "realisation",
	[ENDPOINT_BUILD_TRACE] = "build-trace",
};

static const char *const method_names[HTTP_METHODS + 1] = {"GET",   "HEAD",   "PUT",  "POST",
							   "PATCH", "DELETE", "other"};

struct metrics {
	int64_t started_s; /* since the epoch */
	_Atomic uint64_t requests[ENDPOINT_COUNT][HTTP_METHODS + 1][STATUS_CLASSES];
	_Atomic uint64_t latency[ENDPOINT_COUNT][BUCKETS + 1];
	_Atomic uint64_t latency_us[ENDPOINT_COUNT];
	_Atomic uint64_t received_bytes, sent_bytes, aborted;
	_Atomic uint64_t counts[METRIC_COUNT];
};

static const struct {
	const char *name, *help;
} count_names[METRIC_COUNT] = {
	[METRIC_CONNECTIONS] = {"nacre_http_connections_total", "Connections that were taken."},
	[METRIC_LIMITED] = {"nacre_http_limited_total", "Requests that came too fast."},
	[METRIC_AUTH_FAILED] = {"nacre_auth_failures_total", "Credentials that were no good."},
	[METRIC_RELOADS] = {"nacre_config_reloads_total", "Configurations that were read again."},
	[METRIC_RELOADS_FAILED] = {"nacre_config_reload_failures_total",
				   "Configurations that were refused."},
};

struct metrics *metrics_new(void)
{
	struct metrics *m = xcalloc(1, sizeof(*m));
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	m->started_s = now.tv_sec;
	return m;
}

void metrics_free(struct metrics *m)
{
	free(m);
}

static void add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static uint64_t value(_Atomic uint64_t *of)
{
	return atomic_load_explicit(of, memory_order_relaxed);
}

void metrics_count(struct metrics *m, enum metric metric)
{
	add(&m->counts[metric], 1);
}

void metrics_request(struct metrics *m, const struct request *req, bool complete)
{
	enum endpoint e = req->route.endpoint;
	int64_t took_us = clock_us() - req->started_us;
	size_t bucket = 0;

	while (bucket < BUCKETS && took_us > bounds_us[bucket])
		bucket++;
	add(&m->requests[e][req->method][req->status / 100 % STATUS_CLASSES], 1);
	add(&m->latency[e][bucket], 1);
	add(&m->latency_us[e], took_us > 0 ? (uint64_t)took_us : 0);
	add(&m->received_bytes, req->body_bytes);
	add(&m->sent_bytes, req->response_bytes);
	if (!complete)
		add(&m->aborted, 1);
}

/* ---- The text (SPEC Prometheus exposition format 0.0.4) ---- */

static void head(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(struct buf *b, const char *name, const char *type, const char *help, double v)
{
	head(b, name, type, help);
	buf_addf(b, "%s %.17g\n", name, v);
}

static void format_requests(struct metrics *m, struct buf *b)
{
	head(b, "nacre_http_requests_total", "counter",
	     "Requests by endpoint, method and class of status.");
	for (unsigned e = 0; e < ENDPOINT_COUNT; e++)
		for (unsigned method = 0; method <= HTTP_METHODS; method++)
			for (unsigned s = 0; s < STATUS_CLASSES; s++) {
				uint64_t n = value(&m->requests[e][method][s]);

				if (n)
					buf_addf(b,
						 "nacre_http_requests_total{endpoint=\"%s\",method="
						 "\"%s\",status=\"%uxx\"} %llu\n",
						 endpoint_names[e], method_names[method], s,
						 (unsigned long long)n);
			}
}

static void format_latency(struct metrics *m, struct buf *b, unsigned e)
{
	static const char name[] = "nacre_http_request_duration_seconds";
	uint64_t counts[BUCKETS + 1], sum = 0, total = 0;

	for (size_t i = 0; i <= BUCKETS; i++)
		total += counts[i] = value(&m->latency[e][i]);
	if (!total)
		return;
	for (size_t i = 0; i <= BUCKETS; i++) {
		sum += counts[i];
		if (i < BUCKETS)
			buf_addf(b, "%s_bucket{endpoint=\"%s\",le=\"%g\"} %llu\n", name,
				 endpoint_names[e], (double)bounds_us[i] / MICROSECONDS,
				 (unsigned long long)sum);
	}
	buf_addf(b, "%s_bucket{endpoint=\"%s\",le=\"+Inf\"} %llu\n", name, endpoint_names[e],
		 (unsigned long long)sum);
	buf_addf(b, "%s_sum{endpoint=\"%s\"} %.6f\n%s_count{endpoint=\"%s\"} %llu\n", name,
		 endpoint_names[e], (double)value(&m->latency_us[e]) / MICROSECONDS, name,
		 endpoint_names[e], (unsigned long long)sum);
}

static void format_store(struct server *server, struct buf *b)
{
	struct store_statistics s;
	struct err err = ERR_INIT;

	if (store_statistics(server->store, &s, &err) < 0) {
		log_error("statistics: %s", err.text);
		return;
	}
	one(b, "nacre_store_physical_bytes", "gauge", "On the disk, the database included.",
	    (double)s.physical_bytes);
	one(b, "nacre_store_database_bytes", "gauge", "Of these, the database.",
	    (double)s.database_bytes);
	one(b, "nacre_store_nar_bytes", "gauge", "NARs, uncompressed, each counted once.",
	    (double)s.nar_bytes);
	one(b, "nacre_store_framed_bytes", "gauge", "The same as they are stored.",
	    (double)s.framed_bytes);
	one(b, "nacre_store_glue_bytes", "gauge", "Kept besides, to derive layers from NARs.",
	    (double)s.glue_bytes);
	one(b, "nacre_store_opaque_bytes", "gauge", "Kept as it came.", (double)s.opaque_bytes);
	one(b, "nacre_store_layer_bytes", "gauge", "Layers that are put together from NARs.",
	    (double)s.layer_bytes);
	one(b, "nacre_store_nars", "gauge", "Contents.", (double)s.nars);
	one(b, "nacre_store_paths", "gauge", "Store paths.", (double)s.paths);
	one(b, "nacre_store_blobs", "gauge", "Blobs.", (double)s.blobs);
	one(b, "nacre_store_manifests", "gauge", "Manifests.", (double)s.manifests);
	one(b, "nacre_store_tags", "gauge", "Tags.", (double)s.tags);
	one(b, "nacre_store_repositories", "gauge", "Repositories.", (double)s.repositories);
	one(b, "nacre_store_uploads", "gauge", "Upload sessions that are open.", (double)s.uploads);
	if (s.framed_bytes + s.glue_bytes)
		one(b, "nacre_store_dedupe_ratio", "gauge",
		    "What is served of NARs and layers against what is kept of them.",
		    (double)(s.framed_bytes + s.layer_bytes) /
			    (double)(s.framed_bytes + s.glue_bytes));
}

static void format_gc(struct server *server, struct buf *b)
{
	struct store_gc_result gc;

	store_gc_total(server->store, &gc);
	head(b, "nacre_gc_collected_total", "counter", "What garbage collection took away.");
	buf_addf(b,
		 "nacre_gc_collected_total{kind=\"tag\"} %llu\n"
		 "nacre_gc_collected_total{kind=\"manifest\"} %llu\n"
		 "nacre_gc_collected_total{kind=\"blob\"} %llu\n"
		 "nacre_gc_collected_total{kind=\"path\"} %llu\n"
		 "nacre_gc_collected_total{kind=\"object\"} %llu\n",
		 (unsigned long long)gc.tags, (unsigned long long)gc.manifests,
		 (unsigned long long)gc.blobs, (unsigned long long)gc.paths,
		 (unsigned long long)gc.objects);
	one(b, "nacre_gc_freed_bytes_total", "counter", "On the disk.", (double)gc.bytes);
	one(b, "nacre_gc_candidates_total", "counter", "Rows that were looked at.",
	    (double)gc.looked_at);
}

static long resident_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	char line[128] = "", *at;
	long pages = 0;

	if (!f)
		return 0;
	/* size resident shared … */
	if (fgets(line, sizeof(line), f) && (at = strchr(line, ' ')))
		pages = strtol(at, NULL, 10);
	fclose(f);
	return pages;
}

static void format_process(const struct metrics *m, struct buf *b)
{
	struct timespec cpu;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	one(b, "process_resident_memory_bytes", "gauge", "Resident memory.",
	    (double)resident_pages() * (double)sysconf(_SC_PAGESIZE));
	one(b, "process_cpu_seconds_total", "counter", "Processor time.",
	    (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
	one(b, "process_start_time_seconds", "gauge", "When the server started.",
	    (double)m->started_s);
}

void metrics_format(struct server *server, struct buf *b)
{
	struct metrics *m = server->metrics;
	struct settings *settings = server_settings(server);

	format_requests(m, b);
	head(b, "nacre_http_request_duration_seconds", "histogram",
	     "From the head of a request to the end of its answer.");
	for (unsigned e = 0; e < ENDPOINT_COUNT; e++)
		format_latency(m, b, e);
	one(b, "nacre_http_received_bytes_total", "counter", "Of bodies.",
	    (double)value(&m->received_bytes));
	one(b, "nacre_http_sent_bytes_total", "counter", "Of bodies.",
	    (double)value(&m->sent_bytes));
	one(b, "nacre_http_aborted_total", "counter", "Answers that did not come to their end.",
	    (double)value(&m->aborted));
	one(b, "nacre_http_requests_in_progress", "gauge", "Now.",
	    (double)atomic_load(&server->connections.busy));
	for (unsigned i = 0; i < METRIC_COUNT; i++)
		one(b, count_names[i].name, "counter", count_names[i].help,
		    (double)value(&m->counts[i]));
	format_store(server, b);
	format_gc(server, b);
	upstreams_metrics(server->upstreams, settings, b);
	format_process(m, b);
	settings_unref(settings);
}

const char *endpoint_name(unsigned endpoint)
{
	return endpoint_names[endpoint];
}
