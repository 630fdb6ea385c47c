/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How splices and tables of frames are stored. Numbers are LEB128 without superfluous groups.
 *
 * 	frames = "NFR1" count ( raw_size * 2 + bulk, stored_size )*
 * 	splice = "NSP1" n_objects ( 32 bytes )* n_bytes bytes
 * 	         n_segments ( object + 1 or 0 for inline, offset - expected, stored_size, raw_size )*
 *
 * `expected` is where the last segment of the same object (or of the inline bytes) ended, so
 * that runs take few bytes.
 */
#include <nacre/splice.h>

#include "base/mem.h"

enum { SPLICE_SEGMENTS_MAX = 1 << 24, BYTES_MAX = 1 << 20 };

static int put_number(struct buf *b, uint64_t n)
{
	uint8_t group[10];
	size_t len = 0;

	do {
		group[len] = (uint8_t)(n & 0x7f);
		n >>= 7;
		if (n)
			group[len] |= 0x80;
		len++;
	} while (n);
	return buf_add(b, group, len);
}

static int take_number(struct slice *in, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t group;

		if (in->len == 0)
			return E_INVALID;
		group = in->data[0];
		slice_advance(in, 1);
		if (shift == 63 && group > 1)
			return E_INVALID;
		n |= (uint64_t)(group & 0x7f) << shift;
		if (group & 0x80)
			continue;
		if (shift && group == 0) /* one number has one spelling */
			return E_INVALID;
		*ret = n;
		return n <= max ? 0 : E_LIMIT;
	}
	return E_INVALID;
}

static int take_magic(struct slice *in, const char *magic)
{
	if (!slice_has_prefix(*in, magic))
		return E_INVALID;
	slice_advance(in, strlen(magic));
	return 0;
}

int frames_serialize(struct buf *ret, const struct frames *f)
{
	int r = buf_add_str(ret, "NFR1");

	if (r >= 0)
		r = put_number(ret, f->len);
	for (size_t i = 0; r >= 0 && i < f->len; i++) {
		r = put_number(ret, (uint64_t)f->items[i].raw_size * 2 + f->items[i].kind);
		if (r >= 0)
			r = put_number(ret, f->items[i].stored_size);
	}
	return r;
}

static int take_frame(struct slice *in, struct frame *ret)
{
	uint64_t raw, stored;

	if (take_number(in, 2 * FRAME_RAW_MAX + 1, &raw) < 0 ||
	    take_number(in, FRAME_STORED_MAX, &stored) < 0 || raw < 2 || stored == 0)
		return E_INVALID;
	*ret = (struct frame){(enum frame_kind)(raw & 1), (uint32_t)(raw >> 1), (uint32_t)stored};
	return 0;
}

int frames_parse(struct frames *ret, struct slice bytes)
{
	struct frames f = {0};
	uint64_t count;

	/* A frame takes at least two bytes: what was allocated is bounded by what was read. */
	if (take_magic(&bytes, "NFR1") < 0 || take_number(&bytes, bytes.len / 2, &count) < 0)
		return E_INVALID;
	for (uint64_t i = 0; i < count; i++) {
		struct frame frame;

		if (take_frame(&bytes, &frame) < 0) {
			frames_release(&f);
			return E_INVALID;
		}
		frames_add(&f, frame);
	}
	if (bytes.len) {
		frames_release(&f);
		return E_INVALID;
	}
	*ret = f;
	return 0;
}

static int put_segments(struct buf *ret, const struct splice *s)
{
	uint64_t *expected = xcalloc(s->n_objects + 1, sizeof(*expected));
	int r = put_number(ret, s->n_segments);

	for (size_t i = 0; r >= 0 && i < s->n_segments; i++) {
		const struct splice_segment *g = &s->segments[i];
		size_t object = g->object == SPLICE_INLINE ? 0 : (size_t)g->object + 1;
		const uint64_t numbers[] = {object, g->offset - expected[object], g->stored_size,
					    g->raw_size};

		for (size_t j = 0; r >= 0 && j < ARRAY_LEN(numbers); j++)
			r = put_number(ret, numbers[j]);
		expected[object] = g->offset + g->stored_size;
	}
	free(expected);
	return r;
}

int splice_serialize(struct buf *ret, const struct splice *s)
{
	int r = buf_add_str(ret, "NSP1");

	if (r >= 0)
		r = put_number(ret, s->n_objects);
	for (size_t i = 0; r >= 0 && i < s->n_objects; i++)
		r = buf_add(ret, s->objects[i].bytes, hash_size(HASH_SHA256));
	if (r >= 0)
		r = put_number(ret, s->bytes.len);
	if (r >= 0)
		r = buf_add(ret, s->bytes.data, s->bytes.len);
	return r < 0 ? r : put_segments(ret, s);
}

static int take_objects(struct slice *in, struct splice *s)
{
	size_t size = hash_size(HASH_SHA256);
	uint64_t count;

	if (take_number(in, in->len / size, &count) < 0)
		return E_INVALID;
	for (uint64_t i = 0; i < count; i++) {
		struct hash h = {.algo = HASH_SHA256};

		if (in->len < size)
			return E_INVALID;
		memcpy(h.bytes, in->data, size);
		slice_advance(in, size);
		array_grow(s->objects, s->cap_objects, s->n_objects + 1);
		s->objects[s->n_objects++] = h;
	}
	return 0;
}

static int take_bytes(struct slice *in, struct splice *s)
{
	uint64_t len;

	if (take_number(in, BYTES_MAX, &len) < 0 || len > in->len)
		return E_INVALID;
	if (buf_add(&s->bytes, in->data, (size_t)len) < 0)
		return E_LIMIT;
	slice_advance(in, (size_t)len);
	return 0;
}

static int take_segment(struct slice *in, struct splice *s, uint64_t *expected)
{
	uint64_t object, delta, stored, raw, offset;

	if (take_number(in, s->n_objects, &object) < 0 || take_number(in, UINT64_MAX, &delta) < 0 ||
	    take_number(in, FRAME_STORED_MAX, &stored) < 0 ||
	    take_number(in, FRAME_RAW_MAX, &raw) < 0)
		return E_INVALID;
	offset = expected[object] + delta; /* wraps for an offset before the expected one */
	if (stored == 0 || offset > INT64_MAX - stored ||
	    (object == 0 && (offset > s->bytes.len || stored > s->bytes.len - offset)))
		return E_INVALID;
	expected[object] = offset + stored;
	if (object)
		object--;
	else
		object = SPLICE_INLINE;
	array_grow(s->segments, s->cap_segments, s->n_segments + 1);
	s->segments[s->n_segments++] = (struct splice_segment){
		.object = (uint32_t)object,
		.stored_size = (uint32_t)stored,
		.offset = offset,
		.raw_size = (uint32_t)raw,
	};
	s->size += stored;
	s->raw_size += raw;
	return 0;
}

static int take_segments(struct slice *in, struct splice *s)
{
	cleanup_free uint64_t *expected = xcalloc(s->n_objects + 1, sizeof(*expected));
	uint64_t count;

	if (take_number(in, in->len / 4, &count) < 0 || count > SPLICE_SEGMENTS_MAX)
		return E_INVALID;
	for (uint64_t i = 0; i < count; i++)
		if (take_segment(in, s, expected) < 0)
			return E_INVALID;
	return in->len ? E_INVALID : 0;
}

int splice_parse(struct splice *ret, struct slice bytes)
{
	struct splice s = {0};

	if (take_magic(&bytes, "NSP1") < 0 || take_objects(&bytes, &s) < 0 ||
	    take_bytes(&bytes, &s) < 0 || take_segments(&bytes, &s) < 0) {
		splice_release(&s);
		return E_INVALID;
	}
	*ret = s;
	return 0;
}
