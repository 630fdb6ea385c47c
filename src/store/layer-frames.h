/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer that was pushed in frames; private to src/store. Where they are those that we would make
 * ourselves, they are taken as they are: decoded once, for what is in them, and not made again.
 *
 * Which program made a frame cannot be seen. That they are cut where ours are is seen of all of them;
 * that they have our bytes, of the first of each path and of every now and then one, which whoever
 * pushed cannot foretell. So another encoder's are found out, and a frame that somebody slipped in
 * is at worst one that is larger than it could be: what it decodes to is what was hashed.
 *
 * Frames go in by layer_frames_next() and out by the supply, as those that are cut need them.
 * E_MISMATCH from any of these: the layer is not in our frames. Threads: one at a time.
 */
#ifndef NACRE_STORE_LAYER_FRAMES_H
#define NACRE_STORE_LAYER_FRAMES_H

#include <nacre/frame.h>

#include "store/store.h"

enum { LAYER_FRAMES_AHEAD = 4 }; /* read, but not asked for; two is what canonical layers need */

struct layer_frames {
	struct frame_supply supply;
	struct frame_pool *pool;       /* borrowed */
	struct content *blob;          /* borrowed */
	struct frame_decoder *decoder; /* owned */
	uint64_t offset;               /* of the blob, behind what is in `input` */
	uint8_t *input;                /* owned */
	size_t begin, end;             /* what was not read of it */
	uint8_t *raw;                  /* owned buffer: what the last frame decodes to */
	uint8_t *own;                  /* owned buffer: how we would make one */
	struct frame ahead[LAYER_FRAMES_AHEAD];
	uint8_t *stored[LAYER_FRAMES_AHEAD]; /* owned buffers */
	size_t first, waiting;               /* of those */
	bool check_next;                     /* the next one, in any case */
};

void layer_frames_init(struct layer_frames *f, struct content *blob, struct frame_pool *pool);
/* 1: the next frame, decoded, borrowed until the next call; 0: there are no more. */
int layer_frames_next(struct layer_frames *f, struct slice *ret_raw, size_t *ret_stored_size,
		      struct err *err);
/* The next one to come out is just this one. */
int layer_frames_expect(struct layer_frames *f, struct slice stored, struct err *err);
/* Another path begins. */
void layer_frames_path(struct layer_frames *f);
/* All came out. */
int layer_frames_finish(const struct layer_frames *f, struct err *err);
void layer_frames_release(struct layer_frames *f);
#define cleanup_layer_frames __attribute__((cleanup(layer_frames_release)))

#endif
