/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NAR, read and written as events (event.h), strict by the rules of Nix HEAD (SPEC nix-nar; Nix
 * source src/libutil/archive.cc): field order, contents mandatory, empty value of "executable",
 * strictly increasing names, lengths, depth < 64, zero padding, nothing optional accepted.
 *
 * The reader is a step machine without I/O and of constant memory:
 *
 *	while ((r = nar_reader_step(reader, &input, &event)) > 0)
 *		handle(&event);
 *	r == 0: feed more; r < 0: malformed, nar_reader_expected() at nar_reader_offset()
 *
 * The writer is an event sink that checks what it is told by the same rules, so that any event
 * source may drive it. Contents of 2^63 bytes and more are refused (E_LIMIT); smaller ones are
 * streamed, whatever size they claim. Threads: each object belongs to one thread at a time.
 */
#ifndef NACRE_NAR_H
#define NACRE_NAR_H

#include <nacre/event.h>
#include <nacre/sink.h>

struct nar_reader;

/* Never NULL. Owned by the caller. */
NACRE_API struct nar_reader *nar_reader_new(void);
NACRE_API void nar_reader_free(struct nar_reader *r);
/* Ready for another NAR. */
NACRE_API void nar_reader_reset(struct nar_reader *r);

/* Takes bytes from the front of `input` (advancing it) until there is an event. 1: *ret_event is
 * set, its slices valid until the next step or until the input's memory changes; 0: all input was
 * taken and no event is complete, or NODE_END was returned before (then nothing is taken: bytes
 * behind the NAR are the caller's); < 0: E_INVALID or E_LIMIT, final. */
NACRE_API int nar_reader_step(struct nar_reader *r, struct slice *input,
			      struct node_event *ret_event);
/* 0 when NODE_END was returned, else E_TRUNCATED, or the error of the last step. */
NACRE_API int nar_reader_finish(const struct nar_reader *r);
/* Bytes taken so far; after an error, the offset of the token that was refused (of its padding,
 * where only that is wrong). */
NACRE_API uint64_t nar_reader_offset(const struct nar_reader *r);
/* After an error or a truncated end: what was expected, as a constant text. */
NACRE_API const char *nar_reader_expected(const struct nar_reader *r);
/* Bytes of the open file's contents that are still to come; 0 outside contents. */
NACRE_API uint64_t nar_reader_content_left(const struct nar_reader *r);
/* Bytes of them that were taken; 0 outside contents. */
NACRE_API uint64_t nar_reader_content_offset(const struct nar_reader *r);
/* For a caller that can seek: the next `len` bytes, at most nar_reader_content_left(), will not
 * be shown to the reader (its padding will). 0, E_USAGE for more than that, E_LIMIT when the
 * offset would pass 2^64. */
NACRE_API int nar_reader_skip(struct nar_reader *r, uint64_t len);

/* A sink that reads the NAR written to it and hands its events to `out` (borrowed). Bytes behind
 * the end of the NAR are E_INVALID; finish() fails with E_TRUNCATED when the NAR is not complete.
 * Errors say the offset and what was expected. */
struct nar_decoder {
	struct sink sink;
	struct nar_reader *reader; /* owned */
	struct node_sink *out;     /* borrowed */
};
NACRE_API void nar_decoder_init(struct nar_decoder *d, struct node_sink *out);
NACRE_API void nar_decoder_release(struct nar_decoder *d);

/* Writes events as a NAR to a sink (which the caller finishes). Checks order, names, sizes and
 * depth (E_INVALID, E_LIMIT). Content is passed through without copying; what any other event
 * adds is one write, of less than 5 KiB. It has arrived at the sink before the event handler
 * returns, so that a caller may tell content from the rest by the event it is handling: put a
 * buffer_sink behind it where small writes are dear. */
struct nar_writer;
NACRE_API struct nar_writer *nar_writer_new(struct sink *out /* borrowed */);
NACRE_API struct node_sink *nar_writer_node_sink(struct nar_writer *w);
/* For a caller that has itself put the next `len` bytes of the open file's contents behind what was
 * written to the sink so far. 0, or E_USAGE for more than are still to come. */
NACRE_API int nar_writer_skip(struct nar_writer *w, uint64_t len);
/* Bytes written so far, skipped ones included. */
NACRE_API uint64_t nar_writer_offset(const struct nar_writer *w);
NACRE_API void nar_writer_free(struct nar_writer *w);

/* The `.ls` listing of a NAR as Nix 2.8 writes it (SPEC nix-cache 1.5): an event sink that builds
 * compact JSON. In names and targets that are not UTF-8 each foreign byte is written as U+DC80 +
 * (byte - 0x80), escaped "\udcXX"; memory is limited to `max` bytes (E_LIMIT; 0: 16 MiB). Drive it
 * from a NAR reader or nar_scan(): narOffset comes from their events; contents are not needed. */
struct nar_lister;
NACRE_API struct nar_lister *nar_lister_new(size_t max);
NACRE_API struct node_sink *nar_lister_node_sink(struct nar_lister *l);
/* The JSON, valid after NODE_END and until free. */
NACRE_API struct slice nar_lister_json(const struct nar_lister *l);
NACRE_API void nar_lister_free(struct nar_lister *l);

/* Where one member of a NAR is. */
struct nar_member {
	enum node_event_type type; /* NODE_DIRECTORY, NODE_REGULAR or NODE_SYMLINK */
	bool executable;
	uint64_t offset;                  /* REGULAR: of its contents in the NAR, bytes */
	uint64_t size;                    /* REGULAR: bytes */
	char target[NODE_TARGET_MAX + 1]; /* SYMLINK */
};

/* Finds `path` ("" or "/" is the root; components separated by '/', none "." or "..") in the NAR
 * that begins at offset 0 of the seekable file `fd`, by pread and without reading the contents of
 * large files; of the NAR only what precedes the member is checked. E_NOTFOUND; E_INVALID, E_LIMIT,
 * E_TRUNCATED for a malformed NAR; E_IO. */
NACRE_API int nar_find(int fd, const char *path, struct nar_member *ret, struct err *err);

/* Sends all events of such a NAR but NODE_CONTENT to `out`: what a listing needs, without
 * reading the contents of large files. Bytes behind the NAR are E_INVALID. Errors as above. */
NACRE_API int nar_scan(int fd, struct node_sink *out, struct err *err);

#endif
