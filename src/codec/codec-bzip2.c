/* SPDX-License-Identifier: Apache-2.0 */
/* bzip2 by libbz2. */
#include "codec/codec-internal.h"

#include <bzlib.h>
#include <limits.h>

#include "base/lazy-library.h"

#define LIBBZ2_FUNCTIONS(F)    \
	F(BZ2_bzCompress)      \
	F(BZ2_bzCompressEnd)   \
	F(BZ2_bzCompressInit)  \
	F(BZ2_bzDecompress)    \
	F(BZ2_bzDecompressEnd) \
	F(BZ2_bzDecompressInit)

LAZY_LIBRARY_DECLARE(libbz2, LIBBZ2_FUNCTIONS);
LAZY_LIBRARY_DEFINE(libbz2, LIBBZ2_FUNCTIONS, SONAME_BZ2, "libbz2-1.0", "bzip2");

#define BZ2_bzCompress       libbz2.BZ2_bzCompress
#define BZ2_bzCompressEnd    libbz2.BZ2_bzCompressEnd
#define BZ2_bzCompressInit   libbz2.BZ2_bzCompressInit
#define BZ2_bzDecompress     libbz2.BZ2_bzDecompress
#define BZ2_bzDecompressEnd  libbz2.BZ2_bzDecompressEnd
#define BZ2_bzDecompressInit libbz2.BZ2_bzDecompressInit

struct bzip2_state {
	bz_stream z;
	bool ready;
};

static unsigned int bzip2_chunk(size_t len)
{
	return len > INT_MAX ? INT_MAX : (unsigned int)len;
}

static int bzip2_fail(int r, const char **ret_why)
{
	if (r == BZ_MEM_ERROR) {
		*ret_why = "out of memory";
		return E_NOMEM;
	}
	*ret_why = "corrupt data";
	return E_INVALID;
}

static void bzip2_load(struct bzip2_state *s, const struct codec_io *io)
{
	s->z.next_in = (char *)(uintptr_t)io->in; /* libbz2 lacks the const, and does not write */
	s->z.avail_in = bzip2_chunk(io->in_len);
	s->z.next_out = (char *)io->out;
	s->z.avail_out = bzip2_chunk(io->out_len);
}

static void bzip2_store(struct bzip2_state *s, struct codec_io *io)
{
	size_t in = (size_t)((const uint8_t *)s->z.next_in - io->in);
	size_t out = (size_t)((uint8_t *)s->z.next_out - io->out);

	io->in += in;
	io->in_len -= in;
	io->out += out;
	io->out_len -= out;
}

static bool bzip2_magic(const uint8_t *head, size_t len)
{
	return memcmp(head, "BZh", len < 3 ? len : 3) == 0 &&
	       (len < 4 || (head[3] >= '1' && head[3] <= '9'));
}

static int bzip2_decode_begin(void *state, uint64_t max_window, const char **ret_why)
{
	struct bzip2_state *s = state;
	int r;

	(void)max_window;
	if (s->ready)
		BZ2_bzDecompressEnd(&s->z);
	s->ready = false;
	s->z = (bz_stream){0};
	r = BZ2_bzDecompressInit(&s->z, 0, 0);
	if (r != BZ_OK)
		return bzip2_fail(r, ret_why);
	s->ready = true;
	return 0;
}

static int bzip2_decode_step(void *state, struct codec_io *io)
{
	struct bzip2_state *s = state;
	int r;

	bzip2_load(s, io);
	r = BZ2_bzDecompress(&s->z);
	bzip2_store(s, io);
	if (r == BZ_STREAM_END)
		return 1;
	return r == BZ_OK ? 0 : bzip2_fail(r, &io->why);
}

static void bzip2_decode_release(void *state)
{
	struct bzip2_state *s = state;

	if (s->ready)
		BZ2_bzDecompressEnd(&s->z);
}

const struct codec_decoder_ops bzip2_decoder_ops = {
	.load = libbz2_load,
	.state_size = sizeof(struct bzip2_state),
	.magic_len = 4,
	.magic = bzip2_magic,
	.begin = bzip2_decode_begin,
	.step = bzip2_decode_step,
	.release = bzip2_decode_release,
};

static int bzip2_encode_begin(void *state, int level, const char **ret_why)
{
	struct bzip2_state *s = state;
	int r = BZ2_bzCompressInit(&s->z, level, 0, 0);

	if (r != BZ_OK)
		return bzip2_fail(r, ret_why);
	s->ready = true;
	return 0;
}

static int bzip2_encode_step(void *state, struct codec_io *io, bool last)
{
	struct bzip2_state *s = state;
	int r;

	if (!last && !io->in_len)
		return 0; /* libbz2 calls that a parameter error */
	bzip2_load(s, io);
	/* What libbz2's unsigned int cannot count comes with the next step. */
	last = last && s->z.avail_in == io->in_len;
	r = BZ2_bzCompress(&s->z, last ? BZ_FINISH : BZ_RUN);
	bzip2_store(s, io);
	if (r == BZ_STREAM_END)
		return 1;
	return r == BZ_RUN_OK || r == BZ_FINISH_OK ? 0 : bzip2_fail(r, &io->why);
}

static void bzip2_encode_release(void *state)
{
	struct bzip2_state *s = state;

	if (s->ready)
		BZ2_bzCompressEnd(&s->z);
}

const struct codec_encoder_ops bzip2_encoder_ops = {
	.load = libbz2_load,
	.state_size = sizeof(struct bzip2_state),
	.level_min = 1,
	.level_max = 9,
	.level_default = 9,
	.begin = bzip2_encode_begin,
	.step = bzip2_encode_step,
	.release = bzip2_encode_release,
};
