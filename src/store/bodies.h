/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies: what a NAR needs besides to be the layer of one store path (SPEC nacre 3); private to
 * src/store. They are derived when somebody wants a tar: most paths of a cache never become a
 * layer, and an upload need not wait for it. Once derived they are kept.
 */
#ifndef NACRE_STORE_BODIES_H
#define NACRE_STORE_BODIES_H

#include "store/nars.h"

struct body {
	int64_t id;
	struct hash glue;             /* digest of the glue object */
	struct frames frames;         /* owned */
	struct named_bytes tar, zstd; /* digests may be HASH_NONE: body_name() */
	bool current_encoder;         /* preamble and trailer of `zstd` are those of this program */
};
void body_release(struct body *b);

/* Inside a transaction: keeps it, unless there is one. */
int body_record(struct conn *c, int64_t nar, const char *path, struct incoming *glue,
		const struct layer_object *layer, struct err *err);

/* Finds or derives it. E_UNSUPPORTED: not layerable, with the file's name. */
int body_make(struct store *s, int64_t nar, const struct store_path *path, struct body *ret,
	      struct err *err);

/* Notes what the layer of a body's path alone is called, which was found out since; HASH_NONE: not. */
int body_name(struct store *s, int64_t body, const struct hash *tar, const struct hash *zstd,
	      struct err *err);

/* The same bytes once more, for a damaged object. */
struct body_wanted;
int body_derive_again(struct store *s, const struct body_wanted *wanted, struct err *err);

/* Derives those of these that are missing, and records them together. */
struct body_wanted {
	int64_t nar;
	const struct store_path *path; /* borrowed */
};
enum { BODIES_MAX = 32 }; /* at once */
int bodies_derive(struct store *s, const struct body_wanted *wanted, size_t n, struct err *err);

#endif
