/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas, tags that stand for good, and what is counted for them. */
#include "gc-fixture.h"

#include <errno.h>
#include <pthread.h>

static struct quota_rule *quota_add(struct store_rules *r, const char *repositories,
				    const char *caches)
{
	r->quotas = xreallocarray(r->quotas, r->n_quotas + 1, sizeof(*r->quotas));
	r->quotas[r->n_quotas] = (struct quota_rule){.repositories = words(repositories),
						     .caches = words(caches),
						     .bytes = UINT64_MAX,
						     .paths = UINT64_MAX,
						     .tags = UINT64_MAX};
	return &r->quotas[r->n_quotas++];
}

static void immutable_add(struct store_rules *r, const char *repositories, const char *tags)
{
	r->immutable = xreallocarray(r->immutable, r->n_immutable + 1, sizeof(*r->immutable));
	r->immutable[r->n_immutable++] = (struct immutable_rule){words(repositories), words(tags)};
}

#define assert_quota(call, f)                                    \
	do {                                                     \
		(f)->err = ERR_INIT;                             \
		assert_int_equal((call), E_LIMIT);               \
		assert_int_equal((f)->err.sys_errno, EDQUOT);    \
		assert_non_null(strstr((f)->err.text, "quota")); \
		(f)->err = ERR_INIT;                             \
	} while (0)

static void test_bytes_of_a_repository(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	cleanup_free char *half = noise(500, 1), *other = noise(600, 2);
	struct upload *u;
	char id[UPLOAD_ID_LEN + 1];
	struct hash h, kept;

	(void)state;
	fixture_open(&f);
	quota_add(&rules, "team/*", "")->bytes = 1000;
	rules_set(&f, &rules);
	assert_ok(put_blob(&f, "team/a", slice_make(half, 500), &kept), f.err);
	assert_ok(put_blob(&f, "team/a", slice_make(half, 500), &kept),
		  f.err); /* is there already */
	assert_quota(put_blob(&f, "team/a", slice_make(other, 600), &h), &f);
	assert_ok(put_blob(&f, "team/b", slice_make(other, 600), &h), f.err);
	assert_ok(put_blob(&f, "other", slice_make(other, 600), &h), f.err);
	/* Mounted bytes count like sent ones. */
	assert_quota(store_blob_mount(f.root, "team/a", &h, "other", &f.err), &f);
	assert_ok(put_blob(&f, "team/a", slice_make(other, 500), &h), f.err);
	/* Now it is full: said before anything is sent. */
	assert_quota(store_upload_begin(f.root, "team/a", HASH_NONE, id, &f.err), &f);
	assert_quota(store_upload_once(f.root, "team/a", HASH_NONE, &u, &f.err), &f);
	/* What is deleted is free at once. */
	assert_ok(store_blob_delete(f.root, "team/a", &kept, &f.err), f.err);
	assert_ok(put_blob(&f, "team/a", slice_make(other, 400), &h), f.err);
	store_rules_release(&rules);
	fixture_close(&f);
}

static void test_tags_and_manifests(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	cleanup_buf struct buf text = {0};
	struct manifest_put_result result;

	(void)state;
	fixture_open(&f);
	quota_add(&rules, "**", "")->tags = 2;
	rules_set(&f, &rules);
	put_image(&f, "r", "a", "a");
	put_image(&f, "r", "b", "b");
	put_image(&f, "r", "b", "b again");
	image_text(&f, "r", "c", &text);
	assert_quota(put_manifest(&f, "r", "c", &text, &result), &f);
	assert_false(has(&f, "r", "c"));
	assert_ok(store_manifest_delete(f.root, "r", "a", &f.err), f.err);
	assert_ok(put_manifest(&f, "r", "c", &text, &result), f.err);
	store_rules_release(&rules);
	fixture_close(&f);
}

static int put_nar_of(struct fixture *f, const char *name)
{
	cleanup_buf struct buf nar = {0};
	struct entry file = {.content = name};

	nar_of(&nar, &file, 1);
	return put_nar(f, buf_slice(&nar), CODEC_NONE, NULL);
}

static int put_info_of(struct fixture *f, const char *name)
{
	cleanup_buf struct buf nar = {0};
	cleanup_path_info struct path_info info;
	struct entry file = {.content = name};

	nar_of(&nar, &file, 1);
	info_of(&info, name, buf_slice(&nar), NULL);
	return put_info(f, &info);
}

static void test_caches(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	struct quota_rule *quota;
	int64_t bytes;

	(void)state;
	fixture_open(&f);
	quota = quota_add(&rules, "", "/");
	quota->paths = 2;
	rules_set(&f, &rules);
	put_small_path(&f, "one", NULL);
	put_small_path(&f, "two", NULL);
	assert_quota(put_nar_of(&f, "three"), &f);
	quota->paths = UINT64_MAX;
	bytes = db_int(&f, "SELECT bytes FROM view", NULL, NULL);
	quota->bytes = (uint64_t)bytes * 2 + 20;
	rules_set(&f, &rules);
	/* NARs that wait for their narinfo count, too. */
	assert_ok(put_nar_of(&f, "a3"), f.err);
	assert_ok(put_nar_of(&f, "a4"), f.err);
	assert_quota(put_nar_of(&f, "a5"), &f);
	assert_ok(put_info_of(&f, "a3"), f.err);
	assert_ok(put_info_of(&f, "a4"), f.err);
	assert_quota(put_nar_of(&f, "a5"), &f);
	assert_ok(put_info_of(&f, "a4"), f.err); /* again: nothing new */
	quota->bytes = UINT64_MAX;
	quota->paths = 5;
	rules_set(&f, &rules);
	assert_ok(put_nar_of(&f, "a5"), f.err);
	assert_ok(put_nar_of(&f, "a6"), f.err);
	assert_ok(put_info_of(&f, "a5"), f.err);
	assert_quota(put_info_of(&f, "a6"), &f);
	assert_false(has_path(&f, "a6"));
	store_rules_release(&rules);
	fixture_close(&f);
}

struct pusher {
	pthread_t thread;
	struct fixture *f;
	int number;
	int stored, refused;
};

static void *push(void *arg)
{
	struct pusher *p = arg;

	for (int i = 0; i < 20; i++) {
		cleanup_free char *data = noise(100, (uint64_t)(1000 * p->number + i));
		struct err err = ERR_INIT;
		struct upload *u;
		struct hash h;
		int r = store_upload_once(p->f->root, "r", HASH_NONE, &u, &err);

		hash_bytes(&h, HASH_SHA256, data, 100);
		if (r >= 0) {
			r = upload_write(u, data, 100, &err);
			if (r >= 0)
				r = upload_finish(u, &h, &err);
			upload_close(u);
		}
		if (r >= 0)
			p->stored++;
		else if (err.sys_errno == EDQUOT)
			p->refused++;
	}
	return NULL;
}

/* Many at once: exactly what fits. */
static void test_concurrent_uploads(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	struct pusher p[8];
	int stored = 0, refused = 0;

	(void)state;
	fixture_open(&f);
	quota_add(&rules, "**", "")->bytes = 5050;
	rules_set(&f, &rules);
	for (int i = 0; i < 8; i++) {
		p[i] = (struct pusher){.f = &f, .number = i};
		assert_int_equal(pthread_create(&p[i].thread, NULL, push, &p[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(p[i].thread, NULL);
		stored += p[i].stored;
		refused += p[i].refused;
	}
	assert_int_equal(stored, 50);
	assert_int_equal(refused, 110);
	assert_int_equal(db_int(&f, "SELECT bytes FROM repository", NULL, NULL), 5000);
	store_rules_release(&rules);
	fixture_close(&f);
}

static void test_immutable_tags(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	cleanup_buf struct buf other = {0};
	struct manifest_put_result result;
	char digest[DIGEST_TEXT_MAX];
	struct hash h;

	(void)state;
	fixture_open(&f);
	immutable_add(&rules, "prod/** lib", "v* release");
	rules_set(&f, &rules);
	h = put_image(&f, "prod/app", "v1", "one");
	put_image(&f, "prod/app", "v1", "one"); /* the same: nothing moves */
	image_text(&f, "prod/app", "two", &other);
	assert_fails(put_manifest(&f, "prod/app", "v1", &other, &result), E_CONFLICT, f.err,
		     "prod/app:v1");
	assert_ok(put_manifest(&f, "prod/app", "v2", &other, &result), f.err);
	put_image(&f, "prod/app", "latest", "one");
	assert_ok(put_manifest(&f, "prod/app", "latest", &other, &result), f.err);
	assert_fails(store_manifest_delete(f.root, "prod/app", "v1", &f.err), E_CONFLICT, f.err,
		     "prod/app:v1");
	digest_format(digest, &h);
	assert_fails(store_manifest_delete(f.root, "prod/app", digest, &f.err), E_CONFLICT, f.err,
		     "prod/app:v1");
	assert_ok(store_manifest_delete(f.root, "prod/app", "latest", &f.err), f.err);
	put_image(&f, "test/app", "v1", "one");
	put_image(&f, "test/app", "v1", "two");
	rules.n_immutable = 0;
	rules_set(&f, &rules);
	assert_ok(store_manifest_delete(f.root, "prod/app", "v1", &f.err), f.err);
	rules.n_immutable = 1;
	store_rules_release(&rules);
	fixture_close(&f);
}

/* What an immutable tag needs is as immutable as its manifest. */
static void test_immutable_parts(void **state)
{
	struct fixture f = {0};
	struct store_rules rules = STORE_RULES_INIT;
	cleanup_buf struct buf image = {0};
	char digest[DIGEST_TEXT_MAX];
	struct hash h, index, layer, other;

	(void)state;
	fixture_open(&f);
	immutable_add(&rules, "prod/**", "v*");
	rules_set(&f, &rules);
	image_text(&f, "prod/app", "one", &image);
	h = put_image(&f, "prod/app", NULL, "one");
	hash_bytes(&layer, HASH_SHA256, "one", 3);
	index = put_index(&f, "prod/app", "inner", &h, image.len);
	digest_format(digest, &h);

	/* Nothing stands for ever yet. */
	assert_ok(store_blob_delete(f.root, "prod/app", &layer, &f.err), f.err);
	assert_ok(put_blob(&f, "prod/app", slice_str("one"), &layer), f.err);
	assert_ok(store_manifest_delete(f.root, "prod/app", digest, &f.err), f.err);

	h = put_image(&f, "prod/app", NULL, "one");
	put_index(&f, "prod/app", "v1", &index, 1);
	assert_fails(store_manifest_delete(f.root, "prod/app", digest, &f.err), E_CONFLICT, f.err,
		     "prod/app:v1");
	assert_fails(store_blob_delete(f.root, "prod/app", &layer, &f.err), E_CONFLICT, f.err,
		     "prod/app:v1");
	assert_ok(store_manifest_delete(f.root, "prod/app", "inner", &f.err), f.err);
	digest_format(digest, &index);
	assert_fails(store_manifest_delete(f.root, "prod/app", digest, &f.err), E_CONFLICT, f.err,
		     "prod/app:v1");

	/* What it does not need; and elsewhere. */
	assert_ok(put_blob(&f, "prod/app", slice_str("other"), &other), f.err);
	assert_ok(store_blob_delete(f.root, "prod/app", &other, &f.err), f.err);
	put_image(&f, "test/app", "v1", "one");
	assert_ok(store_blob_delete(f.root, "test/app", &layer, &f.err), f.err);
	/* An administrator may. */
	assert_ok(store_manifest_remove(f.root, "prod/app", "v1", &f.err), f.err);
	assert_ok(store_manifest_delete(f.root, "prod/app", digest, &f.err), f.err);
	assert_ok(store_blob_delete(f.root, "prod/app", &layer, &f.err), f.err);
	store_rules_release(&rules);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_of_a_repository),
		cmocka_unit_test(test_tags_and_manifests),
		cmocka_unit_test(test_caches),
		cmocka_unit_test(test_concurrent_uploads),
		cmocka_unit_test(test_immutable_tags),
		cmocka_unit_test(test_immutable_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
