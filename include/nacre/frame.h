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

/* Compresses frames in threads of its own, at most `threads` of them (0: one for each processor that
 * this process may use), which begin when there is something to do for more than one. Who frames
 * takes it as an option; any number of threads may use one. It also keeps a few buffers, so that
 * many small streams do not each begin with fresh memory. */
struct frame_pool;
NACRE_API struct frame_pool *frame_pool_new(unsigned threads);
/* Nobody uses it any more. NULL is nothing. */
NACRE_API void frame_pool_free(struct frame_pool *p);

/* Frames that somebody else made: the next one of a stream, which has to stand for just `raw`. */
struct frame_supply {
	/* *ret_stored is borrowed until the next call. E_MISMATCH: it is another one. */
	int (*take)(struct frame_supply *self, struct slice raw, struct slice *ret_stored,
		    struct err *err);
};

/* One frame as this program makes it, into `ret` of FRAME_STORED_MAX bytes; its size, or < 0. */
NACRE_API int frame_compress(struct frame_pool *pool, struct slice raw, void *ret);
/* Of `stored`, which begins with a frame: the bytes of the frame and what it decodes to, if it is in the
 * form that frames have (SPEC nacre 3: content size, one segment, no checksum, no dictionary, 1 to
 * FRAME_RAW_MAX bytes). E_TRUNCATED: more of it is needed to tell, E_INVALID: another form. */
NACRE_API int frame_measure(struct slice stored, struct frame *ret);

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
