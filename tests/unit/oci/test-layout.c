/* SPDX-License-Identifier: Apache-2.0 */
#include "image-helper.h"

#include <pthread.h>
#include <sys/stat.h>

#include "oci/layout-internal.h"

static char dir[64];
static int dirfd_;

static int setup(void **state)
{
	dirfd_ = unit_tempdir(dir);
	return 0;
}

static int teardown(void **state)
{
	unit_tempdir_end(dirfd_, dir);
	return 0;
}

static void put_one(const struct test_image *t, const char *tag)
{
	cleanup_image_dest struct image_dest *d = NULL;
	struct err err = ERR_INIT;

	assert_ok(image_layout_dest(&d, dir, &err), err);
	assert_ok(test_image_put(t, d, tag, &err), err);
	assert_ok(image_dest_finish(d, &err), err);
}

static struct image_source *open_source(const char *tag)
{
	struct image_source *s = NULL;
	struct err err = ERR_INIT;

	assert_ok(image_layout_source(&s, dir, tag, &err), err);
	return s;
}

static void write_at(const char *path, const char *text)
{
	int fd = openat(dirfd_, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
	close(fd);
}

static void test_round_trip(void **state)
{
	struct test_image a, b;
	char digest[DIGEST_TEXT_MAX];
	cleanup_image_source struct image_source *s = NULL;
	struct err err = ERR_INIT;
	struct manifest_bytes m;

	test_image_make(&a, "a", CODEC_NONE);
	test_image_make(&b, "b", CODEC_GZIP);
	put_one(&a, "one");
	s = open_source(NULL);
	test_image_check(&a, s, NULL);
	image_source_free(take_ptr(s));
	put_one(&b, "two");
	s = open_source(NULL);
	/* Two images: which? */
	assert_int_equal(image_get_manifest(s, NULL, &m, &err), E_USAGE);
	assert_non_null(strstr(err.text, "one, two"));
	assert_int_equal(image_get_manifest(s, "three", &m, &err), E_NOTFOUND);
	test_image_check(&a, s, "one");
	test_image_check(&b, s, "two");
	digest_format(digest, &b.manifest.digest);
	test_image_check(&b, s, digest);
	image_source_free(take_ptr(s));
	/* A tag moves. */
	put_one(&b, "one");
	s = open_source("one");
	test_image_check(&b, s, NULL);
	digest_format(digest, &a.manifest.digest);
	test_image_check(&a, s, digest); /* its blobs stay */
	test_image_release(&a);
	test_image_release(&b);
}

static void test_untagged(void **state)
{
	struct test_image a;
	cleanup_buf struct buf text = {0};
	cleanup_layout_index struct layout_index x = {0};
	cleanup_image_source struct image_source *s = NULL;
	struct err err = ERR_INIT;

	test_image_make(&a, "a", CODEC_NONE);
	put_one(&a, NULL);
	put_one(&a, NULL); /* is listed once */
	s = open_source(NULL);
	test_image_check(&a, s, NULL);
	put_one(&a, "tag"); /* takes the place of the one without */
	assert_ok(read_file_at(dirfd_, "index.json", 1 << 20, &text, &err), err);
	assert_ok(layout_index_parse(&x, buf_slice(&text), &err), err);
	assert_int_equal(x.entries.len, 1);
	put_one(&a, NULL); /* is listed already */
	layout_index_release(&x);
	buf_reset(&text);
	assert_ok(read_file_at(dirfd_, "index.json", 1 << 20, &text, &err), err);
	assert_ok(layout_index_parse(&x, buf_slice(&text), &err), err);
	assert_int_equal(x.entries.len, 1);
	put_one(&a, "another");
	layout_index_release(&x);
	buf_reset(&text);
	assert_ok(read_file_at(dirfd_, "index.json", 1 << 20, &text, &err), err);
	assert_ok(layout_index_parse(&x, buf_slice(&text), &err), err);
	assert_int_equal(x.entries.len, 2);
	test_image_release(&a);
}

static void test_keeps_the_unknown(void **state)
{
	static const char old[] =
		"{\"schemaVersion\":2,\"x\":1.5,\"manifests\":[{\"mediaType\":\"a/b\",\"digest\":"
		"\"sha256:1111111111111111111111111111111111111111111111111111111111111111\","
		"\"size\":3,\"y\":{\"z\":[]}}]}";
	struct test_image a;
	cleanup_buf struct buf text = {0};
	struct err err = ERR_INIT;

	assert_ok(write_file_at(dirfd_, "index.json", old, strlen(old), true, &err), err);
	test_image_make(&a, "a", CODEC_NONE);
	put_one(&a, "t");
	assert_ok(read_file_at(dirfd_, "index.json", 1 << 20, &text, &err), err);
	assert_non_null(strstr((char *)text.data, "\"y\":{\"z\":[]}"));
	assert_non_null(strstr((char *)text.data, "\"x\":1.5"));
	assert_non_null(strstr((char *)text.data, "ref.name\":\"t\""));
	test_image_release(&a);
}

static void test_nothing_before_finish(void **state)
{
	struct test_image a;
	cleanup_image_dest struct image_dest *d = NULL;
	struct err err = ERR_INIT;
	struct stat st;

	test_image_make(&a, "a", CODEC_NONE);
	assert_ok(image_layout_dest(&d, dir, &err), err);
	assert_ok(test_image_put(&a, d, "t", &err), err);
	assert_int_equal(fstatat(dirfd_, "index.json", &st, 0), -1);
	image_dest_free(take_ptr(d));
	assert_int_equal(fstatat(dirfd_, "index.json", &st, 0), -1);
	test_image_release(&a);
}

/* Who begins a layout and gives up leaves it to who is still writing; the last one removes it. */
static void test_given_up_beside_another(void **state)
{
	struct test_image a, b;
	cleanup_image_dest struct image_dest *first = NULL, *second = NULL;
	cleanup_image_source struct image_source *s = NULL;
	cleanup_free char *name = xasprintf("%s/new", dir);
	struct err err = ERR_INIT;
	struct stat st;

	test_image_make(&a, "a", CODEC_NONE);
	test_image_make(&b, "b", CODEC_NONE);
	assert_ok(image_layout_dest(&first, name, &err), err);
	assert_ok(test_image_put(&a, first, "a", &err), err);
	assert_ok(image_layout_dest(&second, name, &err), err);
	assert_ok(test_image_put(&b, second, "b", &err), err);
	image_dest_free(take_ptr(first));
	assert_ok(image_dest_finish(second, &err), err);
	image_dest_free(take_ptr(second));
	assert_ok(image_layout_source(&s, name, "b", &err), err);
	test_image_check(&b, s, NULL);

	free(name);
	name = xasprintf("%s/newer", dir);
	assert_ok(image_layout_dest(&first, name, &err), err);
	assert_ok(image_layout_dest(&second, name, &err), err);
	assert_ok(test_image_put(&b, second, "b", &err), err);
	image_dest_free(take_ptr(second));
	image_dest_free(take_ptr(first));
	assert_int_equal(fstatat(dirfd_, "newer", &st, 0), -1);
	test_image_release(&a);
	test_image_release(&b);
}

struct giver_up {
	const char *name;               /* borrowed */
	const struct test_image *image; /* borrowed */
	struct err err;
};

static void *begin_and_give_up(void *arg)
{
	struct giver_up *g = arg;

	for (int i = 0; i < 100 && !g->err.code; i++) {
		cleanup_image_dest struct image_dest *d = NULL;

		if (image_layout_dest(&d, g->name, &g->err) >= 0)
			test_image_put(g->image, d, "t", &g->err);
	}
	return NULL;
}

/* However a layout comes and goes under them, all that begin one can write into it. */
static void test_all_give_up(void **state)
{
	cleanup_free char *name = xasprintf("%s/new", dir);
	struct giver_up givers[4];
	pthread_t threads[ARRAY_LEN(givers)];
	struct test_image a;

	test_image_make(&a, "a", CODEC_NONE);
	for (size_t i = 0; i < ARRAY_LEN(givers); i++) {
		givers[i] = (struct giver_up){name, &a, ERR_INIT};
		assert_int_equal(pthread_create(&threads[i], NULL, begin_and_give_up, &givers[i]),
				 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(givers); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(givers); i++)
		assert_ok(givers[i].err.code, givers[i].err);
	test_image_release(&a);
}

static void test_bad_blobs(void **state)
{
	cleanup_image_dest struct image_dest *d = NULL;
	struct err err = ERR_INIT;

	assert_ok(image_layout_dest(&d, dir, &err), err);
	check_bad_blobs(d);
}

/* What is there in another size is not there. */
static void test_wrong_size(void **state)
{
	struct test_image a;
	cleanup_image_dest struct image_dest *d = NULL;
	struct err err = ERR_INIT;
	char path[LAYOUT_PATH_MAX];

	test_image_make(&a, "a", CODEC_NONE);
	put_one(&a, "t");
	layout_blob_path(path, &a.parsed.layers.items[0].digest);
	write_at(path, "short");
	assert_ok(image_layout_dest(&d, dir, &err), err);
	assert_int_equal(image_has_blob(d, &a.parsed.layers.items[0], &err), 0);
	assert_int_equal(image_has_blob(d, &a.parsed.layers.items[1], &err), 1);
	assert_ok(test_image_put(&a, d, "t", &err), err);
	assert_int_equal(image_has_blob(d, &a.parsed.layers.items[0], &err), 1);
	test_image_release(&a);
}

/* An index over two images, one of them with a referrer: the members are not listed, the rest is. */
static void test_nested_and_referrers(void **state)
{
	struct test_image a, b;
	struct manifest index = {.media_type = strdup(MT_OCI_INDEX)};
	struct manifest referrer = {.media_type = strdup(MT_OCI_MANIFEST),
				    .has_config = true,
				    .has_subject = true,
				    .artifact_type = strdup(MT_NIX_PATH_INFOS)};
	cleanup_image_dest struct image_dest *d = NULL;
	cleanup_image_source struct image_source *s = NULL;
	cleanup_descriptors struct descriptors found = {0};
	struct err err = ERR_INIT;
	struct blob_id id, index_id;
	struct descriptor x;

	test_image_make(&a, "a", CODEC_NONE);
	test_image_make(&b, "b", CODEC_NONE);
	assert_ok(image_layout_dest(&d, dir, &err), err);
	assert_ok(test_image_put(&a, d, NULL, &err), err);
	assert_ok(test_image_put(&b, d, NULL, &err), err);
	descriptor_make(&x, MT_OCI_MANIFEST, &a.manifest.digest, a.manifest.bytes.len);
	descriptors_take(&index.manifests, &x);
	descriptor_make(&x, MT_OCI_MANIFEST, &b.manifest.digest, b.manifest.bytes.len);
	descriptors_take(&index.manifests, &x);
	assert_ok(image_put_manifest_built(d, &index, "all", &index_id, &err), err);
	assert_ok(image_put_blob_bytes(d, MT_OCI_EMPTY, slice_str("{}"), &id, &err), err);
	descriptor_make(&referrer.config, MT_OCI_EMPTY, &id.digest, 2);
	descriptor_make(&referrer.subject, MT_OCI_MANIFEST, &a.manifest.digest,
			a.manifest.bytes.len);
	annotations_set(&referrer.annotations, "k", "v");
	assert_ok(image_put_manifest_built(d, &referrer, NULL, &id, &err), err);
	assert_ok(image_dest_finish(d, &err), err);

	s = open_source(NULL); /* the referrer does not make it ambiguous */
	struct manifest_bytes m = {0};
	assert_ok(image_get_manifest(s, NULL, &m, &err), err);
	assert_string_equal(m.media_type, MT_OCI_INDEX);
	manifest_bytes_release(&m);
	assert_ok(image_get_referrers(s, &a.manifest.digest, NULL, &found, &err), err);
	assert_int_equal(found.len, 1);
	assert_true(hash_equal(&found.items[0].digest, &id.digest));
	assert_string_equal(found.items[0].artifact_type, MT_NIX_PATH_INFOS);
	assert_string_equal(annotations_get(&found.items[0].annotations, "k"), "v");
	assert_ok(image_get_referrers(s, &a.manifest.digest, "other/type", &found, &err), err);
	assert_ok(image_get_referrers(s, &b.manifest.digest, NULL, &found, &err), err);
	assert_int_equal(found.len, 1);
	assert_ok(image_get_referrers(s, &a.manifest.digest, MT_NIX_PATH_INFOS, &found, &err), err);
	assert_int_equal(found.len, 2);
	manifest_release(&index);
	manifest_release(&referrer);
	test_image_release(&a);
	test_image_release(&b);
}

/* Referrers by the fallback tag, as other tools write them; in both ways they count once. */
static void test_fallback_tag(void **state)
{
	struct test_image a;
	struct manifest list = {.media_type = strdup(MT_OCI_INDEX)};
	struct manifest referrer = {
		.media_type = strdup(MT_OCI_MANIFEST), .has_config = true, .has_subject = true};
	cleanup_image_dest struct image_dest *d = NULL;
	cleanup_image_source struct image_source *s = NULL;
	cleanup_descriptors struct descriptors found = {0};
	char tag[TAG_MAX + 1];
	struct err err = ERR_INIT;
	struct blob_id id;
	struct descriptor x;

	test_image_make(&a, "a", CODEC_NONE);
	assert_ok(image_layout_dest(&d, dir, &err), err);
	assert_ok(test_image_put(&a, d, "a", &err), err);
	assert_ok(image_put_blob_bytes(d, MT_OCI_EMPTY, slice_str("{}"), &id, &err), err);
	descriptor_make(&referrer.config, "my/type", &id.digest, 2);
	descriptor_make(&referrer.subject, MT_OCI_MANIFEST, &a.manifest.digest, 1);
	assert_ok(image_put_manifest_built(d, &referrer, "signature", &id, &err), err);
	descriptor_make(&x, MT_OCI_MANIFEST, &id.digest, id.size);
	x.artifact_type = strdup("my/type");
	descriptors_take(&list.manifests, &x);
	referrers_tag(tag, &a.manifest.digest);
	assert_ok(image_put_manifest_built(d, &list, tag, &id, &err), err);
	assert_ok(image_dest_finish(d, &err), err);
	s = open_source("a");
	assert_ok(image_get_referrers(s, &a.manifest.digest, "my/type", &found, &err), err);
	assert_int_equal(found.len, 1);
	manifest_release(&list);
	manifest_release(&referrer);
	test_image_release(&a);
}

static void test_damaged_blobs(void **state)
{
	struct test_image a;
	char path[LAYOUT_PATH_MAX];
	cleanup_image_source struct image_source *s = NULL;
	cleanup_buf struct buf out = {0};
	struct err err = ERR_INIT;
	const struct descriptor *layer;
	struct manifest_bytes m;

	test_image_make(&a, "a", CODEC_NONE);
	layer = &a.parsed.layers.items[0];
	put_one(&a, "t");
	s = open_source("t");
	layout_blob_path(path, &layer->digest);
	write_at(path, "the worst layer");
	assert_int_equal(image_get_blob_bytes(s, layer, 99, &out, &err), E_MISMATCH);
	write_at(path, LAYER1 " and more");
	assert_int_equal(image_get_blob_bytes(s, layer, 99, &out, &err), E_MISMATCH);
	write_at(path, "the");
	assert_int_equal(image_get_blob_bytes(s, layer, 99, &out, &err), E_MISMATCH);
	/* A link is not followed, whatever it leads to; a fifo does not stop us. */
	assert_int_equal(unlinkat(dirfd_, path, 0), 0);
	write_at("elsewhere", LAYER1);
	assert_int_equal(symlinkat("../../elsewhere", dirfd_, path), 0);
	assert_true(image_get_blob_bytes(s, layer, 99, &out, &err) < 0);
	assert_int_equal(unlinkat(dirfd_, path, 0), 0);
	assert_int_equal(mkfifoat(dirfd_, path, 0600), 0);
	assert_int_equal(image_get_blob_bytes(s, layer, 99, &out, &err), E_INVALID);
	assert_int_equal(unlinkat(dirfd_, path, 0), 0);
	assert_int_equal(image_get_blob_bytes(s, layer, 99, &out, &err), E_NOTFOUND);
	assert_int_equal(image_get_blob_bytes(s, layer, 3, &out, &err), E_LIMIT);
	assert_int_equal(out.len, 0);
	layout_blob_path(path, &a.manifest.digest);
	write_at(path, "{}");
	assert_int_equal(image_get_manifest(s, NULL, &m, &err), E_MISMATCH);
	test_image_release(&a);
}

static void test_bad_layouts(void **state)
{
#define ENTRY(digest)                                                           \
	"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MT_OCI_MANIFEST \
	"\",\"digest\":\"" digest "\",\"size\":3}]}"
	static const struct {
		const char *marker, *index;
		int code;
		const char *says;
	} cases[] = {
		{NULL, NULL, E_NOTFOUND, "not an OCI image layout"},
		{"{}", NULL, E_INVALID, "imageLayoutVersion"},
		{"{\"imageLayoutVersion\":\"2.0.0\"}", NULL, E_UNSUPPORTED, "version '2.0.0'"},
		{LAYOUT_FILE_TEXT, NULL, E_NOTFOUND, "index.json"},
		{LAYOUT_FILE_TEXT, "[]", E_INVALID, "object"},
		{LAYOUT_FILE_TEXT, "{}", E_INVALID, "manifests: is missing"},
		{LAYOUT_FILE_TEXT, ENTRY("sha256:../../../../etc/passwd"), E_INVALID, "digest"},
		{LAYOUT_FILE_TEXT, ENTRY("../x:00"), E_INVALID, "digest"},
		{LAYOUT_FILE_TEXT, ENTRY("md5:00"), E_UNSUPPORTED, "algorithm"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct image_source *s = NULL;
		struct err err = ERR_INIT;
		int r;

		if (cases[i].marker)
			write_at("oci-layout", cases[i].marker);
		if (cases[i].index)
			write_at("index.json", cases[i].index);
		r = image_layout_source(&s, dir, NULL, &err);
		if (r != cases[i].code || !strstr(err.text, cases[i].says))
			fail_msg("%zu: %d '%s', expected %d '%s'", i, r, err.text, cases[i].code,
				 cases[i].says);
		assert_null(s);
	}
}

/* What is wrong with a layout keeps us from writing into it as well. */
static void test_bad_destinations(void **state)
{
	struct test_image a;
	struct image_dest *d = NULL;
	struct err err = ERR_INIT;
	struct stat st;

	test_image_make(&a, "a", CODEC_NONE);
	write_at("oci-layout", "{\"imageLayoutVersion\":\"9\"}");
	assert_int_equal(image_layout_dest(&d, dir, &err), E_UNSUPPORTED);
	write_at("oci-layout", LAYOUT_FILE_TEXT);
	write_at("index.json", "{\"manifests\":7}");
	err = ERR_INIT;
	assert_ok(image_layout_dest(&d, dir, &err), err);
	assert_ok(test_image_put(&a, d, "t", &err), err);
	assert_int_equal(image_dest_finish(d, &err), E_INVALID);
	image_dest_free(d);
	/* blobs/ that leads elsewhere. */
	assert_int_equal(mkdirat(dirfd_, "other", 0777), 0);
	assert_int_equal(mkdirat(dirfd_, "other/elsewhere", 0777), 0);
	char other[80], command[80];
	snprintf(other, sizeof(other), "%s/other", dir);
	snprintf(command, sizeof(command), "%s/other/blobs", dir);
	assert_int_equal(symlink("elsewhere", command), 0);
	err = ERR_INIT;
	assert_ok(image_layout_dest(&d, other, &err), err);
	assert_true(test_image_put(&a, d, "t", &err) < 0);
	assert_int_equal(fstatat(dirfd_, "other/elsewhere/sha256", &st, 0), -1);
	image_dest_free(d);
	test_image_release(&a);
}

static void test_secondary(void **state)
{
	static const char text[] =
		"{\"manifests\":[{\"mediaType\":\"a/b\",\"size\":1,\"artifactType\":\"x/"
		"y\",\"digest\":"
		"\"sha256:1111111111111111111111111111111111111111111111111111111111111111\"},"
		"{\"mediaType\":\"a/b\",\"size\":1,\"annotations\":{\"" ANNOTATION_REF_NAME
		"\":\"docker.io/library/x:y\"},\"digest\":"
		"\"sha256:2222222222222222222222222222222222222222222222222222222222222222\"},"
		"{\"mediaType\":\"a/b\",\"size\":1,\"digest\":"
		"\"sha256:3333333333333333333333333333333333333333333333333333333333333333\"}]}";
	cleanup_layout_index struct layout_index x = {0};
	const struct descriptor *d;
	struct err err = ERR_INIT;

	assert_ok(layout_index_parse(&x, slice_str(text), &err), err);
	assert_ok(layout_index_find(&x, NULL, &d, &err), err);
	assert_int_equal(d->digest.bytes[0], 0x22); /* the tagged one */
	assert_ok(layout_index_find(&x, "docker.io/library/x:y", &d, &err), err);
	json_array_remove(json_object_get(x.doc, "manifests"), 1);
	descriptor_release(&x.entries.items[1]);
	x.entries.items[1] = x.entries.items[2];
	x.entries.len = 2;
	assert_ok(layout_index_find(&x, NULL, &d, &err), err);
	assert_int_equal(d->digest.bytes[0], 0x33); /* not the referrer */
}

static void test_other_tag(void **state)
{
	static const char text[] =
		"{\"manifests\":[{\"mediaType\":\"a/"
		"b\",\"size\":1,\"annotations\":{\"" ANNOTATION_REF_NAME
		"\":\"docker.io/library/x:y\"},\"digest\":"
		"\"sha256:2222222222222222222222222222222222222222222222222222222222222222\"}]}";
	cleanup_layout_index struct layout_index x = {0};
	const struct descriptor *d;
	struct err err = ERR_INIT;

	assert_ok(layout_index_parse(&x, slice_str(text), &err), err);
	assert_int_equal(layout_index_find(&x, "y", &d, &err), E_NOTFOUND);
	assert_non_null(strstr(err.text, "it has: docker.io/library/x:y"));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_round_trip),
		CASE(test_untagged),
		CASE(test_keeps_the_unknown),
		CASE(test_nothing_before_finish),
		CASE(test_given_up_beside_another),
		CASE(test_all_give_up),
		CASE(test_bad_blobs),
		CASE(test_nested_and_referrers),
		CASE(test_fallback_tag),
		CASE(test_damaged_blobs),
		CASE(test_bad_layouts),
		CASE(test_bad_destinations),
		CASE(test_wrong_size),
		cmocka_unit_test(test_secondary),
		cmocka_unit_test(test_other_tag),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
