/* SPDX-License-Identifier: Apache-2.0 */
#include "nar-spec.h"

struct outcome {
	struct record record;
	int code;
	uint64_t offset;
	const char *expected;
	size_t left; /* bytes that were not taken */
};

/* Feeds one piece; false when the reader has refused it. */
static bool feed(struct nar_reader *r, struct outcome *o, const uint8_t *data, size_t len)
{
	/* Exactly as long as it says, so that the sanitizer sees a read past the end. */
	cleanup_free uint8_t *copy = xmemdup(data, len);
	struct slice input = slice_make(copy, len);
	struct node_event ev;
	int n;

	while ((n = nar_reader_step(r, &input, &ev)) > 0)
		record_event(&o->record, &ev);
	o->left += input.len;
	if (n < 0)
		o->code = n;
	return n == 0;
}

static void finish(struct nar_reader *r, struct outcome *o)
{
	o->code = nar_reader_finish(r);
	o->offset = nar_reader_offset(r);
	o->expected = nar_reader_expected(r);
}

/* Reads the bytes in pieces of `step`, the first one being `first` long (0: `step`). */
static struct outcome read_pieces(struct slice bytes, size_t first, size_t step)
{
	struct nar_reader *r = nar_reader_new();
	struct outcome o = {.record = RECORD_INIT};
	size_t n = first ? first : step;

	for (size_t at = 0; at < bytes.len; at += n, n = step) {
		if (n > bytes.len - at || n == 0)
			n = bytes.len - at;
		if (!feed(r, &o, bytes.data + at, n))
			break;
	}
	finish(r, &o);
	nar_reader_free(r);
	return o;
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
	assert_string_equal(record_text(&a->record), record_text(&b->record));
	assert_int_equal(a->code, b->code);
	assert_int_equal(a->offset, b->offset);
	assert_string_equal(a->expected, b->expected);
}

/* Byte by byte and in every two pieces, the outcome is the same. */
static void assert_split_safe(struct slice bytes, const struct outcome *whole)
{
	struct outcome o = read_pieces(bytes, 0, 1);

	assert_same(whole, &o);
	record_release(&o.record);
	for (size_t at = 1; at < bytes.len; at++) {
		o = read_pieces(bytes, at, 0);
		assert_same(whole, &o);
		record_release(&o.record);
	}
}

static const struct {
	const char *spec, *events;
} good[] = {
	{NIX_HEAD "regular contents %empty )", "file 0 <> 0 @96\nend-file 0 0\nend\n"},
	{NIX_HEAD "regular contents hello )", "file 0 <> 5 @96\nhello\nend-file 0 5\nend\n"},
	{NIX_HEAD "regular contents 12345678 )", /* no padding */
	 "file 0 <> 8 @96\n12345678\nend-file 0 8\nend\n"},
	{NIX_HEAD "regular executable %empty contents x )",
	 "file 0 <> x 1 @128\nx\nend-file 0 x 1\nend\n"},
	{NIX_HEAD "symlink target /nix/store )", "link 0 <> -> /nix/store\nend\n"},
	{NIX_HEAD "directory )", "dir 0 <>\nend-dir 0\nend\n"},
	{NIX_HEAD "directory "
		  "entry ( name a node ( type directory "
		  "entry ( name b node ( type regular contents x ) ) ) ) "
		  "entry ( name b node ( type directory ) ) "
		  "entry ( name c node ( type symlink target a/b ) ) )",
	 "dir 0 <>\ndir 1 <a>\nfile 2 <b> 1 @368\nx\nend-file 2 1\nend-dir 1\n"
	 "dir 1 <b>\nend-dir 1\nlink 1 <c> -> a/b\nend-dir 0\nend\n"},
	/* Bytewise, not as paths: '-' sorts before '/'. A prefix comes first. Upper case first. */
	{NIX_HEAD "directory entry ( name B node ( type directory ) ) "
		  "entry ( name a node ( type directory ) ) "
		  "entry ( name a- node ( type directory ) ) "
		  "entry ( name a.b node ( type directory ) ) "
		  "entry ( name ab node ( type directory ) ) "
		  "entry ( name %hex:c3a4 node ( type directory ) ) )",
	 "dir 0 <>\ndir 1 <B>\nend-dir 1\ndir 1 <a>\nend-dir 1\ndir 1 <a->\nend-dir 1\n"
	 "dir 1 <a.b>\nend-dir 1\ndir 1 <ab>\nend-dir 1\ndir 1 <\xc3\xa4>\nend-dir 1\n"
	 "end-dir 0\nend\n"},
	/* Names are bytes: newline, not UTF-8, almost dots, what Nix uses on other systems. */
	{NIX_HEAD "directory entry ( name %hex:0a node ( type directory ) ) "
		  "entry ( name ... node ( type directory ) ) "
		  "entry ( name .wh.x node ( type directory ) ) "
		  "entry ( name a~nix~case~hack~1 node ( type directory ) ) "
		  "entry ( name %hex:ff node ( type directory ) ) )",
	 "dir 0 <>\ndir 1 <\n>\nend-dir 1\ndir 1 <...>\nend-dir 1\ndir 1 <.wh.x>\nend-dir 1\n"
	 "dir 1 <a~nix~case~hack~1>\nend-dir 1\ndir 1 <\xff>\nend-dir 1\nend-dir 0\nend\n"},
	/* Order is per directory: the same names again one level down, smaller ones after it. */
	{NIX_HEAD
	 "directory entry ( name z node ( type directory "
	 "entry ( name a node ( type directory ) ) entry ( name z node ( type directory ) ) "
	 ") ) )",
	 "dir 0 <>\ndir 1 <z>\ndir 2 <a>\nend-dir 2\ndir 2 <z>\nend-dir 2\nend-dir 1\nend-dir 0\n"
	 "end\n"},
};

static void test_good(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		cleanup_buf struct buf nar = {0};
		struct outcome o;
		uint64_t mark;

		spec_build(&nar, good[i].spec, &mark);
		o = read_pieces(buf_slice(&nar), 0, nar.len);
		assert_string_equal(record_text(&o.record), good[i].events);
		assert_int_equal(o.code, 0);
		assert_int_equal(o.offset, nar.len);
		assert_split_safe(buf_slice(&nar), &o);
		record_release(&o.record);
	}
}

/* The largest name and target, the deepest tree. */
static void test_limits(void **state)
{
	static const char *const specs[] = {
		NIX_HEAD "directory entry ( name %255:n node ( type directory ) ) )",
		NIX_HEAD "symlink target %4095:t )",
		NIX_HEAD "directory %deep:63 %close:63 )",
	};

	for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
		cleanup_buf struct buf nar = {0};
		struct outcome o, bytewise;
		uint64_t mark;

		spec_build(&nar, specs[i], &mark);
		o = read_pieces(buf_slice(&nar), 0, nar.len);
		assert_int_equal(o.code, 0);
		bytewise = read_pieces(buf_slice(&nar), 0, 1);
		assert_same(&o, &bytewise);
		record_release(&o.record);
		record_release(&bytewise.record);
	}
}

#define ENTRY(name) "entry ( name " name " node ( type directory ) ) "

static const struct {
	const char *rule, *spec;
	int code;
	const char *expected;
} bad[] = {
	{"magic", "@nix-archive-2 ( type directory )", E_INVALID, "the magic \"nix-archive-1\""},
	{"magic length", "@%len:18446744073709551615", E_INVALID, "the magic \"nix-archive-1\""},
	{"magic padding", "%len:13 %raw:6e69782d617263686976652d31 @%raw:000100 ( type directory )",
	 E_INVALID, "zero padding"},
	{"open", "nix-archive-1 @) type directory )", E_INVALID, "\"(\""},
	{"open longer", "nix-archive-1 @(( type directory )", E_INVALID, "\"(\""},
	{"open empty", "nix-archive-1 @%empty type directory )", E_INVALID, "\"(\""},
	{"type", "nix-archive-1 ( @kind directory )", E_INVALID, "\"type\""},
	{"type value", NIX_HEAD "@fifo )", E_INVALID, "\"regular\", \"directory\" or \"symlink\""},
	{"type value case", NIX_HEAD "@Regular contents x )", E_INVALID,
	 "\"regular\", \"directory\" or \"symlink\""},
	{"type value prefix", NIX_HEAD "@%len:7 %raw:73796d6c696e00 ", E_INVALID,
	 "\"regular\", \"directory\" or \"symlink\""},
	{"tag of 33 bytes", NIX_HEAD "@%33:r )", E_INVALID,
	 "\"regular\", \"directory\" or \"symlink\""},
	{"tag of 2^63 bytes", NIX_HEAD "@%len:9223372036854775808", E_INVALID,
	 "\"regular\", \"directory\" or \"symlink\""},
	{"tag padding", NIX_HEAD "%len:7 %raw:726567756c6172 @%raw:01 contents x )", E_INVALID,
	 "zero padding"},
	{"long tag padding", NIX_HEAD "%len:9 %raw:6469726563746f7279 @%raw:00000000000001 )",
	 E_INVALID, "zero padding"},
	{"type twice", NIX_HEAD "regular @type regular contents x )", E_INVALID,
	 "\"executable\" or \"contents\""},
	{"contents missing", NIX_HEAD "regular @)", E_INVALID, "\"executable\" or \"contents\""},
	{"contents missing, executable", NIX_HEAD "regular executable %empty @)", E_INVALID,
	 "\"contents\""},
	{"executable twice", NIX_HEAD "regular executable %empty @executable %empty contents x )",
	 E_INVALID, "\"contents\""},
	{"executable after contents", NIX_HEAD "regular contents x @executable %empty )", E_INVALID,
	 "\")\""},
	{"executable value", NIX_HEAD "regular executable @1 contents x )", E_INVALID,
	 "the empty value of \"executable\""},
	{"contents twice", NIX_HEAD "regular contents x @contents x )", E_INVALID, "\")\""},
	{"contents padding", NIX_HEAD "regular contents %len:1 %raw:78 @%raw:00000000000001 )",
	 E_INVALID, "zero padding"},
	{"contents padding at once",
	 NIX_HEAD "regular contents %len:7 %raw:78787878787878 @%raw:ff )", E_INVALID,
	 "zero padding"},
	{"contents of 2^63", NIX_HEAD "regular contents @%len:9223372036854775808", E_LIMIT,
	 "a size of contents below 2^63"},
	{"contents of 2^64-1", NIX_HEAD "regular contents @%len:18446744073709551615", E_LIMIT,
	 "a size of contents below 2^63"},
	{"target tag", NIX_HEAD "symlink @contents x )", E_INVALID, "\"target\""},
	{"target empty", NIX_HEAD "symlink target @%empty )", E_INVALID,
	 "a symlink target of 1 to 4095 bytes"},
	{"target of 4096", NIX_HEAD "symlink target @%4096:t )", E_LIMIT,
	 "a symlink target of 1 to 4095 bytes"},
	{"target of 2^64-1", NIX_HEAD "symlink target @%len:18446744073709551615", E_LIMIT,
	 "a symlink target of 1 to 4095 bytes"},
	{"target NUL", NIX_HEAD "symlink target @%hex:610062 )", E_INVALID,
	 "a symlink target without NUL"},
	{"target padding", NIX_HEAD "symlink target %len:1 %raw:78 @%raw:00000000000001 )",
	 E_INVALID, "zero padding"},
	{"target twice", NIX_HEAD "symlink target a @target b )", E_INVALID, "\")\""},
	{"symlink with executable", NIX_HEAD "symlink @executable %empty target a )", E_INVALID,
	 "\"target\""},
	{"entry", NIX_HEAD "directory @contents x )", E_INVALID, "\"entry\" or \")\""},
	{"entry open", NIX_HEAD "directory entry @name a node ( type directory ) ) )", E_INVALID,
	 "\"(\""},
	{"entry name", NIX_HEAD "directory entry ( @node ( type directory ) ) )", E_INVALID,
	 "\"name\""},
	{"node before name", NIX_HEAD "directory entry ( @node ( type directory ) name a ) )",
	 E_INVALID, "\"name\""},
	{"node", NIX_HEAD "directory entry ( name a @( type directory ) ) )", E_INVALID,
	 "\"node\""},
	{"node missing", NIX_HEAD "directory entry ( name a @) )", E_INVALID, "\"node\""},
	{"node open", NIX_HEAD "directory entry ( name a node @type directory ) ) )", E_INVALID,
	 "\"(\""},
	{"entry end", NIX_HEAD "directory entry ( name a node ( type directory ) @entry", E_INVALID,
	 "\")\""},
	{"entry end, file",
	 NIX_HEAD "directory entry ( name a node ( type regular contents x ) @x )", E_INVALID,
	 "\")\""},
	{"name empty", NIX_HEAD "directory entry ( name @%empty node ( type directory ) ) )",
	 E_INVALID, "a name of 1 to 255 bytes"},
	{"name of 256", NIX_HEAD "directory entry ( name @%256:n node ( type directory ) ) )",
	 E_LIMIT, "a name of 1 to 255 bytes"},
	{"name of 2^64-1", NIX_HEAD "directory entry ( name @%len:18446744073709551615", E_LIMIT,
	 "a name of 1 to 255 bytes"},
	{"name .", NIX_HEAD "directory entry ( name @. node ( type directory ) ) )", E_INVALID,
	 "a name without \"/\" and NUL that is not \".\" or \"..\""},
	{"name ..", NIX_HEAD "directory entry ( name @.. node ( type directory ) ) )", E_INVALID,
	 "a name without \"/\" and NUL that is not \".\" or \"..\""},
	{"name with /", NIX_HEAD "directory entry ( name @a/b node ( type directory ) ) )",
	 E_INVALID, "a name without \"/\" and NUL that is not \".\" or \"..\""},
	{"name /", NIX_HEAD "directory entry ( name @/ node ( type directory ) ) )", E_INVALID,
	 "a name without \"/\" and NUL that is not \".\" or \"..\""},
	{"name with NUL", NIX_HEAD "directory entry ( name @%hex:6100 node ( type directory ) ) )",
	 E_INVALID, "a name without \"/\" and NUL that is not \".\" or \"..\""},
	{"name padding",
	 NIX_HEAD
	 "directory entry ( name %len:1 %raw:78 @%raw:00000001000000 node ( type directory ) ) )",
	 E_INVALID, "zero padding"},
	{"names unsorted",
	 NIX_HEAD "directory " ENTRY("b") "entry ( name @a node ( type directory ) ) )", E_INVALID,
	 "names in strictly increasing order"},
	{"names in path order",
	 NIX_HEAD "directory " ENTRY("ab") "entry ( name @a- node ( type directory ) ) )",
	 E_INVALID, "names in strictly increasing order"},
	{"names twice",
	 NIX_HEAD "directory " ENTRY("a") "entry ( name @a node ( type directory ) ) )", E_INVALID,
	 "names in strictly increasing order"},
	{"prefix behind",
	 NIX_HEAD "directory " ENTRY("ab") "entry ( name @a node ( type directory ) ) )", E_INVALID,
	 "names in strictly increasing order"},
	{"signed chars",
	 NIX_HEAD "directory " ENTRY("%hex:ff") "entry ( name @a node ( type directory ) ) )",
	 E_INVALID, "names in strictly increasing order"},
	{"order after a directory with entries",
	 NIX_HEAD "directory entry ( name b node ( type directory " ENTRY(
		 "z") ") ) "
		      "entry ( name @a node ( type directory ) ) )",
	 E_INVALID, "names in strictly increasing order"},
	{"depth 64",
	 NIX_HEAD "directory %deep:63 entry ( name d node @( type directory ) ) %close:63 )",
	 E_LIMIT, "fewer than 64 levels"},
	{"depth 64, file",
	 NIX_HEAD
	 "directory %deep:63 entry ( name f node @( type regular contents x ) ) %close:63 )",
	 E_LIMIT, "fewer than 64 levels"},
	{"bad name at depth 64", NIX_HEAD "directory %deep:63 entry ( name @.. node (", E_INVALID,
	 "a name without \"/\" and NUL that is not \".\" or \"..\""},
	{"end of the root", NIX_HEAD "directory @(", E_INVALID, "\"entry\" or \")\""},
	{"end padding", NIX_HEAD "directory %len:1 %raw:29 @%raw:00010000000000", E_INVALID,
	 "zero padding"},
};

static void test_bad(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		cleanup_buf struct buf nar = {0};
		struct outcome o;
		uint64_t mark = UINT64_MAX;

		spec_build(&nar, bad[i].spec, &mark);
		o = read_pieces(buf_slice(&nar), 0, nar.len);
		if (o.code != bad[i].code || o.offset != mark ||
		    strcmp(o.expected, bad[i].expected) != 0)
			fail_msg("%s: got %d at %" PRIu64 ", expected %s; want %d at %" PRIu64
				 ", expected %s",
				 bad[i].rule, o.code, o.offset, o.expected, bad[i].code, mark,
				 bad[i].expected);
		assert_split_safe(buf_slice(&nar), &o);
		record_release(&o.record);
	}
}

/* Every proper prefix of a good NAR is truncated, and says what is missing. */
static void test_truncated(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		cleanup_buf struct buf nar = {0};
		uint64_t mark;

		spec_build(&nar, good[i].spec, &mark);
		for (size_t len = 0; len < nar.len; len++) {
			struct outcome o = read_pieces(slice_make(nar.data, len), 0, len);

			assert_int_equal(o.code, E_TRUNCATED);
			assert_int_equal(o.offset, len);
			assert_true(strlen(o.expected) > 2);
			record_release(&o.record);
		}
	}
}

static const char *expected_after(const char *spec, size_t cut)
{
	cleanup_buf struct buf nar = {0};
	struct outcome o;
	uint64_t mark;

	spec_build(&nar, spec, &mark);
	o = read_pieces(slice_make(nar.data, nar.len - cut), 0, nar.len);
	record_release(&o.record);
	return o.expected;
}

static void test_truncated_says_what(void **state)
{
	assert_string_equal(expected_after("", 0), "the magic \"nix-archive-1\"");
	assert_string_equal(expected_after("nix-archive-1", 0), "\"(\"");
	assert_string_equal(expected_after("nix-archive-1", 1), "zero padding");
	assert_string_equal(expected_after(NIX_HEAD "regular contents hello", 4), "contents");
	assert_string_equal(expected_after(NIX_HEAD "regular contents hello", 1), "zero padding");
	assert_string_equal(expected_after(NIX_HEAD "regular contents hello )", 16), "\")\"");
	assert_string_equal(expected_after(NIX_HEAD "directory entry ( name abc", 8), "a name");
	assert_string_equal(expected_after(NIX_HEAD "directory entry ( name abc", 17 - 8),
			    "a name of 1 to 255 bytes");
	assert_string_equal(expected_after(NIX_HEAD "symlink target abc", 1), "a symlink target");
	assert_string_equal(expected_after(NIX_HEAD "regular executable", 0),
			    "the empty value of \"executable\"");
}

/* What comes behind the NAR is the caller's; the reader takes no byte of it. */
static void test_trailing(void **state)
{
	cleanup_buf struct buf nar = {0};
	struct outcome o;
	uint64_t mark;

	spec_build(&nar, NIX_HEAD "directory ) more", &mark);
	o = read_pieces(buf_slice(&nar), 0, nar.len);
	assert_int_equal(o.code, 0);
	assert_int_equal(o.left, 16);
	assert_int_equal(o.offset, nar.len - 16);
	record_release(&o.record);
}

/* A failure is final, until reset. */
static void test_failure_and_reset(void **state)
{
	struct nar_reader *r = nar_reader_new();
	struct outcome o = {.record = RECORD_INIT};
	cleanup_buf struct buf nar = {0};
	uint64_t mark;

	spec_build(&nar, NIX_HEAD "directory )", &mark);
	assert_false(feed(r, &o, (const uint8_t *)"garbage.", 8));
	assert_false(feed(r, &o, nar.data, nar.len));
	assert_int_equal(nar_reader_skip(r, 0), E_INVALID);
	assert_int_equal(nar_reader_finish(r), E_INVALID);
	assert_int_equal(nar_reader_offset(r), 0);
	nar_reader_reset(r);
	assert_int_equal(nar_reader_finish(r), E_TRUNCATED);
	assert_true(feed(r, &o, nar.data, nar.len));
	assert_int_equal(nar_reader_finish(r), 0);
	record_release(&o.record);
	nar_reader_free(r);
}

/* Names of the NAR before must not decide about the order in the next one, nor those of a
 * directory that has ended. */
static void test_reset_forgets_names(void **state)
{
	struct nar_reader *r = nar_reader_new();
	struct outcome o = {.record = RECORD_INIT};
	cleanup_buf struct buf first = {0}, second = {0};
	uint64_t mark;

	spec_build(&first, NIX_HEAD "directory " ENTRY("z") ")", &mark);
	spec_build(&second, NIX_HEAD "directory " ENTRY("a") ")", &mark);
	assert_true(feed(r, &o, first.data, first.len));
	nar_reader_reset(r);
	assert_true(feed(r, &o, second.data, second.len));
	assert_int_equal(nar_reader_finish(r), 0);
	record_release(&o.record);
	nar_reader_free(r);
}

/* Contents are slices of the input. */
static void test_zero_copy(void **state)
{
	struct nar_reader *r = nar_reader_new();
	cleanup_buf struct buf nar = {0};
	struct node_event ev;
	struct slice input;
	uint64_t mark;

	spec_build(&nar, NIX_HEAD "regular contents %1000:x )", &mark);
	input = slice_make(nar.data, 500);
	assert_int_equal(nar_reader_step(r, &input, &ev), 1);
	assert_int_equal(ev.type, NODE_REGULAR);
	assert_int_equal(nar_reader_content_left(r), 1000);
	assert_int_equal(nar_reader_content_offset(r), 0);
	assert_int_equal(nar_reader_step(r, &input, &ev), 1);
	assert_ptr_equal(ev.data.data, nar.data + 96);
	assert_int_equal(ev.data.len, 404);
	assert_int_equal(ev.size, 1000);
	assert_int_equal(nar_reader_content_left(r), 596);
	assert_int_equal(nar_reader_content_offset(r), 404);
	assert_int_equal(nar_reader_step(r, &input, &ev), 0);
	nar_reader_free(r);
}

/* The largest size is announced, not allocated; its contents can be skipped. */
static void test_huge_size(void **state)
{
	struct nar_reader *r = nar_reader_new();
	struct outcome o = {.record = RECORD_INIT};
	cleanup_buf struct buf nar = {0}, rest = {0};
	uint64_t mark;

	spec_build(&nar, NIX_HEAD "regular contents %len:9223372036854775807 %raw:616263", &mark);
	spec_build(&rest, "%raw:00 )", &mark);
	assert_true(feed(r, &o, nar.data, nar.len));
	assert_string_equal(record_text(&o.record), "file 0 <> 9223372036854775807 @96\nabc");
	assert_int_equal(nar_reader_content_left(r), INT64_MAX - 3);
	assert_int_equal(nar_reader_skip(r, (uint64_t)INT64_MAX - 2), E_USAGE);
	assert_int_equal(nar_reader_skip(r, 10), 0);
	assert_int_equal(nar_reader_skip(r, (uint64_t)INT64_MAX - 13), 0);
	assert_int_equal(nar_reader_skip(r, 1), E_USAGE);
	assert_true(feed(r, &o, rest.data, rest.len));
	assert_int_equal(nar_reader_finish(r), 0);
	assert_int_equal(nar_reader_offset(r), 96 + (uint64_t)INT64_MAX + rest.len);
	record_release(&o.record);
	nar_reader_free(r);
}

/* Padding is checked behind contents that were skipped; offsets past 2^64 are refused. */
static void test_skip(void **state)
{
	static const char *const heads[] = {
		NIX_HEAD
		"directory entry ( name a node ( type regular contents %len:9223372036854775807",
		"%raw:00 ) ) entry ( name b node ( type regular contents %len:9223372036854775807",
	};
	struct nar_reader *r = nar_reader_new();
	struct outcome o = {.record = RECORD_INIT};
	uint64_t mark;

	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		cleanup_buf struct buf head = {0};

		spec_build(&head, heads[i], &mark);
		assert_true(feed(r, &o, head.data, head.len));
		assert_int_equal(nar_reader_skip(r, INT64_MAX), i == 0 ? 0 : E_LIMIT);
	}
	assert_int_equal(nar_reader_finish(r), E_LIMIT);
	nar_reader_reset(r);
	for (size_t i = 0; i < 2; i++) {
		cleanup_buf struct buf part = {0};

		spec_build(&part, i ? "%raw:01" : NIX_HEAD "regular contents %len:8191", &mark);
		assert_true(feed(r, &o, part.data, i ? 0 : part.len));
		if (i == 0)
			assert_int_equal(nar_reader_skip(r, 8191), 0);
		else
			assert_false(feed(r, &o, part.data, part.len));
	}
	assert_int_equal(nar_reader_offset(r), 96 + 8191);
	record_release(&o.record);
	nar_reader_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_truncated_says_what),
		cmocka_unit_test(test_trailing),
		cmocka_unit_test(test_failure_and_reset),
		cmocka_unit_test(test_reset_forgets_names),
		cmocka_unit_test(test_zero_copy),
		cmocka_unit_test(test_huge_size),
		cmocka_unit_test(test_skip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
