/* SPDX-License-Identifier: Apache-2.0 */
/* What the collector takes, and what it keeps: every rule. */
#include "image-fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "gc-fixture.h"

/* ---- The registry ---- */

static void test_uploads_have_grace(void **state)
{
	struct fixture f = {0};
	struct hash h;
	uint64_t size;

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_str("orphan"), &h), f.err);
	assert_ok(put_blob(&f, "r", slice_str("asked for"), &h), f.err);
	assert_ok(put_blob(&f, "r", slice_str("pushed again"), &h), f.err);
	put_image(&f, "r", "v1", "layer");
	gc(&f);
	later(20 * HOUR);
	gc(&f);
	assert_true(has_blob(&f, "r", "orphan"));
	/* Asking whether it is there, or sending it again, begins its grace anew. */
	hash_bytes(&h, HASH_SHA256, "asked for", 9);
	assert_ok(store_blob_stat(f.root, "r", &h, &size, &f.err), f.err);
	assert_ok(put_blob(&f, "r", slice_str("pushed again"), &h), f.err);
	later(5 * HOUR);
	assert_int_equal(gc(&f).blobs, 1);
	assert_false(has_blob(&f, "r", "orphan"));
	assert_true(has_blob(&f, "r", "asked for"));
	assert_true(has_blob(&f, "r", "pushed again"));
	later(25 * HOUR);
	assert_int_equal(gc(&f).blobs, 2);
	/* What a manifest names stays. */
	assert_true(has_blob(&f, "r", "layer"));
	assert_true(has_blob(&f, "r", "{}"));
	fixture_close(&f);
}

static void test_open_upload_keeps(void **state)
{
	struct fixture f = {0};
	char id[UPLOAD_ID_LEN + 1];
	struct hash h;

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_str("first"), &h), f.err);
	assert_ok(store_upload_begin(f.root, "r", HASH_NONE, id, &f.err), f.err);
	later(40 * HOUR);
	assert_int_equal(gc(&f).blobs, 0);
	assert_ok(store_upload_cancel(f.root, "r", id, &f.err), f.err);
	later(2 * HOUR);
	assert_int_equal(gc(&f).blobs, 1);
	fixture_close(&f);
}

/* Manifest, then blobs, then bytes: each in its time. */
static void test_deleted_manifest(void **state)
{
	struct fixture f = {0};
	struct store_statistics before, after;
	cleanup_free char *big = noise(100000, 1);
	char digest[DIGEST_TEXT_MAX];
	struct hash h;

	(void)state;
	fixture_open(&f);
	h = put_image(&f, "r", "v1", big);
	put_image(&f, "r", "v2", "small");
	assert_ok(store_statistics(f.store, &before, &f.err), f.err);
	digest_format(digest, &h);
	assert_ok(store_manifest_delete(f.root, "r", digest, &f.err), f.err);
	gc(&f);
	/* Who pulled it a moment ago still gets its layers. */
	assert_true(has_blob(&f, "r", big));
	later(25 * HOUR);
	assert_int_equal(gc(&f).blobs, 1);
	assert_false(has_blob(&f, "r", big));
	assert_true(has_blob(&f, "r", "{}"));
	gc(&f);
	assert_ok(store_statistics(f.store, &after, &f.err), f.err);
	assert_true(after.physical_bytes - after.database_bytes <=
		    before.physical_bytes - before.database_bytes - 90000);
	fixture_close(&f);
}

static void test_untagged_manifests(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	char digest[DIGEST_TEXT_MAX];
	struct hash old, pulled, forever;

	(void)state;
	fixture_open(&f);
	tag_rule_add(&rules, "kept")->untagged_grace_s = STORE_FOREVER;
	tag_rule_add(&rules, "short")->untagged_grace_s = 2 * DAY;
	rules_set(&f, &rules);
	old = put_image(&f, "r", "v1", "one");
	put_image(&f, "r", "v1", "two"); /* moves the tag */
	pulled = put_image(&f, "r", NULL, "three");
	forever = put_image(&f, "kept", NULL, "three");
	put_image(&f, "short", NULL, "three");
	gc(&f);
	later(10 * DAY);
	digest_format(digest, &pulled);
	pull(&f, "r", digest);
	assert_int_equal(gc(&f).manifests, 1);
	assert_false(has_digest(&f, "short", &pulled));
	later(5 * DAY);
	assert_int_equal(gc(&f).manifests, 1);
	assert_false(has_digest(&f, "r", &old));
	assert_true(has_digest(&f, "kept", &forever));
	assert_true(has(&f, "r", "v1"));
	later(10 * DAY);
	assert_int_equal(gc(&f).manifests, 1);
	assert_false(has_digest(&f, "r", &pulled));
	later(1000 * DAY);
	gc(&f);
	assert_true(has_digest(&f, "kept", &forever));
	store_rules_release(&rules);
	fixture_close(&f);
}

static void test_members_of_an_index(void **state)
{
	struct fixture f = {0};
	struct hash member;

	(void)state;
	fixture_open(&f);
	member = put_image(&f, "r", NULL, "one");
	put_index(&f, "r", "latest", &member, 300);
	later(100 * DAY);
	assert_int_equal(gc(&f).manifests, 0);
	assert_true(has_digest(&f, "r", &member));
	assert_ok(store_manifest_delete(f.root, "r", "latest", &f.err), f.err);
	later(15 * DAY);
	gc(&f); /* the index, whose grace began with the end of its tag */
	assert_true(has_digest(&f, "r", &member));
	later(15 * DAY);
	gc(&f);
	assert_false(has_digest(&f, "r", &member));
	later(2 * DAY);
	gc(&f);
	assert_int_equal(store_repository_exists(f.root, "r", &f.err), 0);
	fixture_close(&f);
}

static struct hash put_referrer(struct fixture *f, const char *repository, const char *reference,
				const struct hash *subject, const char *layer)
{
	cleanup_buf struct buf text = {0}, image = {0};
	struct manifest_put_result result;
	char digest[DIGEST_TEXT_MAX];
	struct hash h;

	image_text(f, repository, layer, &image);
	digest_format(digest, subject);
	text = BUF_INIT(1 << 16);
	buf_addf(&text,
		 "%.*s,\"subject\":{\"mediaType\":\"" MT_OCI_MANIFEST
		 "\",\"digest\":\"%s\",\"size\":300}}",
		 (int)image.len - 1, (char *)image.data, digest);
	hash_bytes(&h, HASH_SHA256, text.data, text.len);
	digest_format(digest, &h);
	assert_ok(put_manifest(f, repository, reference ? reference : digest, &text, &result),
		  f->err);
	return h;
}

static void test_referrers(void **state)
{
	struct fixture f = {0};
	char fallback[200], cosign[200], digest[DIGEST_TEXT_MAX];
	struct hash image, referrer, second;

	(void)state;
	fixture_open(&f);
	image = put_image(&f, "r", "v1", "one");
	referrer = put_referrer(&f, "r", NULL, &image, "signature");
	second = put_referrer(&f, "r", NULL, &referrer, "of the signature");
	digest_format(digest, &image);
	snprintf(fallback, sizeof(fallback), "sha256-%s", digest + 7);
	snprintf(cosign, sizeof(cosign), "sha256-%s.sig", digest + 7);
	put_index(&f, "r", fallback, &referrer, 300);
	put_image(&f, "r", cosign, "cosign's");
	later(100 * DAY);
	gc(&f);
	assert_true(has_digest(&f, "r", &second));
	assert_true(has(&f, "r", fallback));
	assert_ok(store_manifest_delete(f.root, "r", digest, &f.err), f.err);
	/* Each level has its grace. */
	for (int i = 0; i < 4; i++) {
		gc(&f);
		assert_true(i > 0 || has(&f, "r", cosign));
		later(15 * DAY);
	}
	gc(&f);
	assert_false(has(&f, "r", cosign));
	assert_false(has(&f, "r", fallback));
	assert_false(has_digest(&f, "r", &referrer));
	later(30 * DAY);
	gc(&f);
	assert_false(has_digest(&f, "r", &second));
	later(2 * DAY);
	gc(&f);
	assert_int_equal(store_repository_exists(f.root, "r", &f.err), 0);
	fixture_close(&f);
}

static void test_keep_last(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	struct tag_rule *rule;
	cleanup_buf struct buf dry = {0};
	char tag[20];

	(void)state;
	fixture_open(&f);
	rule = tag_rule_add(&rules, "ci/**");
	rule->keep_last = 3;
	rule->keep_tags = words("release-*");
	rules_set(&f, &rules);
	put_image(&f, "ci/app", "release-1", "release");
	for (int i = 0; i < 10; i++) {
		snprintf(tag, sizeof(tag), "pr-%d", i);
		put_image(&f, "ci/app", tag, tag);
		put_image(&f, "other", tag, tag);
	}
	gc_dry(&f, &dry);
	assert_non_null(strstr((char *)dry.data, "tag ci/app:pr-6\n"));
	assert_null(strstr((char *)dry.data, "pr-7"));
	assert_true(has(&f, "ci/app", "pr-0"));
	assert_int_equal(gc(&f).tags, 7);
	assert_false(has(&f, "ci/app", "pr-6"));
	assert_true(has(&f, "ci/app", "pr-7"));
	assert_true(has(&f, "ci/app", "release-1"));
	assert_true(has(&f, "other", "pr-0"));
	/* One is pushed again: it is the last one then. */
	put_image(&f, "ci/app", "pr-7", "another");
	put_image(&f, "ci/app", "pr-10", "ten");
	assert_int_equal(gc(&f).tags, 1);
	assert_true(has(&f, "ci/app", "pr-7"));
	assert_false(has(&f, "ci/app", "pr-8"));
	/* One is deleted: those that are there are kept. */
	assert_ok(store_manifest_delete(f.root, "ci/app", "pr-10", &f.err), f.err);
	later(2 * DAY);
	assert_int_equal(gc(&f).tags, 0);
	for (int i = 20; i < 24; i++) {
		snprintf(tag, sizeof(tag), "pr-%d", i);
		put_image(&f, "ci/app", tag, tag);
	}
	assert_int_equal(gc(&f).tags, 3);
	assert_true(has(&f, "ci/app", "pr-21"));
	assert_false(has(&f, "ci/app", "pr-9"));
	store_rules_release(&rules);
	fixture_close(&f);
}

static void test_keep_by_time(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	struct tag_rule *rule;

	(void)state;
	fixture_open(&f);
	tag_rule_add(&rules, "age")->keep_for_s = 10 * DAY;
	rule = tag_rule_add(&rules, "use");
	rule->keep_used_for_s = 10 * DAY;
	rule->keep_last = 1;
	rules_set(&f, &rules);
	for (int i = 0; i < 2; i++) {
		const char *repository = i ? "use" : "age";

		put_image(&f, repository, "idle", "idle");
		put_image(&f, repository, "pulled", "pulled");
		put_image(&f, repository, "last", "last");
	}
	gc(&f);
	later(6 * DAY);
	pull(&f, "age", "pulled");
	pull(&f, "use", "pulled");
	gc(&f);
	later(6 * DAY);
	assert_int_equal(gc(&f).tags, 4);
	assert_false(has(&f, "age", "pulled"));
	assert_false(has(&f, "use", "idle"));
	assert_true(has(&f, "use", "last"));
	pull(&f, "use", "pulled");
	fixture_reopen(&f); /* which is not forgotten */
	rules_set(&f, &rules);
	later(9 * DAY);
	assert_int_equal(gc(&f).tags, 0);
	later(2 * DAY);
	assert_int_equal(gc(&f).tags, 1);
	store_rules_release(&rules);
	fixture_close(&f);
}

static void test_rules_change(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	struct tag_rule *rule;
	char tag[20];

	(void)state;
	fixture_open(&f);
	rules_set(&f, &rules);
	for (int i = 0; i < 20; i++) {
		snprintf(tag, sizeof(tag), "v%d", i);
		put_image(&f, "r", tag, tag);
	}
	later(100 * DAY);
	assert_int_equal(gc(&f).tags, 0);
	rule = tag_rule_add(&rules, "r");
	rule->keep_last = 15;
	rules_set(&f, &rules);
	assert_int_equal(gc(&f).tags, 5);
	rule->keep_last = 0;
	rule->keep_for_s = 200 * DAY;
	rules_set(&f, &rules);
	assert_int_equal(gc(&f).tags, 0);
	rule->keep_for_s = 50 * DAY;
	rules_set(&f, &rules);
	assert_int_equal(gc(&f).tags, 15);
	store_rules_release(&rules);
	fixture_close(&f);
}

static void count_pin(void *arg, const struct store_pin_item *item)
{
	buf_addf(arg, "%s|%s|%s\n", item->view, item->repository, item->reference);
}

static void test_pins(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	cleanup_buf struct buf list = BUF_INIT(4096);
	char digest[DIGEST_TEXT_MAX];
	struct hash h;

	(void)state;
	fixture_open(&f);
	tag_rule_add(&rules, "**")->keep_for_s = DAY;
	rules_set(&f, &rules);
	put_image(&f, "r", "pinned", "one");
	put_image(&f, "r", "not", "two");
	h = put_image(&f, "r", NULL, "three");
	put_image(&f, "all", "x", "one");
	digest_format(digest, &h);
	assert_ok(store_pin(f.root, "r", "pinned", &f.err), f.err);
	assert_ok(store_pin(f.root, "r", "pinned", &f.err), f.err); /* again: nothing */
	assert_ok(store_pin(f.root, "r", digest, &f.err), f.err);
	assert_ok(store_pin(f.root, "all", "", &f.err), f.err);
	assert_fails(store_pin(f.root, "NO", "", &f.err), E_INVALID, f.err, "NO");
	assert_fails(store_pin(f.root, "r", "sha256:12", &f.err), E_INVALID, f.err, NULL);
	assert_fails(store_unpin(f.root, "r", "never", &f.err), E_NOTFOUND, f.err, NULL);
	assert_ok(store_pins(f.store, count_pin, &list, &f.err), f.err);
	assert_non_null(strstr((char *)list.data, "|all|\n|r|pinned\n|r|sha256:"));
	for (int i = 0; i < 3; i++) {
		later(100 * DAY);
		gc(&f);
	}
	assert_true(has(&f, "r", "pinned"));
	assert_false(has(&f, "r", "not"));
	assert_true(has_digest(&f, "r", &h));
	assert_true(has(&f, "all", "x"));
	assert_ok(store_unpin(f.root, "r", "pinned", &f.err), f.err);
	assert_ok(store_unpin(f.root, "r", digest, &f.err), f.err);
	assert_ok(store_unpin(f.root, "all", "", &f.err), f.err);
	later(100 * DAY);
	gc(&f);
	assert_false(has(&f, "r", "pinned"));
	assert_false(has_digest(&f, "r", &h));
	assert_false(has(&f, "all", "x"));
	store_rules_release(&rules);
	fixture_close(&f);
}

/* What clients may not delete; and store paths. */
static void test_remove(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	char lib[STORE_BASE_MAX + 1], app[STORE_BASE_MAX + 1];

	(void)state;
	fixture_open(&f);
	rules.immutable = xcalloc(1, sizeof(*rules.immutable));
	rules.n_immutable = 1;
	rules.immutable[0] = (struct immutable_rule){words("r"), words("v*")};
	rules_set(&f, &rules);
	put_image(&f, "r", "v1", "one");
	assert_fails(store_manifest_delete(f.root, "r", "v1", &f.err), E_CONFLICT, f.err, NULL);
	assert_ok(store_manifest_remove(f.root, "r", "v1", &f.err), f.err);
	assert_false(has(&f, "r", "v1"));
	assert_fails(store_manifest_remove(f.root, "r", "v1", &f.err), E_NOTFOUND, f.err, NULL);

	put_small_path(&f, "lib", NULL);
	put_small_path(&f, "app", "lib");
	base_of("lib", lib);
	base_of("app", app);
	assert_fails(store_path_remove(f.root, lib, &f.err), E_CONFLICT, f.err, "referred to by 1");
	assert_ok(store_pin_path(f.root, app, &f.err), f.err);
	assert_fails(store_path_remove(f.root, app, &f.err), E_CONFLICT, f.err, "pinned");
	assert_ok(store_unpin_path(f.root, app, &f.err), f.err);
	assert_fails(store_path_remove(f.root, "x", &f.err), E_NOTFOUND, f.err, NULL);
	app[STORE_HASH_LEN + 1] ^= 1; /* another name behind the hash part */
	assert_fails(store_path_remove(f.root, app, &f.err), E_NOTFOUND, f.err, NULL);
	assert_true(use_path(&f, "app"));
	app[STORE_HASH_LEN] = '\0';
	assert_ok(store_path_remove(f.root, app, &f.err), f.err);
	assert_false(has_path(&f, "app"));
	assert_ok(store_path_remove(f.root, lib, &f.err), f.err);
	assert_false(has_path(&f, "lib"));
	put_small_path(&f, "lib", NULL);
	assert_true(has_path(&f, "lib"));
	store_rules_release(&rules);
	fixture_close(&f);
}

/* ---- Caches ---- */

static void test_paths_by_time(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	struct path_rule *rule = path_rule_add(&rules, "/");
	char base[STORE_BASE_MAX + 1];

	(void)state;
	fixture_open(&f);
	put_small_path(&f, "forever", NULL);
	later(1000 * DAY);
	assert_int_equal(gc(&f).paths, 0);
	rule->keep_used_for_s = 10 * DAY;
	rule->keep_paths = words("*-forever");
	rules_set(&f, &rules);
	put_small_path(&f, "lib", NULL);
	put_small_path(&f, "app", "lib");
	put_small_path(&f, "pinned", "lib");
	put_small_path(&f, "idle", NULL);
	assert_ok(store_pin_path(f.root, base_of("pinned", base), &f.err), f.err);
	assert_fails(store_pin_path(f.root, "x", &f.err), E_INVALID, f.err, NULL);
	gc(&f);
	later(6 * DAY);
	assert_true(use_path(&f, "app"));
	gc(&f);
	later(5 * DAY);
	assert_int_equal(gc(&f).paths, 1);
	assert_false(has_path(&f, "idle"));
	later(6 * DAY);
	/* lib is older, but the pinned path needs it. */
	assert_int_equal(gc(&f).paths, 1);
	assert_false(has_path(&f, "app"));
	assert_true(has_path(&f, "lib"));
	assert_true(has_path(&f, "forever"));
	/* All that the server makes of paths is pinned, and so are they. */
	assert_ok(store_pin(f.root, "nix", "", &f.err), f.err);
	assert_ok(store_unpin_path(f.root, base_of("pinned", base), &f.err), f.err);
	assert_int_equal(gc(&f).paths, 0);
	assert_ok(store_unpin(f.root, "nix", "", &f.err), f.err);
	assert_int_equal(gc(&f).paths, 2);
	assert_false(has_path(&f, "lib"));
	later(2 * DAY);
	gc(&f);
	gc(&f);
	store_rules_release(&rules);
	fixture_close(&f);
}

static void test_paths_by_size(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	struct path_rule *rule = path_rule_add(&rules, "/");
	char name[20];

	(void)state;
	fixture_open(&f);
	put_small_path(&f, "lib", NULL);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		put_small_path(&f, name, "lib");
		later(HOUR);
	}
	assert_true(use_path(&f, "p0"));
	rule->max_bytes = (uint64_t)db_int(&f, "SELECT bytes / 3 FROM view", NULL, NULL);
	rules_set(&f, &rules);
	gc(&f);
	assert_true(has_path(&f, "p0"));
	assert_true(has_path(&f, "p99"));
	assert_true(has_path(&f, "p90"));
	assert_true(has_path(&f, "lib"));
	assert_false(has_path(&f, "p1"));
	assert_false(has_path(&f, "p60"));
	/* What was used just now stays, whatever the size. */
	rule->max_bytes = 1;
	rules_set(&f, &rules);
	gc(&f);
	assert_true(has_path(&f, "p0"));
	later(10 * HOUR);
	gc(&f);
	assert_false(has_path(&f, "p0"));
	assert_false(has_path(&f, "lib"));
	store_rules_release(&rules);
	fixture_close(&f);
}

/* However many paths are kept that were used before all others. */
static void test_paths_by_size_behind_kept(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	struct path_rule *rule = path_rule_add(&rules, "/");
	struct store_gc_options budget = {.budget_ms = 10000};
	struct store_gc_result result;
	char name[20];

	(void)state;
	fixture_open(&f);
	for (int i = 0; i < 1100; i++) {
		snprintf(name, sizeof(name), "kept%d", i);
		put_small_path(&f, name, NULL);
	}
	later(HOUR);
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		put_small_path(&f, name, NULL);
	}
	later(10 * HOUR);
	rule->keep_paths = words("*-kept*");
	rule->max_bytes = 1;
	rules_set(&f, &rules);
	assert_ok(store_gc(f.store, &budget, &result, &f.err), f.err);
	assert_int_equal(result.paths, 200);
	assert_false(result.more);
	assert_true(has_path(&f, "kept0"));
	assert_true(has_path(&f, "kept1099"));
	store_rules_release(&rules);
	fixture_close(&f);
}

/* The NAR of a path that went is still there for who read its narinfo. */
static void put_text(struct fixture *f, struct store_view *v, enum store_tree tree,
		     const char *name, const char *text)
{
	struct store_put *put = NULL;

	assert_ok(store_document_put(v, tree, name, NULL, &put, &f->err), f->err);
	assert_ok(store_put_write(put, text, strlen(text), &f->err), f->err);
	assert_ok(store_put_commit(put, &f->err), f->err);
	store_put_free(put);
}

static bool has_document(struct fixture *f, enum store_tree tree, const char *name)
{
	struct content *c = NULL;
	struct err err = ERR_INIT;
	int r = store_document_open(f->root, tree, name, &c, &err);

	content_free(c);
	return r >= 0;
}

/* Logs and the like go by the time since they were put; listings with their path. */
static void test_documents_by_time(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	cleanup_buf struct buf dry = {0};
	char listed[STORE_BASE_MAX + 1];

	(void)state;
	fixture_open(&f);
	path_rule_add(&rules, "/")->keep_documents_for_s = 30 * DAY;
	put_small_path(&f, "app", NULL);
	base_of("app", listed);
	listed[STORE_HASH_LEN] = '\0';
	put_text(&f, f.root, STORE_LISTING, listed, "{}");
	put_text(&f, f.root, STORE_LOG, "a.drv", "log");
	put_text(&f, f.root, STORE_DEBUGINFO, "00.debug", "{}");
	put_text(&f, f.root, STORE_REALISATION, "sha256:00!out.doi", "{}");
	put_text(&f, f.root, STORE_BUILD_TRACE, "a.drv/out.doi", "trace");
	put_text(&f, f.root, STORE_LOG, "again.drv", "log");
	for (int i = 0; i < 100; i++) {
		char name[20];

		snprintf(name, sizeof(name), "%d.drv", i);
		put_text(&f, f.root, STORE_LOG, name, name);
	}
	later(20 * DAY);
	put_text(&f, f.root, STORE_LOG, "again.drv", "log");
	later(20 * DAY);
	gc(&f);
	assert_true(has_document(&f, STORE_LOG, "a.drv")); /* there is no rule */
	rules_set(&f, &rules);
	gc_dry(&f, &dry);
	assert_non_null(strstr((char *)dry.data, "log log/a.drv\n"));
	assert_non_null(strstr((char *)dry.data, "build trace build-trace-v2/a.drv/out.doi\n"));
	assert_null(strstr((char *)dry.data, "again"));
	assert_true(has_document(&f, STORE_LOG, "a.drv"));
	gc(&f);
	assert_false(has_document(&f, STORE_LOG, "a.drv"));
	assert_false(has_document(&f, STORE_LOG, "99.drv"));
	assert_false(has_document(&f, STORE_DEBUGINFO, "00.debug"));
	assert_false(has_document(&f, STORE_REALISATION, "sha256:00!out.doi"));
	assert_false(has_document(&f, STORE_BUILD_TRACE, "a.drv/out.doi"));
	assert_true(has_document(&f, STORE_LOG, "again.drv"));
	assert_true(has_document(&f, STORE_LISTING, listed));
	store_rules_release(&rules);
	fixture_close(&f);
}

static void put_built_path(struct fixture *f, const char *name, const char *deriver)
{
	cleanup_path_info struct path_info info;
	cleanup_buf struct buf nar = {0};
	struct entry file = {.content = name};

	nar_of(&nar, &file, 1);
	info_of(&info, name, buf_slice(&nar), NULL);
	info.deriver = xstrdup(deriver);
	assert_ok(put_nar(f, buf_slice(&nar), CODEC_NONE, NULL), f->err);
	assert_ok(put_info(f, &info), f->err);
}

/* A log goes with the last of the paths that its derivation made. */
static void test_log_goes_with_its_path(void **state)
{
	static const char drv[] = "00000000000000000000000000000000-tool.drv";
	static const char other[] = "11111111111111111111111111111111-tool.drv";
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	cleanup_buf struct buf dry = {0};

	(void)state;
	fixture_open(&f);
	path_rule_add(&rules, "/")->keep_used_for_s = 10 * DAY;
	put_built_path(&f, "tool", drv);
	put_built_path(&f, "alone", other);
	later(5 * DAY);
	put_built_path(&f, "tool-lib", drv);
	put_text(&f, f.root, STORE_LOG, drv, "log");
	put_text(&f, f.root, STORE_LOG, other, "log");
	put_text(&f, f.root, STORE_LOG, "22222222222222222222222222222222-failed.drv", "log");
	rules_set(&f, &rules);
	later(6 * DAY);
	gc_dry(&f, &dry);
	assert_non_null(strstr((char *)dry.data, "log log/11111111111111111111111111111111"));
	assert_null(strstr((char *)dry.data, "log/0"));
	assert_true(has_document(&f, STORE_LOG, other));
	assert_int_equal(gc(&f).paths, 2);
	assert_true(has_document(&f, STORE_LOG, drv));
	assert_false(has_document(&f, STORE_LOG, other));
	later(6 * DAY);
	assert_int_equal(gc(&f).paths, 1);
	assert_false(has_document(&f, STORE_LOG, drv));
	/* Nothing says what it belonged to. */
	assert_true(has_document(&f, STORE_LOG, "22222222222222222222222222222222-failed.drv"));
	/* On request, too. */
	put_built_path(&f, "tool", drv);
	put_text(&f, f.root, STORE_LOG, drv, "log");
	{
		char base[STORE_BASE_MAX + 1];

		assert_ok(store_path_remove(f.root, base_of("tool", base), &f.err), f.err);
	}
	assert_false(has_document(&f, STORE_LOG, drv));
	store_rules_release(&rules);
	fixture_close(&f);
}

static void test_nar_outlives_its_path(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	cleanup_narinfo struct narinfo info = {0};
	uint64_t size;

	(void)state;
	fixture_open(&f);
	path_rule_add(&rules, "**")->keep_used_for_s = DAY;
	rules_set(&f, &rules);
	put_small_path(&f, "one", NULL);
	assert_int_equal(get_info(&f, "one", &info), 0);
	later(3 * DAY);
	assert_int_equal(gc(&f).paths, 1);
	assert_ok(store_nar_stat(f.root, info.url + 4, &size, &f.err), f.err);
	later(20 * HOUR);
	assert_ok(store_nar_stat(f.root, info.url + 4, &size, &f.err), f.err);
	gc(&f);
	later(20 * HOUR); /* asking prolonged it */
	gc(&f);
	assert_ok(store_nar_stat(f.root, info.url + 4, &size, &f.err), f.err);
	gc(&f);
	later(25 * HOUR);
	gc(&f);
	assert_fails(store_nar_stat(f.root, info.url + 4, &size, &f.err), E_NOTFOUND, f.err, NULL);
	store_rules_release(&rules);
	fixture_close(&f);
}

/* As lz4 frames them, not compressed; no more than a block. */
static void lz4_of(struct buf *ret, struct slice bytes)
{
	static const uint8_t head[] = {0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82};
	uint8_t size[4] = {(uint8_t)bytes.len, (uint8_t)(bytes.len >> 8), 0, 0x80};
	static const uint8_t end[4] = {0};

	assert_true(bytes.len < 65536);
	buf_add(ret, head, sizeof(head));
	buf_add(ret, size, sizeof(size));
	buf_add(ret, bytes.data, bytes.len);
	buf_add(ret, end, sizeof(end));
}

/* Of a kind one encoding is kept, and nothing beside the NAR. */
static void test_kept_encodings(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf nar = {0}, one = BUF_INIT(1 << 20), other = BUF_INIT(1 << 20);
	cleanup_free uint8_t *skipped = xcalloc(1, 100008);
	static const uint8_t head[] = {0x50, 0x2a, 0x4d, 0x18, 100000 & 255, 100000 >> 8 & 255, 1};
	struct entry file = {.content = "alone"};

	(void)state;
	fixture_open(&f);
	nar_of(&nar, &file, 1);
	lz4_of(&one, buf_slice(&nar));
	buf_add(&other, "\x50\x2a\x4d\x18\x01\0\0\0x", 9);
	lz4_of(&other, buf_slice(&nar));
	assert_ok(put_nar_named(&f, "0.nar.lz4", buf_slice(&one)), f.err);
	assert_ok(put_nar_named(&f, "1.nar.lz4", buf_slice(&other)), f.err);
	assert_int_equal(db_int(&f, "SELECT count(*) FROM object", NULL, NULL), 2);
	assert_int_equal(db_int(&f, "SELECT count(*) FROM nar_name WHERE object > 0", NULL, NULL),
			 2);
	memcpy(skipped, head, sizeof(head));
	buf_add(&other, skipped, 100008);
	assert_fails(put_nar_named(&f, "2.nar.lz4", buf_slice(&other)), E_INVALID, f.err,
		     "something else");
	fixture_close(&f);
}

/* A NAR that no narinfo came for, also when its bytes were kept as they came. */
static void test_nar_without_a_path(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf nar = {0}, lz4 = BUF_INIT(1 << 20);
	struct entry file = {.content = "alone"};

	(void)state;
	fixture_open(&f);
	nar_of(&nar, &file, 1);
	lz4_of(&lz4, buf_slice(&nar));
	assert_ok(put_nar_named(&f, "0.nar.lz4", buf_slice(&lz4)), f.err);
	assert_ok(put_nar_named(&f, "1.nar.lz4", buf_slice(&lz4)), f.err);
	assert_ok(put_nar(&f, buf_slice(&nar), CODEC_XZ, NULL), f.err);
	assert_int_equal(db_int(&f, "SELECT count(*) FROM object", NULL, NULL), 2);
	later(2 * DAY);
	gc(&f);
	gc(&f);
	assert_int_equal(db_int(&f, "SELECT count(*) FROM nar_name", NULL, NULL), 0);
	assert_int_equal(db_int(&f, "SELECT count(*) FROM object", NULL, NULL), 0);
	fixture_close(&f);
}

/* The images that the server made of a path go with it; what was pushed stays. */
static void test_made_images(void **state)
{
	struct world w = {0};
	struct fixture *f = &w.f;
	struct store_rules rules = STORE_RULES_INIT;
	char hash[STORE_HASH_LEN + 1] = "", gzip[STORE_HASH_LEN + 8];
	struct manifest_stat stat;

	(void)state;
	world_make(&w);
	path_rule_add(&rules, "/")->keep_used_for_s = 30 * DAY;
	tag_rule_add(&rules, "**")->keep_last = 1; /* is no business of these */
	rules_set(f, &rules);
	for (size_t i = 0; i < 2; i++)
		put_path(f, w.p[i].name, buf_slice(&w.p[i].nar), w.p[i].refs, CODEC_NONE);
	memcpy(hash, store_path_base(&w.p[1].info.path), STORE_HASH_LEN);
	snprintf(gzip, sizeof(gzip), "%s-gzip", hash);
	pull(f, "nix", hash);
	pull(f, "nix", gzip);
	pull(f, "nix/package", hash);
	gc(f);
	later(20 * DAY);
	gc(f);
	pull(f, "nix", hash); /* is a use of the path */
	gc(f);
	later(20 * DAY);
	gc(f);
	assert_true(has(f, "nix", hash));
	assert_true(has(f, "nix", gzip));
	assert_true(has_path(f, "app"));
	later(20 * DAY);
	assert_int_equal(gc(f).paths, 2);
	assert_false(has(f, "nix", hash));
	assert_false(has(f, "nix", gzip));
	assert_false(has(f, "nix/package", hash));
	f->err = ERR_INIT;
	assert_fails(store_manifest_stat(f->root, "nix", hash, &stat, &f->err), E_NOTFOUND, f->err,
		     NULL);
	for (int i = 0; i < 4; i++) {
		later(20 * DAY);
		gc(f);
	}
	assert_int_equal(db_int(f, "SELECT count(*) FROM manifest", NULL, NULL), 0);
	assert_int_equal(db_int(f, "SELECT count(*) FROM repository_blob", NULL, NULL), 0);
	assert_true(db_int(f, "SELECT count(*) FROM nar", NULL, NULL) <=
		    2); /* of the newest blob */
	/* And all can come again. */
	for (size_t i = 0; i < 2; i++)
		put_path(f, w.p[i].name, buf_slice(&w.p[i].nar), w.p[i].refs, CODEC_NONE);
	pull(f, "nix", hash);
	store_rules_release(&rules);
	world_release(&w);
}

static void remove_big(struct fixture *f)
{
	char base[STORE_BASE_MAX + 1];

	assert_ok(store_path_remove(f->root, base_of("big", base), &f->err), f->err);
}

static void put_big(struct fixture *f, unsigned seed, const struct secret_key *key)
{
	cleanup_free char *bytes = noise(100000, seed);
	cleanup_buf struct buf nar = BUF_INIT(1 << 20);
	cleanup_path_info struct path_info info = {0};
	struct entry file = {.content = bytes, .size = 100000};

	nar_of(&nar, &file, 1);
	info_of(&info, "big", buf_slice(&nar), NULL);
	if (key)
		assert_ok(path_info_sign(&info, key, &f->err), f->err);
	assert_ok(put_nar(f, buf_slice(&nar), CODEC_NONE, NULL), f->err);
	assert_ok(put_info(f, &info), f->err);
}

static struct secret_key trusted_key;

static void replace_big(struct fixture *f)
{
	put_big(f, 2, &trusted_key);
}

/* The path goes, or becomes another, while its image is made. */
static void test_late_image(void **state)
{
	char tag[STORE_BASE_MAX + 1];
	struct public_key public;

	(void)state;
	base_of("big", tag);
	memcpy(tag + STORE_HASH_LEN, "-gzip", sizeof("-gzip"));
	for (int replaced = 0; replaced < 2; replaced++) {
		struct fixture f = {.options = STORE_OPTIONS_INIT};
		struct manifest_stat stat;

		assert_ok(secret_key_generate(&trusted_key, "k", &f.err), f.err);
		secret_key_public(&public, &trusted_key);
		f.options.root.trusted = &public;
		f.options.root.n_trusted = 1;
		f.options.architecture = "amd64";
		fixture_open(&f);
		put_big(&f, 1, NULL);
		before_link(&f, replaced ? replace_big : remove_big);
		if (replaced)
			assert_ok(store_manifest_stat(f.root, "nix", tag, &stat, &f.err), f.err);
		else
			assert_fails(store_manifest_stat(f.root, "nix", tag, &stat, &f.err),
				     E_NOTFOUND, f.err, NULL);
		assert_null(link_hook);
		/* The image is that of the path as it is. */
		assert_int_equal(db_int(&f,
					"SELECT count(*) FROM layer_path JOIN binding"
					" ON binding.nar = layer_path.nar",
					NULL, NULL),
				 replaced);
		assert_int_equal(db_int(&f, "SELECT count(*) FROM tag", NULL, NULL), replaced);
		fixture_close(&f);
	}
}

/* A damaged layer, whose path went, is pushed again: its NAR has no use any more. */
static void test_healed_layer(void **state)
{
	static const size_t groups[2][2] = {{0}, {1, 2}}, order[] = {1, 0, 2};
	struct world w = {0};
	struct pushed p;
	struct store_check_options check = {.report = fixture_defect, .repair = true};
	struct store_check_result result;

	(void)state;
	world_make(&w);
	push_world(&w, &p, "r", IMAGE_ZSTD, ANNOTATED | REFERENCES);
	for (size_t i = 0; i < 3; i++)
		assert_ok(store_path_remove(w.f.root, store_path_base(&w.p[order[i]].info.path),
					    &w.f.err),
			  w.f.err);
	later(2 * DAY);
	gc(&w.f);
	assert_int_equal(db_int(&w.f, "SELECT count(*) FROM nar", NULL, NULL), 3);
	fixture_damage(&w.f, "SELECT file FROM object WHERE size > 1000000");
	assert_ok(store_check_repair(w.f.store, &check, &result, &w.f.err), w.f.err);
	assert_int_equal(result.quarantined, 1);
	for (size_t i = 0; i < 2; i++) {
		cleanup_buf struct buf layer = {0};
		struct hash diff, digest;

		layer_of(&w, IMAGE_ZSTD, groups[i], i + 1, &layer, &diff);
		assert_ok(put_blob(&w.f, "r", buf_slice(&layer), &digest), w.f.err);
	}
	gc(&w.f);
	assert_int_equal(db_int(&w.f, "SELECT count(*) FROM object WHERE damaged = 1", NULL, NULL),
			 0);
	pushed_release(&p);
	world_release(&w);
}

/* Each view for itself, though they share the bytes. */
static void test_views(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	struct store_view_options options = STORE_VIEW_OPTIONS_INIT;
	struct store_view *root, *team;
	cleanup_narinfo struct narinfo info = {0};
	cleanup_buf struct buf nar = {0};

	(void)state;
	fixture_open(&f);
	assert_ok(store_view_open(&team, f.store, "team", &options, &f.err), f.err);
	path_rule_add(&rules, "team")->keep_used_for_s = 10 * DAY;
	tag_rule_add(&rules, "team/*")->keep_for_s = DAY;
	rules_set(&f, &rules);
	root = f.root;
	put_small_path(&f, "both", NULL);
	put_image(&f, "app", "v1", "one");
	f.root = team;
	put_small_path(&f, "both", NULL);
	put_image(&f, "app", "v1", "one");
	for (int i = 0; i < 5; i++) {
		later(20 * DAY);
		gc(&f);
	}
	assert_fails(get_info(&f, "both", &info), E_NOTFOUND, f.err, NULL);
	assert_int_equal(store_repository_exists(team, "app", &f.err), 0);
	f.root = root;
	assert_ok(get_info(&f, "both", &info), f.err);
	get_nar(&f, info.url, &nar);
	pull(&f, "app", "v1");
	assert_true(has_blob(&f, "app", "one"));
	store_rules_release(&rules);
	fixture_close(&f);
}

/* ---- Clocks, dry runs, work ---- */

static void test_clock_steps_back(void **state)
{
	struct fixture f = {0};
	struct store_gc_options options = {0};
	struct store_gc_result result;
	struct store_rules rules = STORE_RULES_INIT;
	struct hash h;

	(void)state;
	fixture_open(&f);
	tag_rule_add(&rules, "**")->keep_last = 2;
	path_rule_add(&rules, "/")->keep_used_for_s = 10 * DAY;
	rules_set(&f, &rules);
	put_image(&f, "r", "a", "a");
	put_image(&f, "r", "b", "b");
	put_small_path(&f, "one", NULL);
	assert_ok(put_blob(&f, "r", slice_str("orphan"), &h), f.err);
	gc(&f);
	clock_step(-1000 * DAY);
	/* Pushed last is pushed last, whatever the clock says. */
	put_image(&f, "r", "c", "c");
	assert_fails(store_gc(f.store, &options, &result, &f.err), E_CONFLICT, f.err, "behind");
	assert_int_equal(store_maintain(f.store, &f.err), E_CONFLICT);
	assert_int_equal(store_maintain(f.store, &f.err), 0); /* said once */
	/* If it stays, it is right. */
	later(25 * HOUR);
	assert_int_equal(gc(&f).tags, 1);
	assert_false(has(&f, "r", "a"));
	assert_true(has(&f, "r", "c"));
	assert_true(has_path(&f, "one"));
	assert_true(has_blob(&f, "r", "orphan"));
	/* And the queue does not wait for a thousand days. */
	later(2 * DAY);
	assert_int_equal(gc(&f).blobs, 1);
	later(1020 * DAY);
	assert_int_equal(gc(&f).paths, 1);
	store_rules_release(&rules);
	fixture_close(&f);
}

/* A clock that is behind for a moment makes nothing look old when it is right again. */
static void test_clock_is_behind_for_a_while(void **state)
{
	struct fixture f = {0};
	struct store_gc_options options = {0};
	struct store_gc_result result;
	struct store_rules rules = STORE_RULES_INIT;
	struct hash h;

	(void)state;
	fixture_open(&f);
	path_rule_add(&rules, "/")->keep_used_for_s = 10 * DAY;
	rules_set(&f, &rules);
	put_small_path(&f, "one", NULL);
	assert_ok(put_blob(&f, "r", slice_str("orphan"), &h), f.err);
	gc(&f);
	clock_step(-1000 * DAY);
	assert_fails(store_gc(f.store, &options, &result, &f.err), E_CONFLICT, f.err, "behind");
	clock_step(1000 * DAY);
	assert_int_equal(gc(&f).paths, 0);
	assert_true(has_path(&f, "one"));
	assert_true(has_blob(&f, "r", "orphan"));
	later(25 * HOUR);
	assert_int_equal(gc(&f).blobs, 1);
	assert_true(has_path(&f, "one"));
	store_rules_release(&rules);
	fixture_close(&f);
}

/* What had some hours left has them still when the clock was wrong for a moment. */
static void test_clock_is_wrong_for_a_while(void **state)
{
	struct fixture f = {0};
	struct store_gc_options options = {0};
	struct store_gc_result result;
	struct store_rules rules = STORE_RULES_INIT;
	struct hash h;

	(void)state;
	fixture_open(&f);
	tag_rule_add(&rules, "**")->keep_for_s = 30 * DAY;
	rules_set(&f, &rules);
	put_image(&f, "r", "a", "a");
	assert_ok(put_blob(&f, "r", slice_str("orphan"), &h), f.err);
	gc(&f);
	clock_step(300 * DAY);
	assert_fails(store_gc(f.store, &options, &result, &f.err), E_CONFLICT, f.err,
		     "put forward by 259"); /* clocks in whole seconds differ by one at times */
	/* Said once. */
	assert_int_equal(store_maintain(f.store, &f.err), E_CONFLICT);
	assert_int_equal(store_maintain(f.store, &f.err), 0);
	assert_ok(put_blob(&f, "r", slice_str("of the future"), &h), f.err);
	clock_step(-300 * DAY);
	assert_int_equal(gc(&f).tags, 0);
	assert_true(has(&f, "r", "a"));
	assert_true(has_blob(&f, "r", "orphan"));
	later(25 * HOUR);
	assert_int_equal(gc(&f).blobs, 2);
	assert_ok(put_blob(&f, "r", slice_str("orphan"), &h), f.err);
	/* If it stays, it is right. */
	clock_step(300 * DAY);
	assert_int_equal(store_maintain(f.store, &f.err), E_CONFLICT);
	later(23 * HOUR);
	assert_fails(store_gc(f.store, &options, &result, &f.err), E_CONFLICT, f.err, NULL);
	assert_true(has_blob(&f, "r", "orphan"));
	later(2 * HOUR);
	assert_int_equal(gc(&f).tags, 1);
	assert_false(has_blob(&f, "r", "orphan"));
	/* Now the clock of before is the one that steps, and nothing waits for the other to come. */
	put_image(&f, "r", "b", "b");
	assert_ok(put_blob(&f, "r", slice_str("orphan"), &h), f.err);
	gc(&f);
	later(23 * HOUR);
	clock_step(-12 * HOUR);
	gc(&f);
	assert_true(has_blob(&f, "r", "orphan"));
	later(25 * HOUR);
	gc(&f);
	assert_false(has_blob(&f, "r", "orphan"));
	assert_true(has(&f, "r", "b"));
	store_rules_release(&rules);
	fixture_close(&f);
}

static void test_dry_run_changes_nothing(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	cleanup_buf struct buf first = {0}, second = {0};
	struct hash h;

	(void)state;
	fixture_open(&f);
	tag_rule_add(&rules, "**")->keep_for_s = DAY;
	path_rule_add(&rules, "/")->keep_used_for_s = DAY;
	rules_set(&f, &rules);
	put_image(&f, "r", "a", "a");
	put_small_path(&f, "lib", NULL);
	put_small_path(&f, "app", "lib");
	assert_ok(put_blob(&f, "r", slice_str("orphan"), &h), f.err);
	later(3 * DAY);
	gc_dry(&f, &first);
	gc_dry(&f, &second);
	assert_string_equal((char *)first.data, (char *)second.data);
	assert_non_null(strstr((char *)first.data, "tag r:a\n"));
	assert_non_null(strstr((char *)first.data, "-lib\n"));
	assert_non_null(strstr((char *)first.data, "blob r@sha256:"));
	assert_true(has_path(&f, "app"));
	assert_int_equal(gc(&f).paths, 2);
	store_rules_release(&rules);
	fixture_close(&f);
}

struct writing {
	struct fixture *f;
	_Atomic bool stop;
};

static void *keep_writing(void *arg)
{
	struct writing *w = arg;
	struct err err = ERR_INIT;

	while (!atomic_load(&w->stop))
		store_pin(w->f->root, "r", "v1", &err);
	return NULL;
}

/* Nobody waits long for it: with others about it says less. */
static void test_dry_run_gives_way(void **state)
{
	struct fixture f = {0};
	struct store_gc_options options = {.dry_run = true};
	struct store_gc_result alone, beside;
	struct writing writing = {.f = &f};
	pthread_t thread;

	(void)state;
	fixture_open(&f);
	store_close(f.store);
	f.store = NULL;
	/* Of blobs that are not there: each is looked at. */
	fixture_sql(&f,
		    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 15000)"
		    " INSERT INTO candidate (kind, a, b, name, since, due)"
		    " SELECT 5, 1000000 + i, 0, '', 0, 0 FROM n");
	fixture_reopen(&f);
	assert_ok(store_gc(f.store, &options, &alone, &f.err), f.err);
	assert_true(alone.looked_at >= 15000 && !alone.more);
	assert_int_equal(pthread_create(&thread, NULL, keep_writing, &writing), 0);
	usleep(50000);
	assert_ok(store_gc(f.store, &options, &beside, &f.err), f.err);
	atomic_store(&writing.stop, true);
	pthread_join(thread, NULL);
	if (beside.looked_at >= alone.looked_at || !beside.more)
		fail_msg("%llu looks beside a writer, %llu alone",
			 (unsigned long long)beside.looked_at, (unsigned long long)alone.looked_at);
	assert_true(gc(&f).looked_at >= 15000);
	fixture_close(&f);
}

/* Counted in candidates: what is there and in use costs nothing, however much it is. */
static void test_work_is_proportional_to_garbage(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	char tag[20], digest[DIGEST_TEXT_MAX];
	struct store_gc_result result;
	struct hash h = {0};

	(void)state;
	fixture_open(&f);
	tag_rule_add(&rules, "**")->keep_last = 1000;
	path_rule_add(&rules, "/")->keep_used_for_s = 100 * DAY;
	rules_set(&f, &rules);
	for (int i = 0; i < 300; i++) {
		snprintf(tag, sizeof(tag), "t%d", i);
		h = put_image(&f, "r", tag, tag);
		put_small_path(&f, tag, NULL);
	}
	gc(&f);
	later(2 * DAY);
	gc(&f);
	result = gc(&f);
	assert_int_equal(result.looked_at, 0);
	digest_format(digest, &h);
	assert_ok(store_manifest_delete(f.root, "r", digest, &f.err), f.err);
	assert_true(gc(&f).looked_at <= 6);
	later(2 * DAY);
	result = gc(&f);
	assert_int_equal(result.blobs, 1);
	assert_true(result.looked_at <= 6);
	store_rules_release(&rules);
	fixture_close(&f);
}

/* A budget ends a run in between, and the next one goes on. */
static void test_budget(void **state)
{
	struct fixture f = {0};
	struct store_gc_options options = {.budget_ms = 1};
	struct store_gc_result result;
	struct content *reading;
	struct hash h;
	uint64_t blobs = 0;
	int runs = 0;

	(void)state;
	fixture_open(&f);
	for (int i = 0; i < 500; i++) {
		char text[20];

		snprintf(text, sizeof(text), "blob %d", i);
		assert_ok(put_blob(&f, "r", slice_str(text), &h), f.err);
	}
	later(2 * DAY);
	assert_ok(put_blob(&f, "r", slice_str("kept"), &h), f.err);
	assert_ok(store_blob_open(f.root, "r", &h, &reading, &f.err), f.err);
	do {
		assert_ok(store_gc(f.store, &options, &result, &f.err), f.err);
		blobs += result.blobs;
		runs++;
	} while (result.more);
	assert_int_equal(blobs, 500);
	assert_true(runs > 1);
	store_gc_total(f.store, &result);
	assert_int_equal(result.blobs, 500);
	/* So is the removal of their bytes, once nobody reads any more. */
	assert_int_equal(db_int(&f, "SELECT count(*) FROM object", NULL, NULL), 501);
	content_free(reading);
	for (runs = 0; db_int(&f, "SELECT count(*) > 1 FROM object", NULL, NULL); runs++) {
		assert_true(runs < 20);
		assert_ok(store_gc(f.store, &options, &result, &f.err), f.err);
		assert_true(result.objects <= 256);
	}
	fixture_close(&f);
}

/* Uses are written down bit by bit, and nothing is taken before all are. */
static void test_budget_of_uses(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	struct store_gc_options options = {.budget_ms = 1};
	struct store_gc_result result;
	char name[20];
	int runs = 0;

	(void)state;
	fixture_open(&f);
	path_rule_add(&rules, "**")->keep_used_for_s = DAY;
	rules_set(&f, &rules);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		put_small_path(&f, name, NULL);
	}
	later(20 * HOUR);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		assert_true(use_path(&f, name));
	}
	later(10 * HOUR);
	do {
		assert_ok(store_gc(f.store, &options, &result, &f.err), f.err);
		runs++;
	} while (result.more);
	assert_true(runs > 10);
	store_gc_total(f.store, &result);
	assert_int_equal(result.paths, 50);
	assert_true(has_path(&f, "p0"));
	assert_true(has_path(&f, "p49"));
	store_rules_release(&rules);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uploads_have_grace),
		cmocka_unit_test(test_open_upload_keeps),
		cmocka_unit_test(test_deleted_manifest),
		cmocka_unit_test(test_untagged_manifests),
		cmocka_unit_test(test_members_of_an_index),
		cmocka_unit_test(test_referrers),
		cmocka_unit_test(test_keep_last),
		cmocka_unit_test(test_keep_by_time),
		cmocka_unit_test(test_rules_change),
		cmocka_unit_test(test_pins),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_paths_by_time),
		cmocka_unit_test(test_paths_by_size),
		cmocka_unit_test(test_paths_by_size_behind_kept),
		cmocka_unit_test(test_documents_by_time),
		cmocka_unit_test(test_log_goes_with_its_path),
		cmocka_unit_test(test_nar_outlives_its_path),
		cmocka_unit_test(test_nar_without_a_path),
		cmocka_unit_test(test_kept_encodings),
		cmocka_unit_test(test_made_images),
		cmocka_unit_test(test_late_image),
		cmocka_unit_test(test_healed_layer),
		cmocka_unit_test(test_views),
		cmocka_unit_test(test_clock_steps_back),
		cmocka_unit_test(test_clock_is_behind_for_a_while),
		cmocka_unit_test(test_clock_is_wrong_for_a_while),
		cmocka_unit_test(test_dry_run_changes_nothing),
		cmocka_unit_test(test_dry_run_gives_way),
		cmocka_unit_test(test_work_is_proportional_to_garbage),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_budget_of_uses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
