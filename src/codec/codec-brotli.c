/* SPDX-License-Identifier: Apache-2.0 */
/* brotli (RFC 7932) by libbrotli. It has no magic number and no concatenation. Windows past 24
 * bits ("large window") are an extension that must be asked for, and is not. */
#include "codec/codec-internal.h"

#include <brotli/decode.h>
#include <brotli/encode.h>

struct brotli_decode_state {
	BrotliDecoderState *ctx; /* owned */
};

struct brotli_encode_state {
	BrotliEncoderState *ctx; /* owned */
};

static int brotli_decode_begin(void *state, const char **ret_why)
{
	struct brotli_decode_state *s = state;

	s->ctx = BrotliDecoderCreateInstance(NULL, NULL, NULL);
	if (s->ctx)
		return 0;
	*ret_why = "out of memory";
	return E_NOMEM;
}

static int brotli_decode_fail(const struct brotli_decode_state *s, const char **ret_why)
{
	BrotliDecoderErrorCode code = BrotliDecoderGetErrorCode(s->ctx);

	/* The allocation errors are a range. */
	if (code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES &&
	    code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES) {
		*ret_why = "out of memory";
		return E_NOMEM;
	}
	*ret_why = "corrupt data";
	return E_INVALID;
}

static int brotli_decode_step(void *state, struct codec_io *io)
{
	struct brotli_decode_state *s = state;
	BrotliDecoderResult r = BrotliDecoderDecompressStream(s->ctx, &io->in_len, &io->in,
							      &io->out_len, &io->out, NULL);

	if (r == BROTLI_DECODER_RESULT_SUCCESS)
		return 1;
	return r == BROTLI_DECODER_RESULT_ERROR ? brotli_decode_fail(s, &io->why) : 0;
}

static void brotli_decode_release(void *state)
{
	struct brotli_decode_state *s = state;

	if (s->ctx)
		BrotliDecoderDestroyInstance(s->ctx);
}

const struct codec_decoder_ops brotli_decoder_ops = {
	.state_size = sizeof(struct brotli_decode_state),
	.single = true,
	.begin = brotli_decode_begin,
	.step = brotli_decode_step,
	.release = brotli_decode_release,
};

static int brotli_encode_begin(void *state, int level, const char **ret_why)
{
	struct brotli_encode_state *s = state;

	s->ctx = BrotliEncoderCreateInstance(NULL, NULL, NULL);
	if (s->ctx && BrotliEncoderSetParameter(s->ctx, BROTLI_PARAM_QUALITY, (uint32_t)level))
		return 0;
	*ret_why = "out of memory";
	return E_NOMEM;
}

static int brotli_encode_step(void *state, struct codec_io *io, bool last)
{
	struct brotli_encode_state *s = state;
	BrotliEncoderOperation op = last ? BROTLI_OPERATION_FINISH : BROTLI_OPERATION_PROCESS;

	if (!BrotliEncoderCompressStream(s->ctx, op, &io->in_len, &io->in, &io->out_len, &io->out,
					 NULL)) {
		io->why = "out of memory";
		return E_NOMEM;
	}
	return BrotliEncoderIsFinished(s->ctx) != BROTLI_FALSE;
}

static void brotli_encode_release(void *state)
{
	struct brotli_encode_state *s = state;

	if (s->ctx)
		BrotliEncoderDestroyInstance(s->ctx);
}

const struct codec_encoder_ops brotli_encoder_ops = {
	.state_size = sizeof(struct brotli_encode_state),
	.level_min = BROTLI_MIN_QUALITY + 1,
	.level_max = BROTLI_MAX_QUALITY,
	.level_default = BROTLI_DEFAULT_QUALITY,
	.begin = brotli_encode_begin,
	.step = brotli_encode_step,
	.release = brotli_encode_release,
};
