/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nacre/manifest.h>

#define D1                 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2                 "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define DESC(type, digest) "{\"mediaType\":\"" type "\",\"digest\":\"" digest "\",\"size\":3}"
#define CONFIG             "\"config\":" DESC("application/vnd.oci.image.config.v1+json", D1)
#define V2                 "\"schemaVersion\":2,"

static int parse(struct manifest *m, const char *type, const char *text, struct err *err)
{
	return manifest_parse(m, type, slice_str(text), err);
}

static void test_image(void **state)
{
	static const char text[] =
		"{" V2 "\"mediaType\":\"" MT_OCI_MANIFEST "\",\"artifactType\":\"a/b\"," CONFIG
		",\"layers\":[{\"mediaType\":\"" MT_OCI_LAYER_ZSTD "\",\"digest\":\"" D2
		"\",\"size\":9223372036854775807,\"urls\":[\"https://x/y\"],"
		"\"annotations\":{\"z\":\"1\",\"a\":\"2\"},\"data\":\"AAAA\",\"unknown\":[1.5]}],"
		"\"subject\":" DESC(MT_OCI_MANIFEST, D1) ",\"annotations\":{\"k\":\"v\"},\"x\":{}}";
	cleanup_manifest struct manifest m = {0};
	struct err err = ERR_INIT;
	char digest[DIGEST_TEXT_MAX];

	assert_ok(parse(&m, MT_OCI_MANIFEST, text, &err), err);
	assert_int_equal(m.kind, MANIFEST_IMAGE);
	assert_string_equal(m.media_type, MT_OCI_MANIFEST);
	assert_string_equal(manifest_artifact_type(&m), "a/b");
	assert_true(m.has_config);
	assert_string_equal(m.config.media_type, MT_OCI_CONFIG);
	assert_int_equal(m.layers.len, 1);
	digest_format(digest, &m.layers.items[0].digest);
	assert_string_equal(digest, D2);
	assert_true(m.layers.items[0].size == INT64_MAX);
	assert_string_equal(m.layers.items[0].urls.items[0], "https://x/y");
	assert_string_equal(m.layers.items[0].data, "AAAA");
	assert_string_equal(annotations_get(&m.layers.items[0].annotations, "a"), "2");
	assert_string_equal(annotations_get(&m.layers.items[0].annotations, "z"), "1");
	assert_null(annotations_get(&m.layers.items[0].annotations, "b"));
	assert_true(m.has_subject);
	assert_string_equal(annotations_get(&m.annotations, "k"), "v");
}

static void test_kinds(void **state)
{
	static const struct {
		const char *type, *text;
		enum manifest_kind kind;
		const char *result;
	} cases[] = {
		{NULL, "{" V2 CONFIG ",\"layers\":[]}", MANIFEST_IMAGE, MT_OCI_MANIFEST},
		{NULL, "{" V2 CONFIG ",\"layers\":null}", MANIFEST_IMAGE, MT_OCI_MANIFEST},
		{NULL, "{" V2 "\"manifests\":[]}", MANIFEST_INDEX, MT_OCI_INDEX},
		{MT_OCI_INDEX, "{" V2 "\"manifests\":[]}", MANIFEST_INDEX, MT_OCI_INDEX},
		{"", "{" V2 "\"mediaType\":\"" MT_DOCKER_LIST "\",\"manifests\":[]}",
		 MANIFEST_INDEX, MT_DOCKER_LIST},
		{MT_DOCKER_MANIFEST,
		 "{" V2 "\"mediaType\":\"" MT_DOCKER_MANIFEST "\"," CONFIG ",\"layers\":[]}",
		 MANIFEST_IMAGE, MT_DOCKER_MANIFEST},
		{NULL,
		 "{\"mediaType\":\"" MT_OCI_ARTIFACT_MANIFEST
		 "\",\"artifactType\":\"a/b\",\"blobs\":[" DESC("c/d", D1) "]}",
		 MANIFEST_IMAGE, MT_OCI_ARTIFACT_MANIFEST},
		{NULL, "{\"mediaType\":\"application/vnd.other+json\",\"layers\":7}",
		 MANIFEST_OTHER, "application/vnd.other+json"},
		{"application/vnd.other+json", "{}", MANIFEST_OTHER, "application/vnd.other+json"},
		{MT_DOCKER_MANIFEST_1, "{\"schemaVersion\":1,\"fsLayers\":[]}", MANIFEST_OTHER,
		 MT_DOCKER_MANIFEST_1},
		{MT_DOCKER_MANIFEST_1_SIG, "{\"schemaVersion\":1,\"signatures\":[]}",
		 MANIFEST_OTHER, MT_DOCKER_MANIFEST_1_SIG},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_manifest struct manifest m = {0};
		struct err err = ERR_INIT;

		assert_ok(parse(&m, cases[i].type, cases[i].text, &err), err);
		assert_int_equal(m.kind, cases[i].kind);
		assert_string_equal(m.media_type, cases[i].result);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *type, *text;
		int code;
		const char *says;
	} cases[] = {
		{NULL, "", E_INVALID, "malformed"},
		{NULL, "[]", E_INVALID, "object"},
		{NULL, "{}", E_INVALID, "mediaType: is missing"},
		{NULL, "{" V2 CONFIG ",\"manifests\":[]}", E_INVALID, "mediaType: is missing"},
		{MT_OCI_MANIFEST, "{" V2 CONFIG ",\"layers\":[],\"manifests\":[]}", E_INVALID,
		 "must not have 'manifests'"},
		{MT_OCI_INDEX, "{" V2 CONFIG ",\"manifests\":[]}", E_INVALID, "must not have"},
		{MT_OCI_INDEX, "{" V2 "\"layers\":[],\"manifests\":[]}", E_INVALID,
		 "must not have"},
		{MT_OCI_INDEX, "{" V2 "\"mediaType\":\"" MT_OCI_MANIFEST "\"," CONFIG "}",
		 E_INVALID, "was given as"},
		{NULL, "{" V2 "\"mediaType\":7}", E_INVALID, "mediaType: must be a text"},
		{NULL, "{" V2 "\"mediaType\":\"text\"}", E_INVALID, "not a media type"},
		{NULL, "{" V2 "\"mediaType\":\"a/b; c=d\"}", E_INVALID, "not a media type"},
		{NULL, "{\"schemaVersion\":1," CONFIG "}", E_INVALID, "schemaVersion: must be 2"},
		{NULL, "{" CONFIG "}", E_INVALID, "schemaVersion: is missing"},
		{NULL, "{\"schemaVersion\":\"2\"," CONFIG "}", E_INVALID, "schemaVersion"},
		{MT_OCI_MANIFEST, "{" V2 "\"layers\":[]}", E_INVALID, "config: is missing"},
		{MT_OCI_MANIFEST, "{" V2 "\"config\":[]}", E_INVALID, "config: must be an object"},
		{MT_OCI_INDEX, "{" V2 "\"manifests\":null}", E_INVALID, "manifests: is missing"},
		{MT_OCI_INDEX, "{" V2 "\"manifests\":{}}", E_INVALID,
		 "manifests: must be an array"},
		{MT_OCI_INDEX, "{" V2 "\"manifests\":[3]}", E_INVALID,
		 "manifests[0]: must be an obj"},
		{NULL, "{" V2 CONFIG ",\"layers\":[" DESC("a/b", D1) ",{\"digest\":\"" D1 "\"}]}",
		 E_INVALID, "layers[1].mediaType: is missing"},
		{NULL, "{" V2 CONFIG ",\"layers\":[" DESC("a b", D1) "]}", E_INVALID,
		 "layers[0].mediaType"},
		{NULL, "{" V2 CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"size\":1}]}", E_INVALID,
		 "layers[0].digest: is missing"},
		{NULL, "{" V2 CONFIG ",\"layers\":[" DESC("a/b", "sha256:xyz") "]}", E_INVALID,
		 "layers[0].digest"},
		{NULL, "{" V2 CONFIG ",\"layers\":[" DESC("a/b", "sha256:../../x") "]}", E_INVALID,
		 "layers[0].digest"},
		{NULL, "{" V2 CONFIG ",\"layers\":[" DESC("a/b", "sha384:00") "]}", E_UNSUPPORTED,
		 "layers[0].digest"},
		{NULL, "{" V2 CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" D1 "\"}]}",
		 E_INVALID, "layers[0].size: is missing"},
		{NULL,
		 "{" V2 CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" D1
		 "\",\"size\":-1}]}",
		 E_INVALID, "layers[0].size: must not be negative"},
		{NULL,
		 "{" V2 CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" D1
		 "\",\"size\":1.5}]}",
		 E_INVALID, "layers[0].size"},
		{NULL,
		 "{" V2 CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" D1
		 "\",\"size\":1,\"urls\":\"x\"}]}",
		 E_INVALID, "layers[0].urls"},
		{NULL,
		 "{" V2 CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" D1
		 "\",\"size\":1,\"annotations\":{\"a\":1}}]}",
		 E_INVALID, "layers[0].annotations.a: must be a text"},
		{NULL,
		 "{" V2 "\"manifests\":[{\"mediaType\":\"a/b\",\"digest\":\"" D1
		 "\",\"size\":1,\"platform\":{\"os\":1}}]}",
		 E_INVALID, "manifests[0].platform"},
		{NULL, "{" V2 CONFIG ",\"subject\":\"" D1 "\"}", E_INVALID, "subject"},
		{"a/b", "{\"subject\":\"" D1 "\"}", E_INVALID, "subject"},
		{NULL, "{" V2 CONFIG ",\"annotations\":[]}", E_INVALID, "annotations"},
		{NULL, "{" V2 CONFIG ",\"artifactType\":1}", E_INVALID, "artifactType"},
		{NULL, "{" V2 CONFIG "," CONFIG "}", E_INVALID, "duplicate"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct manifest m = {0};
		struct err err = ERR_INIT;
		int r = parse(&m, cases[i].type, cases[i].text, &err);

		if (r != cases[i].code || !strstr(err.text, cases[i].says))
			fail_msg("%s: %d '%s', expected %d '%s'", cases[i].text, r, err.text,
				 cases[i].code, cases[i].says);
		assert_null(m.media_type);
	}
}

/* SPEC dist-1.1 end-7: manifests of any media type. */
static void test_any(void **state)
{
	static const struct {
		const char *type, *text;
		int code; /* of manifest_parse_any() */
		bool has_subject;
	} cases[] = {
		{"a/b", "no JSON", 0, false},
		{"a/b", "[1]", 0, false},
		{"a/b", "{\"x\":1,\"x\":2}", 0, false},
		{"a/b", "{\"mediaType\":\"a/b\",\"subject\":" DESC("c/d", D1) "}", 0, true},
		{"a/b", "{\"subject\":\"" D1 "\"}", 0, false},
		{"a/b", "{\"annotations\":[]}", 0, false},
		{"a/b", "{\"mediaType\":7}", 0, false},
		{MT_DOCKER_MANIFEST_1_SIG, "}{", 0, false},
		{"a/b", "", E_INVALID, false},
		{"a/b", "{\"mediaType\":\"" MT_OCI_MANIFEST "\"}", E_INVALID, false},
		{"a b", "no JSON", E_INVALID, false},
		{"a/b; c=d", "no JSON", E_INVALID, false},
		{NULL, "no JSON", E_INVALID, false},
		{NULL, "{}", E_INVALID, false},
		{MT_OCI_MANIFEST, "no JSON", E_INVALID, false},
		{MT_DOCKER_LIST, "[1]", E_INVALID, false},
		{MT_OCI_ARTIFACT_MANIFEST, "no JSON", E_INVALID, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_manifest struct manifest m = {0};
		struct err err = ERR_INIT;
		int r = manifest_parse_any(&m, cases[i].type, slice_str(cases[i].text), &err);

		if (r != cases[i].code)
			fail_msg("%s: %d '%s', expected %d", cases[i].text, r, err.text,
				 cases[i].code);
		if (r < 0) {
			assert_null(m.media_type);
			continue;
		}
		assert_int_equal(m.kind, MANIFEST_OTHER);
		assert_string_equal(m.media_type, cases[i].type);
		assert_int_equal(m.has_subject, cases[i].has_subject);
	}
}

/* As large as a manifest may be, and deeper than JSON may be. */
static void test_any_limits(void **state)
{
	cleanup_manifest struct manifest m = {0};
	cleanup_buf struct buf big = BUF_INIT(32 << 20);
	struct err err = ERR_INIT;

	(void)state;
	while (big.len < MANIFEST_BYTES_MAX)
		buf_add_str(&big, "[[[[[[[[");
	assert_ok(manifest_parse_any(&m, "a/b", buf_slice(&big), &err), err);
	manifest_release(&m);
	buf_add_str(&big, "[");
	assert_int_equal(manifest_parse_any(&m, "a/b", buf_slice(&big), &err), E_LIMIT);
}

static void add_layers(struct buf *b, size_t n)
{
	buf_add_str(b, "{" V2 CONFIG ",\"layers\":[");
	for (size_t i = 0; i < n; i++)
		buf_addf(b, "%s{\"mediaType\":\"a/b\",\"digest\":\"" D1 "\",\"size\":1}",
			 i ? "," : "");
	buf_add_str(b, "]}");
}

static void test_limits(void **state)
{
	cleanup_manifest struct manifest m = {0};
	cleanup_buf struct buf big = BUF_INIT(32 << 20);
	struct err err = ERR_INIT;

	/* More than the 4 MiB that the specification demands. */
	add_layers(&big, 40000);
	assert_true(big.len > 4 << 20);
	assert_ok(manifest_parse(&m, NULL, buf_slice(&big), &err), err);
	assert_int_equal(m.layers.len, 40000);
	buf_reset(&big);
	add_layers(&big, MANIFEST_DESCRIPTORS_MAX + 1);
	manifest_release(&m);
	assert_int_equal(manifest_parse(&m, NULL, buf_slice(&big), &err), E_LIMIT);
	buf_reset(&big);
	add_layers(&big, 1);
	while (big.len <= MANIFEST_BYTES_MAX)
		buf_add_str(&big, "                                                              ");
	assert_int_equal(manifest_parse(&m, NULL, buf_slice(&big), &err), E_LIMIT);
}

static void test_build(void **state)
{
	/* In canonical form, so that what is built of what was parsed is the same. */
	static const char *const texts[] = {
		"{\"annotations\":{\"k\":\"v\"},\"artifactType\":\"a/"
		"b\",\"config\":{\"digest\":\"" D1 "\",\"mediaType\":\"" MT_OCI_EMPTY
		"\",\"size\":2},\"layers\":[{\"annotations\":"
		"{\"a\":\"1\",\"b\":\"2\"},\"artifactType\":\"x/"
		"y\",\"data\":\"AAAA\",\"digest\":\"" D2 "\",\"mediaType\":\"" MT_OCI_LAYER
		"\",\"size\":3,\"urls\":[\"u\"]}],\"mediaType\":\"" MT_OCI_MANIFEST
		"\",\"schemaVersion\":2,\"subject\":{\"digest\":\"" D1
		"\",\"mediaType\":\"" MT_OCI_MANIFEST "\",\"size\":9007199254740991}}",
		"{\"manifests\":[{\"digest\":\"" D1 "\",\"mediaType\":\"" MT_OCI_MANIFEST
		"\",\"platform\":{\"architecture\":\"arm\",\"os\":\"linux\",\"os.features\":[\"f\"]"
		","
		"\"os.version\":\"1\",\"variant\":\"v7\"},\"size\":3}],\"mediaType\":"
		"\"" MT_OCI_INDEX "\",\"schemaVersion\":2}",
		"{\"config\":{\"digest\":\"" D1 "\",\"mediaType\":\"" MT_DOCKER_CONFIG
		"\",\"size\":2},\"layers\":[],\"mediaType\":\"" MT_DOCKER_MANIFEST
		"\",\"schemaVersion\":2}",
		"{\"manifests\":[],\"mediaType\":\"" MT_DOCKER_LIST "\",\"schemaVersion\":2}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		cleanup_manifest struct manifest m = {0};
		cleanup_buf struct buf built = {0};
		struct err err = ERR_INIT;

		assert_ok(parse(&m, NULL, texts[i], &err), err);
		assert_int_equal(manifest_build(&built, &m), 0);
		assert_string_equal((char *)built.data, texts[i]);
	}
}

static void test_build_refuses(void **state)
{
	cleanup_manifest struct manifest m = {0};
	cleanup_buf struct buf built = {0};
	struct err err = ERR_INIT;

	assert_ok(parse(&m, NULL, "{" V2 CONFIG ",\"layers\":[]}", &err), err);
	m.config.size = (uint64_t)1 << 53;
	assert_int_equal(manifest_build(&built, &m), E_LIMIT);
	m.config.size = UINT64_MAX;
	assert_int_equal(manifest_build(&built, &m), E_INVALID);
	m.config.size = 1;
	annotations_set(&m.annotations, "bad", "\xff");
	assert_int_equal(manifest_build(&built, &m), E_INVALID);
	annotations_set(&m.annotations, "bad", "good");
	annotations_set(&m.annotations, "\xff", "x");
	assert_int_equal(manifest_build(&built, &m), E_INVALID);
	assert_int_equal(built.len, 0);
}

static void test_select(void **state)
{
#define FOR(digest, platform) \
	"{\"mediaType\":\"a/b\",\"digest\":\"" digest "\",\"size\":3,\"platform\":" platform "}"
	static const char text[] = "{" V2 "\"manifests\":[" DESC("a/b", D1) "," FOR(
		D1,
		"{\"architecture\":"
		"\"arm\",\"os\":"
		"\"linux\",\"variant\":"
		"\"v6\"}") "," FOR(D2,
				   "{\"architecture\":\"arm\",\"os\":\"linux\",\"variant\":"
				   "\"v7\"}") "," FOR(D1,
						      "{\"architecture\":\"amd64\",\"os\":"
						      "\"windows\"}") "," FOR(D1,
									      "{\"architecture\":"
									      "\"unknown\","
									      "\"os\":"
									      "\"unknown\"}") "]"
											      "}";
	static const struct {
		const char *wanted;
		int found;
	} cases[] = {
		{"linux/arm/v7", 2},  {"arm", 2},   {"linux/arm/v6", 1},
		{"linux/arm/v5", -1}, {"armhf", 2}, {"linux/amd64", -1},
		{"windows/amd64", 3},
	};
	cleanup_manifest struct manifest m = {0};
	struct err err = ERR_INIT;

	assert_ok(parse(&m, NULL, text, &err), err);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_platform struct platform p = {0};
		const struct descriptor *d;

		assert_int_equal(platform_parse(&p, slice_str(cases[i].wanted)), 0);
		d = manifest_select(&m, &p);
		assert_int_equal(d ? d - m.manifests.items : -1, cases[i].found);
	}
}

static void test_media_type(void **state)
{
	static const struct {
		const char *header, *result;
	} cases[] = {
		{"a/b", "a/b"},   {" application/json ; charset=utf-8", "application/json"},
		{"a/b;", "a/b"},  {"", NULL},
		{"a", NULL},      {"/b", NULL},
		{"a/", NULL},     {"a/b/c", NULL},
		{"a b/c", NULL},  {"a/b c", NULL},
		{"a/\x01", NULL}, {"-a/b", NULL},
	};
	char ret[MEDIA_TYPE_MAX + 1];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = media_type_parse(ret, slice_str(cases[i].header));

		assert_int_equal(r, cases[i].result ? 0 : E_INVALID);
		if (cases[i].result)
			assert_string_equal(ret, cases[i].result);
	}
	assert_int_equal(media_type_parse(ret, slice_make("a/b\0", 4)), E_INVALID);
	assert_true(media_type_is_manifest(MT_DOCKER_LIST));
	assert_false(media_type_is_manifest(MT_OCI_CONFIG));
	assert_true(media_type_is_layer(MT_OCI_LAYER_ND_ZSTD));
	assert_false(media_type_is_nondistributable(MT_OCI_LAYER));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image),      cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_bad),        cmocka_unit_test(test_any),
		cmocka_unit_test(test_any_limits), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_build),      cmocka_unit_test(test_build_refuses),
		cmocka_unit_test(test_select),     cmocka_unit_test(test_media_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
