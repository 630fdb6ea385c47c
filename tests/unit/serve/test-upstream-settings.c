/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "serve/settings.h"
#include "serve/upstream.h"

#define KEY "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="

/* *ret_root (owned) has the texts. */
static int read_text(struct upstream_list *ret, struct config **ret_root, const char *text,
		     struct err *err)
{
	struct config *root;
	int r = config_parse(&root, slice_str(text), "f", err);

	if (r < 0)
		return r;
	r = upstream_settings_read(ret, root, err);
	if (r == 0)
		r = config_check_used(root, err);
	*ret_root = root;
	return r;
}

static void test_good(void **state)
{
	struct upstream_list l = {0};
	struct config *root = NULL;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(
		read_text(
			&l, &root,
			"upstream-ttl: 1h\n"
			"upstream-negative-ttl: 5s\n"
			"upstreams:\n"
			"  - url: https://user:secret@cache.example/x/\n"
			"    trusted-keys: [ \"" KEY "\" ]\n"
			"    priority: 40\n"
			"    stall-timeout: 1500ms\n"
			"    min-speed: 4KiB\n"
			"    closures: false\n"
			"  - {url: docker://docker.io, prefix: hub/, tag-ttl: 0s}\n"
			"  - {url: https://first.example, trust: all, priority: 1, optional: yes}\n"
			"  - {url: https://off.example, trust: all, enabled: no}\n"
			"  - {url: oci+http://localhost:5000, packages: a/b, trust: all}\n",
			&err),
		err);
	assert_int_equal(l.narinfo_ttl_ms, 3600 * 1000);
	assert_int_equal(l.negative_ttl_ms, 5000);
	assert_int_equal(l.len, 4);
	/* By priority; equals as they stand. */
	assert_string_equal(l.items[0].name, "https://first.example");
	assert_string_equal(l.items[1].name, "cache.example/x");
	assert_string_equal(l.items[2].where, "docker.io");
	assert_string_equal(l.items[3].where, "localhost:5000");
	assert_true(l.items[0].trust_all && l.items[0].optional && l.items[0].closures);
	assert_int_equal(l.items[1].n_trusted, 1);
	assert_int_equal(l.items[1].stall_timeout_s, 2);
	assert_int_equal(l.items[1].min_speed, 4096);
	assert_false(l.items[1].closures || l.items[1].trust_all || l.items[1].optional);
	assert_int_equal(l.items[2].kind, UPSTREAM_REGISTRY);
	assert_int_equal(l.items[2].tag_ttl_ms, 0);
	assert_false(l.items[2].insecure);
	assert_true(l.items[3].insecure);
	upstream_settings_release(&l);
	config_free(root);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"upstreams: x\n", "has a url"},
		{"upstreams: [{trust: all}]\n", "has a url"},
		{"upstreams: [{url: \"ftp://x\", trust: all}]\n", "say https"},
		{"upstreams: [{url: \"https://x\"}]\n", "trusted-keys"},
		{"upstreams: [{url: \"https://x\", trusted-keys: [y]}]\n", "no public key"},
		{"upstreams: [{url: \"https://x\", trust: some}]\n", "trust"},
		{"upstreams: [{url: \"docker://x/y\"}]\n", "a registry is a host"},
		{"upstreams: [{url: \"docker://\"}]\n", "a registry is a host"},
		{"upstreams: [{url: \"docker://x\", kind: cache}]\n", "http"},
		{"upstreams: [{url: \"docker://x\", repositories: [\"a b\"]}]\n", "no pattern"},
		{"upstreams: [{url: \"docker://x\", packages: A}]\n", "no name of a repository"},
		{"upstreams: [{url: \"docker://x\", packages: a}]\n", "trusted-keys"},
		{"upstreams: [{url: \"https://x\", trust: all, stall-timeout: 1ms}]\n",
		 "stall-timeout"},
		{"upstreams: [{url: \"https://x\", trust: all, prefix: a/}]\n", "prefix"},
		{"upstream-ttl: never\n", "upstream-ttl"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct upstream_list l = {0};
		struct config *root = NULL;
		struct err err = ERR_INIT;

		if (read_text(&l, &root, bad[i].text, &err) != E_INVALID ||
		    !strstr(err.text, bad[i].why))
			fail_msg("%s: %d %s", bad[i].text, err.code, err.text);
		assert_non_null(strstr(err.text, "f:"));
		upstream_settings_release(&l);
		config_free(root);
	}
}

static void test_names(void **state)
{
	struct view_settings v = {0};
	struct config *root = NULL;
	struct err err = ERR_INIT;
	char name[256];

	(void)state;
	assert_ok(
		read_text(
			&v.upstreams, &root,
			"upstreams:\n"
			"  - {url: docker://docker.io, prefix: hub/, repositories: [\"hub/**\"]}\n"
			"  - {url: docker://ghcr.io, prefix: g/, remote-prefix: org/}\n",
			&err),
		err);
	assert_true(upstream_has_registry(&v));
	assert_true(upstream_covers(&v, "hub/library/busybox"));
	assert_true(upstream_covers(&v, "g/x"));
	assert_false(upstream_covers(&v, "hub"));
	assert_false(upstream_covers(&v, "other/x"));
	assert_non_null(upstream_of_host(&v, "docker.io", "library/busybox", name));
	assert_string_equal(name, "hub/library/busybox");
	assert_non_null(upstream_of_host(&v, "ghcr.io", "org/x", name));
	assert_string_equal(name, "g/x");
	assert_null(upstream_of_host(&v, "ghcr.io", "other/x", name));
	assert_null(upstream_of_host(&v, "example.com", "library/busybox", name));
	assert_null(upstream_of_host(&v, "", "library/busybox", name));
	upstream_settings_release(&v.upstreams);
	assert_false(upstream_has_registry(&v));
	config_free(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
