/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nacre/json.h>

static void canonical(const char *in, const char *out)
{
	cleanup_json json_t *value = NULL;
	cleanup_buf struct buf text = {0};
	struct err err = ERR_INIT;

	assert_ok(json_parse(&value, slice_str(in), 1 << 20, &err), err);
	assert_int_equal(json_canonical(&text, value), 0);
	assert_string_equal((char *)text.data, out);
}

static void test_canonical(void **state)
{
	canonical("{}", "{}");
	canonical(" [ ] ", "[]");
	canonical("{\"b\" : 1, \"a\" : [ true , false , null ]}",
		  "{\"a\":[true,false,null],\"b\":1}");
	canonical("[-0, 0, 10, -5, 9007199254740991]", "[0,0,10,-5,9007199254740991]");
	/* RFC 8785, 3.2.2.2: the escapes that JSON has letters for, the rest as \u00xx. */
	canonical("[\"\\u0008\\u0009\\u000a\\u000c\\u000d\\\"\\\\\\/\\u000f\\u001b\\u007f\"]",
		  "[\"\\b\\t\\n\\f\\r\\\"\\\\/\\u000f\\u001b\x7f\"]");
	canonical("[\"\\u20ac$\\u000B\"]", "[\"\xe2\x82\xac$\\u000b\"]");
	/* RFC 8785, 3.2.3: the example of sorting. */
	canonical("{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\","
		  "\"\\ufb33\":\"Hebrew Letter Dalet With Dagesh\",\"1\":\"One\","
		  "\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\","
		  "\"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}",
		  "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\","
		  "\"\xc3\xb6\":\"Latin Small Letter O With Diaeresis\","
		  "\"\xe2\x82\xac\":\"Euro Sign\","
		  "\"\xf0\x9f\x98\x80\":\"Emoji: Grinning Face\","
		  "\"\xef\xac\xb3\":\"Hebrew Letter Dalet With Dagesh\"}");
	/* A key that begins another comes first. */
	canonical("{\"ab\":1,\"a\":2,\"\":3}", "{\"\":3,\"a\":2,\"ab\":1}");
}

static void refused(json_t *value, int code)
{
	cleanup_buf struct buf text = {0};

	buf_add_str(&text, "before");
	assert_int_equal(json_canonical(&text, value), code);
	assert_string_equal((char *)text.data, "before");
	json_decref(value);
}

static void test_canonical_refuses(void **state)
{
	json_t *deep = json_array();
	cleanup_buf struct buf small = BUF_INIT(4);
	cleanup_json json_t *text = json_string("long text");

	refused(json_real(1.5), E_INVALID);
	refused(json_pack("[f]", 1.0), E_INVALID);
	refused(json_integer(((json_int_t)1 << 53)), E_LIMIT);
	refused(json_integer(-((json_int_t)1 << 53)), E_LIMIT);
	for (int i = 0; i < JSON_DEPTH_MAX + 1; i++) {
		json_t *outer = json_array();

		json_array_append_new(outer, deep);
		deep = outer;
	}
	refused(deep, E_LIMIT);
	assert_int_equal(json_canonical(&small, text), E_LIMIT);
}

static void bad(const char *in, size_t len, int code, const char *says)
{
	json_t *value = NULL;
	struct err err = ERR_INIT;
	int r = json_parse(&value, slice_make(in, len), 4096, &err);

	if (r != code)
		fail_msg("'%.60s': %d, expected %d", in, r, code);
	assert_null(value);
	if (!strstr(err.text, says))
		fail_msg("'%.60s': '%s' does not say '%s'", in, err.text, says);
}

static void test_parse_refuses(void **state)
{
	char deep[200];

	bad("", 0, E_INVALID, "malformed");
	bad("{", 1, E_INVALID, "line 1");
	bad("{\"a\":1,\"a\":2}", 13, E_INVALID, "duplicate");
	bad("{\"a\":{\"b\":1,\"b\":2}}", 19, E_INVALID, "duplicate");
	bad("{} x", 4, E_INVALID, "malformed");
	bad("{\"a\":\"\\u0000\"}", 14, E_INVALID, "malformed");
	bad("[\"\\ud800\"]", 10, E_INVALID, "malformed");
	bad("[\"\xff\"]", 5, E_INVALID, "malformed");
	bad("[\"\xc0\x80\"]", 6, E_INVALID, "malformed");
	bad("{}\0", 3, E_INVALID, "malformed");
	bad("[01]", 4, E_INVALID, "malformed");
	bad("[1e999]", 7, E_INVALID, "malformed");
	bad("[99999999999999999999]", 22, E_INVALID, "malformed");
	bad("\"text\"", 6, E_INVALID, "malformed");
	memset(deep, '[', sizeof(deep));
	bad(deep, sizeof(deep), E_LIMIT, "deeper than 64");
	bad(deep, 5000, E_LIMIT, "5000 bytes");
}

static void test_parse_depth(void **state)
{
	cleanup_json json_t *value = NULL;
	char deep[2 * JSON_DEPTH_MAX];
	struct err err = ERR_INIT;

	memset(deep, '[', JSON_DEPTH_MAX);
	memset(deep + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	assert_ok(json_parse(&value, slice_make(deep, sizeof(deep)), 4096, &err), err);
	/* Brackets in texts do not count. */
	json_decref(value);
	value = NULL;
	memset(deep, '[', sizeof(deep));
	memcpy(deep, "[\"\\\"", 4);
	memcpy(deep + sizeof(deep) - 4, "\\\\\"]", 4);
	assert_ok(json_parse(&value, slice_make(deep, sizeof(deep)), 4096, &err), err);
}

static void test_parse_count(void **state)
{
	size_t n = JSON_VALUES_MAX + 2;
	char *text = malloc(n * 2 + 2);
	json_t *value = NULL;
	struct err err = ERR_INIT;

	text[0] = '[';
	for (size_t i = 0; i < n; i++)
		memcpy(text + 1 + 2 * i, "1,", 2);
	text[n * 2] = ']';
	assert_int_equal(json_parse(&value, slice_make(text, n * 2 + 1), 8 << 20, &err), E_LIMIT);
	free(text);
}

static void test_fields(void **state)
{
	cleanup_json json_t *o = json_pack("{s:s, s:i, s:i, s:b, s:n, s:[s,s], s:[s,i], s:{}, s:f}",
					   "text", "x", "size", 7, "minus", -1, "flag", 1, "null",
					   "list", "a", "b", "mixed", "a", 1, "map", "real", 1.5);
	const char *text = "untouched";
	uint64_t size = 99;
	bool flag = false;
	json_t *value = NULL;
	cleanup_strv struct strv list = {0};
	struct err err = ERR_INIT;

	assert_int_equal(json_get_text(o, "", "absent", false, &text, &err), 0);
	assert_int_equal(json_get_text(o, "", "null", false, &text, &err), 0);
	assert_string_equal(text, "untouched");
	assert_int_equal(json_get_text(o, "here", "null", true, &text, &err), E_INVALID);
	assert_string_equal(err.text, "here.null: is missing");
	assert_int_equal(json_get_text(o, "", "size", false, &text, &err), E_INVALID);
	assert_string_equal(err.text, "size: must be a text, is a number");
	assert_int_equal(json_get_text(o, "", "text", true, &text, &err), 1);
	assert_string_equal(text, "x");
	assert_int_equal(json_get_size(o, "", "minus", true, &size, &err), E_INVALID);
	assert_int_equal(json_get_size(o, "", "real", true, &size, &err), E_INVALID);
	assert_int_equal(json_get_size(o, "", "text", true, &size, &err), E_INVALID);
	assert_int_equal(size, 99);
	assert_int_equal(json_get_size(o, "", "size", true, &size, &err), 1);
	assert_int_equal(size, 7);
	assert_int_equal(json_get_bool(o, "", "size", &flag, &err), E_INVALID);
	assert_int_equal(json_get_bool(o, "", "flag", &flag, &err), 1);
	assert_true(flag);
	assert_int_equal(json_get_array(o, "", "map", true, &value, &err), E_INVALID);
	assert_int_equal(json_get_object(o, "", "list", true, &value, &err), E_INVALID);
	assert_int_equal(json_get_object(o, "", "map", true, &value, &err), 1);
	assert_int_equal(json_get_texts(o, "", "mixed", &list, &err), E_INVALID);
	assert_int_equal(list.len, 0);
	assert_int_equal(json_get_texts(o, "", "list", &list, &err), 1);
	assert_int_equal(list.len, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical),     cmocka_unit_test(test_canonical_refuses),
		cmocka_unit_test(test_parse_refuses), cmocka_unit_test(test_parse_depth),
		cmocka_unit_test(test_parse_count),   cmocka_unit_test(test_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
