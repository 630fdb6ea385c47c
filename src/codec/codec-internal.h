/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one codec gives to the drivers in decoder.c and encoder.c: a state and a step over
 * memory, without I/O and without texts of its own. The drivers know about members, magic
 * numbers, limits, buffers and errors; a codec only about one member.
 */
#ifndef NACRE_CODEC_INTERNAL_H
#define NACRE_CODEC_INTERNAL_H

#include "codec/codec.h"

enum {
	CODEC_BUFFER = 128 << 10,          /* bytes of the driver's output buffer */
	CODEC_MAGIC_MAX = 8,               /* bytes */
	CODEC_ZSTD_WINDOW_LOG_MAX = 27,    /* 128 MiB; `zstd -d` accepts the same without --long */
	CODEC_LZMA_MEMORY_MAX = 192 << 20, /* bytes; `xz -9` needs 65 MiB */
	CODEC_RATIO_FREE = 1 << 20,        /* bytes of output before the ratio limit counts */
};

/* One step's memory. The codec advances all four; after a failure, `why` is a constant text that
 * says what is wrong. */
struct codec_io {
	const uint8_t *in;
	size_t in_len;
	uint8_t *out;
	size_t out_len;
	const char *why;
};

struct codec_decoder_ops {
	int (*load)(struct err *err); /* the library; NULL: it is linked */
	size_t state_size;
	size_t magic_len; /* bytes that magic() decides on; at most CODEC_MAGIC_MAX, 0: a format without magic number */
	size_t padding; /* zeros in multiples of so many bytes may follow a member; 0: none */
	bool single;    /* nothing may follow the first member */
	/* Can these first bytes (1..magic_len) of a member be right? */
	bool (*magic)(const uint8_t *head, size_t len);
	/* Makes the state, which is all-zero or was used for the member before, ready for a
	 * member. `max_window` as in the limits; who needs little ignores it. 0 or < 0. */
	int (*begin)(void *state, uint64_t max_window, const char **ret_why);
	/* 1: the member is complete; 0: go on; < 0: final. */
	int (*step)(void *state, struct codec_io *io);
	void (*release)(void *state);
};

struct codec_encoder_ops {
	int (*load)(struct err *err); /* the library; NULL: it is linked */
	size_t state_size;
	int level_min, level_max, level_default;
	int (*begin)(void *state, int level, const char **ret_why);
	/* `last`: no input follows behind what is in `io`. 1: the stream is complete (only if
	 * `last`); 0: go on; < 0: final. */
	int (*step)(void *state, struct codec_io *io, bool last);
	void (*release)(void *state);
};

extern const struct codec_decoder_ops gzip_decoder_ops, zstd_decoder_ops, xz_decoder_ops,
	lzip_decoder_ops;
extern const struct codec_decoder_ops bzip2_decoder_ops, brotli_decoder_ops, lz4_decoder_ops;
extern const struct codec_encoder_ops gzip_encoder_ops, zstd_encoder_ops, xz_encoder_ops,
	bzip2_encoder_ops;
extern const struct codec_encoder_ops brotli_encoder_ops;

/* NULL where there is none. */
const struct codec_decoder_ops *codec_decoder_ops(enum codec c);
const struct codec_encoder_ops *codec_encoder_ops(enum codec c);

#endif
