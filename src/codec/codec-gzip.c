/* SPDX-License-Identifier: Apache-2.0 */
/* gzip (RFC 1952) by zlib. */
#include "codec/codec-internal.h"

#include <limits.h>
#include <zlib.h>

#include "base/mem.h"

enum { GZIP_WINDOW_BITS = 15 + 16, GZIP_OS_UNKNOWN = 255 };

struct gzip_state {
	z_stream z;
	bool ready;
	gz_header header; /* the encoder's; zlib keeps a pointer to it */
};

/* zlib counts in unsigned int. */
static unsigned int gzip_chunk(size_t len)
{
	return len > INT_MAX ? INT_MAX : (unsigned int)len;
}

static void gzip_load(struct gzip_state *s, const struct codec_io *io)
{
	s->z.next_in = (z_const Bytef *)io->in;
	s->z.avail_in = gzip_chunk(io->in_len);
	s->z.next_out = io->out;
	s->z.avail_out = gzip_chunk(io->out_len);
}

static void gzip_store(struct gzip_state *s, struct codec_io *io)
{
	io->in_len -= (size_t)(s->z.next_in - io->in);
	io->in = s->z.next_in;
	io->out_len -= (size_t)(s->z.next_out - io->out);
	io->out = s->z.next_out;
}

static int gzip_fail(int zr, const char **ret_why)
{
	if (zr == Z_MEM_ERROR) {
		*ret_why = "out of memory";
		return E_NOMEM;
	}
	*ret_why = zr == Z_NEED_DICT ? "a preset dictionary is needed" : "corrupt data";
	return E_INVALID;
}

static bool gzip_magic(const uint8_t *head, size_t len)
{
	static const uint8_t magic[] = {0x1f, 0x8b, 0x08};

	return memcmp(head, magic, len) == 0;
}

static int gzip_decode_begin(void *state, uint64_t max_window, const char **ret_why)
{
	struct gzip_state *s = state;
	int r = s->ready ? inflateReset(&s->z) : inflateInit2(&s->z, GZIP_WINDOW_BITS);

	(void)max_window;
	if (r != Z_OK)
		return gzip_fail(r, ret_why);
	s->ready = true;
	return 0;
}

static int gzip_decode_step(void *state, struct codec_io *io)
{
	struct gzip_state *s = state;
	int r;

	gzip_load(s, io);
	r = inflate(&s->z, Z_NO_FLUSH);
	gzip_store(s, io);
	if (r == Z_STREAM_END)
		return 1;
	/* Z_BUF_ERROR: no progress was possible; more input or more room helps. */
	return r == Z_OK || r == Z_BUF_ERROR ? 0 : gzip_fail(r, &io->why);
}

static void gzip_decode_release(void *state)
{
	struct gzip_state *s = state;

	if (s->ready)
		inflateEnd(&s->z);
}

const struct codec_decoder_ops gzip_decoder_ops = {
	.state_size = sizeof(struct gzip_state),
	.magic_len = 3,
	.magic = gzip_magic,
	.begin = gzip_decode_begin,
	.step = gzip_decode_step,
	.release = gzip_decode_release,
};

static int gzip_encode_begin(void *state, int level, const char **ret_why)
{
	struct gzip_state *s = state;
	int r = deflateInit2(&s->z, level, Z_DEFLATED, GZIP_WINDOW_BITS, 8, Z_DEFAULT_STRATEGY);

	if (r != Z_OK)
		return gzip_fail(r, ret_why);
	s->ready = true;
	/* No time, no name, no operating system: the bytes depend on the content, the level and
	 * zlib alone. */
	s->header.os = GZIP_OS_UNKNOWN;
	r = deflateSetHeader(&s->z, &s->header);
	return r == Z_OK ? 0 : gzip_fail(r, ret_why);
}

static int gzip_encode_step(void *state, struct codec_io *io, bool last)
{
	struct gzip_state *s = state;
	int r;

	gzip_load(s, io);
	/* What zlib's unsigned int cannot count comes with the next step. */
	last = last && s->z.avail_in == io->in_len;
	r = deflate(&s->z, last ? Z_FINISH : Z_NO_FLUSH);
	gzip_store(s, io);
	if (r == Z_STREAM_END)
		return 1;
	return r == Z_OK || r == Z_BUF_ERROR ? 0 : gzip_fail(r, &io->why);
}

static void gzip_encode_release(void *state)
{
	struct gzip_state *s = state;

	if (s->ready)
		deflateEnd(&s->z);
}

const struct codec_encoder_ops gzip_encoder_ops = {
	.state_size = sizeof(struct gzip_state),
	.level_min = 1,
	.level_max = 9,
	.level_default = 6,
	.begin = gzip_encode_begin,
	.step = gzip_encode_step,
	.release = gzip_encode_release,
};
