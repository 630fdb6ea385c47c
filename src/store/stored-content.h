/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How contents are made; private to src/store. Objects are opened when a read first touches them, a
 * few at a time, so that a layer of a thousand paths costs no thousand descriptors. What is deleted
 * meanwhile stays readable because garbage is removed only when no content is older than it
 * (garbage.h): so a content is begun before the rows are read that say what it is made of.
 */
#ifndef NACRE_STORE_STORED_CONTENT_H
#define NACRE_STORE_STORED_CONTENT_H

#include <nacre/splice.h>

#include "store/objects.h"

enum content_form {
	CONTENT_OBJECT,  /* one object, whole */
	CONTENT_SPLICE,  /* the bytes of a splice */
	CONTENT_DECODED, /* what the frames of a splice decode to */
	CONTENT_ENCODED, /* that again, in another compression, while it is read */
};

/* Begins: nothing that exists from now on is removed before content_free(). */
struct content *content_new(struct store *s);
/* One object. Opens it. */
int content_set_object(struct content *c, struct conn *conn, int64_t object, struct err *err);
/* A splice; takes over its content, also on failure. CONTENT_SPLICE or CONTENT_DECODED. */
void content_set_splice(struct content *c, enum content_form form, struct splice *splice);
/* What `splice` decodes to, encoded; takes over its content, also on failure. */
int content_set_encoded(struct content *c, enum codec codec, struct splice *splice,
			struct err *err);
void content_set_digest(struct content *c, const struct hash *digest);
void content_set_coding(struct content *c, const char *coding);

/* A copy that owns what it has. */
void splice_copy(struct splice *ret, const struct splice *from);
/* The digest of all that a content reads. */
int content_hash(struct content *c, enum hash_algo algo, struct hash *ret, struct err *err);

/* When the oldest content that is still open began, by s->contents_clock; UINT64_MAX: none is. */
uint64_t contents_oldest(struct store *s);

CLEANUP_FUNC(struct content, content_free)

#endif
