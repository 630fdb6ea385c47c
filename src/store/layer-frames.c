/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/random.h>

#include "layer/framer.h"
#include "store/layer-frames.h"

enum {
	INPUT_SIZE = 2 * FRAME_STORED_MAX,
	CHECK_ONE_OF = 32, /* frames, besides the first of each path */
};

static int not_ours(struct err *err)
{
	return err_set(err, E_MISMATCH, "not in the frames that this program makes");
}

/* Unforeseeable: who pushes must not know which one is looked at. */
static bool is_checked(struct layer_frames *f)
{
	uint8_t random = 0;

	if (f->check_next || getrandom(&random, 1, 0) != 1)
		random = 0;
	f->check_next = false;
	return random % CHECK_ONE_OF == 0;
}

static int supply_take(struct frame_supply *self, struct slice raw, struct slice *ret_stored,
		       struct err *err)
{
	struct layer_frames *f = container_of(self, struct layer_frames, supply);
	const struct frame *frame = &f->ahead[f->first];
	struct slice stored = slice_make(f->stored[f->first], frame->stored_size);
	int n;

	if (!f->waiting || frame->raw_size != raw.len)
		return not_ours(err);
	if (is_checked(f)) {
		if (!f->own)
			f->own = frame_buffer_take(f->pool);
		n = frame_compress(f->pool, raw, f->own);
		if (n < 0 || !slice_equal(slice_make(f->own, (size_t)n), stored))
			return not_ours(err);
	}
	f->first = (f->first + 1) % LAYER_FRAMES_AHEAD;
	f->waiting--;
	*ret_stored = stored;
	return 0;
}

void layer_frames_init(struct layer_frames *f, struct content *blob, struct frame_pool *pool)
{
	*f = (struct layer_frames){.supply = {supply_take}, .pool = pool, .blob = blob};
	f->decoder = frame_decoder_new();
	f->input = xmalloc(INPUT_SIZE);
	f->raw = frame_buffer_take(pool);
}

/* Moves what is left to the front and reads on. 1: there is more than before. */
static int fill(struct layer_frames *f, struct err *err)
{
	size_t left = f->end - f->begin, got = 0;
	int r;

	memmove(f->input, f->input + f->begin, left);
	f->begin = 0;
	f->end = left;
	r = content_read(f->blob, f->offset, f->input + left, INPUT_SIZE - left, &got, err);
	if (r < 0)
		return r;
	f->offset += got;
	f->end += got;
	return got > 0;
}

/* 1: a whole frame lies at the beginning of what was not read. */
static int find(struct layer_frames *f, struct frame *ret, struct err *err)
{
	for (;;) {
		size_t left = f->end - f->begin;
		int more, r = left ? frame_measure(slice_make(f->input + f->begin, left), ret)
				   : E_TRUNCATED;

		if (r >= 0)
			return 1;
		if (r != E_TRUNCATED)
			return not_ours(err);
		more = fill(f, err);
		if (more <= 0)
			return more < 0 ? more : left ? not_ours(err) : 0;
	}
}

int layer_frames_next(struct layer_frames *f, struct slice *ret_raw, size_t *ret_stored_size,
		      struct err *err)
{
	size_t slot = (f->first + f->waiting) % LAYER_FRAMES_AHEAD;
	struct frame frame;
	int r = find(f, &frame, err);

	if (r <= 0)
		return r;
	if (f->waiting == LAYER_FRAMES_AHEAD ||
	    frame_decode(f->decoder, slice_make(f->input + f->begin, frame.stored_size), f->raw,
			 frame.raw_size) < 0)
		return not_ours(err);
	if (!f->stored[slot])
		f->stored[slot] = frame_buffer_take(f->pool);
	memcpy(f->stored[slot], f->input + f->begin, frame.stored_size);
	f->ahead[slot] = frame;
	f->waiting++;
	f->begin += frame.stored_size;
	*ret_raw = slice_make(f->raw, frame.raw_size);
	*ret_stored_size = frame.stored_size;
	return 1;
}

int layer_frames_expect(struct layer_frames *f, struct slice stored, struct err *err)
{
	const struct frame *frame = &f->ahead[f->first];

	if (!f->waiting ||
	    !slice_equal(slice_make(f->stored[f->first], frame->stored_size), stored))
		return not_ours(err);
	f->first = (f->first + 1) % LAYER_FRAMES_AHEAD;
	f->waiting--;
	return 0;
}

void layer_frames_path(struct layer_frames *f)
{
	f->check_next = true;
}

int layer_frames_finish(const struct layer_frames *f, struct err *err)
{
	return f->waiting ? not_ours(err) : 0;
}

void layer_frames_release(struct layer_frames *f)
{
	frame_decoder_free(f->decoder);
	free(f->input);
	frame_buffer_give(f->pool, f->raw);
	frame_buffer_give(f->pool, f->own);
	for (size_t i = 0; i < LAYER_FRAMES_AHEAD; i++)
		frame_buffer_give(f->pool, f->stored[i]);
	*f = (struct layer_frames){0};
}
