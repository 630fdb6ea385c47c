/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A splice (SPEC nacre 3): a blob that is put together from pieces of stored objects and inline
 * bytes, without copying. It is a value; what serves it does not know what it is.
 *
 * Each segment is one frame or a run of them; for a framed stream it also says how many
 * uncompressed bytes it stands for, so that the uncompressed blob can be served from the same
 * splice by decoding only the frames that a range touches.
 */
#ifndef NACRE_SPLICE_H
#define NACRE_SPLICE_H

#include <nacre/absorb.h>
#include <nacre/buf.h>
#include <nacre/hash.h>

struct splice_segment {
	uint32_t object;      /* index into splice.objects; SPLICE_INLINE: splice.bytes */
	uint32_t stored_size; /* bytes */
	uint64_t offset;      /* in the object, or in splice.bytes */
	uint32_t raw_size;    /* bytes, uncompressed: each segment is exactly one frame */
};
#define SPLICE_INLINE UINT32_MAX

struct splice {
	struct hash *objects; /* owned: digests of the objects */
	size_t n_objects, cap_objects;
	struct splice_segment *segments; /* owned */
	size_t n_segments, cap_segments;
	struct buf bytes;  /* inline bytes */
	uint64_t size;     /* of the blob, bytes */
	uint64_t raw_size; /* of what it decodes to, bytes */
};
NACRE_API void splice_release(struct splice *s);
#define cleanup_splice __attribute__((cleanup(splice_release)))

/* One frame of inline bytes, or of an object. */
NACRE_API int splice_add_inline(struct splice *s, struct slice stored, uint32_t raw_size);
NACRE_API void splice_add_object(struct splice *s, const struct hash *object, uint64_t offset,
				 uint32_t stored_size, uint32_t raw_size);

/* One path of a layer, by its stored objects. */
struct splice_path {
	struct hash nar_object;    /* digest of the framed NAR */
	struct hash glue_object;   /* digest of the glue object */
	const struct frames *nar;  /* borrowed: nar_object.frames */
	const struct frames *body; /* borrowed: layer_object.frames */
};
/* The NAR+zstd: the object whole. */
NACRE_API void splice_nar(struct splice *ret, const struct hash *nar_object,
			  const struct frames *frames);
/* The tar+zstd of a layer of n paths, sorted by base name: one preamble, the bodies, one trailer.
 * E_INVALID when frames contradict each other. */
NACRE_API int splice_layer(struct splice *ret, const char *store_dir,
			   const struct splice_path *paths, size_t n);

/* The first segment that holds the byte at `offset` of the blob (or, `raw`, of what it decodes
 * to) and where that segment begins. n_segments past the end. O(log n) after splice_index(). */
struct splice_index {
	uint64_t *stored, *raw; /* owned: where each segment begins */
	size_t len;
};
NACRE_API void splice_index_init(struct splice_index *ret, const struct splice *s);
NACRE_API size_t splice_index_find(const struct splice_index *index, bool raw, uint64_t offset);
NACRE_API void splice_index_release(struct splice_index *index);

/* For storing: a versioned binary form, and back. Parsing is strict (E_INVALID, E_LIMIT). */
NACRE_API int splice_serialize(struct buf *ret, const struct splice *s);
NACRE_API int splice_parse(struct splice *ret, struct slice bytes);
/* The same for frames. */
NACRE_API int frames_serialize(struct buf *ret, const struct frames *f);
NACRE_API int frames_parse(struct frames *ret, struct slice bytes);

#endif
