/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <nacre/buf.h>

#include "node/metrics-listener.h"
#include "node/snapshot-metrics.h"

static const struct grpc_method methods[SNAPSHOT_METHODS + 1] = {
	{"/s/Prepare", NULL}, {"/s/View", NULL},    {"/s/Mounts", NULL}, {"/s/Commit", NULL},
	{"/s/Remove", NULL},  {"/s/Stat", NULL},    {"/s/Update", NULL}, {"/s/List", NULL},
	{"/s/Usage", NULL},   {"/s/Cleanup", NULL}, {NULL, NULL},
};

static void has_line(const struct buf *text, const char *line)
{
	cleanup_buf struct buf want = {0};

	buf_addf(&want, "\n%s\n", line);
	if (!strstr((const char *)text->data, (const char *)want.data))
		fail_msg("no line '%s' in:\n%s", line, (const char *)text->data);
}

static void test_counts(void **state)
{
	struct snapshot_metrics m = {0};
	const struct sources_stats stats = {
		.from_host = 1, .from_caches = 2, .from_registries = 3, .bytes = 400};
	cleanup_buf struct buf text = {0};

	(void)state;
	snapshot_metrics_call(&m, 0, GRPC_OK, 500);
	snapshot_metrics_call(&m, 0, GRPC_ALREADY_EXISTS, 1000);
	snapshot_metrics_call(&m, 0, GRPC_OK, 1001);
	snapshot_metrics_call(&m, 9, GRPC_UNAVAILABLE, 3600000000);
	snapshot_metrics_call(&m, SNAPSHOT_METHODS, GRPC_OK, 1);
	snapshot_metrics_call(&m, 0, (enum grpc_code)SNAPSHOT_CODES, 1);
	snapshot_metrics_layer(&m, LAYER_REFUSED);
	snapshot_metrics_fetch(&m, &stats, true, 2000003);
	snapshot_metrics_fetch(&m, &stats, false, 1);
	snapshot_metrics_format(&m, methods, &text);
	has_line(&text, "nacre_snapshotter_calls_total{method=\"Prepare\",code=\"OK\"} 2");
	has_line(&text,
		 "nacre_snapshotter_calls_total{method=\"Prepare\",code=\"ALREADY_EXISTS\"} 1");
	has_line(&text, "nacre_snapshotter_calls_total{method=\"Cleanup\",code=\"UNAVAILABLE\"} 1");
	has_line(&text, "nacre_snapshotter_call_seconds_bucket{method=\"Prepare\",le=\"0.001\"} 2");
	has_line(&text, "nacre_snapshotter_call_seconds_bucket{method=\"Prepare\",le=\"0.01\"} 3");
	has_line(&text, "nacre_snapshotter_call_seconds_bucket{method=\"Cleanup\",le=\"60\"} 0");
	has_line(&text, "nacre_snapshotter_call_seconds_bucket{method=\"Cleanup\",le=\"+Inf\"} 1");
	has_line(&text, "nacre_snapshotter_call_seconds_sum{method=\"Prepare\"} 0.002501");
	has_line(&text, "nacre_snapshotter_call_seconds_count{method=\"Prepare\"} 3");
	has_line(&text, "nacre_snapshotter_layers_total{outcome=\"answered\"} 0");
	has_line(&text, "nacre_snapshotter_layers_total{outcome=\"refused\"} 1");
	has_line(&text, "nacre_snapshotter_paths_total{from=\"host\"} 2");
	has_line(&text, "nacre_snapshotter_paths_total{from=\"cache\"} 4");
	has_line(&text, "nacre_snapshotter_paths_total{from=\"registry\"} 6");
	has_line(&text, "nacre_snapshotter_fetched_bytes_total 800");
	has_line(&text, "nacre_snapshotter_fetches_total 2");
	has_line(&text, "nacre_snapshotter_fetch_errors_total 1");
	has_line(&text, "nacre_snapshotter_fetch_seconds_total 2.000004");
}

static void test_addresses(void **state)
{
	static const char *const bad[] = {"",    "nonsense", "host:",  "host:port", "[::1]",
					  "::1", "::1:80",   "a:b:80", "h:-1",      "h:123456"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct metrics_listener_options options = {.address = bad[i]};
		struct metrics_listener *l;
		struct err err = ERR_INIT;

		if (metrics_listener_new(&l, &options, &err) != E_USAGE)
			fail_msg("'%s': %d %s", bad[i], err.code, err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
