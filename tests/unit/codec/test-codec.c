/* SPDX-License-Identifier: Apache-2.0 */
/* Names, round trips, members, and what decoders must refuse. */
#include "codec-helper.h"

static const enum codec all[] = {CODEC_GZIP,   CODEC_ZSTD, CODEC_XZ,  CODEC_BZIP2,
				 CODEC_BROTLI, CODEC_LZ4,  CODEC_LZIP};
static const size_t pieces[] = {1, 7, 4096, 1 << 20};

static void test_names(void **state)
{
	static const char *const names[] = {"none",  "gzip", "zstd", "xz",
					    "bzip2", "br",   "lz4",  "lzip"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(codec_by_name(slice_str(names[i])), i);
		assert_string_equal(codec_name((enum codec)i), names[i]);
	}
	assert_int_equal(codec_by_name(slice_str("")), CODEC_UNKNOWN);
	assert_int_equal(codec_by_name(slice_str("GZIP")), CODEC_UNKNOWN);
	assert_int_equal(codec_by_name(slice_str("xzz")), CODEC_UNKNOWN);
	assert_string_equal(codec_name(CODEC_UNKNOWN), "unknown");
}

static void test_sniff(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cleanup_buf struct buf b = {0};

		make_member(all[i], slice_str("some text"), &b);
		assert_int_equal(codec_sniff(slice_make(b.data, 8)),
				 all[i] == CODEC_BROTLI ? CODEC_NONE : all[i]);
	}
	assert_int_equal(codec_sniff(slice_str("")), CODEC_NONE);
	assert_int_equal(codec_sniff(slice_str("\x1f\x8b")), CODEC_NONE);
	assert_int_equal(codec_sniff(slice_str("BZh0....")), CODEC_NONE);
	assert_int_equal(codec_sniff(slice_make("\x0d\0\0\0\0\0\0\0", 8)), CODEC_NONE);
}

static void check_decodes(enum codec c, struct slice in, struct slice want)
{
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		cleanup_buf struct buf got = {0};
		struct err err;

		if (decode_pieces(c, in, pieces[i], NULL, &got, &err) < 0)
			fail_msg("%s in pieces of %zu: %s", codec_name(c), pieces[i], err.text);
		assert_int_equal(got.len, want.len);
		if (want.len)
			assert_memory_equal(got.data, want.data, want.len);
	}
}

static void test_round_trip(void **state)
{
	static const size_t sizes[] = {0, 1, 100, 131071, 131072, 131073, 700000};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		for (size_t j = 0; j < ARRAY_LEN(sizes); j++) {
			cleanup_buf struct buf plain = {0}, packed = {0};

			make_payload(&plain, sizes[j]);
			make_member(all[i], buf_slice(&plain), &packed);
			check_decodes(all[i], buf_slice(&packed), buf_slice(&plain));
		}
	}
	check_decodes(CODEC_NONE, slice_str("as it is"), slice_str("as it is"));
}

static void test_encode_pieces(void **state)
{
	(void)state;
	for (enum codec c = CODEC_NONE; c <= CODEC_BROTLI; c++) {
		cleanup_buf struct buf plain = {0}, one = {0}, many = {0};

		assert_true(codec_can_encode(c));
		make_payload(&plain, 300000);
		encode_all(c, 0, buf_slice(&plain), 1 << 20, &one);
		encode_all(c, 0, buf_slice(&plain), 1000, &many);
		check_decodes(c, buf_slice(&one), buf_slice(&plain));
		check_decodes(c, buf_slice(&many), buf_slice(&plain));
	}
}

static void test_gzip_header(void **state)
{
	cleanup_buf struct buf b = {0};

	(void)state;
	encode_all(CODEC_GZIP, 0, slice_str("x"), 1, &b);
	/* method 8, no flags, mtime 0, no extra flags, OS unknown */
	assert_memory_equal(b.data, "\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
}

static void test_encoder_refuses(void **state)
{
	struct err err = ERR_INIT;
	cleanup_buf struct buf b = {0};
	struct buf_sink out;
	struct sink *s = NULL;

	(void)state;
	buf_sink_init(&out, &b);
	assert_false(codec_can_encode(CODEC_LZ4));
	assert_false(codec_can_encode(CODEC_UNKNOWN));
	assert_int_equal(encoder_new(&s, CODEC_LZIP, 0, &out.sink, &err), E_UNSUPPORTED);
	assert_int_equal(encoder_new(&s, CODEC_UNKNOWN, 0, &out.sink, &err), E_UNSUPPORTED);
	assert_int_equal(decoder_new(&s, CODEC_UNKNOWN, &out.sink, NULL, &err), E_UNSUPPORTED);
	assert_int_equal(encoder_new(&s, CODEC_GZIP, 10, &out.sink, &err), E_USAGE);
	assert_int_equal(encoder_new(&s, CODEC_ZSTD, -1, &out.sink, &err), E_USAGE);
	assert_int_equal(encoder_new(&s, CODEC_XZ, 10, &out.sink, &err), E_USAGE);
	assert_null(s);
}

static void test_members(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cleanup_buf struct buf plain = {0}, packed = {0}, got = {0};
		struct err err;

		make_member(all[i], slice_str("first,"), &packed);
		make_member(all[i], slice_str(""), &packed);
		make_member(all[i], slice_str("third"), &packed);
		if (all[i] != CODEC_BROTLI) {
			check_decodes(all[i], buf_slice(&packed), slice_str("first,third"));
			continue;
		}
		for (size_t j = 0; j < ARRAY_LEN(pieces); j++)
			assert_int_equal(decode_pieces(all[i], buf_slice(&packed), pieces[j], NULL,
						       &got, &err),
					 E_INVALID);
	}
}

static void test_truncated(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cleanup_buf struct buf packed = {0}, got = {0};
		struct err err;
		size_t first;

		make_member(all[i], slice_str("a member that is cut somewhere"), &packed);
		first = packed.len;
		if (all[i] != CODEC_BROTLI)
			make_member(all[i], slice_str("and another"), &packed);
		for (size_t len = 0; len < packed.len; len++) {
			int want = len == first ? 0 : E_TRUNCATED;

			for (size_t j = 0; j < ARRAY_LEN(pieces); j++)
				assert_int_equal(decode_pieces(all[i], slice_make(packed.data, len),
							       pieces[j], NULL, &got, &err),
						 want);
			if (want)
				assert_non_null(strstr(err.text, codec_name(all[i])));
		}
	}
}

static void test_garbage(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} tails[] = {{"\n", 1}, {"\0", 1}, {"garbage!", 8}, {"\0\0\0\0\0\0\0\0garbage", 15}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		for (size_t j = 0; j < ARRAY_LEN(tails) * ARRAY_LEN(pieces); j++) {
			cleanup_buf struct buf packed = {0}, got = {0};
			size_t t = j / ARRAY_LEN(pieces);
			struct err err;

			make_member(all[i], slice_str("before"), &packed);
			assert_int_equal(buf_add(&packed, tails[t].bytes, tails[t].len), 0);
			assert_int_equal(decode_pieces(all[i], buf_slice(&packed),
						       pieces[j % ARRAY_LEN(pieces)], NULL, &got,
						       &err),
					 E_INVALID);
			assert_non_null(strstr(err.text, "garbage behind the end"));
		}
	}
}

static void test_wrong_magic(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cleanup_buf struct buf got = {0};
		struct err err;

		if (all[i] == CODEC_BROTLI)
			continue;
		assert_int_equal(decode_pieces(all[i], slice_str("plain text of some length"), 100,
					       NULL, &got, &err),
				 E_INVALID);
		assert_non_null(strstr(err.text, "wrong magic number"));
		assert_int_equal(got.len, 0);
	}
}

/* A flipped bit is found by the format's checksum. brotli has none; zstd's is off by default. */
static void test_corrupt(void **state)
{
	static const enum codec checked[] = {CODEC_GZIP, CODEC_XZ, CODEC_BZIP2, CODEC_LZ4,
					     CODEC_LZIP};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(checked); i++) {
		cleanup_buf struct buf plain = {0}, packed = {0}, got = {0};
		struct err err;

		make_payload(&plain, 5000);
		make_member(checked[i], buf_slice(&plain), &packed);
		packed.data[packed.len / 2] ^= 4;
		assert_true(decode_pieces(checked[i], buf_slice(&packed), 512, NULL, &got, &err) <
			    0);
		assert_true(err.code == E_INVALID || err.code == E_TRUNCATED);
	}
}

static void test_xz_padding(void **state)
{
	static const struct {
		size_t zeros;
		bool second;
		int want;
	} cases[] = {{0, true, 0},         {4, true, 0},          {8, true, 0},
		     {3, true, E_INVALID}, {5, true, E_INVALID},  {4, false, 0},
		     {12, false, 0},       {1, false, E_INVALID}, {6, false, E_INVALID}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases) * ARRAY_LEN(pieces); i++) {
		cleanup_buf struct buf packed = {0}, got = {0};
		size_t c = i / ARRAY_LEN(pieces);
		struct err err;

		make_member(CODEC_XZ, slice_str("one"), &packed);
		add_le(&packed, 0, (unsigned)cases[c].zeros);
		if (cases[c].second)
			make_member(CODEC_XZ, slice_str("two"), &packed);
		assert_int_equal(decode_pieces(CODEC_XZ, buf_slice(&packed),
					       pieces[i % ARRAY_LEN(pieces)], NULL, &got, &err),
				 cases[c].want);
	}
}

static void test_skippable(void **state)
{
	static const uint8_t skip[] = {0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z'};
	static const enum codec with[] = {CODEC_ZSTD, CODEC_LZ4};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(with); i++) {
		cleanup_buf struct buf b = {0};

		assert_int_equal(buf_add(&b, skip, sizeof(skip)), 0);
		make_member(with[i], slice_str("content"), &b);
		assert_int_equal(buf_add(&b, skip, sizeof(skip)), 0);
		make_member(with[i], slice_str("!"), &b);
		assert_int_equal(buf_add(&b, skip, sizeof(skip)), 0);
		check_decodes(with[i], buf_slice(&b), slice_str("content!"));
	}
}

struct failing_sink {
	struct sink sink;
	int finished;
};

static int failing_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	return err_set(err, E_IO, "disk full");
}

static int counting_finish(struct sink *self, struct err *err)
{
	container_of(self, struct failing_sink, sink)->finished++;
	return 0;
}

static void test_sink_errors(void **state)
{
	struct failing_sink f = {.sink = {failing_write, counting_finish}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cleanup_buf struct buf packed = {0};
		struct err err = ERR_INIT;
		struct sink *s;

		make_member(all[i], slice_str("anything"), &packed);
		assert_int_equal(decoder_new(&s, all[i], &f.sink, NULL, &err), 0);
		assert_int_equal(sink_write(s, packed.data, packed.len, &err), E_IO);
		assert_string_equal(err.text, "disk full");
		decoder_free(s);
		err = ERR_INIT;
		if (!codec_can_encode(all[i]))
			continue;
		assert_int_equal(encoder_new(&s, all[i], 0, &f.sink, &err), 0);
		if (sink_write(s, "x", 1, &err) == 0)
			assert_int_equal(sink_finish(s, &err), E_IO);
		assert_int_equal(err.code, E_IO);
		encoder_free(s);
	}
	assert_int_equal(f.finished, 0);
	decoder_free(NULL);
	encoder_free(NULL);
}

static void test_finish_passes_on(void **state)
{
	struct failing_sink f = {.sink = {failing_write, counting_finish}};
	struct err err = ERR_INIT;
	struct sink *s;

	(void)state;
	assert_int_equal(decoder_new(&s, CODEC_NONE, &f.sink, NULL, &err), 0);
	assert_int_equal(sink_finish(s, &err), 0);
	decoder_free(s);
	assert_int_equal(encoder_new(&s, CODEC_NONE, 0, &f.sink, &err), 0);
	assert_int_equal(sink_finish(s, &err), 0);
	encoder_free(s);
	assert_int_equal(f.finished, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_sniff),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_encode_pieces),
		cmocka_unit_test(test_gzip_header),
		cmocka_unit_test(test_encoder_refuses),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_wrong_magic),
		cmocka_unit_test(test_corrupt),
		cmocka_unit_test(test_xz_padding),
		cmocka_unit_test(test_skippable),
		cmocka_unit_test(test_sink_errors),
		cmocka_unit_test(test_finish_passes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
