/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small answers that are asked for again and again, in memory: narinfos, manifests, pages of
 * lists, blobs; private to src/serve.
 *
 * An answer holds as long as the store has not changed at all since before it was read: every
 * change that is acknowledged makes all of them old, and each is looked up anew when it is asked
 * for next. So nobody who has seen his change acknowledged is told what was before it. And it holds
 * for some seconds only, so that the store hears of its use.
 *
 * Memory is bounded: a fixed number of places, small bodies, a limit for all together.
 *
 * Threads: any. An answer is never changed once it is made.
 */
#ifndef NACRE_SERVE_ANSWERS_H
#define NACRE_SERVE_ANSWERS_H

#include <nacre/buf.h>

#include "serve/http-syntax.h"
#include "serve/request.h"

struct answers;

struct answer_source {
	uint64_t changes;          /* store_changes() before it was read */
	const char *content_type;  /* copied; NULL: the head does not have it from here */
	const struct hash *digest; /* of the body, copied; or NULL */
	const char *link;          /* of a page of a list: its Link header, copied; or NULL */
};

/* Shared; see answer_release(). */
struct answer {
	_Atomic unsigned refs;
	char *key; /* owned; what it answers */
	size_t key_len;
	uint64_t changes;
	int64_t until_us;
	char *content_type;           /* owned; or NULL */
	char digest[DIGEST_TEXT_MAX]; /* "sha256:…", or empty */
	char *link;                   /* owned; or NULL */
	uint8_t *body;                /* owned */
	size_t len;
};

struct answers *answers_new(void);
void answers_free(struct answers *a); /* NULL is nothing */

/* What is known of `name` in `repository` ("" for the cache) at the request's endpoint, in its
 * view; a reference, or NULL. */
struct answer *answers_find(const struct request *req, const char *repository, const char *name);
/* Keeps what the store said, if there is room and it has a name (not NULL). A reference; takes the
 * content of `body`. */
struct answer *answers_keep(const struct request *req, const char *repository, const char *name,
			    const struct answer_source *source, struct buf *body);
/* Was this asked for before, of late? For what is worth its memory only then. */
bool answers_asked_before(const struct request *req, const char *repository, const char *name);
void answer_release(struct answer *a); /* NULL is nothing */
CLEANUP_FUNC(struct answer, answer_release)

/* 200 with the body, without a copy, and the Link. */
void respond_answer(struct request *req, struct answer *a);
/* 206 with these bytes of the body, likewise; `range` lies within it. */
void respond_answer_range(struct request *req, struct answer *a, struct byte_range range);

#endif
