/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/pattern.h"
#include "serve/keep-settings.h"

static const char good[] = "gc:\n"
			   "  upload-grace: 6h\n"
			   "  untagged-grace: none\n"
			   "retention:\n"
			   "  - repositories: [ \"ci/**\", scratch ]\n"
			   "    keep-last: 10\n"
			   "    keep-for: 30d\n"
			   "    keep-used-for: 14d\n"
			   "    keep-tags: v*\n"
			   "    untagged-grace: 1d\n"
			   "  - caches: /\n"
			   "    keep-used-for: 90d\n"
			   "    keep-documents-for: 60d\n"
			   "    max-bytes: 100GiB\n"
			   "    keep-paths: \"*-source\"\n"
			   "quotas:\n"
			   "  - repositories: team/*\n"
			   "    bytes: 10GiB\n"
			   "    tags: 1000\n"
			   "  - caches: [team]\n"
			   "    paths: 5\n"
			   "immutable-tags:\n"
			   "  - repositories: prod/**\n"
			   "    tags: [ v*, release-* ]\n";

static void test_good(void **state)
{
	cleanup_store_rules struct store_rules r = {0};
	struct err err = ERR_INIT;
	struct config *root;

	(void)state;
	assert_ok(config_parse(&root, slice_str(good), "f", &err), err);
	assert_ok(keep_settings_read(&r, root, &err), err);
	assert_ok(config_check_used(root, &err), err);
	assert_int_equal(r.upload_grace_s, 6 * 3600);
	assert_int_equal(r.untagged_grace_s, STORE_FOREVER);
	assert_int_equal(r.n_tags, 1);
	assert_int_equal(r.tags[0].repositories.len, 2);
	assert_int_equal(r.tags[0].keep_last, 10);
	assert_int_equal(r.tags[0].keep_for_s, 30 * 86400);
	assert_int_equal(r.tags[0].keep_used_for_s, 14 * 86400);
	assert_string_equal(r.tags[0].keep_tags.items[0], "v*");
	assert_int_equal(r.tags[0].untagged_grace_s, 86400);
	assert_int_equal(r.n_paths, 1);
	assert_int_equal(r.paths[0].keep_used_for_s, 90 * 86400);
	assert_int_equal(r.paths[0].keep_documents_for_s, 60 * 86400);
	assert_true(r.paths[0].max_bytes == 100ull << 30);
	assert_int_equal(r.n_quotas, 2);
	assert_true(r.quotas[0].bytes == 10ull << 30);
	assert_int_equal(r.quotas[0].tags, 1000);
	assert_true(r.quotas[0].paths == UINT64_MAX);
	assert_int_equal(r.quotas[1].paths, 5);
	assert_int_equal(r.n_immutable, 1);
	assert_int_equal(r.immutable[0].tags.len, 2);
	config_free(root);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
		{"gc: {upload-grace: 1s}", "upload-grace"},
		{"gc: {untagged-grace: never}", "untagged-grace"},
		{"retention: [{keep-last: 3}]", "repositories or of caches"},
		{"retention: [{repositories: a, caches: b, keep-last: 3}]", "either"},
		{"retention: [{repositories: 'a b', keep-last: 3}]", "no pattern"},
		{"retention: [{repositories: a, keep-last: 0}]", "keep-last"},
		{"retention: [{repositories: a, keep-tags: v*}]", "keep-last, keep-for"},
		{"retention: [{caches: a, keep-paths: v*}]", "max-bytes"},
		{"retention: [{repositories: a, keep-for: 1m}]", "keep-for"},
		{"retention: [{caches: a, max-bytes: lots}]", "max-bytes"},
		{"quotas: [{bytes: 5}]", "name them"},
		{"quotas: [{repositories: a, paths: 5}]", "`paths`"},
		{"quotas: [{caches: a, tags: 5}]", "`tags`"},
		{"immutable-tags: [{repositories: a}]", "name repositories and tags"},
		{"retention: 5", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_store_rules struct store_rules r = {0};
		struct err err = ERR_INIT;
		struct config *root;

		assert_ok(config_parse(&root, slice_str(cases[i].text), "f", &err), err);
		if (keep_settings_read(&r, root, &err) >= 0)
			fail_msg("taken: %s", cases[i].text);
		if (strncmp(err.text, "f:1:", 4) != 0 ||
		    (cases[i].part && !strstr(err.text, cases[i].part)))
			fail_msg("%s: %s", cases[i].text, err.text);
		config_free(root);
	}
}

static void test_patterns(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool fits;
	} cases[] = {
		{"a", "a", true},
		{"a", "b", false},
		{"a", "aa", false},
		{"*", "", true},
		{"*", "abc", true},
		{"*", "a/b", false},
		{"**", "a/b/c", true},
		{"**", "", true},
		{"a/*", "a/b", true},
		{"a/*", "a/b/c", false},
		{"a/**", "a/b/c", true},
		{"a/**", "a", false},
		{"a**", "a/b", true},
		{"*/b", "a/b", true},
		{"*/b", "a/c/b", false},
		{"**/b", "a/c/b", true},
		{"a?c", "abc", true},
		{"a?c", "a/c", false},
		{"a?", "a", false},
		{"v*.*", "v1.2", true},
		{"v*.*", "v12", false},
		{"*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false},
		{"*-source", "abc-source", true},
		{"", "", false},
		{"a b", "a b", false},
		{"/", "/", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (pattern_fits(cases[i].pattern, cases[i].name) != cases[i].fits)
			fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_patterns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
