/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: every key with a good value, with a bad one, and what the bad one is told. */
#include "../unit.h"

#include "serve/settings.h"

#define KEY_1 "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static int read_text(struct settings **ret, const char *text, struct err *err)
{
	struct config *tree;

	assert_ok(config_parse(&tree, slice_str(text), "f", err), *err);
	return settings_read(ret, tree, err);
}

static void test_defaults(void **state)
{
	struct settings *s;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(read_text(&s, "", &err), err);
	assert_null(s->data);
	assert_int_equal(s->n_listen, 1);
	assert_string_equal(s->listen[0], "127.0.0.1:5000");
	assert_false(s->allow_write);
	assert_true(s->access_log);
	assert_false(s->log_json);
	assert_false(s->metrics_open);
	assert_int_equal(s->drain_s, 30);
	assert_int_equal(s->limits.connections_max, 2048);
	assert_int_equal(s->limits.client_connections_max, 512);
	assert_int_equal(s->limits.client_rate, 0);
	assert_int_equal(s->limits.client_burst, 1000);
	assert_int_equal(s->limits.idle_timeout_s, 130);
	assert_int_equal(s->limits.stall_timeout_s, 60);
	assert_int_equal(s->limits.slow_timeout_s, 60);
	assert_true(s->limits.manifest_max_bytes == 8ull << 20);
	assert_true(s->limits.body_max_bytes == UINT64_MAX);
	assert_int_equal(s->n_views, 1);
	assert_string_equal(s->views[0].store_dir, "/nix/store");
	assert_int_equal(s->views[0].priority, 30);
	assert_false(s->auth.configured);
	settings_unref(s);
}

static void test_good(void **state)
{
	static const char text[] =
		"data: /d\nlisten: [':1', 'unix:/x']\nallow-write: yes\naccess-log: off\n"
		"log-format: json\nmetrics-open: true\ndrain: 5m\n"
		"limits: {connections: 1, client-connections: 2, client-rate: 3, client-burst: 4,\n"
		"  idle-timeout: 5s, stall-timeout: 6, slow-timeout: 7s, manifest: 4MiB, body: "
		"1GB}\n"
		"store: {nar-max: 1GiB, upload-max: 2GiB, uploads: 8, upload-idle: 9s,\n"
		"  decode-free: 1MiB, decode-ratio: 10, architecture: arm64, threads: 3}\n"
		"root: {store-dir: auto, priority: 0, sparse: all, mount-without-from: no}\n"
		"views:\n  team/x: {store-dir: /gnu/store, trusted-keys: '" KEY_1 "'}\n"
		"  team: {require-signatures: true, sign-images: true, sparse: never}\n";
	struct settings *s;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(read_text(&s, text, &err), err);
	assert_string_equal(s->data, "/d");
	assert_int_equal(s->n_listen, 2);
	assert_true(s->allow_write && !s->access_log && s->log_json && s->metrics_open);
	assert_int_equal(s->drain_s, 300);
	assert_int_equal(s->limits.connections_max, 1);
	assert_int_equal(s->limits.client_connections_max, 2);
	assert_int_equal(s->limits.client_rate, 3);
	assert_int_equal(s->limits.client_burst, 4);
	assert_int_equal(s->limits.idle_timeout_s, 5);
	assert_int_equal(s->limits.stall_timeout_s, 6);
	assert_int_equal(s->limits.slow_timeout_s, 7);
	assert_true(s->limits.manifest_max_bytes == 4ull << 20);
	assert_true(s->limits.body_max_bytes == 1000000000);
	assert_true(s->store.nar_max_bytes == 1ull << 30);
	assert_true(s->store.upload_max_bytes == 2ull << 30);
	assert_int_equal(s->store.uploads_max, 8);
	assert_int_equal(s->store.upload_idle_s, 9);
	assert_true(s->store.decode_free_bytes == 1ull << 20);
	assert_int_equal(s->store.decode_ratio_max, 10);
	assert_string_equal(s->store.architecture, "arm64");
	assert_int_equal(s->store.threads, 3);
	assert_int_equal(s->n_views, 3);
	assert_null(s->views[0].store_dir);
	assert_int_equal(s->views[0].sparse, STORE_SPARSE_ALL);
	assert_false(s->views[0].mount_without_from);
	assert_true(s->views[1].mount_without_from);
	assert_string_equal(settings_view(s, slice_str("team/x/app"))->name, "team/x");
	assert_string_equal(settings_view(s, slice_str("team/xy/app"))->name, "team");
	assert_string_equal(settings_view(s, slice_str("teams/app"))->name, "");
	assert_int_equal(settings_view(s, slice_str("team/x/a"))->n_trusted, 1);
	assert_true(settings_view(s, slice_str("team/a"))->require_signatures);
	settings_unref(s);
}

/* Each must be refused with "f:2:" and the part. */
static const struct {
	const char *text, *part;
} bad[] = {
	/* The server. */
	{"data: [a]", "data"},
	{"listen: {a: b}", "listen"},
	{"listen: [[a]]", "listen"},
	{"allow-write: maybe", "allow-write"},
	{"access-log: 2", "access-log"},
	{"log-format: xml", "log-format"},
	{"metrics-open: all", "metrics-open"},
	{"drain: soon", "drain"},
	{"drain: 8d", "drain"},
	{"nonsense: 1", "nonsense"},
	{"Data: /x", "Data"},
	/* Views. */
	{"root: []", "root"},
	{"root: {store-dir: nix/store}", "store-dir"},
	{"root: {priority: -1}", "priority"},
	{"root: {priority: 1000001}", "priority"},
	{"root: {sparse: some}", "sparse"},
	{"root: {mount-without-from: ask}", "mount-without-from"},
	{"root: {trusted-keys: x}", "no public key"},
	{"root: {trusted-keys: '@/nonexistent'}", "/nonexistent"},
	{"root: {require-signatures: 1.5}", "require-signatures"},
	{"root: {sign-with: /nonexistent}", "/nonexistent"},
	{"root: {sign-with: /etc/passwd}", "no secret key"},
	{"root: {sign-images: x}", "sign-images"},
	{"root: {nonsense: 1}", "nonsense"},
	{"root: {upstream-ttl: x}", "upstream-ttl"},
	{"root: {upstream-negative-ttl: x}", "upstream-negative-ttl"},
	{"root: {upstreams: [{priority: 1}]}", "url"},
	{"root: {upstreams: [{url: 'gopher://x'}]}", "url"},
	{"views: [a]", "views"},
	{"views: {Team: {}}", "Team"},
	{"views: {a b: {}}", "a b"},
	{"views: {nar: {}}", "another meaning"},
	{"views: {team/nar: {}}", "another meaning"},
	{"views: {team/nix/a: {}}", "another meaning"},
	{"views: {team: {priority: high}}", "priority"},
	/* Users. */
	{"auth: x", "auth"},
	{"auth: {htpasswd: /nonexistent}", "/nonexistent"},
	{"auth: {token-lifetime: 1s}", "token-lifetime"},
	{"auth: {token-lifetime: 2d}", "token-lifetime"},
	{"auth: {refresh-lifetime: 1m}", "refresh-lifetime"},
	{"auth: {service: []}", "service"},
	{"auth: {token-url: []}", "token-url"},
	{"auth: {nonsense: 1}", "nonsense"},
	{"groups: [a]", "groups"},
	{"groups: {a: {b: c}}", "groups"},
	{"access: {who: everyone}", "access"},
	{"access: [{repositories: a, allow: pull}]", "who"},
	{"access: [{repositories: a, who: '@nobody', allow: pull}]", "nobody"},
	{"access: [{repositories: a, who: everyone}]", "allow"},
	{"access: [{repositories: a, who: everyone, allow: read}]", "read"},
	{"access: [{who: everyone, allow: pull}]", "repositories"},
	/* TLS. */
	{"tls: {key: /nonexistent}", "certificate and a key"},
	{"tls: {certificate: /nonexistent, key: /nonexistent}", "/nonexistent"},
	{"tls: {client-ca: /nonexistent}", "certificate and a key"},
	/* Audit, webhooks. */
	{"audit: {sync: true}", "file"},
	{"audit: {file: x}", "file"},
	{"audit: {file: /x, sync: maybe}", "sync"},
	{"audit: {file: /x, required: maybe}", "required"},
	{"webhooks: [{caches: /}]", "url"},
	{"webhooks: [{url: 'ftp://x', caches: /}]", "url"},
	{"webhooks: [{url: 'http://x/', repositories: 'a b'}]", "a b"},
	{"webhooks: [{url: 'http://x/', caches: /, secret-file: /nonexistent}]", "/nonexistent"},
	/* Limits. */
	{"limits: {connections: 0}", "connections"},
	{"limits: {client-connections: many}", "client-connections"},
	{"limits: {client-rate: 0}", "client-rate"},
	{"limits: {client-burst: -1}", "client-burst"},
	{"limits: {idle-timeout: 0s}", "idle-timeout"},
	{"limits: {stall-timeout: 10ms}", "stall-timeout"},
	{"limits: {slow-timeout: x}", "slow-timeout"},
	{"limits: {manifest: 1GiB}", "8 MiB"},
	{"limits: {manifest: none}", "8 MiB"},
	{"limits: {body: much}", "body"},
	{"limits: {nonsense: 1}", "nonsense"},
	/* The store. */
	{"store: {nar-max: x}", "nar-max"},
	{"store: {upload-max: -1}", "upload-max"},
	{"store: {uploads: 0}", "uploads"},
	{"store: {upload-idle: x}", "upload-idle"},
	{"store: {decode-free: x}", "decode-free"},
	{"store: {decode-ratio: 0}", "decode-ratio"},
	{"store: {architecture: []}", "architecture"},
	{"store: {threads: 0}", "threads"},
	/* What is kept: test-keep-settings.c has more. */
	{"gc: {upload-grace: x}", "upload-grace"},
	{"retention: [{keep-last: 1}]", "retention"},
	{"quotas: [{repositories: a, bytes: x}]", "bytes"},
	{"immutable-tags: [{tags: a}]", "immutable-tags"},
};

static void test_bad(void **state)
{
	unsigned wrong = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cleanup_free char *text = xasprintf("# a line before it\n%s\n", bad[i].text);
		struct err err = ERR_INIT;
		struct settings *s = NULL;

		if (read_text(&s, text, &err) >= 0) {
			print_error("taken: %s\n", bad[i].text);
			settings_unref(s);
		} else if (strncmp(err.text, "f:2: ", 5) == 0 && strstr(err.text, bad[i].part)) {
			continue;
		} else {
			print_error("%s: says '%s'\n", bad[i].text, err.text);
		}
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
