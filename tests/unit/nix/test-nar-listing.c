/* SPDX-License-Identifier: Apache-2.0 */
#include "nar-spec.h"

static int list(const char *spec, size_t max, struct buf *ret, struct err *err)
{
	struct nar_lister *l = nar_lister_new(max);
	cleanup_buf struct buf nar = {0};
	struct nar_decoder d;
	uint64_t mark;
	int r;

	spec_build(&nar, spec, &mark);
	nar_decoder_init(&d, nar_lister_node_sink(l));
	r = sink_write(&d.sink, nar.data, nar.len, err);
	if (r == 0)
		buf_add(ret, nar_lister_json(l).data, nar_lister_json(l).len);
	nar_decoder_release(&d);
	nar_lister_free(l);
	return r;
}

/* The first four are what Nix 2.8 wrote for these trees. */
static const struct {
	const char *spec, *json;
} listings[] = {
	{NIX_HEAD "regular executable %empty contents hello )",
	 "{\"version\":1,\"root\":{\"type\":\"regular\",\"size\":5,\"executable\":true,"
	 "\"narOffset\":128}}"},
	{NIX_HEAD "symlink target a/b )",
	 "{\"version\":1,\"root\":{\"type\":\"symlink\",\"target\":\"a/b\"}}"},
	{NIX_HEAD "directory )",
	 "{\"version\":1,\"root\":{\"type\":\"directory\",\"entries\":{}}}"},
	{NIX_HEAD "directory entry ( name a node ( type regular contents %empty ) ) entry ( name b "
		  "node ( type directory entry ( name c node ( type symlink target x ) ) ) ) )",
	 "{\"version\":1,\"root\":{\"type\":\"directory\",\"entries\":{\"a\":{\"type\":\"regular\","
	 "\"size\":0,\"narOffset\":232},\"b\":{\"type\":\"directory\",\"entries\":{\"c\":{\"type\":"
	 "\"symlink\",\"target\":\"x\"}}}}}}"},
	/* Control characters, quotes, DEL, UTF-8 of every length. */
	{NIX_HEAD "symlink target %hex:0102080a0b0c0d09 )",
	 "{\"version\":1,\"root\":{\"type\":\"symlink\",\"target\":"
	 "\"\\u0001\\u0002\\u0008\\n\\u000b\\u000c\\r\\t\"}}"},
	{NIX_HEAD "symlink target %hex:22275c2f3c7f )",
	 "{\"version\":1,\"root\":{\"type\":\"symlink\",\"target\":\"\\\"'\\\\/<\x7f\"}}"},
	{NIX_HEAD "symlink target %hex:c3a4e282acf09f9880f48fbfbfed9fbfee8080 )",
	 "{\"version\":1,\"root\":{\"type\":\"symlink\",\"target\":"
	 "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80\"}}"},
	/* Not UTF-8: stray and missing continuation, overlong, surrogate, past U+10FFFF, cut
	 * off. */
	{NIX_HEAD "symlink target %hex:41ff42 )",
	 "{\"version\":1,\"root\":{\"type\":\"symlink\",\"target\":\"A\\udcffB\"}}"},
	{NIX_HEAD "symlink target %hex:80c341c0aff5 )",
	 "{\"version\":1,\"root\":{\"type\":\"symlink\",\"target\":"
	 "\"\\udc80\\udcc3A\\udcc0\\udcaf\\udcf5\"}}"},
	{NIX_HEAD "symlink target %hex:e08080eda080f08f8080f4908080 )",
	 "{\"version\":1,\"root\":{\"type\":\"symlink\",\"target\":\"\\udce0\\udc80\\udc80\\udced"
	 "\\udca0\\udc80\\udcf0\\udc8f\\udc80\\udc80\\udcf4\\udc90\\udc80\\udc80\"}}"},
	{NIX_HEAD "symlink target %hex:e282 )",
	 "{\"version\":1,\"root\":{\"type\":\"symlink\",\"target\":\"\\udce2\\udc82\"}}"},
	{NIX_HEAD "directory entry ( name %hex:e28241 node ( type directory ) ) )",
	 "{\"version\":1,\"root\":{\"type\":\"directory\",\"entries\":{\"\\udce2\\udc82A\":{"
	 "\"type\":"
	 "\"directory\",\"entries\":{}}}}}"},
};

static void test_listings(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(listings); i++) {
		cleanup_buf struct buf json = {0};
		struct err err = ERR_INIT;

		assert_ok(list(listings[i].spec, 0, &json, &err), err);
		assert_string_equal((const char *)json.data, listings[i].json);
	}
}

/* From events that know no offset it is left out. */
static void test_no_offset(void **state)
{
	static const struct node_event events[] = {
		{.type = NODE_REGULAR, .size = 0}, {.type = NODE_REGULAR_END}, {.type = NODE_END}};
	struct nar_lister *l = nar_lister_new(0);
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(events); i++)
		assert_ok(node_sink_event(nar_lister_node_sink(l), &events[i], &err), err);
	assert_true(slice_equal_str(nar_lister_json(l),
				    "{\"version\":1,\"root\":{\"type\":\"regular\",\"size\":0}}"));
	nar_lister_free(l);
}

static void test_limit(void **state)
{
	const char *spec = NIX_HEAD "symlink target %4095:t )";

	for (size_t max = 1; max < 4200; max += 100) {
		cleanup_buf struct buf json = {0};
		struct err err = ERR_INIT;
		int r = list(spec, max, &json, &err);

		assert_int_equal(r, max < 4095 + 52 ? E_LIMIT : 0);
		assert_int_equal(json.len, r ? 0 : 4095 + 52);
	}
}

static void test_refuses(void **state)
{
	struct nar_lister *l = nar_lister_new(0);
	struct node_event ev = {.type = NODE_DIRECTORY, .name = slice_str("x")};
	struct err err = ERR_INIT;

	assert_int_equal(node_sink_event(nar_lister_node_sink(l), &ev, &err), E_INVALID);
	assert_string_equal(err.text, "list NAR: the root must not have a name (at \"\")");
	nar_lister_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listings),
		cmocka_unit_test(test_no_offset),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
