/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compressions that Nix caches and OCI layers are written with, behind one stream shape: an
 * encoder or decoder is a sink that wraps a sink. Decoders accept concatenated members/frames, are
 * limited in window and memory (zstd window log 27, xz 192 MiB, brotli 24-bit window), refuse
 * trailing garbage, and stop with E_LIMIT when their output passes `max_output` or, once it is past
 * 1 MiB, when it is more than `max_ratio` times the input.
 */
#ifndef NACRE_CODEC_H
#define NACRE_CODEC_H

#include <nacre/sink.h>

enum codec {
	CODEC_NONE = 0,
	CODEC_GZIP,
	CODEC_ZSTD,
	CODEC_XZ,
	CODEC_BZIP2,
	CODEC_BROTLI,
	CODEC_LZ4,
	CODEC_LZIP,
	CODEC_UNKNOWN
};

/* By Nix's names ("none", "gzip", "zstd", "xz", "bzip2", "br", "lz4", "lzip"); CODEC_UNKNOWN
 * otherwise. */
enum codec codec_by_name(struct slice name);
const char *codec_name(enum codec c);
/* By the first bytes of a stream (8 are enough): gzip, zstd, xz, bzip2, lz4, lzip, else CODEC_NONE.
 * brotli has no magic. */
enum codec codec_sniff(struct slice head);
bool codec_can_encode(enum codec c);

struct codec_limits {
	uint64_t max_output; /* bytes; 0: no limit */
	uint32_t max_ratio;  /* 0: no limit */
	/* What a zstd, xz or lzip stream may want to look back at, which the decoder keeps in memory; 0:
	 * the limits above. Of the others brotli needs most, 16 MiB. */
	uint64_t max_window; /* bytes, a power of two */
};

/* A decoding sink; finish() fails with E_TRUNCATED when the stream is not complete. `out` is
 * borrowed. CODEC_NONE passes on. E_UNSUPPORTED for a codec that was not built in, or whose library cannot be loaded. Errors name the
 * codec and the offset of the input. */
int decoder_new(struct sink **ret, enum codec c, struct sink *out,
		const struct codec_limits *limits, struct err *err);
void decoder_free(struct sink *s);
/* The same for who asks for the output piece by piece: however little input makes however much of
 * it, a piece of either is all that is in memory. */
struct decode_reader;
enum { DECODE_INPUT = 64 << 10 }; /* bytes that the input is asked for at a time */
/* Up to DECODE_INPUT bytes to `buf`; *ret_got 0 at the end. 0 or < 0. */
typedef int decode_input(void *arg, void *buf, size_t *ret_got, struct err *err);
/* `arg` is borrowed. As decoder_new(), but E_UNSUPPORTED for CODEC_NONE, too. */
int decode_reader_new(struct decode_reader **ret, enum codec c, decode_input *input, void *arg,
		      const struct codec_limits *limits, struct err *err);
/* *ret_got is less than `len` only at the end, which is where a complete stream ends. After a
 * failure there is nothing but decode_reader_free(). */
int decode_reader_read(struct decode_reader *d, void *buf, size_t len, size_t *ret_got,
		       struct err *err);
void decode_reader_free(struct decode_reader *d); /* NULL is nothing */
/* An encoding sink; `level` 0 is the codec's default. */
int encoder_new(struct sink **ret, enum codec c, int level, struct sink *out, struct err *err);
void encoder_free(struct sink *s);

#endif
