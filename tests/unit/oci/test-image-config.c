/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nacre/manifest.h>

#define D1     "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define BASE   "\"architecture\":\"amd64\",\"os\":\"linux\""
#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D1 "\"]}"

static void test_round_trip(void **state)
{
	static const char *const texts[] = {
		"{\"architecture\":\"arm\",\"author\":\"me\",\"config\":{\"Cmd\":[\"sh\",\"-c\"],"
		"\"Entrypoint\":[\"/bin/x\"],\"Env\":[\"PATH=/bin\"],\"ExposedPorts\":{\"53/"
		"udp\":{},"
		"\"80/"
		"tcp\":{}},\"Labels\":{\"a\":\"b\"},\"StopSignal\":\"SIGINT\",\"User\":\"1:2\","
		"\"Volumes\":{\"/data\":{}},\"WorkingDir\":\"/w\"},"
		"\"created\":\"1970-01-01T00:00:01Z\",\"history\":[{\"author\":\"a\",\"comment\":"
		"\"c\","
		"\"created\":\"1970-01-01T00:00:01Z\",\"created_by\":\"nacre\",\"empty_layer\":"
		"true},"
		"{\"created_by\":\"nacre\"}],\"os\":\"linux\",\"os.version\":\"1\","
		"\"rootfs\":{\"diff_ids\":[\"" D1 "\",\"" D1 "\"],\"type\":\"layers\"},"
		"\"variant\":\"v7\"}",
		"{\"architecture\":\"\",\"config\":{},\"history\":[],\"os\":\"\",\"rootfs\":"
		"{\"diff_ids\":[],\"type\":\"layers\"}}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		cleanup_image_config struct image_config c = {0};
		cleanup_buf struct buf built = {0};
		struct err err = ERR_INIT;

		assert_ok(image_config_parse(&c, slice_str(texts[i]), &err), err);
		assert_int_equal(image_config_build(&built, &c), 0);
		assert_string_equal((char *)built.data, texts[i]);
	}
}

/* What Docker writes: null, "" and unknown members everywhere. */
static void test_docker(void **state)
{
	static const char text[] =
		"{" BASE ",\"container\":\"abc\",\"config\":{\"Hostname\":\"\",\"User\":\"\","
		"\"AttachStdin\":false,\"ExposedPorts\":null,\"Cmd\":null,\"Entrypoint\":\"/bin/"
		"sh\","
		"\"Volumes\":{\"/b\":{},\"/a\":null},\"Labels\":null,\"OnBuild\":null},"
		"\"docker_version\":\"20.10\",\"history\":[{\"created_by\":\"x\",\"empty_layer\":"
		"false}],"
		"\"size\":1.5," ROOTFS "}";
	cleanup_image_config struct image_config c = {0};
	cleanup_platform struct platform p = {0};
	struct err err = ERR_INIT;

	assert_ok(image_config_parse(&c, slice_str(text), &err), err);
	assert_null(c.user);
	assert_int_equal(c.cmd.len, 0);
	assert_int_equal(c.entrypoint.len, 1);
	assert_string_equal(c.entrypoint.items[0], "/bin/sh");
	assert_string_equal(c.volumes.items[0], "/a");
	assert_int_equal(c.n_diff_ids, 1);
	assert_int_equal(c.n_history, 1);
	image_config_platform(&p, &c);
	assert_string_equal(p.architecture, "amd64");
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"[]", "object"},
		{"{\"os\":\"linux\"," ROOTFS "}", "architecture: is missing"},
		{"{\"architecture\":\"amd64\"," ROOTFS "}", "os: is missing"},
		{"{\"architecture\":1,\"os\":\"linux\"," ROOTFS "}",
		 "architecture: must be a text"},
		{"{" BASE "}", "rootfs: is missing"},
		{"{" BASE ",\"rootfs\":{\"type\":\"other\",\"diff_ids\":[]}}", "rootfs.type"},
		{"{" BASE ",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":{}}}", "rootfs.diff_ids"},
		{"{" BASE ",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"x\"]}}",
		 "rootfs.diff_ids[0]"},
		{"{" BASE ",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[1]}}", "rootfs.diff_ids"},
		{"{" BASE ",\"created\":0," ROOTFS "}", "created: must be a text"},
		{"{" BASE ",\"config\":[]," ROOTFS "}", "config: must be an object"},
		{"{" BASE ",\"config\":{\"Env\":\"A=B\"}," ROOTFS "}", "config.Env"},
		{"{" BASE ",\"config\":{\"Env\":[1]}," ROOTFS "}", "config.Env"},
		{"{" BASE ",\"config\":{\"Cmd\":{}}," ROOTFS "}", "config.Cmd"},
		{"{" BASE ",\"config\":{\"User\":0}," ROOTFS "}", "config.User"},
		{"{" BASE ",\"config\":{\"Volumes\":[\"/a\"]}," ROOTFS "}", "config.Volumes"},
		{"{" BASE ",\"config\":{\"ExposedPorts\":{\"80\":1}}," ROOTFS "}",
		 "config.ExposedPorts.80"},
		{"{" BASE ",\"config\":{\"Labels\":{\"a\":1}}," ROOTFS "}", "config.Labels.a"},
		{"{" BASE ",\"history\":{}," ROOTFS "}", "history: must be an array"},
		{"{" BASE ",\"history\":[1]," ROOTFS "}", "history[0]: must be an object"},
		{"{" BASE ",\"history\":[{\"created_by\":\"x\"},{\"empty_layer\":1}]," ROOTFS "}",
		 "history[1].empty_layer"},
		{"{" BASE "," ROOTFS "," ROOTFS "}", "duplicate"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct image_config c = {0};
		struct err err = ERR_INIT;
		int r = image_config_parse(&c, slice_str(cases[i].text), &err);

		if (r != E_INVALID || !strstr(err.text, cases[i].says))
			fail_msg("%s: %d '%s', expected '%s'", cases[i].text, r, err.text,
				 cases[i].says);
		assert_null(c.os);
	}
}

static void test_build_by_hand(void **state)
{
	cleanup_image_config struct image_config c = {0};
	cleanup_buf struct buf built = {0};
	struct hash h;

	c.architecture = strdup("amd64");
	c.os = strdup("linux");
	c.created = strdup("1970-01-01T00:00:01Z");
	digest_parse(&h, slice_str(D1));
	image_config_add_diff_id(&c, &h);
	image_config_add_history(
		&c, &(struct image_history){.created = c.created, .created_by = (char *)"nacre"});
	strv_add(&c.env, "PATH=/bin");
	assert_int_equal(image_config_build(&built, &c), 0);
	assert_string_equal((char *)built.data,
			    "{\"architecture\":\"amd64\",\"config\":{\"Env\":[\"PATH=/bin\"]},"
			    "\"created\":\"1970-01-01T00:00:01Z\",\"history\":[{\"created\":"
			    "\"1970-01-01T00:00:01Z\",\"created_by\":\"nacre\"}],\"os\":\"linux\","
			    "\"rootfs\":{\"diff_ids\":[\"" D1 "\"],\"type\":\"layers\"}}");
	strv_add(&c.env, "X=\xff");
	buf_reset(&built);
	assert_int_equal(image_config_build(&built, &c), E_INVALID);
	assert_int_equal(built.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_docker),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_build_by_hand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
