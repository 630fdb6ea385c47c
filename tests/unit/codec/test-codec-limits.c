/* SPDX-License-Identifier: Apache-2.0 */
/* Bombs: small inputs that ask for much output or much memory are E_LIMIT, in constant memory. */
#include "codec-helper.h"

#include <sys/resource.h>

static const enum codec all[] = {CODEC_GZIP,   CODEC_ZSTD, CODEC_XZ,  CODEC_BZIP2,
				 CODEC_BROTLI, CODEC_LZ4,  CODEC_LZIP};

enum { BOMB_SIZE = 32 << 20 };

/* Counts what arrives. */
struct count_sink {
	struct sink sink;
	uint64_t bytes;
	size_t largest;
};

static int count_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct count_sink *s = container_of(self, struct count_sink, sink);

	s->bytes += len;
	if (len > s->largest)
		s->largest = len;
	return 0;
}

/* Reads a MiB at a time; 0 or the error's code. */
static int read_counting(enum codec c, struct slice in, const struct codec_limits *limits,
			 uint64_t *ret_bytes, struct err *err)
{
	struct piece_input input = {in, DECODE_INPUT};
	cleanup_free uint8_t *buf = xmalloc(1 << 20);
	struct decode_reader *d;
	size_t got = 1;
	int r;

	*err = ERR_INIT;
	*ret_bytes = 0;
	r = decode_reader_new(&d, c, next_piece, &input, limits, err);
	if (r < 0)
		return r;
	while (r == 0 && got) {
		r = decode_reader_read(d, buf, 1 << 20, &got, err);
		*ret_bytes += r == 0 ? got : 0;
	}
	decode_reader_free(d);
	return r;
}

static int decode_counting(enum codec c, struct slice in, const struct codec_limits *limits,
			   struct count_sink *count, struct err *err)
{
	struct sink *dec;
	int r;

	*err = ERR_INIT;
	*count = (struct count_sink){.sink = {count_write}};
	r = decoder_new(&dec, c, &count->sink, limits, err);
	if (r == 0)
		r = sink_write(dec, in.data, in.len, err);
	if (r == 0)
		r = sink_finish(dec, err);
	decoder_free(dec);
	return r;
}

static void make_bomb(enum codec c, struct buf *ret)
{
	cleanup_free uint8_t *zeros = xcalloc(1, BOMB_SIZE);

	make_member(c, slice_make(zeros, BOMB_SIZE), ret);
	assert_true(ret->len < BOMB_SIZE / 100);
}

static void test_max_output(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cleanup_buf struct buf bomb = {0};
		struct count_sink count;
		uint64_t bytes;
		struct err err;

		make_bomb(all[i], &bomb);
		assert_int_equal(decode_counting(all[i], buf_slice(&bomb),
						 &(struct codec_limits){1 << 20, 0}, &count, &err),
				 E_LIMIT);
		assert_true(count.bytes <= 1 << 20);
		assert_non_null(strstr(err.text, "1048576 bytes allowed"));
		assert_int_equal(decode_counting(all[i], buf_slice(&bomb),
						 &(struct codec_limits){BOMB_SIZE - 1, 0}, &count,
						 &err),
				 E_LIMIT);
		assert_int_equal(decode_counting(all[i], buf_slice(&bomb),
						 &(struct codec_limits){BOMB_SIZE, 0}, &count,
						 &err),
				 0);
		assert_int_equal(count.bytes, BOMB_SIZE);
		assert_true(count.largest <= 128 << 10);
		assert_int_equal(read_counting(all[i], buf_slice(&bomb),
					       &(struct codec_limits){BOMB_SIZE - 1, 0}, &bytes,
					       &err),
				 E_LIMIT);
		assert_non_null(strstr(err.text, "bytes allowed"));
		assert_int_equal(read_counting(all[i], buf_slice(&bomb),
					       &(struct codec_limits){BOMB_SIZE, 0}, &bytes, &err),
				 0);
		assert_int_equal(bytes, BOMB_SIZE);
	}
}

static void test_max_output_none(void **state)
{
	struct codec_limits limits = {5, 0};
	struct count_sink count;
	struct err err;

	(void)state;
	assert_int_equal(decode_counting(CODEC_NONE, slice_str("12345"), &limits, &count, &err), 0);
	assert_int_equal(decode_counting(CODEC_NONE, slice_str("123456"), &limits, &count, &err),
			 E_LIMIT);
	assert_int_equal(count.bytes, 0);
}

static void test_max_ratio(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cleanup_buf struct buf bomb = {0}, small = {0};
		cleanup_free uint8_t *zeros = xcalloc(1, 1 << 20);
		struct codec_limits limits = {0, 20};
		struct count_sink count;
		struct err err;

		make_bomb(all[i], &bomb);
		assert_int_equal(decode_counting(all[i], buf_slice(&bomb), &limits, &count, &err),
				 E_LIMIT);
		assert_non_null(strstr(err.text, "more than 20 times"));
		/* The first MiB is free. */
		make_member(all[i], slice_make(zeros, 1 << 20), &small);
		assert_int_equal(decode_counting(all[i], buf_slice(&small), &limits, &count, &err),
				 0);
	}
}

/* Decoding needs the same memory whatever the output: 512 MiB of zeros in two members. */
static void test_constant_memory(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		cleanup_buf struct buf bomb = {0};
		struct rusage before, after;
		struct count_sink count;
		uint64_t bytes;
		struct err err;

		make_bomb(all[i], &bomb);
		assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
		assert_int_equal(decode_counting(all[i], buf_slice(&bomb), NULL, &count, &err), 0);
		assert_int_equal(read_counting(all[i], buf_slice(&bomb), NULL, &bytes, &err), 0);
		assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
		/* ru_maxrss is in KiB; the window of the encoder's level is the most that a decoder takes. */
		assert_true(after.ru_maxrss - before.ru_maxrss < 16 << 10);
	}
}

static void refused(enum codec c, const void *data, size_t len, int code, const char *text)
{
	cleanup_buf struct buf got = {0};
	struct err err;

	assert_int_equal(decode_pieces(c, slice_make(data, len), len, NULL, &got, &err), code);
	if (!strstr(err.text, text))
		fail_msg("%s", err.text);
	assert_int_equal(decode_pieces(c, slice_make(data, len), 1, NULL, &got, &err), code);
}

static void test_zstd_window(void **state)
{
	/* magic, frame header descriptor 0, window descriptor (log - 10) << 3, last raw block of 5 bytes */
	uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0,  (27 - 10) << 3, 5 << 3 | 1, 0, 0,
			   'h',  'e',  'l',  'l',  'o'};
	/* single segment with an 8 byte content size: the window is the content */
	static const uint8_t single[] = {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0,
					 0,    0,    1,    0,    0,    1, 0, 0};
	static const uint8_t dictionary[] = {0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x58, 7, 1, 0, 0};
	static const uint8_t legacy[] = {0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0, 0, 0};
	cleanup_buf struct buf got = {0};
	struct err err;

	(void)state;
	assert_int_equal(
		decode_pieces(CODEC_ZSTD, slice_make(frame, sizeof(frame)), 3, NULL, &got, &err),
		0);
	assert_memory_equal(got.data, "hello", 5);
	frame[5] = (28 - 10) << 3;
	refused(CODEC_ZSTD, frame, sizeof(frame), E_LIMIT, "window of more than 128 MiB");
	frame[5] = (41 - 10) << 3;
	refused(CODEC_ZSTD, frame, sizeof(frame), E_LIMIT, "window of more than 128 MiB");
	refused(CODEC_ZSTD, single, sizeof(single), E_LIMIT, "window of more than 128 MiB");
	refused(CODEC_ZSTD, dictionary, sizeof(dictionary), E_UNSUPPORTED, "dictionary");
	refused(CODEC_ZSTD, legacy, sizeof(legacy), E_INVALID, "wrong magic number");
}

static void test_xz_memory(void **state)
{
	cleanup_buf struct buf b = {0};
	uint8_t *header;
	size_t len;
	uint32_t crc;

	(void)state;
	make_member(CODEC_XZ, slice_str("hello"), &b);
	/* The block header begins at 12: size, flags, filter 0x21, 1 byte of properties: the dictionary's size. */
	header = b.data + 12;
	len = ((size_t)header[0] + 1) * 4;
	assert_int_equal(header[2], 0x21);
	header[4] = 36; /* 1 GiB */
	crc = lzma_crc32(header, len - 4, 0);
	for (unsigned i = 0; i < 4; i++)
		header[len - 4 + i] = (uint8_t)(crc >> (8 * i));
	refused(CODEC_XZ, b.data, b.len, E_LIMIT, "more than 192 MiB of memory");
}

static void test_lzip_memory(void **state)
{
	static const uint8_t head[] = {'L', 'Z', 'I', 'P', 1, 29, 0, 0, 0, 0, 0}; /* 512 MiB */

	(void)state;
	refused(CODEC_LZIP, head, sizeof(head), E_LIMIT, "more than 192 MiB of memory");
}

/* What a caller gives, who has many decoders at a time. */
static void test_max_window(void **state)
{
	static const struct {
		enum codec codec;
		int level;
		int result;
	} rows[] = {
		{CODEC_XZ, 6, 0},   {CODEC_XZ, 7, E_LIMIT}, {CODEC_ZSTD, 19, 0},
		{CODEC_GZIP, 9, 0}, {CODEC_BZIP2, 9, 0},    {CODEC_BROTLI, 9, 0},
	};
	const struct codec_limits limits = {.max_window = 8 << 20};
	/* As in test_zstd_window(): of 8 MiB, and of a step more. */
	uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0,  (23 - 10) << 3, 5 << 3 | 1, 0, 0,
			   'h',  'e',  'l',  'l',  'o'};
	cleanup_buf struct buf got = {0};
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cleanup_buf struct buf b = {0};

		encode_all(rows[i].codec, rows[i].level, slice_str("hello"), 1, &b);
		assert_int_equal(
			decode_pieces(rows[i].codec, buf_slice(&b), 1, &limits, &got, &err),
			rows[i].result);
		if (rows[i].result == E_LIMIT)
			assert_non_null(strstr(err.text, "more memory"));
	}
	assert_int_equal(
		decode_pieces(CODEC_ZSTD, slice_make(frame, sizeof(frame)), 3, &limits, &got, &err),
		0);
	frame[5] |= 1;
	assert_int_equal(
		decode_pieces(CODEC_ZSTD, slice_make(frame, sizeof(frame)), 3, &limits, &got, &err),
		E_LIMIT);
}

static void test_brotli_large_window(void **state)
{
	static const uint8_t head[] = {0x11, 0x1e,
				       0x06}; /* large window bit, 30 bits, empty last block */

	(void)state;
	refused(CODEC_BROTLI, head, sizeof(head), E_INVALID, "corrupt data");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_max_output),  cmocka_unit_test(test_max_output_none),
		cmocka_unit_test(test_max_ratio),   cmocka_unit_test(test_constant_memory),
		cmocka_unit_test(test_zstd_window), cmocka_unit_test(test_xz_memory),
		cmocka_unit_test(test_lzip_memory), cmocka_unit_test(test_brotli_large_window),
		cmocka_unit_test(test_max_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
