/* SPDX-License-Identifier: Apache-2.0 */
#include <zstd.h>

#include "base/mem.h"
#include "layer/framer.h"

enum {
	MAGIC_SIZE = 4,
	/* The descriptor behind the magic number: one segment; no checksum, no dictionary, nothing
	 * that is reserved. What is left says how long the content size is. */
	DESCRIPTOR_MASK = 0x3f,
	DESCRIPTOR_OURS = 0x20,
};

struct framer {
	struct sink sink;
	struct frame_sink *out; /* borrowed */
	struct framer_options options;
	enum frame_kind kind;
	size_t len;   /* bytes in raw */
	uint8_t *raw; /* owned buffer; NULL: not needed so far */
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

/* SPEC nacre 3: what one call of ZSTD_compress2() gives, now or when somebody else made it. */
static int emit(struct framer *f, struct slice raw, struct err *err)
{
	const struct framer_options *o = &f->options;
	struct slice stored;

	if (!o->supply || o->supplied != f->kind)
		return frame_queue_put(o->queue, f->out, f->kind, raw, err);
	if (o->supply->take(o->supply, raw, &stored, err) < 0)
		return err->code;
	return frame_queue_put_stored(o->queue, f->out, f->kind, raw.len, stored, err);
}

static int framer_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct framer *f = container_of(self, struct framer, sink);
	const uint8_t *p = data;

	if (f->kind == FRAME_BULK && f->options.leave_out_bulk)
		return 0;
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
		if (!f->raw)
			f->raw = frame_buffer_take(frame_queue_pool(f->options.queue));
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

struct framer *framer_new(struct frame_sink *out, const struct framer_options *options)
{
	struct framer *f = xcalloc(1, sizeof(*f));

	f->sink.write = framer_write;
	f->out = out;
	f->options = *options;
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
	frame_buffer_give(frame_queue_pool(f->options.queue), f->raw);
	free(f);
}

/* SPEC nacre 3 */
int frame_measure(struct slice stored, struct frame *ret)
{
	static const uint8_t magic[MAGIC_SIZE] = {0x28, 0xb5, 0x2f, 0xfd};
	unsigned long long raw;
	size_t n;

	if (stored.len > MAGIC_SIZE &&
	    (memcmp(stored.data, magic, MAGIC_SIZE) != 0 ||
	     (stored.data[MAGIC_SIZE] & DESCRIPTOR_MASK) != DESCRIPTOR_OURS))
		return E_INVALID;
	n = ZSTD_findFrameCompressedSize(stored.data, stored.len);
	if (ZSTD_isError(n))
		return stored.len < FRAME_STORED_MAX ? E_TRUNCATED : E_INVALID;
	raw = ZSTD_getFrameContentSize(stored.data, n);
	/* That it is unknown, or cannot be told, are very large numbers. */
	if (raw == 0 || raw > FRAME_RAW_MAX || n > FRAME_STORED_MAX)
		return E_INVALID;
	*ret = (struct frame){.raw_size = (uint32_t)raw, .stored_size = (uint32_t)n};
	return 0;
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
