/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/splice.h>

#include "base/mem.h"

enum { INLINE_MAX = 1 << 20 };

void splice_release(struct splice *s)
{
	free(s->objects);
	free(s->segments);
	buf_release(&s->bytes);
	*s = (struct splice){0};
}

static void add_segment(struct splice *s, const struct splice_segment *segment)
{
	array_grow(s->segments, s->cap_segments, s->n_segments + 1);
	s->segments[s->n_segments++] = *segment;
	s->size += segment->stored_size;
	s->raw_size += segment->raw_size;
}

int splice_add_inline(struct splice *s, struct slice stored, uint32_t raw_size)
{
	struct splice_segment segment = {
		.object = SPLICE_INLINE,
		.offset = s->bytes.len,
		.stored_size = (uint32_t)stored.len,
		.raw_size = raw_size,
	};
	int r;

	s->bytes.max = INLINE_MAX;
	r = buf_add(&s->bytes, stored.data, stored.len);
	if (r >= 0)
		add_segment(s, &segment);
	return r;
}

/* An object that is used is most often the last or the one before. */
static uint32_t object_index(struct splice *s, const struct hash *object)
{
	for (size_t i = s->n_objects; i-- > 0 && i + 2 >= s->n_objects;)
		if (hash_equal(&s->objects[i], object))
			return (uint32_t)i;
	array_grow(s->objects, s->cap_objects, s->n_objects + 1);
	s->objects[s->n_objects++] = *object;
	return (uint32_t)(s->n_objects - 1);
}

void splice_add_object(struct splice *s, const struct hash *object, uint64_t offset,
		       uint32_t stored_size, uint32_t raw_size)
{
	struct splice_segment segment = {
		.object = object_index(s, object),
		.offset = offset,
		.stored_size = stored_size,
		.raw_size = raw_size,
	};

	add_segment(s, &segment);
}

void splice_nar(struct splice *ret, const struct hash *nar_object, const struct frames *frames)
{
	uint64_t offset = 0;

	*ret = (struct splice){0};
	for (size_t i = 0; i < frames->len; i++) {
		const struct frame *f = &frames->items[i];

		splice_add_object(ret, nar_object, offset, f->stored_size, f->raw_size);
		offset += f->stored_size;
	}
}

/* Finds the next bulk frame of the NAR, which must be the one that the body names. */
static int next_bulk(const struct frames *nar, size_t *at, uint64_t *offset,
		     const struct frame *want)
{
	while (*at < nar->len && nar->items[*at].kind != FRAME_BULK)
		*offset += nar->items[(*at)++].stored_size;
	if (*at == nar->len || nar->items[*at].stored_size != want->stored_size ||
	    nar->items[*at].raw_size != want->raw_size)
		return E_INVALID;
	(*at)++;
	return 0;
}

static int add_body(struct splice *s, const struct splice_path *path)
{
	uint64_t glue_offset = 0, nar_offset = 0;
	size_t at = 0;

	for (size_t i = 0; i < path->body->len; i++) {
		const struct frame *f = &path->body->items[i];

		if (f->kind == FRAME_GLUE) {
			splice_add_object(s, &path->glue_object, glue_offset, f->stored_size,
					  f->raw_size);
			glue_offset += f->stored_size;
			continue;
		}
		if (next_bulk(path->nar, &at, &nar_offset, f) < 0)
			return E_INVALID;
		splice_add_object(s, &path->nar_object, nar_offset, f->stored_size, f->raw_size);
		nar_offset += f->stored_size;
	}
	return 0;
}

/* The preamble or the trailer: less than one frame's worth of bytes. */
static int add_run(struct splice *s, const struct buf *raw, const struct buf *stored)
{
	return splice_add_inline(s, buf_slice(stored), (uint32_t)raw->len);
}

int splice_layer(struct splice *ret, const char *store_dir, const struct splice_path *paths,
		 size_t n)
{
	cleanup_buf struct buf pre = {0}, pre_stored = {0}, end = {0}, end_stored = {0};
	struct splice s = {0};
	int r;

	layer_preamble(&pre, &pre_stored, store_dir);
	layer_trailer(&end, &end_stored);
	r = add_run(&s, &pre, &pre_stored);
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = add_body(&s, &paths[i]);
	if (r >= 0)
		r = add_run(&s, &end, &end_stored);
	if (r < 0)
		splice_release(&s);
	else
		*ret = s;
	return r;
}

void splice_index_init(struct splice_index *ret, const struct splice *s)
{
	uint64_t stored = 0, raw = 0;

	ret->len = s->n_segments;
	ret->stored = xcalloc(s->n_segments + 1, sizeof(uint64_t));
	ret->raw = xcalloc(s->n_segments + 1, sizeof(uint64_t));
	for (size_t i = 0; i < s->n_segments; i++) {
		ret->stored[i] = stored;
		ret->raw[i] = raw;
		stored += s->segments[i].stored_size;
		raw += s->segments[i].raw_size;
	}
	ret->stored[s->n_segments] = stored;
	ret->raw[s->n_segments] = raw;
}

size_t splice_index_find(const struct splice_index *index, bool raw, uint64_t offset)
{
	const uint64_t *starts = raw ? index->raw : index->stored;
	size_t low = 0, high = index->len;

	/* The last segment that begins at or before the offset. */
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (starts[mid + 1] <= offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void splice_index_release(struct splice_index *index)
{
	free(index->stored);
	free(index->raw);
	*index = (struct splice_index){0};
}
