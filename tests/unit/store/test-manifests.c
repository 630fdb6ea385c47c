/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests, tags, lists, referrers. */
#include "image-fixture.h"

#include <nacre/json.h>

#include "gc-fixture.h"

#define PAGE(n, last) (&(struct store_page){n, last})

static void simple_manifest(struct buf *ret, const char *note)
{
	ret->max = MANIFEST_BYTES_MAX;
	assert_int_equal(buf_addf(ret,
				  "{ \"schemaVersion\": 2, \"mediaType\": \"" MT_OCI_INDEX
				  "\", \"manifests\": [], \"annotations\": {\"n\": \"%s\"} }\n",
				  note),
			 0);
}

static void put_simple(struct fixture *f, const char *repository, const char *reference,
		       const char *note, struct hash *ret)
{
	cleanup_buf struct buf bytes = {0};
	struct manifest_put_result result;

	simple_manifest(&bytes, note);
	assert_ok(put_manifest(f, repository, reference, &bytes, &result), f->err);
	if (ret)
		*ret = result.digest;
}

static void test_put_get(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf bytes = {0};
	cleanup_manifest_bytes struct manifest_bytes got = {0}, by_digest = {0};
	struct manifest_put_result result;
	struct manifest_stat stat;
	char digest[DIGEST_TEXT_MAX];
	struct hash h;

	(void)state;
	fixture_open(&f);
	simple_manifest(&bytes, "one");
	assert_ok(put_manifest(&f, "a/b", "v1", &bytes, &result), f.err);
	assert_ok(store_manifest_get(f.root, "a/b", "v1", &got, &f.err), f.err);
	/* Byte for byte, blanks and all. */
	assert_true(slice_equal(buf_slice(&got.bytes), buf_slice(&bytes)));
	assert_string_equal(got.media_type, MT_OCI_INDEX);
	digest_format(digest, &result.digest);
	assert_ok(store_manifest_get(f.root, "a/b", digest, &by_digest, &f.err), f.err);
	assert_true(slice_equal(buf_slice(&by_digest.bytes), buf_slice(&bytes)));
	assert_ok(store_manifest_stat(f.root, "a/b", digest, &stat, &f.err), f.err);
	assert_int_equal(stat.size, bytes.len);
	/* sha512 */
	hash_bytes(&h, HASH_SHA512, bytes.data, bytes.len);
	digest_format(digest, &h);
	assert_fails(store_manifest_stat(f.root, "a/b", digest, &stat, &f.err), E_NOTFOUND, f.err,
		     NULL);
	assert_ok(put_manifest(&f, "a/b", digest, &bytes, &result), f.err);
	assert_true(hash_equal(&result.digest, &h));
	assert_ok(store_manifest_stat(f.root, "a/b", digest, &stat, &f.err), f.err);
	assert_true(hash_equal(&stat.digest, &h));
	/* Elsewhere it is not. */
	assert_fails(store_manifest_stat(f.root, "a", "v1", &stat, &f.err), E_NOTFOUND, f.err,
		     NULL);
	assert_fails(store_manifest_stat(f.root, "a/b", "v2", &stat, &f.err), E_NOTFOUND, f.err,
		     NULL);
	fixture_close(&f);
}

static void test_refused(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf bytes = {0}, image = {0};
	struct manifest_put_result result;
	char digest[DIGEST_TEXT_MAX];
	struct hash h;

	(void)state;
	fixture_open(&f);
	simple_manifest(&bytes, "one");
	hash_bytes(&h, HASH_SHA256, "x", 1);
	digest_format(digest, &h);
	assert_fails(put_manifest(&f, "r", digest, &bytes, &result), E_MISMATCH, f.err, "digest");
	assert_fails(put_manifest(&f, "r", "bad tag", &bytes, &result), E_INVALID, f.err, NULL);
	assert_fails(put_manifest(&f, "r", "sha256:12", &bytes, &result), E_INVALID, f.err, NULL);
	assert_fails(put_manifest(&f, "R", "t", &bytes, &result), E_INVALID, f.err, NULL);
	buf_add_str(&bytes, "x");
	assert_fails(put_manifest(&f, "r", "t", &bytes, &result), E_INVALID, f.err, NULL);
	/* A blob that is not there, here; a size that is not its. */
	assert_ok(put_blob(&f, "other", slice_str("layer"), &h), f.err);
	digest_format(digest, &h);
	for (int size = 5; size < 7; size++) {
		buf_reset(&image);
		buf_addf(&image,
			 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST "\",\"config\":{"
			 "\"mediaType\":\"a/b\",\"digest\":\"%s\",\"size\":%d},\"layers\":[]}",
			 digest, size);
		assert_fails(put_manifest(&f, "r", "t", &image, &result), E_NOTFOUND, f.err,
			     digest);
		assert_int_equal(put_manifest(&f, "other", "t", &image, &result),
				 size == 5 ? 0 : E_INVALID);
		f.err = ERR_INIT;
	}
	assert_int_equal(store_repository_exists(f.root, "r", &f.err), 0);
	/* Non-distributable layers, and those with other addresses, may be missing. */
	buf_reset(&image);
	buf_addf(&image,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST "\",\"config\":{"
		 "\"mediaType\":\"a/"
		 "b\",\"digest\":\"%s\",\"size\":5},\"layers\":[{\"mediaType\":\"" MT_OCI_LAYER_ND
		 "\",\"digest\":\"sha256:%064d\",\"size\":7},{\"mediaType\":\"c/d\","
		 "\"digest\":\"sha256:%064d\",\"size\":7,\"urls\":[\"https://example.org/\"]}]}",
		 digest, 1, 2);
	assert_ok(put_manifest(&f, "other", "t", &image, &result), f.err);
	fixture_close(&f);
}

static void sparse_set(struct fixture *f, enum store_sparse sparse)
{
	struct store_view_options o = STORE_VIEW_OPTIONS_INIT;
	struct store_view *v;

	o.sparse = sparse;
	assert_ok(store_view_open(&v, f->store, "", &o, &f->err), f->err);
	assert_ptr_equal(v, f->root);
}

/* SPEC dist-1.1 end-7: manifests of which not all is there, by policy. */
static void test_sparse(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf image = {0}, index = {0};
	struct manifest_put_result result;
	char digest[DIGEST_TEXT_MAX];
	struct hash h, layer;

	(void)state;
	fixture_open(&f);
	hash_bytes(&h, HASH_SHA256, "layer", 5);
	digest_format(digest, &h);
	buf_addf(&image,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
		 "\",\"config\":{\"mediaType\":\"a/b\",\"digest\":\"%s\",\"size\":5},\"layers\":[{"
		 "\"mediaType\":\"c/d\",\"digest\":\"%s\",\"size\":5}]}",
		 digest, digest);
	buf_addf(&index,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX
		 "\",\"manifests\":[{\"mediaType\":\"" MT_OCI_MANIFEST
		 "\",\"digest\":\"%s\",\"size\":5}]}",
		 digest);
	assert_ok(put_manifest(&f, "r", "index", &index, &result), f.err);
	assert_fails(put_manifest(&f, "r", "image", &image, &result), E_NOTFOUND, f.err, digest);
	sparse_set(&f, STORE_SPARSE_NEVER);
	assert_fails(put_manifest(&f, "s", "index", &index, &result), E_NOTFOUND, f.err, digest);
	sparse_set(&f, STORE_SPARSE_ALL);
	assert_ok(put_manifest(&f, "r", "image", &image, &result), f.err);
	/* What comes later belongs to it, and is not garbage. */
	assert_ok(put_blob(&f, "r", slice_str("layer"), &layer), f.err);
	assert_true(hash_equal(&layer, &h));
	/* abs() of the least integer is an error. */
	fixture_sql(&f, "SELECT abs(-9223372036854775807 - 1)"
			" WHERE (SELECT count(*) FROM manifest_blob) <> 1"
			" OR (SELECT count(*) FROM manifest_wanted) <> 0");
	fixture_check(&f);
	fixture_close(&f);
}

/* An index of blobs, as BuildKit's caches are: the blobs are its own, whatever comes first. */
static void test_index_of_blobs(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf index = BUF_INIT(1 << 16);
	struct manifest_put_result result;
	struct hash layer, config;
	char layer_text[DIGEST_TEXT_MAX], config_text[DIGEST_TEXT_MAX];

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_str("layer"), &layer), f.err);
	hash_bytes(&config, HASH_SHA256, "config", 6);
	digest_format(layer_text, &layer);
	digest_format(config_text, &config);
	buf_addf(&index,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX
		 "\",\"manifests\":[{\"mediaType\":\"" MT_OCI_LAYER_GZIP
		 "\",\"digest\":\"%s\",\"size\":5},{\"mediaType\":"
		 "\"application/vnd.buildkit.cacheconfig.v0\",\"digest\":\"%s\",\"size\":6}]}",
		 layer_text, config_text);
	assert_ok(put_manifest(&f, "r", "cache", &index, &result), f.err);
	assert_ok(put_blob(&f, "r", slice_str("config"), &config), f.err);
	later(100 * DAY);
	assert_int_equal(gc(&f).blobs, 0);
	assert_true(has_blob(&f, "r", "layer"));
	assert_true(has_blob(&f, "r", "config"));
	/* A blob will do where nothing may be missing. */
	sparse_set(&f, STORE_SPARSE_NEVER);
	assert_ok(put_manifest(&f, "r", "again", &index, &result), f.err);
	assert_fails(put_manifest(&f, "s", "cache", &index, &result), E_NOTFOUND, f.err,
		     layer_text);
	/* They go with it. */
	digest_format(layer_text, &result.digest);
	assert_ok(store_manifest_delete(f.root, "r", layer_text, &f.err), f.err);
	later(2 * DAY);
	assert_int_equal(gc(&f).blobs, 2);
	fixture_close(&f);
}

/* A manifest of a kind that nobody knows: what it names by digest is its own, too. */
static void test_other_kinds(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf text = BUF_INIT(1 << 16);
	struct manifest_put_result result;
	struct hash blob, member;
	char blob_text[DIGEST_TEXT_MAX], member_text[DIGEST_TEXT_MAX];

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_str("content"), &blob), f.err);
	assert_ok(put_blob(&f, "r", slice_str("garbage"), &member), f.err);
	put_simple(&f, "r", "x", "member", &member);
	digest_format(blob_text, &blob);
	digest_format(member_text, &member);
	buf_addf(&text,
		 "{\"mediaType\":\"application/vnd.cncf.oras.artifact.manifest.v1+json\","
		 "\"blobs\":[{\"digest\":\"%s\"},{\"digest\":\"none\"},{\"digest\":7},[[]]],"
		 "\"deeper\":{\"digest\":{\"x\":[{\"digest\":\"%s\"}]}}}",
		 blob_text, member_text);
	assert_ok(put_manifest(&f, "r", "artifact", &text, &result), f.err);
	assert_ok(store_manifest_delete(f.root, "r", "x", &f.err), f.err);
	later(100 * DAY);
	gc(&f);
	assert_true(has_blob(&f, "r", "content"));
	assert_true(has_digest(&f, "r", &member));
	assert_false(has_blob(&f, "r", "garbage"));
	/* A subject is not its own, but the other way round. */
	buf_reset(&text);
	digest_format(blob_text, &result.digest);
	buf_addf(&text,
		 "{\"mediaType\":\"a/b\",\"subject\":{\"mediaType\":\"c/d\",\"digest\":\"%s\","
		 "\"size\":1}}",
		 blob_text);
	hash_bytes(&member, HASH_SHA256, text.data, text.len);
	digest_format(member_text, &member);
	assert_ok(put_manifest(&f, "r", member_text, &text, &result), f.err);
	assert_ok(store_manifest_delete(f.root, "r", "artifact", &f.err), f.err);
	for (int i = 0; i < 4; i++) {
		later(20 * DAY);
		gc(&f);
	}
	assert_int_equal(store_repository_exists(f.root, "r", &f.err), 0);
	fixture_close(&f);
}

static void put_other(struct fixture *f, const char *tag, const char *type, const char *text,
		      struct manifest_put_result *ret)
{
	struct manifest_put put = {.reference = tag, .media_type = type, .bytes = slice_str(text)};
	cleanup_manifest_bytes struct manifest_bytes got = {0};
	struct hash digest;

	assert_ok(store_manifest_put(f->root, "r", &put, ret, &f->err), f->err);
	assert_ok(store_manifest_get(f->root, "r", tag, &got, &f->err), f->err);
	assert_true(slice_equal(buf_slice(&got.bytes), slice_str(text)));
	assert_string_equal(got.media_type, type);
	hash_bytes(&digest, HASH_SHA256, text, strlen(text));
	assert_true(hash_equal(&ret->digest, &digest));
}

/* What nobody can read is kept as it is. */
static void test_opaque(void **state)
{
	struct fixture f = {0};
	struct manifest_put_result result;
	struct manifest_put wrong = {
		.reference = "v1", .media_type = MT_OCI_MANIFEST, .bytes = slice_str("text")};

	(void)state;
	fixture_open(&f);
	put_other(&f, "text", "text/plain", "no JSON at all\n", &result);
	put_other(&f, "list", "application/x", " [ 1, {\"digest\": 3} ] ", &result);
	/* The same bytes as another type: it is the last word. */
	put_other(&f, "text", "text/html", "no JSON at all\n", &result);
	put_other(&f, "text", "text/plain", "no JSON at all\n", &result);
	put_other(&f, "twice", "a/b", "{\"digest\":1,\"digest\":2}", &result);
	assert_false(result.has_subject);
	assert_fails(store_manifest_put(f.root, "r", &wrong, &result, &f.err), E_INVALID, f.err,
		     "malformed JSON");
	for (int i = 0; i < 3; i++) {
		later(50 * DAY);
		gc(&f);
	}
	put_other(&f, "text", "text/plain", "no JSON at all\n", &result);

	fixture_close(&f);
}

/* Docker schema 1: its layers are called blobSum, and live as long as it. */
static void test_schema_1(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf text = BUF_INIT(1 << 16);
	struct manifest_put_result result;
	struct hash layer, garbage, later_one;
	char layer_text[DIGEST_TEXT_MAX], later_text[DIGEST_TEXT_MAX];

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_str("layer"), &layer), f.err);
	assert_ok(put_blob(&f, "r", slice_str("garbage"), &garbage), f.err);
	hash_bytes(&later_one, HASH_SHA256, "later", 5);
	digest_format(layer_text, &layer);
	digest_format(later_text, &later_one);
	buf_addf(&text,
		 "{\n   \"schemaVersion\": 1,\n   \"name\": \"r\",\n   \"tag\": \"v1\",\n"
		 "   \"fsLayers\": [{\"blobSum\": \"%s\"}, {\"blobSum\": \"%s\"},"
		 " {\"blobSum\": \"%s\"}],\n   \"history\": [],\n   \"signatures\": []\n}",
		 layer_text, later_text, layer_text);
	put_other(&f, "v1", MT_DOCKER_MANIFEST_1_SIG, (const char *)text.data, &result);
	/* One of its layers comes late. */
	assert_ok(put_blob(&f, "r", slice_str("later"), &later_one), f.err);
	later(100 * DAY);
	gc(&f);
	assert_true(has_blob(&f, "r", "layer"));
	assert_true(has_blob(&f, "r", "later"));
	assert_false(has_blob(&f, "r", "garbage"));

	assert_ok(store_manifest_delete(f.root, "r", "v1", &f.err), f.err);
	for (int i = 0; i < 4; i++) {
		later(20 * DAY);
		gc(&f);
	}
	assert_int_equal(store_repository_exists(f.root, "r", &f.err), 0);
	fixture_close(&f);
}

static void test_tags(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf bytes = {0};
	struct names_list tags = NAMES_LIST_INIT;
	struct strv more = {0};
	struct manifest_put put = {.reference = "t", .tags = &more};
	struct manifest_put_result result;
	struct manifest_stat stat;
	struct hash first;
	char digest[DIGEST_TEXT_MAX];
	bool is_more;

	(void)state;
	fixture_open(&f);
	assert_fails(store_tags(f.root, "r", PAGE(10, NULL), &tags.names, &is_more, &f.err),
		     E_NOTFOUND, f.err, NULL);
	for (int i = 0; i < 5; i++) {
		char tag[8];

		snprintf(tag, sizeof(tag), "t%d", 4 - i);
		put_simple(&f, "r", tag, tag, i == 0 ? &first : NULL);
	}
	assert_ok(store_tags(f.root, "r", PAGE(2, NULL), &tags.names, &is_more, &f.err), f.err);
	assert_int_equal(tags.list.len, 2);
	assert_true(is_more);
	assert_string_equal(tags.list.items[1], "t1");
	strv_release(&tags.list);
	assert_ok(store_tags(f.root, "r", PAGE(3, "t1"), &tags.names, &is_more, &f.err), f.err);
	assert_int_equal(tags.list.len, 3);
	assert_false(is_more);
	assert_string_equal(tags.list.items[2], "t4");
	strv_release(&tags.list);
	assert_ok(store_tags(f.root, "r", PAGE(0, NULL), &tags.names, &is_more, &f.err), f.err);
	assert_int_equal(tags.list.len, 0);
	assert_true(is_more);
	/* Several at once, all of them or none. */
	simple_manifest(&bytes, "many");
	put.bytes = buf_slice(&bytes);
	strv_add(&more, "m1");
	strv_add(&more, "m2");
	assert_ok(store_manifest_put(f.root, "r", &put, &result, &f.err), f.err);
	assert_ok(store_manifest_stat(f.root, "r", "m2", &stat, &f.err), f.err);
	strv_add(&more, "m 3");
	put.reference = "m0";
	assert_fails(store_manifest_put(f.root, "r", &put, &result, &f.err), E_INVALID, f.err,
		     NULL);
	assert_fails(store_manifest_stat(f.root, "r", "m0", &stat, &f.err), E_NOTFOUND, f.err,
		     NULL);
	strv_release(&more);
	/* A tag moves; deleting it leaves the manifest; deleting that takes its tags. */
	put_simple(&f, "r", "t4", "moved", NULL);
	digest_format(digest, &first);
	assert_ok(store_manifest_stat(f.root, "r", digest, &stat, &f.err), f.err);
	assert_ok(store_manifest_delete(f.root, "r", "m1", &f.err), f.err);
	assert_fails(store_manifest_delete(f.root, "r", "m1", &f.err), E_NOTFOUND, f.err, NULL);
	assert_ok(store_manifest_stat(f.root, "r", "m2", &stat, &f.err), f.err);
	digest_format(digest, &stat.digest);
	assert_ok(store_manifest_delete(f.root, "r", digest, &f.err), f.err);
	assert_fails(store_manifest_delete(f.root, "r", digest, &f.err), E_NOTFOUND, f.err, NULL);
	assert_fails(store_manifest_stat(f.root, "r", "m2", &stat, &f.err), E_NOTFOUND, f.err,
		     NULL);
	fixture_close(&f);
}

static void test_catalog(void **state)
{
	struct fixture f = {0};
	struct names_list names = NAMES_LIST_INIT;
	struct hash digest;
	char text[DIGEST_TEXT_MAX];
	bool more;

	(void)state;
	fixture_open(&f);
	put_simple(&f, "b", "t", "1", &digest);
	put_simple(&f, "a/x", "t", "1", NULL);
	put_simple(&f, "c", "t", "1", NULL);
	assert_ok(store_catalog(f.root, PAGE(2, NULL), &names.names, &more, &f.err), f.err);
	assert_int_equal(names.list.len, 2);
	assert_true(more);
	assert_string_equal(names.list.items[0], "a/x");
	strv_release(&names.list);
	assert_ok(store_catalog(f.root, PAGE(2, "b"), &names.names, &more, &f.err), f.err);
	assert_int_equal(names.list.len, 1);
	assert_false(more);
	strv_release(&names.list);
	/* What is emptied is gone. */
	digest_format(text, &digest);
	assert_ok(store_manifest_delete(f.root, "b", text, &f.err), f.err);
	assert_int_equal(store_repository_exists(f.root, "b", &f.err), 0);
	assert_ok(store_catalog(f.root, PAGE(10, NULL), &names.names, &more, &f.err), f.err);
	assert_int_equal(names.list.len, 2);
	strv_release(&names.list);
	fixture_close(&f);
}

static void put_referrer(struct fixture *f, int i, const char *type, const struct hash *subject,
			 struct hash *ret)
{
	cleanup_buf struct buf bytes = BUF_INIT(1 << 20);
	struct manifest_put_result result;
	char digest[DIGEST_TEXT_MAX], tag[16];
	struct hash empty;

	assert_ok(put_blob(f, "r", slice_str(OCI_EMPTY_JSON), &empty), f->err);
	digest_format(digest, subject);
	buf_addf(&bytes,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
		 "\",\"artifactType\":\"%s\","
		 "\"config\":{\"mediaType\":\"" MT_OCI_EMPTY "\",\"digest\":\"" OCI_EMPTY_DIGEST
		 "\",\"size\":2},\"layers\":[],\"annotations\":{\"i\":\"%d\"},\"subject\":{"
		 "\"mediaType\":\"" MT_OCI_MANIFEST "\",\"digest\":\"%s\",\"size\":9}}",
		 type, i, digest);
	snprintf(tag, sizeof(tag), "r%d", i);
	assert_ok(put_manifest(f, "r", tag, &bytes, &result), f->err);
	assert_true(result.has_subject);
	*ret = result.digest;
}

static size_t count_referrers(struct fixture *f, struct referrers_query *q, uint64_t *ret_after)
{
	cleanup_buf struct buf text = {0};
	cleanup_manifest struct manifest index = {0};

	assert_ok(store_referrers(f->root, "r", q, &text, ret_after, &f->err), f->err);
	assert_ok(manifest_parse(&index, NULL, buf_slice(&text), &f->err), f->err);
	assert_int_equal(index.kind, MANIFEST_INDEX);
	for (size_t i = 0; i < index.manifests.len; i++) {
		assert_non_null(index.manifests.items[i].artifact_type);
		assert_non_null(annotations_get(&index.manifests.items[i].annotations, "i"));
	}
	return index.manifests.len;
}

static void test_referrers(void **state)
{
	struct fixture f = {0};
	struct referrers_query q = {.n = 100};
	struct hash made[6];
	char digest[DIGEST_TEXT_MAX];
	uint64_t after;

	(void)state;
	fixture_open(&f);
	hash_bytes(&q.subject, HASH_SHA256, "subject", 7);
	/* None, of a repository that is not there. */
	assert_int_equal(count_referrers(&f, &q, &after), 0);
	assert_int_equal(after, 0);
	/* The subject need not be there. */
	for (int i = 0; i < 6; i++)
		put_referrer(&f, i, i % 2 ? "a/odd" : "a/even", &q.subject, &made[i]);
	assert_int_equal(count_referrers(&f, &q, &after), 6);
	assert_int_equal(after, 0);
	q.artifact_type = "a/odd";
	assert_int_equal(count_referrers(&f, &q, &after), 3);
	q.artifact_type = NULL;
	q.n = 4;
	assert_int_equal(count_referrers(&f, &q, &after), 4);
	assert_int_not_equal(after, 0);
	q.after = after;
	assert_int_equal(count_referrers(&f, &q, &after), 2);
	assert_int_equal(after, 0);
	q.after = 0;
	q.n = 100;
	/* Put again it is one; deleted it is none. */
	put_referrer(&f, 5, "a/odd", &q.subject, &made[5]);
	assert_int_equal(count_referrers(&f, &q, &after), 6);
	digest_format(digest, &made[5]);
	assert_ok(store_manifest_delete(f.root, "r", digest, &f.err), f.err);
	assert_int_equal(count_referrers(&f, &q, &after), 5);
	fixture_close(&f);
}

/* 4 MiB, as the specification demands. */
static void test_large(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf bytes = BUF_INIT(16 << 20);
	cleanup_manifest_bytes struct manifest_bytes got = {0};
	struct manifest_put_result result;

	(void)state;
	fixture_open(&f);
	buf_addf(&bytes, "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX "\",\"manifests\":[],"
			 "\"annotations\":{\"x\":\"");
	while (bytes.len < 4 << 20)
		buf_add_str(&bytes, "0123456789abcdef0123456789abcdef");
	buf_add_str(&bytes, "\"}}");
	assert_ok(put_manifest(&f, "r", "large", &bytes, &result), f.err);
	assert_ok(store_manifest_get(f.root, "r", "large", &got, &f.err), f.err);
	assert_true(slice_equal(buf_slice(&got.bytes), buf_slice(&bytes)));
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_get),     cmocka_unit_test(test_refused),
		cmocka_unit_test(test_sparse),      cmocka_unit_test(test_index_of_blobs),
		cmocka_unit_test(test_other_kinds), cmocka_unit_test(test_opaque),
		cmocka_unit_test(test_schema_1),    cmocka_unit_test(test_tags),
		cmocka_unit_test(test_catalog),     cmocka_unit_test(test_referrers),
		cmocka_unit_test(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
