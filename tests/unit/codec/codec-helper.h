/* SPDX-License-Identifier: Apache-2.0 */
/* What the codec tests share: one-call encoding and decoding in pieces, and makers for formats that nacre does not write. */
#ifndef NACRE_TEST_CODEC_HELPER_H
#define NACRE_TEST_CODEC_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lz4frame.h>
#include <lzma.h>

#include <nacre/buf.h>

#include "base/mem.h"
#include "codec/codec.h"

enum { TEST_BUF_MAX = 64 << 20 };

struct piece_input {
	struct slice in;
	size_t piece; /* bytes, DECODE_INPUT at the most */
};

static inline int next_piece(void *arg, void *buf, size_t *ret_got, struct err *err)
{
	struct piece_input *p = arg;
	size_t n = p->piece < DECODE_INPUT ? p->piece : DECODE_INPUT;

	(void)err;
	*ret_got = n < p->in.len ? n : p->in.len;
	if (*ret_got)
		memcpy(buf, p->in.data, *ret_got);
	slice_advance(&p->in, *ret_got);
	return 0;
}

/* A reader, with input and output in pieces, ends as `r` and makes the same bytes. */
static inline void check_reader(enum codec c, struct slice in, size_t piece,
				const struct codec_limits *limits, int r, const struct buf *want)
{
	struct piece_input input = {in, piece};
	struct decode_reader *d;
	struct err err = ERR_INIT;
	size_t len = piece < 1 << 20 ? piece : 1 << 20, got = len, at = 0;
	cleanup_free uint8_t *buf = xmalloc(len);
	int is;

	if (c == CODEC_NONE)
		return;
	assert_int_equal(decode_reader_new(&d, c, next_piece, &input, limits, &err), 0);
	do {
		is = decode_reader_read(d, buf, len, &got, &err);
		if (is == 0 && r == 0) {
			assert_true(got <= want->len - at);
			assert_memory_equal(buf, want->data + at, got);
			at += got;
		}
	} while (is == 0 && got == len);
	if (is == 0) {
		assert_int_equal(decode_reader_read(d, buf, len, &got, &err), 0);
		assert_int_equal(got, 0);
	}
	decode_reader_free(d);
	assert_int_equal(is, r);
	if (r == 0)
		assert_int_equal(at, want->len);
}

/* Decodes `in`, written in pieces of `piece` bytes, into `ret`; 0 or the error's code. */
static inline int decode_pieces(enum codec c, struct slice in, size_t piece,
				const struct codec_limits *limits, struct buf *ret, struct err *err)
{
	struct slice all = in;
	struct buf_sink out;
	struct sink *dec;
	int r;

	*err = ERR_INIT;
	ret->max = TEST_BUF_MAX;
	buf_reset(ret);
	buf_sink_init(&out, ret);
	r = decoder_new(&dec, c, &out.sink, limits, err);
	if (r < 0)
		return r;
	while (r == 0 && in.len) {
		size_t n = in.len < piece ? in.len : piece;
		/* On the heap, so that a read past the piece is seen. */
		cleanup_free uint8_t *copy = xmemdup(in.data, n);

		r = sink_write(dec, copy, n, err);
		slice_advance(&in, n);
	}
	if (r == 0)
		r = sink_finish(dec, err);
	decoder_free(dec);
	assert_int_equal(r, err->code);
	check_reader(c, all, piece, limits, r, ret);
	return r;
}

static inline void encode_all(enum codec c, int level, struct slice in, size_t piece,
			      struct buf *ret)
{
	struct err err = ERR_INIT;
	struct buf_sink out;
	struct sink *enc;

	ret->max = TEST_BUF_MAX;
	buf_sink_init(&out, ret);
	assert_int_equal(encoder_new(&enc, c, level, &out.sink, &err), 0);
	while (in.len) {
		size_t n = in.len < piece ? in.len : piece;

		assert_int_equal(sink_write(enc, in.data, n, &err), 0);
		slice_advance(&in, n);
	}
	assert_int_equal(sink_finish(enc, &err), 0);
	encoder_free(enc);
}

/* One LZ4 frame with a content checksum. */
static inline void make_lz4(struct slice in, struct buf *ret)
{
	LZ4F_preferences_t p = {.frameInfo = {.contentChecksumFlag = LZ4F_contentChecksumEnabled}};
	size_t r;

	ret->max = TEST_BUF_MAX;
	assert_int_equal(buf_reserve(ret, LZ4F_compressFrameBound(in.len, &p)), 0);
	r = LZ4F_compressFrame(ret->data + ret->len, ret->cap - ret->len, in.data, in.len, &p);
	assert_false(LZ4F_isError(r));
	ret->len += r;
}

static inline void add_le(struct buf *b, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++) {
		uint8_t byte = i < 8 ? (uint8_t)(v >> (8 * i)) : 0;

		assert_int_equal(buf_add(b, &byte, 1), 0);
	}
}

/* One lzip member with a dictionary of 64 KiB: header, LZMA with end marker, CRC, data size, member size. */
static inline void make_lzip(struct slice in, struct buf *ret)
{
	lzma_options_lzma options;
	lzma_filter filters[2] = {{LZMA_FILTER_LZMA1, &options}, {LZMA_VLI_UNKNOWN, NULL}};
	lzma_stream z = LZMA_STREAM_INIT;
	size_t begin = ret->len;
	lzma_ret r;

	ret->max = TEST_BUF_MAX;
	assert_false(lzma_lzma_preset(&options, 1));
	options.dict_size = 64 << 10;
	assert_int_equal(buf_add(ret, "LZIP\1\x10", 6), 0);
	assert_int_equal(lzma_raw_encoder(&z, filters), LZMA_OK);
	z.next_in = in.data;
	z.avail_in = in.len;
	do {
		uint8_t out[4096];

		z.next_out = out;
		z.avail_out = sizeof(out);
		r = lzma_code(&z, LZMA_FINISH);
		assert_true(r == LZMA_OK || r == LZMA_STREAM_END);
		assert_int_equal(buf_add(ret, out, sizeof(out) - z.avail_out), 0);
	} while (r != LZMA_STREAM_END);
	lzma_end(&z);
	add_le(ret, lzma_crc32(in.data, in.len, 0), 4);
	add_le(ret, in.len, 8);
	add_le(ret, ret->len - begin + 8, 8);
}

/* One member of any codec. */
static inline void make_member(enum codec c, struct slice in, struct buf *ret)
{
	if (c == CODEC_LZ4)
		make_lz4(in, ret);
	else if (c == CODEC_LZIP)
		make_lzip(in, ret);
	else
		encode_all(c, 1, in, 1 << 20, ret);
}

/* Bytes that compress a little: text, runs and noise. */
static inline void make_payload(struct buf *ret, size_t len)
{
	uint32_t x = 12345;

	ret->max = TEST_BUF_MAX;
	assert_int_equal(buf_reserve(ret, len), 0);
	while (ret->len < len) {
		x = x * 1664525 + 1013904223;
		ret->data[ret->len] =
			(ret->len >> 12) % 3 == 0
				? 'a'
				: (uint8_t)(x >> 24) & ((ret->len >> 12) % 3 == 1 ? 15 : 255);
		ret->len++;
	}
}

#endif
