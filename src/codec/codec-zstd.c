/* SPDX-License-Identifier: Apache-2.0 */
/* zstd (RFC 8878) by libzstd. A member is a frame, skippable frames included. */
#include "codec/codec-internal.h"

#include <zstd.h>
#include <zstd_errors.h>

struct zstd_decode_state {
	ZSTD_DCtx *ctx; /* owned */
};

struct zstd_encode_state {
	ZSTD_CCtx *ctx; /* owned */
};

static int zstd_fail(size_t code, const char **ret_why)
{
	switch (ZSTD_getErrorCode(code)) {
	case ZSTD_error_memory_allocation:
		*ret_why = "out of memory";
		return E_NOMEM;
	case ZSTD_error_frameParameter_windowTooLarge:
		*ret_why = "the frame needs a window of more than 128 MiB (compress it without "
			   "--ultra or --long above 27)";
		return E_LIMIT;
	case ZSTD_error_dictionary_wrong:
		*ret_why = "the frame needs a dictionary";
		return E_UNSUPPORTED;
	default:
		*ret_why = ZSTD_getErrorName(code);
		return E_INVALID;
	}
}

/* 28 b5 2f fd, or a skippable frame's 5? 2a 4d 18. The formats before 0.8, which libzstd may
 * know, are refused: their decoders don't honour the window limit. */
static bool zstd_magic(const uint8_t *head, size_t len)
{
	static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd};
	static const uint8_t skippable[] = {0x2a, 0x4d, 0x18};

	if ((head[0] & 0xf0) == 0x50)
		return memcmp(head + 1, skippable, len - 1) == 0;
	return memcmp(head, frame, len) == 0;
}

static int window_log(uint64_t max_window)
{
	return max_window ? 63 - __builtin_clzll(max_window) : CODEC_ZSTD_WINDOW_LOG_MAX;
}

static int zstd_decode_begin(void *state, uint64_t max_window, const char **ret_why)
{
	struct zstd_decode_state *s = state;
	size_t r;

	if (s->ctx)
		return 0; /* ZSTD_decompressStream() goes on with the next frame by itself */
	s->ctx = ZSTD_createDCtx();
	if (!s->ctx) {
		*ret_why = "out of memory";
		return E_NOMEM;
	}
	r = ZSTD_DCtx_setParameter(s->ctx, ZSTD_d_windowLogMax, window_log(max_window));
	return ZSTD_isError(r) ? zstd_fail(r, ret_why) : 0;
}

static int zstd_decode_step(void *state, struct codec_io *io)
{
	struct zstd_decode_state *s = state;
	ZSTD_inBuffer in = {io->in, io->in_len, 0};
	ZSTD_outBuffer out = {io->out, io->out_len, 0};
	size_t r = ZSTD_decompressStream(s->ctx, &out, &in);

	io->in += in.pos;
	io->in_len -= in.pos;
	io->out += out.pos;
	io->out_len -= out.pos;
	if (ZSTD_isError(r))
		return zstd_fail(r, &io->why);
	return r == 0;
}

static void zstd_decode_release(void *state)
{
	struct zstd_decode_state *s = state;

	ZSTD_freeDCtx(s->ctx);
}

const struct codec_decoder_ops zstd_decoder_ops = {
	.state_size = sizeof(struct zstd_decode_state),
	.magic_len = 4,
	.magic = zstd_magic,
	.begin = zstd_decode_begin,
	.step = zstd_decode_step,
	.release = zstd_decode_release,
};

static int zstd_encode_begin(void *state, int level, const char **ret_why)
{
	struct zstd_encode_state *s = state;
	size_t r;

	s->ctx = ZSTD_createCCtx();
	if (!s->ctx) {
		*ret_why = "out of memory";
		return E_NOMEM;
	}
	r = ZSTD_CCtx_setParameter(s->ctx, ZSTD_c_compressionLevel, level);
	return ZSTD_isError(r) ? zstd_fail(r, ret_why) : 0;
}

static int zstd_encode_step(void *state, struct codec_io *io, bool last)
{
	struct zstd_encode_state *s = state;
	ZSTD_inBuffer in = {io->in, io->in_len, 0};
	ZSTD_outBuffer out = {io->out, io->out_len, 0};
	size_t r = ZSTD_compressStream2(s->ctx, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);

	io->in += in.pos;
	io->in_len -= in.pos;
	io->out += out.pos;
	io->out_len -= out.pos;
	if (ZSTD_isError(r))
		return zstd_fail(r, &io->why);
	return last && r == 0;
}

static void zstd_encode_release(void *state)
{
	struct zstd_encode_state *s = state;

	ZSTD_freeCCtx(s->ctx);
}

/* Levels above 19 write windows that decoders refuse by default. */
const struct codec_encoder_ops zstd_encoder_ops = {
	.state_size = sizeof(struct zstd_encode_state),
	.level_min = 1,
	.level_max = 19,
	.level_default = 3,
	.begin = zstd_encode_begin,
	.step = zstd_encode_step,
	.release = zstd_encode_release,
};
