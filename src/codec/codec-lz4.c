/* SPDX-License-Identifier: Apache-2.0 */
/* LZ4 frames by liblz4. A member is a frame, skippable frames included. */
#include "codec/codec-internal.h"

#include <lz4frame.h>

#include "base/lazy-library.h"

#define LIBLZ4_FUNCTIONS(F)                \
	F(LZ4F_createDecompressionContext) \
	F(LZ4F_decompress)                 \
	F(LZ4F_freeDecompressionContext)   \
	F(LZ4F_getErrorName)               \
	F(LZ4F_isError)

LAZY_LIBRARY_DECLARE(liblz4, LIBLZ4_FUNCTIONS);
LAZY_LIBRARY_DEFINE(liblz4, LIBLZ4_FUNCTIONS, SONAME_LZ4, "liblz4-1", "lz4");

#define LZ4F_createDecompressionContext liblz4.LZ4F_createDecompressionContext
#define LZ4F_decompress                 liblz4.LZ4F_decompress
#define LZ4F_freeDecompressionContext   liblz4.LZ4F_freeDecompressionContext
#define LZ4F_getErrorName               liblz4.LZ4F_getErrorName
#define LZ4F_isError                    liblz4.LZ4F_isError

struct lz4_state {
	LZ4F_dctx *ctx; /* owned */
};

/* 04 22 4d 18, or a skippable frame's 5? 2a 4d 18. */
static bool lz4_magic(const uint8_t *head, size_t len)
{
	static const uint8_t frame[] = {0x04, 0x22, 0x4d, 0x18};
	static const uint8_t skippable[] = {0x2a, 0x4d, 0x18};

	if ((head[0] & 0xf0) == 0x50)
		return memcmp(head + 1, skippable, len - 1) == 0;
	return memcmp(head, frame, len) == 0;
}

static int lz4_begin(void *state, uint64_t max_window, const char **ret_why)
{
	struct lz4_state *s = state;

	(void)max_window;
	if (s->ctx)
		return 0; /* after a complete frame the context is ready for the next */
	if (!LZ4F_isError(LZ4F_createDecompressionContext(&s->ctx, LZ4F_VERSION)))
		return 0;
	*ret_why = "out of memory";
	return E_NOMEM;
}

static int lz4_step(void *state, struct codec_io *io)
{
	struct lz4_state *s = state;
	size_t in = io->in_len, out = io->out_len;
	size_t r = LZ4F_decompress(s->ctx, io->out, &out, io->in, &in, NULL);

	if (LZ4F_isError(r)) {
		io->why = LZ4F_getErrorName(r);
		return E_INVALID;
	}
	io->in += in;
	io->in_len -= in;
	io->out += out;
	io->out_len -= out;
	return r == 0;
}

static void lz4_release(void *state)
{
	struct lz4_state *s = state;

	LZ4F_freeDecompressionContext(s->ctx);
}

const struct codec_decoder_ops lz4_decoder_ops = {
	.load = liblz4_load,
	.state_size = sizeof(struct lz4_state),
	.magic_len = 4,
	.magic = lz4_magic,
	.begin = lz4_begin,
	.step = lz4_step,
	.release = lz4_release,
};
