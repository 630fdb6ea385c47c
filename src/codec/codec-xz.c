/* SPDX-License-Identifier: Apache-2.0 */
/* xz and lzip by liblzma. A member is an xz stream or a lzip member; padding between xz streams
 * is the driver's. */
#include "codec/codec-internal.h"

#include <lzma.h>

#include "base/lazy-library.h"

#define LIBLZMA_FUNCTIONS(F) \
	F(lzma_code)         \
	F(lzma_easy_encoder) \
	F(lzma_end)          \
	F(lzma_lzip_decoder) \
	F(lzma_stream_decoder)

LAZY_LIBRARY_DECLARE(liblzma, LIBLZMA_FUNCTIONS);
LAZY_LIBRARY_DEFINE(liblzma, LIBLZMA_FUNCTIONS, SONAME_LZMA, "liblzma5", "xz and lzip");

#define lzma_code           liblzma.lzma_code
#define lzma_easy_encoder   liblzma.lzma_easy_encoder
#define lzma_end            liblzma.lzma_end
#define lzma_lzip_decoder   liblzma.lzma_lzip_decoder
#define lzma_stream_decoder liblzma.lzma_stream_decoder

struct lzma_state {
	lzma_stream z;
};

static int lzma_fail(lzma_ret r, const char **ret_why)
{
	switch (r) {
	case LZMA_MEM_ERROR:
		*ret_why = "out of memory";
		return E_NOMEM;
	case LZMA_MEMLIMIT_ERROR:
		*ret_why = "decompressing needs more than 192 MiB of memory (compress it with a "
			   "smaller dictionary)";
		return E_LIMIT;
	case LZMA_OPTIONS_ERROR:
		*ret_why = "filters or options that are not supported";
		return E_UNSUPPORTED;
	case LZMA_UNSUPPORTED_CHECK:
		*ret_why = "an integrity check that is not supported";
		return E_UNSUPPORTED;
	default:
		*ret_why = "corrupt data";
		return E_INVALID;
	}
}

static bool xz_magic(const uint8_t *head, size_t len)
{
	static const uint8_t magic[] = {0xfd, '7', 'z', 'X', 'Z', 0};

	return memcmp(head, magic, len) == 0;
}

static bool lzip_magic(const uint8_t *head, size_t len)
{
	return memcmp(head, "LZIP", len) == 0;
}

/* What a decoder needs besides its dictionary is far less than a MiB. */
static uint64_t memory_max(uint64_t max_window)
{
	return max_window ? max_window + (1 << 20) : CODEC_LZMA_MEMORY_MAX;
}

static int xz_decode_begin(void *state, uint64_t max_window, const char **ret_why)
{
	struct lzma_state *s = state;
	lzma_ret r =
		lzma_stream_decoder(&s->z, memory_max(max_window), LZMA_TELL_UNSUPPORTED_CHECK);

	return r == LZMA_OK ? 0 : lzma_fail(r, ret_why);
}

static int lzip_decode_begin(void *state, uint64_t max_window, const char **ret_why)
{
	struct lzma_state *s = state;
	lzma_ret r = lzma_lzip_decoder(&s->z, memory_max(max_window), 0);

	return r == LZMA_OK ? 0 : lzma_fail(r, ret_why);
}

static int lzma_step(struct lzma_state *s, struct codec_io *io, lzma_action action)
{
	lzma_ret r;

	s->z.next_in = io->in;
	s->z.avail_in = io->in_len;
	s->z.next_out = io->out;
	s->z.avail_out = io->out_len;
	r = lzma_code(&s->z, action);
	io->in = s->z.next_in;
	io->in_len = s->z.avail_in;
	io->out = s->z.next_out;
	io->out_len = s->z.avail_out;
	if (r == LZMA_STREAM_END)
		return 1;
	/* LZMA_BUF_ERROR: no progress was possible; more input or more room helps. */
	return r == LZMA_OK || r == LZMA_BUF_ERROR ? 0 : lzma_fail(r, &io->why);
}

static int lzma_decode_step(void *state, struct codec_io *io)
{
	return lzma_step(state, io, LZMA_RUN);
}

static void lzma_release(void *state)
{
	struct lzma_state *s = state;

	lzma_end(&s->z);
}

const struct codec_decoder_ops xz_decoder_ops = {
	.load = liblzma_load,
	.state_size = sizeof(struct lzma_state),
	.magic_len = 6,
	.padding = 4, /* SPEC xz-file-format 2.2 */
	.magic = xz_magic,
	.begin = xz_decode_begin,
	.step = lzma_decode_step,
	.release = lzma_release,
};

const struct codec_decoder_ops lzip_decoder_ops = {
	.load = liblzma_load,
	.state_size = sizeof(struct lzma_state),
	.magic_len = 4,
	.magic = lzip_magic,
	.begin = lzip_decode_begin,
	.step = lzma_decode_step,
	.release = lzma_release,
};

static int xz_encode_begin(void *state, int level, const char **ret_why)
{
	struct lzma_state *s = state;
	lzma_ret r = lzma_easy_encoder(&s->z, (uint32_t)level, LZMA_CHECK_CRC64);

	return r == LZMA_OK ? 0 : lzma_fail(r, ret_why);
}

static int xz_encode_step(void *state, struct codec_io *io, bool last)
{
	return lzma_step(state, io, last ? LZMA_FINISH : LZMA_RUN);
}

const struct codec_encoder_ops xz_encoder_ops = {
	.load = liblzma_load,
	.state_size = sizeof(struct lzma_state),
	.level_min = 1,
	.level_max = 9,
	.level_default = 6,
	.begin = xz_encode_begin,
	.step = xz_encode_step,
	.release = lzma_release,
};
