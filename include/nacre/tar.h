/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canonical tar of a store layer, read and written as events (SPEC nacre 2):
 *
 * 	layer    = preamble body(P1) … body(Pn) trailer     P1..Pn distinct, one store dir, sorted
 *
 * The writer is driven piece by piece, so that a body can be had alone. The reader is a step
 * machine without I/O and of constant memory; whatever it reports was, byte for byte, what the
 * writer would have written: each header is written again from what was read of it, and
 * compared.
 */
#ifndef NACRE_TAR_H
#define NACRE_TAR_H

#include <nacre/event.h>
#include <nacre/sink.h>
#include <nacre/storepath.h>

enum { TAR_BLOCK = 512, TAR_TRAILER_SIZE = 2 * TAR_BLOCK };

/* Writes a layer to a sink. What lies between two contents is at the sink before the event handler
 * returns, and contents pass without being copied, so that a caller may tell content from the rest
 * by the event that it is handling. */
struct tar_writer;
/* `store_dir` passes store_dir_check(). `out` is borrowed. */
NACRE_API struct tar_writer *tar_writer_new(struct sink *out, const char *store_dir);
NACRE_API void tar_writer_free(struct tar_writer *w);
NACRE_API int tar_writer_preamble(struct tar_writer *w, struct err *err);
/* Begins the body of a path, given by its base name: E_INVALID unless it is greater than the one
 * before. Then its events go to the node sink; NODE_END ends the body. */
NACRE_API int tar_writer_path(struct tar_writer *w, const char *base, struct err *err);
/* Checks what it is told as the NAR writer does, and refuses names that begin with ".wh."
 * (E_UNSUPPORTED, naming the file: not layerable). */
NACRE_API struct node_sink *tar_writer_node_sink(struct tar_writer *w);
NACRE_API int tar_writer_trailer(struct tar_writer *w, struct err *err);
/* Bytes written so far. */
NACRE_API uint64_t tar_writer_offset(const struct tar_writer *w);

enum tar_event_type {
	TAR_STORE_DIR = 1, /* once, first: text is the store dir, "/nix/store" */
	TAR_PATH,          /* a store path begins: text is its base name */
	TAR_NODE,          /* node: an event of that path, NODE_END included */
	TAR_END,           /* the trailer was read */
};

struct tar_event {
	enum tar_event_type type;
	struct slice text; /* valid until the next step */
	struct node_event node;
};

struct tar_reader;
NACRE_API struct tar_reader *tar_reader_new(void);
NACRE_API void tar_reader_free(struct tar_reader *r);
/* As nar_reader_step(). E_UNSUPPORTED: this does not begin as a store layer does (so it is an
 * ordinary one; found within the first headers); E_INVALID: it does, but is not canonical. After
 * TAR_END any further byte is E_INVALID. */
NACRE_API int tar_reader_step(struct tar_reader *r, struct slice *input, struct tar_event *ret);
/* 0 when TAR_END was returned, else E_TRUNCATED. */
NACRE_API int tar_reader_finish(const struct tar_reader *r);
/* Bytes taken; after an error, the offset of the header or padding that was refused. */
NACRE_API uint64_t tar_reader_offset(const struct tar_reader *r);
/* After an error: what rule was broken, as a constant text. */
NACRE_API const char *tar_reader_expected(const struct tar_reader *r);

#endif
