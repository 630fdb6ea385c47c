/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes store paths in, in one pass over their bytes: what a server stores of a path, and what
 * names it has (SPEC nacre 3).
 *
 * 	nar object	the framed NAR; it is also, whole, the NAR+zstd
 * 	glue object	the tar glue of one (store dir, base name, NAR), stored besides
 *
 * Three ways: events with a name (absorb_path: from a tar layer, a tree), a NAR without one
 * (absorb_nar), and later the name for a NAR that is stored (derive_layer).
 */
#ifndef NACRE_ABSORB_H
#define NACRE_ABSORB_H

#include <nacre/digest.h>
#include <nacre/frame.h>
#include <nacre/storepath.h>

/* A name of some bytes. */
struct named_bytes {
	struct hash digest; /* sha256 */
	uint64_t size;      /* bytes */
};

/* A NAR as it is stored. */
struct nar_object {
	struct named_bytes nar;  /* uncompressed: NarHash and NarSize */
	struct named_bytes zstd; /* the object: FileHash and FileSize of the NAR+zstd */
	struct frames frames;    /* owned; of the object, in order */
};
NACRE_API void nar_object_release(struct nar_object *o);
#define cleanup_nar_object __attribute__((cleanup(nar_object_release)))

/* The layer of exactly one path. Its frames are those of the body alone: glue frames lie one
 * after another in the glue object, bulk frames are the bulk frames of the NAR object in the
 * same order. */
struct layer_object {
	struct named_bytes tar;  /* uncompressed: the diffID */
	struct named_bytes zstd; /* framed */
	struct named_bytes glue; /* the glue object */
	struct frames frames;    /* owned; of the body */
	uint64_t body_size;      /* bytes of the body, uncompressed */
};
NACRE_API void layer_object_release(struct layer_object *o);
#define cleanup_layer_object __attribute__((cleanup(layer_object_release)))

struct absorb_options {
	struct frame_pool *pool; /* borrowed, or NULL: all in the calling thread */
	/* Borrowed, or NULL. The frames of the framed layer that is being read, in its order: they
	 * are taken as they are, and what the NAR needs besides is compressed. */
	struct frame_supply *supply;
	/* Leaves out what the layer of this path alone would be called, each of which is a pass over
	 * its bytes: tar.digest and zstd.digest are HASH_NONE. */
	bool unnamed;
};

/* Events in; the framed NAR goes to `nar_out`, and with a name the tar glue to `glue_out` (both
 * borrowed; neither is finished). `options` NULL: none. `base` NULL: no name, no tar. A path that is not layerable
 * (".wh.") gives its NAR all the same; absorb_layer() says so. */
struct absorb;
NACRE_API struct absorb *absorb_new(struct sink *nar_out, struct sink *glue_out,
				    const char *store_dir, const char *base,
				    const struct absorb_options *options);
NACRE_API struct node_sink *absorb_node_sink(struct absorb *a);
/* After NODE_END, once: gives the results away. */
NACRE_API void absorb_nar(struct absorb *a, struct nar_object *ret);
/* 0; E_UNSUPPORTED with the file's name: not layerable. Only with a name. */
NACRE_API int absorb_layer(struct absorb *a, struct layer_object *ret, struct err *err);
NACRE_API void absorb_free(struct absorb *a);

/* Reads stored bytes: all `len` of them at `offset`, or fails. */
struct object_reader {
	int (*read)(struct object_reader *self, uint64_t offset, void *buf, size_t len,
		    struct err *err);
};
/* Over a file descriptor (borrowed) by pread. */
struct fd_object_reader {
	struct object_reader reader;
	int fd;
};
NACRE_API void fd_object_reader_init(struct fd_object_reader *r, int fd);

/* A framed NAR that is stored; both borrowed. */
struct framed_nar {
	struct object_reader *object;
	const struct frames *frames;
	const struct hash *nar_hash; /* what derive_layer() holds it against; NULL: nothing */
};
/* Writes the NAR, uncompressed, to a sink. E_INVALID when the object is not what its frames say. */
NACRE_API int nar_object_decode(const struct framed_nar *nar, struct sink *out, struct err *err);
/* The name for a stored NAR: one pass over the object, the glue to `glue_out`. E_UNSUPPORTED: not
 * layerable; E_MISMATCH: the object has another NarHash, so it was damaged. */
NACRE_API int derive_layer(const struct framed_nar *nar, const struct store_path *path,
			   struct sink *glue_out, struct layer_object *ret, struct err *err);

/* The frames of the preamble and of the trailer, uncompressed and compressed (appended). */
NACRE_API void layer_preamble(struct buf *raw, struct buf *stored, const char *store_dir);
NACRE_API void layer_trailer(struct buf *raw, struct buf *stored);

#endif
