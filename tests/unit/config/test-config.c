/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/mem.h"
#include "config/config.h"

static struct config *parse(const char *text)
{
	struct err err = ERR_INIT;
	struct config *c = NULL;

	assert_ok(config_parse(&c, slice_str(text), "x.yaml", &err), err);
	return c;
}

static void read_all_types(void **state)
{
	struct config *c =
		parse("name: nacre\nnumber: 17\nsize: 1.5 KiB\ntime: 2m\nyes: on\n"
		      "kind: b\nlist: [one, two]\nsingle: one\nmap: {a: 1}\nnothing: ~\n");
	static const char *const names[] = {"a", "b", NULL};
	const struct config_range any = {0, UINT64_MAX};
	struct err err = ERR_INIT;
	struct config *list = NULL, *single = NULL, *map = NULL;
	const char *text = "before", *nothing = "before";
	uint64_t number = 0, size = 0, time = 0;
	unsigned kind = 0;
	bool yes = false;

	(void)state;
	assert_ok(config_text(c, "name", &text, &err), err);
	assert_string_equal(text, "nacre");
	assert_ok(config_text(c, "nothing", &nothing, &err), err);
	assert_ok(config_text(c, "missing", &nothing, &err), err);
	assert_string_equal(nothing, "before");
	assert_ok(config_number(c, "number", any, &number, &err), err);
	assert_int_equal((long long)number, 17);
	assert_ok(config_bytes(c, "size", &size, &err), err);
	assert_int_equal((long long)size, 1536);
	assert_ok(config_duration(c, "time", any, &time, &err), err);
	assert_int_equal((long long)time, 120000);
	assert_ok(config_bool(c, "yes", &yes, &err), err);
	assert_true(yes);
	assert_ok(config_choice(c, "kind", names, &kind, &err), err);
	assert_int_equal((int)kind, 1);
	assert_ok(config_list(c, "list", &list, &err), err);
	assert_int_equal((int)config_len(list), 2);
	assert_ok(config_as_text(config_item(list, 1), &text, &err), err);
	assert_string_equal(text, "two");
	assert_ok(config_list(c, "single", &single, &err), err);
	assert_int_equal((int)config_len(single), 1);
	assert_ok(config_as_text(config_item(single, 0), &text, &err), err);
	assert_string_equal(text, "one");
	assert_ok(config_map(c, "map", &map, &err), err);
	assert_string_equal(config_key(map, 0), "a");
	assert_non_null(config_value(map, 0));
	assert_ok(config_check_used(c, &err), err);
	config_free(c);
}

static void refuse_documents(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"a: 1\na: 2\n", "x.yaml:2: the key 'a' stands here twice"},
		{"a: &x 1\n", "x.yaml:1: anchors and tags are not used here"},
		{"a: *x\n", "x.yaml:1: aliases are not used here"},
		{"a: !!int 1\n", "x.yaml:1: anchors and tags are not used here"},
		{"a: 1\n---\nb: 2\n", "x.yaml:2: a second document begins"},
		{"- a\n", "x.yaml:1: this is not a map of keys and values"},
		{"just text\n", "x.yaml:1: this is not a map of keys and values"},
		{"? [a]\n: 1\n", "x.yaml:1: a key is a text"},
		{"a: \"x\\0y\"\n", "x.yaml:1: a value contains a NUL"},
		{"a: [[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]\n", "x.yaml:1: nested too deeply"},
		{"a: [1\n", "x.yaml:2: "},
		{"\ta: 1\n", "x.yaml:1: "},
		{"a: \xff\n", "x.yaml:1: "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = ERR_INIT;
		struct config *c;

		assert_int_equal(config_parse(&c, slice_str(cases[i].text), "x.yaml", &err),
				 E_INVALID);
		if (strncmp(err.text, cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("'%s' gives '%s'", cases[i].text, err.text);
	}
}

enum type { BOOL, NUMBER, BYTES, DURATION, CHOICE, TEXT, MAP, LIST };

static int get(struct config *c, enum type type, struct err *err)
{
	static const char *const names[] = {"red", "green", NULL};
	const struct config_range range = {1, 100000};
	struct config *sub;
	const char *text;
	unsigned choice;
	uint64_t n;
	bool b;

	switch (type) {
	case BOOL:
		return config_bool(c, "k", &b, err);
	case NUMBER:
		return config_number(c, "k", range, &n, err);
	case BYTES:
		return config_bytes(c, "k", &n, err);
	case DURATION:
		return config_duration(c, "k", range, &n, err);
	case CHOICE:
		return config_choice(c, "k", names, &choice, err);
	case TEXT:
		return config_text(c, "k", &text, err);
	case MAP:
		return config_map(c, "k", &sub, err);
	case LIST:
		return config_list(c, "k", &sub, err);
	}
	return 0;
}

static void refuse_values(void **state)
{
	static const struct {
		enum type type;
		const char *value, *message;
	} cases[] = {
		{BOOL, "1", "'1' is neither true nor false"},
		{NUMBER, "0", "'0' is not a number from 1 to 100000"},
		{NUMBER, "100001", "'100001' is not a number from 1 to 100000"},
		{NUMBER, "-1", "'-1' is not a number from 1 to 100000"},
		{NUMBER, "1x", "'1x' is not a number from 1 to 100000"},
		{NUMBER, "99999999999999999999", "'99999999999999999999' is not a number"},
		{BYTES, "1 XB", "'1 XB' is not a size"},
		{BYTES, "-1", "'-1' is not a size"},
		{BYTES, "1.5", "'1.5' is not a size"},
		{BYTES, "1.KiB", "'1.KiB' is not a size"},
		{BYTES, "18446744073709551615KiB", "'18446744073709551615KiB' is not a size"},
		{DURATION, "5 years", "'5 years' is not a duration"},
		{DURATION, "0s", "'0s' is not between 1 and 100000 milliseconds"},
		{DURATION, "2m", "'2m' is not between 1 and 100000 milliseconds"},
		{CHOICE, "blue", "'blue' is not one of: red, green"},
		{TEXT, "[a]", "this is a list; it must be one value"},
		{TEXT, "{a: b}", "this is a map of keys; it must be one value"},
		{MAP, "a", "this is one value; it must be a map of keys"},
		{MAP, "[a]", "this is a list; it must be a map of keys"},
		{LIST, "{a: b}", "this is a map of keys; it must be a list"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_free char *text = xasprintf("# a comment\nk: %s\n", cases[i].value);
		cleanup_free char *want = xasprintf("x.yaml:2: k: %s", cases[i].message);
		struct config *c = parse(text);
		struct err err = ERR_INIT;

		assert_int_equal(get(c, cases[i].type, &err), E_INVALID);
		if (strncmp(err.text, want, strlen(want)) != 0)
			fail_msg("'%s' gives '%s'", cases[i].value, err.text);
		config_free(c);
	}
}

static void find_unknown_keys(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"lisen: 1\n", "x.yaml:1: lisen: there is no such key; did you mean 'listen'?"},
		{"something: 1\n", "x.yaml:1: something: there is no such key"},
		{"tls:\n  keys: 1\n",
		 "x.yaml:2: tls.keys: there is no such key; did you mean 'key'?"},
		{"views:\n- {name: a}\n- {nam: b}\n",
		 "x.yaml:3: views.1.nam: there is no such key; did you mean 'name'?"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct config *c = parse(cases[i].text), *views = NULL;
		struct err err = ERR_INIT;

		config_child(c, "listen");
		config_child(config_child(c, "tls"), "key");
		assert_ok(config_list(c, "views", &views, &err), err);
		for (size_t j = 0; j < config_len(views); j++)
			config_child(config_item(views, j), "name");
		assert_int_equal(config_check_used(c, &err), E_INVALID);
		assert_string_equal(err.text, cases[i].message);
		config_free(c);
	}
}

static const char *text_at(struct config *map, const char *key)
{
	struct err err = ERR_INIT;
	const char *text = "(missing)";

	assert_ok(config_text(map, key, &text, &err), err);
	return text;
}

static void set_values(void **state)
{
	struct config *c = parse("a: 1\nlist: [{k: 1}, {k: 2}]\n");
	static const char *const good[] = {"a=2",           "tls.key=/x=y", "list.1.k=3",
					   "list.+={k: 4}", "new.+=one",    "empty="};
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_ok(config_set(c, slice_str(good[i]), &err), err);
	assert_string_equal(text_at(c, "a"), "2");
	assert_string_equal(text_at(config_child(c, "tls"), "key"), "/x=y");
	assert_string_equal(text_at(config_item(config_child(c, "list"), 1), "k"), "3");
	assert_string_equal(text_at(config_item(config_child(c, "list"), 2), "k"), "4");
	assert_int_equal((int)config_len(config_child(c, "new")), 1);
	assert_null(config_child(c, "empty"));
	config_free(c);
}

static void refuse_to_set(void **state)
{
	static const char *const bad[] = {"a",
					  "=1",
					  ".=1",
					  "a.=1",
					  "a.b=1",
					  "l.5=1",
					  "l.-1=1",
					  "l.x=1",
					  "k=[",
					  "k=&a 1",
					  "",
					  "a..b=1",
					  "k=1\n---\n2",
					  "x.x.x.x.x.x.x.x.x.x.x.x=1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct config *c = parse("a: 1\nl: [1]\n");
		struct err err = ERR_INIT;

		if (config_set(c, slice_str(bad[i]), &err) != E_USAGE)
			fail_msg("'%s' gives '%s'", bad[i], err.text);
		config_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_all_types), cmocka_unit_test(refuse_documents),
		cmocka_unit_test(refuse_values),  cmocka_unit_test(find_unknown_keys),
		cmocka_unit_test(set_values),     cmocka_unit_test(refuse_to_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
