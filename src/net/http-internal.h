/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the HTTP client share. A transfer is one request on its way, over all its
 * attempts. */
#ifndef NACRE_NET_HTTP_INTERNAL_H
#define NACRE_NET_HTTP_INTERNAL_H

#include "net/http.h"
#include "net/libcurl.h"

enum {
	HTTP_PARALLEL_MAX = 256,
	HTTP_RETRY_DELAY_MAX_MS = 60000,
	HTTP_CONNECT_ATTEMPTS =
		3, /* to a host that cannot be reached: people wait for the message */
	HTTP_PROGRESS_BYTES =
		1 << 20, /* so much progress makes an attempt count as the first again */
};

enum http_route { HTTP_ROUTE_UNDECIDED = 0, HTTP_ROUTE_DELIVER, HTTP_ROUTE_KEEP };

struct transfer {
	struct transfer *
		*handle;       /* borrowed; becomes NULL when the transfer is freed; may be NULL */
	struct transfer *next; /* in the queue */
	struct http *http;     /* borrowed */
	struct http_request req; /* its texts are owned copies */
	struct strv headers;     /* behind req.headers */
	char *url;               /* owned; of this attempt */
	bool left_origin;        /* a redirect went elsewhere: no Authorization any more */
	unsigned attempts, redirects;
	bool waiting;    /* for due_ms */
	uint64_t due_ms; /* monotonic clock */

	/* What the sink has, over all attempts. */
	struct sink deliver; /* counts, limits, and passes on */
	uint64_t delivered;  /* bytes */
	bool can_resume;     /* the server does ranges */
	char *etag;          /* owned; strong, of an unencoded first answer; NULL: none */

	/* One attempt. */
	CURL *easy;               /* owned while there */
	struct curl_slist *slist; /* owned */
	struct sink *decoder;     /* owned; NULL: identity */
	enum http_route route;
	uint64_t resume_from; /* bytes; 0: from the beginning */
	size_t header_bytes;
	bool body_touched;      /* the source was read */
	bool enough;            /* we ended the attempt; the response is what it is */
	uint64_t attempt_start; /* `delivered` when it began */
	struct http_response resp;
	struct err err; /* set by a callback: final */
	char curl_text[CURL_ERROR_SIZE];
};

struct http {
	CURLM *multi;                /* owned */
	struct http_options options; /* complete; ca_file is an owned copy */
	struct transfer **slots;     /* owned; options.parallel of them; NULL: free */
	struct transfer *queue, **queue_tail;
	CURL **idle; /* owned easy handles, options.parallel places */
	unsigned n_idle;
	bool running;
	unsigned uploads; /* open ones */
};

/* http-attempt.c: makes and fills t->easy, without starting it. */
int transfer_prepare(struct transfer *t, struct err *err);
/* Gives the handle back and forgets what belongs to one attempt except the response. */
void transfer_end_attempt(struct transfer *t);

enum http_verdict { HTTP_DONE, HTTP_AGAIN, HTTP_FAILED };
/* http-verdict.c: what becomes of a transfer whose attempt ended with `code`. HTTP_AGAIN:
 * t->url, t->waiting and t->due_ms are set. HTTP_FAILED: t->err is set. */
enum http_verdict transfer_judge(struct transfer *t, CURLcode code);

/* What a source's read() gives when it has nothing yet; the transfer is paused then. */
#define HTTP_SOURCE_LATER INT64_MIN
/* A source's size that is not known before its end. */
#define HTTP_SIZE_UNKNOWN UINT64_MAX

/* http_submit() that tells the transfer; valid until its callback. */
int http_submit_transfer(struct http *h, const struct http_request *req, struct transfer **ret,
			 struct err *err);
/* Forgets a transfer without its callback. */
void http_drop(struct http *h, struct transfer *t);
/* http_run() that returns as soon as *stop. */
int http_run_until(struct http *h, const bool *stop, struct err *err);

uint64_t http_now_ms(void);
const char *http_method_name(enum http_method m);

#endif
