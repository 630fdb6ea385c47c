/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes frames (SPEC nacre 3): cuts streams of bytes, compresses the pieces, several at a time where
 * there is a pool, and hands them on in the order in which they were cut.
 *
 * A queue is that order. Framers that share one (of a NAR, and of the tar of the same path) have
 * their frames come out as if each had been compressed at once. Everything is handed on by the
 * thread that calls; what was handed on last before frame_queue_flush() may be older than what went
 * in last.
 */
#ifndef NACRE_LAYER_FRAMER_H
#define NACRE_LAYER_FRAMER_H

#include <nacre/frame.h>

/* Where frames go; `stored` is borrowed. */
struct frame_sink {
	int (*frame)(struct frame_sink *self, enum frame_kind kind, size_t raw_size,
		     struct slice stored, struct err *err);
};

struct frame_queue;
/* `pool` is borrowed; NULL: each frame is compressed at once. */
struct frame_queue *frame_queue_new(struct frame_pool *pool);
/* Compresses `raw` (1..FRAME_RAW_MAX bytes, copied where it has to wait) for `out`. */
int frame_queue_put(struct frame_queue *q, struct frame_sink *out, enum frame_kind kind,
		    struct slice raw, struct err *err);
/* A frame that somebody else made. */
int frame_queue_put_stored(struct frame_queue *q, struct frame_sink *out, enum frame_kind kind,
			   size_t raw_size, struct slice stored, struct err *err);
/* Hands on all that went in. */
int frame_queue_flush(struct frame_queue *q, struct err *err);
struct frame_pool *frame_queue_pool(const struct frame_queue *q);
/* What was not handed on is dropped. */
void frame_queue_free(struct frame_queue *q);

/* Buffers of FRAME_STORED_MAX bytes, from a pool and back; `pool` may be NULL, and so may what is given
 * back. */
uint8_t *frame_buffer_take(struct frame_pool *pool);
void frame_buffer_give(struct frame_pool *pool, uint8_t *buffer);

/* Cuts a stream of bytes into frames. The bytes written to framer_sink() are of the kind set
 * last (first: glue); a change of kind ends the run. */
struct framer;
struct framer_options {
	struct frame_queue *queue;   /* borrowed */
	bool leave_out_bulk;         /* bulk passes unseen */
	struct frame_supply *supply; /* borrowed, or NULL: frames of `supplied` come from there */
	enum frame_kind supplied;
};
struct framer *framer_new(struct frame_sink *out, const struct framer_options *options);
struct sink *framer_sink(struct framer *f);
int framer_set_kind(struct framer *f, enum frame_kind kind, struct err *err);
/* Ends the run: what is buffered becomes its last frame. */
int framer_end_run(struct framer *f, struct err *err);
void framer_free(struct framer *f);

#endif
