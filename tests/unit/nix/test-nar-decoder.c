/* SPDX-License-Identifier: Apache-2.0 */
#include "nar-spec.h"

static int decode(const char *spec, size_t step, struct record *rec, struct err *err)
{
	cleanup_buf struct buf nar = {0};
	struct nar_decoder d;
	uint64_t mark;
	int r = 0;

	spec_build(&nar, spec, &mark);
	nar_decoder_init(&d, &rec->sink);
	for (size_t at = 0; r == 0 && at < nar.len; at += step)
		r = sink_write(&d.sink, nar.data + at, nar.len - at < step ? nar.len - at : step,
			       err);
	if (r == 0)
		r = sink_finish(&d.sink, err);
	nar_decoder_release(&d);
	return r;
}

static void test_decodes(void **state)
{
	for (size_t step = 1; step < 300; step += 7) {
		struct record rec = RECORD_INIT;
		struct err err = ERR_INIT;

		assert_ok(decode(NIX_HEAD "directory entry ( name a node ( type regular contents "
					  "hello ) ) )",
				 step, &rec, &err),
			  err);
		assert_string_equal(record_text(&rec), "dir 0 <>\nfile 1 <a> 5 @232\nhello\n"
						       "end-file 1 5\nend-dir 0\nend\n");
		record_release(&rec);
	}
}

static const struct {
	const char *spec;
	int code;
	const char *text;
} bad[] = {
	{"", E_TRUNCATED,
	 "truncated NAR: it ends at offset 0, expected the magic \"nix-archive-1\""},
	{"nix-archive-1 ( ", E_TRUNCATED, "truncated NAR: it ends at offset 40, expected \"type\""},
	{NIX_HEAD "regular contents %len:100 %raw:00", E_TRUNCATED,
	 "truncated NAR: it ends at offset 97, expected contents"},
	{NIX_HEAD "regular )", E_INVALID,
	 "malformed NAR at offset 72: expected \"executable\" or \"contents\""},
	{NIX_HEAD "regular contents %len:18446744073709551615", E_LIMIT,
	 "malformed NAR at offset 88: expected a size of contents below 2^63"},
	{NIX_HEAD "directory ) %raw:00", E_INVALID,
	 "trailing bytes behind the end of the NAR at offset 96"},
};

static void test_bad(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		for (size_t step = 1; step < 1000; step *= 10) {
			struct record rec = RECORD_INIT;
			struct err err = ERR_INIT;

			assert_int_equal(decode(bad[i].spec, step, &rec, &err), bad[i].code);
			assert_string_equal(err.text, bad[i].text);
			record_release(&rec);
		}
	}
}

/* What the event sink says stops it at once. */
static void test_sink_fails(void **state)
{
	for (size_t n = 1; n < 6; n++) {
		struct record rec = RECORD_INIT;
		struct err err = ERR_INIT;

		rec.fail_after = n;
		assert_int_equal(decode(NIX_HEAD "directory entry ( name a node ( type regular "
						 "contents hello ) ) )",
					1000, &rec, &err),
				 E_CANCELLED);
		assert_int_equal(rec.events, n);
		record_release(&rec);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decodes),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_sink_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
