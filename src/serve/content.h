/* SPDX-License-Identifier: Apache-2.0 */
/* Responses whose body is content of the store. Private to src/serve. */
#ifndef NACRE_SERVE_CONTENT_H
#define NACRE_SERVE_CONTENT_H

#include "serve/request.h"
#include "store/store.h"

struct answer;

struct content_reply {
	const char *content_type;
	const char *
		tag; /* what the entity tag is made of: a text that changes with the bytes; NULL: none */
	bool encode; /* Content-Encoding is welcome, as the client accepts it */
	bool whole;  /* no ranges */
	/* The repository that a small body is kept for, by its tag (answers.h); NULL: it is not. */
	const char *kept_for;
	uint64_t changes; /* store_changes() before the content was opened; for `kept_for` */
};

/* GET and HEAD of content: ranges, conditions, codings. Takes over `content`. */
void respond_content(struct request *req, struct content *content,
		     const struct content_reply *reply);
/* In the event loop: answers GET and HEAD from what was kept of the body. False: it was not, or a
 * range is asked for. */
bool respond_kept(struct request *req, const struct content_reply *reply);
/* The head of the same, from the size alone (CONTENT_SIZE_UNKNOWN is known here, too), for a client that
 * takes no coding, or for content that has none: otherwise respond_content(). */
void respond_content_head(struct request *req, uint64_t size, const struct content_reply *reply);

/* GET and HEAD of content that has a coding already, for a client that does not take it: decoded while
 * it is sent. A stream that turns out wrong ends short of its last chunk. Takes over `content`. */
void respond_decoded(struct request *req, struct content *content, enum codec codec,
		     const char *content_type);

/* SPEC rfc-9110 13.2.2: what the client says about the bytes with this tag (in quotes), of which there
 * are `size`. True: it is answered, with 412 (it wants others) or 304 (it has them). */
bool respond_condition(struct request *req, const char *etag, uint64_t size);

/* GET and HEAD of an answer that has a digest, with which it is tagged: ranges and conditions. */
void respond_entity(struct request *req, struct answer *a);

#endif
