/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Framed compression (SPEC nacre 3): a stream of independent zstd frames, cut at places that
 * depend on the content alone, so that a NAR and every tar that holds the path share their large
 * frames.
 *
 * 	bulk	content of a regular file of FRAME_BULK_MIN bytes and more, in chunks of FRAME_RAW_MAX
 * 	glue	what lies between two bulk runs, cut at FRAME_RAW_MAX
 *
 * Each frame is what one ZSTD_compress2() gives at level 3 with the content size and no
 * checksum.
 */
#ifndef NACRE_FRAME_H
#define NACRE_FRAME_H

#include <nacre/event.h>
#include <nacre/sink.h>

enum {
	FRAME_BULK_MIN = 16 << 10, /* bytes of a file whose content is bulk */
	FRAME_RAW_MAX = 1 << 20,   /* uncompressed bytes of one frame */
	FRAME_STORED_MAX =
		FRAME_RAW_MAX + 8192, /* no frame of ours is larger (ZSTD_compressBound) */
};

enum frame_kind { FRAME_GLUE = 0, FRAME_BULK = 1 };

struct frame {
	enum frame_kind kind;
	uint32_t raw_size;    /* bytes, 1..FRAME_RAW_MAX */
	uint32_t stored_size; /* bytes, 1..FRAME_STORED_MAX */
};
struct frames {
	struct frame *items; /* owned */
	size_t len, cap;
};
NACRE_API void frames_add(struct frames *f, struct frame frame);
NACRE_API void frames_release(struct frames *f);
#define cleanup_frames __attribute__((cleanup(frames_release)))

/* "libzstd 1.5.4 level 3": two that say the same make the same bytes. */
enum { FRAME_ENCODER_MAX = 40 };
NACRE_API void frame_encoder_identity(char ret[FRAME_ENCODER_MAX]);

/* Where frames go. `stored` is empty for bulk frames of a framer that leaves them out. */
struct frame_sink {
	int (*frame)(struct frame_sink *self, enum frame_kind kind, struct slice raw,
		     struct slice stored, struct err *err);
};

/* Cuts a stream of bytes into frames. The bytes written to framer_sink() are of the kind set
 * last (first: glue); a change of kind ends the run. */
struct framer;
/* `compress_bulk` false: bulk frames are reported without being compressed. `out` is borrowed. */
NACRE_API struct framer *framer_new(struct frame_sink *out, bool compress_bulk);
NACRE_API struct sink *framer_sink(struct framer *f);
NACRE_API int framer_set_kind(struct framer *f, enum frame_kind kind, struct err *err);
/* Ends the run: what is buffered becomes its last frame. */
NACRE_API int framer_end_run(struct framer *f, struct err *err);
NACRE_API void framer_free(struct framer *f);

/* The kind of the bytes that a writer of NAR or tar puts out while it handles this event. */
static inline enum frame_kind frame_kind_of(const struct node_event *ev)
{
	return ev->type == NODE_CONTENT && ev->size >= FRAME_BULK_MIN ? FRAME_BULK : FRAME_GLUE;
}

/* Decodes one frame of ours: exactly raw_size bytes into `ret`. 0; E_INVALID: not one zstd frame of
 * that size.
 * Threads: one decoder at a time. */
struct frame_decoder;
NACRE_API struct frame_decoder *frame_decoder_new(void);
NACRE_API int frame_decode(struct frame_decoder *d, struct slice stored, void *ret,
			   size_t raw_size);
NACRE_API void frame_decoder_free(struct frame_decoder *d);

#endif
