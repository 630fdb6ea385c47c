/* SPDX-License-Identifier: Apache-2.0 */
#include "nar-spec.h"

#include "base/mem.h"

/* Counts the writes, too. */
struct out {
	struct sink sink;
	struct buf bytes;
	size_t writes;
};

static int out_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct out *o = container_of(self, struct out, sink);

	o->writes++;
	return buf_add(&o->bytes, data, len) < 0 ? err_set(err, E_LIMIT, "full") : 0;
}

#define OUT_INIT ((struct out){.sink = {.write = out_write}})

static int rewrite(struct slice nar, struct out *out, uint64_t *ret_offset, struct err *err)
{
	struct nar_writer *w = nar_writer_new(&out->sink);
	struct nar_decoder d;
	int r;

	nar_decoder_init(&d, nar_writer_node_sink(w));
	r = sink_write(&d.sink, nar.data, nar.len, err);
	if (r == 0)
		r = sink_finish(&d.sink, err);
	*ret_offset = nar_writer_offset(w);
	nar_decoder_release(&d);
	nar_writer_free(w);
	return r;
}

/* What the reader reads, the writer writes. */
static void test_identity(void **state)
{
	static const char *const specs[] = {
		NIX_HEAD "regular contents %empty )",
		NIX_HEAD "regular executable %empty contents hello )",
		NIX_HEAD "regular contents %100000:x )",
		NIX_HEAD "symlink target %4095:t )",
		NIX_HEAD "directory )",
		NIX_HEAD "directory %deep:63 %close:63 )",
		NIX_HEAD "directory entry ( name %255:l node ( type symlink target %4095:t ) ) )",
		NIX_HEAD
		"directory entry ( name %hex:0a node ( type regular executable %empty contents "
		"12345678 ) ) entry ( name a node ( type directory entry ( name b node ( type "
		"regular contents 1 ) ) entry ( name c node ( type symlink target d ) ) ) ) entry "
		"( name a- node ( type regular contents %empty ) ) )",
	};

	for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
		cleanup_buf struct buf nar = {0};
		struct out out = OUT_INIT;
		struct err err = ERR_INIT;
		uint64_t mark, offset;

		spec_build(&nar, specs[i], &mark);
		assert_ok(rewrite(buf_slice(&nar), &out, &offset, &err), err);
		assert_int_equal(out.bytes.len, nar.len);
		assert_memory_equal(out.bytes.data, nar.data, nar.len);
		assert_int_equal(offset, nar.len);
		buf_release(&out.bytes);
	}
}

#define S(text)                                           \
	{                                                 \
		(const uint8_t *)(text), sizeof(text) - 1 \
	}
#define END                      \
	{                        \
		.type = NODE_END \
	}
#define DIR(depth_, name_)                                                \
	{                                                                 \
		.type = NODE_DIRECTORY, .depth = depth_, .name = S(name_) \
	}
#define DIR_END(depth_)                                     \
	{                                                   \
		.type = NODE_DIRECTORY_END, .depth = depth_ \
	}
#define FILE_(depth_, name_, size_)                                                    \
	{                                                                              \
		.type = NODE_REGULAR, .depth = depth_, .name = S(name_), .size = size_ \
	}
#define DATA(text)                                    \
	{                                             \
		.type = NODE_CONTENT, .data = S(text) \
	}
#define FILE_END                         \
	{                                \
		.type = NODE_REGULAR_END \
	}
#define LINK(depth_, name_, target_)                                                        \
	{                                                                                   \
		.type = NODE_SYMLINK, .depth = depth_, .name = S(name_), .data = S(target_) \
	}

static uint8_t many[NODE_TARGET_MAX + 1]; /* filled by main */

/* The last event of each is refused. A zero type ends the list. */
static const struct {
	const char *rule;
	int code;
	struct node_event events[6];
} refused[] = {
	{"end first", E_INVALID, {END}},
	{"content first", E_INVALID, {DATA("x")}},
	{"file end first", E_INVALID, {FILE_END}},
	{"directory end first", E_INVALID, {DIR_END(0)}},
	{"named root", E_INVALID, {DIR(0, "a")}},
	{"unknown event", E_INVALID, {{.type = (enum node_event_type)99}}},
	{"two roots", E_INVALID, {LINK(0, "", "t"), LINK(0, "", "t")}},
	{"node after the end", E_INVALID, {LINK(0, "", "t"), END, LINK(0, "", "t")}},
	{"two ends", E_INVALID, {LINK(0, "", "t"), END, END}},
	{"directory ended twice", E_INVALID, {DIR(0, ""), DIR_END(0), DIR_END(0)}},
	{"end in a directory", E_INVALID, {DIR(0, ""), END}},
	{"end in a file", E_INVALID, {FILE_(0, "", 0), END}},
	{"node in a file", E_INVALID, {DIR(0, ""), FILE_(1, "a", 0), DIR(1, "b")}},
	{"directory end in a file", E_INVALID, {DIR(0, ""), FILE_(1, "a", 0), DIR_END(0)}},
	{"content in a directory", E_INVALID, {DIR(0, ""), DATA("x")}},
	{"file end in a directory", E_INVALID, {DIR(0, ""), FILE_END}},
	{"too much content", E_INVALID, {FILE_(0, "", 3), DATA("ab"), DATA("cd")}},
	{"too little content", E_INVALID, {FILE_(0, "", 3), DATA("ab"), FILE_END}},
	{"wrong depth", E_INVALID, {DIR(0, ""), DIR(2, "a")}},
	{"wrong depth, too low", E_INVALID, {DIR(0, ""), DIR(0, "")}},
	{"empty name", E_INVALID, {DIR(0, ""), DIR(1, "")}},
	{"name .", E_INVALID, {DIR(0, ""), DIR(1, ".")}},
	{"name ..", E_INVALID, {DIR(0, ""), LINK(1, "..", "t")}},
	{"name with /", E_INVALID, {DIR(0, ""), DIR(1, "a/b")}},
	{"name with NUL", E_INVALID, {DIR(0, ""), DIR(1, "a\0b")}},
	{"unsorted", E_INVALID, {DIR(0, ""), LINK(1, "b", "t"), LINK(1, "a", "t")}},
	{"duplicate", E_INVALID, {DIR(0, ""), LINK(1, "a", "t"), DIR(1, "a")}},
	{"unsorted after a directory",
	 E_INVALID,
	 {DIR(0, ""), DIR(1, "b"), LINK(2, "c", "t"), DIR_END(1), LINK(1, "a", "t")}},
	{"name of 256",
	 E_LIMIT,
	 {DIR(0, ""), {.type = NODE_DIRECTORY, .depth = 1, .name = {many, 256}}}},
	{"empty target", E_INVALID, {LINK(0, "", "")}},
	{"target with NUL", E_INVALID, {LINK(0, "", "a\0b")}},
	{"target of 4096", E_LIMIT, {{.type = NODE_SYMLINK, .data = {many, 4096}}}},
	{"size of 2^63", E_LIMIT, {FILE_(0, "", (uint64_t)1 << 63)}},
};

static void test_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct out out = OUT_INIT;
		struct nar_writer *w = nar_writer_new(&out.sink);
		struct node_sink *sink = nar_writer_node_sink(w);
		struct err err = ERR_INIT;
		size_t n = 0, len_before = 0;
		int r = 0;

		for (; n < 6 && refused[i].events[n].type; n++) {
			if (r < 0)
				fail_msg("%s: event %zu: %s", refused[i].rule, n - 1, err.text);
			len_before = out.bytes.len;
			r = node_sink_event(sink, &refused[i].events[n], &err);
		}
		if (r != refused[i].code)
			fail_msg("%s: got %d, want %d", refused[i].rule, r, refused[i].code);
		assert_true(err.text[0]);
		assert_int_equal(out.bytes.len, len_before); /* nothing was written for it */
		buf_release(&out.bytes);
		nar_writer_free(w);
	}
}

static void test_depth(void **state)
{
	struct out out = OUT_INIT;
	struct nar_writer *w = nar_writer_new(&out.sink);
	struct node_sink *sink = nar_writer_node_sink(w);
	struct err err = ERR_INIT;
	struct node_event ev = {.type = NODE_DIRECTORY};

	for (; ev.depth < NODE_DEPTH_MAX; ev.depth++) {
		ev.name = slice_make("d", ev.depth ? 1 : 0);
		assert_ok(node_sink_event(sink, &ev, &err), err);
	}
	assert_int_equal(node_sink_event(sink, &ev, &err), E_LIMIT);
	buf_release(&out.bytes);
	nar_writer_free(w);
}

/* Each event is at most one write, done before the handler returns; contents pass without a
 * copy. */
static void test_writes(void **state)
{
	static const struct node_event events[] = {
		DIR(0, ""), FILE_(1, "a", 3),  DATA("ab"), DATA("c"),
		FILE_END,   LINK(1, "b", "t"), DIR_END(0), END,
	};
	static const size_t writes[] = {1, 2, 3, 4, 5, 6, 7, 7};
	struct out out = OUT_INIT;
	struct nar_writer *w = nar_writer_new(&out.sink);
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(events); i++) {
		assert_ok(node_sink_event(nar_writer_node_sink(w), &events[i], &err), err);
		assert_int_equal(out.writes, writes[i]);
		assert_int_equal(nar_writer_offset(w), out.bytes.len);
	}
	buf_release(&out.bytes);
	nar_writer_free(w);
}

/* Contents that the caller has written itself. */
static void test_skip(void **state)
{
	static const struct node_event begin = FILE_(0, "", 5), data = DATA("ab"), end = FILE_END;
	struct out out = OUT_INIT;
	struct nar_writer *w = nar_writer_new(&out.sink);
	struct err err = ERR_INIT;

	assert_int_equal(nar_writer_skip(w, 0), E_USAGE);
	assert_ok(node_sink_event(nar_writer_node_sink(w), &begin, &err), err);
	assert_ok(node_sink_event(nar_writer_node_sink(w), &data, &err), err);
	assert_int_equal(nar_writer_skip(w, 4), E_USAGE);
	assert_int_equal(nar_writer_skip(w, 3), 0);
	assert_int_equal(nar_writer_skip(w, 1), E_USAGE);
	assert_int_equal(nar_writer_offset(w), 96 + 5);
	assert_ok(node_sink_event(nar_writer_node_sink(w), &end, &err), err);
	assert_int_equal(nar_writer_offset(w), 120);
	assert_int_equal(out.bytes.len, 117);
	assert_int_equal(nar_writer_skip(w, 0), E_USAGE);
	buf_release(&out.bytes);
	nar_writer_free(w);
}

static void test_sink_fails(void **state)
{
	struct out out = OUT_INIT;
	struct nar_writer *w = nar_writer_new(&out.sink);
	struct node_event ev = DIR(0, "");
	struct err err = ERR_INIT;

	out.bytes.max = 10;
	assert_int_equal(node_sink_event(nar_writer_node_sink(w), &ev, &err), E_LIMIT);
	assert_string_equal(err.text, "full");
	buf_release(&out.bytes);
	nar_writer_free(w);
}

/* The message says where. */
static void test_message(void **state)
{
	static const struct node_event events[] = {DIR(0, ""), DIR(1, "lib"), LINK(2, "b", "t"),
						   LINK(2, "a", "t")};
	struct out out = OUT_INIT;
	struct nar_writer *w = nar_writer_new(&out.sink);
	struct err err = ERR_INIT;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(events); i++)
		r = node_sink_event(nar_writer_node_sink(w), &events[i], &err);
	assert_int_equal(r, E_INVALID);
	assert_string_equal(err.text, "write NAR: a name that does not sort behind the one before "
				      "it (at \"lib/b\")");
	buf_release(&out.bytes);
	nar_writer_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),   cmocka_unit_test(test_refused),
		cmocka_unit_test(test_depth),      cmocka_unit_test(test_writes),
		cmocka_unit_test(test_sink_fails), cmocka_unit_test(test_skip),
		cmocka_unit_test(test_message),
	};

	memset(many, 'm', sizeof(many));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
