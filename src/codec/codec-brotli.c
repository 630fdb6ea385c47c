/* SPDX-License-Identifier: Apache-2.0 */
/* brotli (RFC 7932) by libbrotli. It has no magic number and no concatenation. Windows past 24
 * bits ("large window") are an extension that must be asked for, and is not. */
#include "codec/codec-internal.h"

#include <brotli/decode.h>
#include <brotli/encode.h>

#include "base/lazy-library.h"

#define LIBBROTLIDEC_FUNCTIONS(F)        \
	F(BrotliDecoderCreateInstance)   \
	F(BrotliDecoderDecompressStream) \
	F(BrotliDecoderDestroyInstance)  \
	F(BrotliDecoderGetErrorCode)

LAZY_LIBRARY_DECLARE(libbrotlidec, LIBBROTLIDEC_FUNCTIONS);
LAZY_LIBRARY_DEFINE(libbrotlidec, LIBBROTLIDEC_FUNCTIONS, SONAME_BROTLIDEC, "libbrotli1",
		    "reading brotli");

#define BrotliDecoderCreateInstance   libbrotlidec.BrotliDecoderCreateInstance
#define BrotliDecoderDecompressStream libbrotlidec.BrotliDecoderDecompressStream
#define BrotliDecoderDestroyInstance  libbrotlidec.BrotliDecoderDestroyInstance
#define BrotliDecoderGetErrorCode     libbrotlidec.BrotliDecoderGetErrorCode

#define LIBBROTLIENC_FUNCTIONS(F)       \
	F(BrotliEncoderCompressStream)  \
	F(BrotliEncoderCreateInstance)  \
	F(BrotliEncoderDestroyInstance) \
	F(BrotliEncoderIsFinished)      \
	F(BrotliEncoderSetParameter)

LAZY_LIBRARY_DECLARE(libbrotlienc, LIBBROTLIENC_FUNCTIONS);
LAZY_LIBRARY_DEFINE(libbrotlienc, LIBBROTLIENC_FUNCTIONS, SONAME_BROTLIENC, "libbrotli1",
		    "writing brotli");

#define BrotliEncoderCompressStream  libbrotlienc.BrotliEncoderCompressStream
#define BrotliEncoderCreateInstance  libbrotlienc.BrotliEncoderCreateInstance
#define BrotliEncoderDestroyInstance libbrotlienc.BrotliEncoderDestroyInstance
#define BrotliEncoderIsFinished      libbrotlienc.BrotliEncoderIsFinished
#define BrotliEncoderSetParameter    libbrotlienc.BrotliEncoderSetParameter

struct brotli_decode_state {
	BrotliDecoderState *ctx; /* owned */
};

struct brotli_encode_state {
	BrotliEncoderState *ctx; /* owned */
};

static int brotli_decode_begin(void *state, uint64_t max_window, const char **ret_why)
{
	struct brotli_decode_state *s = state;

	(void)max_window;
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
	.load = libbrotlidec_load,
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
	.load = libbrotlienc_load,
	.state_size = sizeof(struct brotli_encode_state),
	.level_min = BROTLI_MIN_QUALITY + 1,
	.level_max = BROTLI_MAX_QUALITY,
	.level_default = BROTLI_DEFAULT_QUALITY,
	.begin = brotli_encode_begin,
	.step = brotli_encode_step,
	.release = brotli_encode_release,
};
