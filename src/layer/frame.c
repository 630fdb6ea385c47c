/* SPDX-License-Identifier: Apache-2.0 */
#include <zstd.h>

#include <nacre/frame.h>

#include "base/mem.h"

enum { LEVEL = 3 };

struct framer {
	struct sink sink;
	struct frame_sink *out; /* borrowed */
	ZSTD_CCtx *ctx;         /* owned */
	enum frame_kind kind;
	bool compress_bulk;
	size_t len;      /* bytes in raw */
	uint8_t *raw;    /* owned, FRAME_RAW_MAX */
	uint8_t *stored; /* owned, FRAME_STORED_MAX */
};

void frames_add(struct frames *f, struct frame frame)
{
	array_grow(f->items, f->cap, f->len + 1);
	f->items[f->len++] = frame;
}

void frames_release(struct frames *f)
{
	free(f->items);
	*f = (struct frames){0};
}

void frame_encoder_identity(char ret[FRAME_ENCODER_MAX])
{
	snprintf(ret, FRAME_ENCODER_MAX, "libzstd %s level %d", ZSTD_versionString(), LEVEL);
}

/* SPEC nacre 3: what one call of ZSTD_compress2() gives. */
static int emit(struct framer *f, struct slice raw, struct err *err)
{
	struct slice stored = {0};

	if (f->kind == FRAME_GLUE || f->compress_bulk) {
		size_t n = ZSTD_compress2(f->ctx, f->stored, FRAME_STORED_MAX, raw.data, raw.len);

		if (ZSTD_isError(n))
			return err_set(err, E_INTERNAL, "zstd: %s", ZSTD_getErrorName(n));
		stored = slice_make(f->stored, n);
	}
	return f->out->frame(f->out, f->kind, raw, stored, err);
}

static int framer_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct framer *f = container_of(self, struct framer, sink);
	const uint8_t *p = data;

	while (len) {
		size_t n = FRAME_RAW_MAX - f->len;

		/* A whole frame need not be copied first. */
		if (f->len == 0 && len >= FRAME_RAW_MAX) {
			if (emit(f, slice_make(p, FRAME_RAW_MAX), err) < 0)
				return err->code;
			p += FRAME_RAW_MAX;
			len -= FRAME_RAW_MAX;
			continue;
		}
		n = n < len ? n : len;
		memcpy(f->raw + f->len, p, n);
		f->len += n;
		p += n;
		len -= n;
		if (f->len == FRAME_RAW_MAX && framer_end_run(f, err) < 0)
			return err->code;
	}
	return 0;
}

struct framer *framer_new(struct frame_sink *out, bool compress_bulk)
{
	struct framer *f = xcalloc(1, sizeof(*f));

	f->sink.write = framer_write;
	f->out = out;
	f->compress_bulk = compress_bulk;
	f->raw = xmalloc(FRAME_RAW_MAX);
	f->stored = xmalloc(FRAME_STORED_MAX);
	f->ctx = ZSTD_createCCtx();
	if (!f->ctx)
		abort(); /* out of memory */
	ZSTD_CCtx_setParameter(f->ctx, ZSTD_c_compressionLevel, LEVEL);
	ZSTD_CCtx_setParameter(f->ctx, ZSTD_c_contentSizeFlag, 1);
	ZSTD_CCtx_setParameter(f->ctx, ZSTD_c_checksumFlag, 0);
	return f;
}

struct sink *framer_sink(struct framer *f)
{
	return &f->sink;
}

int framer_set_kind(struct framer *f, enum frame_kind kind, struct err *err)
{
	if (kind == f->kind)
		return 0;
	if (framer_end_run(f, err) < 0)
		return err->code;
	f->kind = kind;
	return 0;
}

int framer_end_run(struct framer *f, struct err *err)
{
	size_t len = f->len;

	f->len = 0;
	return len ? emit(f, slice_make(f->raw, len), err) : 0;
}

void framer_free(struct framer *f)
{
	if (!f)
		return;
	ZSTD_freeCCtx(f->ctx);
	free(f->raw);
	free(f->stored);
	free(f);
}

struct frame_decoder {
	ZSTD_DCtx *ctx; /* owned */
};

struct frame_decoder *frame_decoder_new(void)
{
	struct frame_decoder *d = xcalloc(1, sizeof(*d));

	d->ctx = ZSTD_createDCtx();
	if (!d->ctx)
		abort(); /* out of memory */
	return d;
}

int frame_decode(struct frame_decoder *d, struct slice stored, void *ret, size_t raw_size)
{
	size_t n;

	if (ZSTD_findFrameCompressedSize(stored.data, stored.len) != stored.len)
		return E_INVALID;
	n = ZSTD_decompressDCtx(d->ctx, ret, raw_size, stored.data, stored.len);
	return !ZSTD_isError(n) && n == raw_size ? 0 : E_INVALID;
}

void frame_decoder_free(struct frame_decoder *d)
{
	if (!d)
		return;
	ZSTD_freeDCtx(d->ctx);
	free(d);
}
