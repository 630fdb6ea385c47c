/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP client: requests on libcurl's multi interface, many at a time in one thread, over
 * connections that are kept and, where TLS negotiates it, over HTTP/2. It knows about transport
 * only: retries, ranges, redirects, encodings and limits. A final answer of any status is a
 * response, not an error; errors are what kept an answer from coming.
 *
 * 	struct http_request req = {.method = HTTP_GET, .url = url, .sink = &file.sink};
 * 	cleanup_http_response struct http_response resp = {0};
 * 	r = http_perform(http, &req, &resp, err);
 * 	if (r == 0 && resp.status != 200)
 * 		r = http_status_err(&resp, "fetch the thing", err);
 *
 * What it sees to:
 * - Connection errors, 408, 429 and 5xx (not 501, 505, 511) are tried again after a growing delay, or after Retry-After (60 s at most). A
 *   POST or PATCH, which may not be repeated, only where it was certainly not carried out.
 * - A body that breaks off while it goes to a sink is resumed with a Range where the server said `Accept-Ranges: bytes`; what
 *   the sink has is never sent again. Else it is an error (E_NET).
 * - At most ten redirects, to http or https, never from https to http; Authorization goes to the origin of the request alone.
 * - With `accept_encoded`, `Content-Encoding: zstd` and gzip are asked for. Any encoding that comes is undone, with limits.
 * - No body is kept in memory unless it goes to a buffer, and then at most `max_body` bytes of it. Headers: 64 KiB.
 * - Proxies are taken from the environment as curl does; certificates from `ca_file`, $NIX_SSL_CERT_FILE, $SSL_CERT_FILE or the
 *   system.
 *
 * Threads: a client belongs to one thread at a time; different clients are independent. Sinks,
 * sources and callbacks must not call into the client that calls them, except http_submit() from
 * `done`.
 */
#ifndef NACRE_NET_HTTP_H
#define NACRE_NET_HTTP_H

#include <stdatomic.h>

#include <nacre/buf.h>

#include "base/mem.h"
#include "net/http-source.h"

struct http;

/* All-zero: the defaults. */
struct http_options {
	const char *ca_file;         /* PEM; borrowed until http_new() returns */
	bool insecure;               /* accept any certificate */
	unsigned parallel;           /* transfers at a time; 0: 16 */
	unsigned attempts;           /* a request; 0: 5 */
	unsigned retry_delay_ms;     /* before the second attempt; doubles; 0: 250 */
	unsigned connect_timeout_ms; /* 0: 15 000 */
	unsigned
		stall_timeout_s; /* less than 1 byte/s for so long; 0: 60, or 300 while an uploaded body is worked on */
	unsigned timeout_s; /* an attempt, whatever moves; 0: none */
	unsigned min_speed; /* bytes a second, instead of that 1; 0: 1 */
	_Atomic bool
		*cancel; /* E_CANCELLED within a second once it is true; borrowed; may be NULL */
};

/* Loads what HTTP is done with. http_new() does it by itself; before that, whoever takes an address
 * apart (url.h), and whoever wants to fail early. */
int http_require(struct err *err);

int http_new(struct http **ret, const struct http_options *options, struct err *err);
void http_free(struct http *h);
CLEANUP_FUNC(struct http, http_free)

enum http_method { HTTP_GET = 0, HTTP_HEAD, HTTP_PUT, HTTP_POST, HTTP_PATCH, HTTP_DELETE };

enum {
	HTTP_HEADERS_MAX = 64 << 10,     /* bytes of a response's header */
	HTTP_BODY_DEFAULT_MAX = 1 << 20, /* bytes of a body in memory */
	HTTP_ERROR_BODY_MAX =
		64 << 10, /* bytes kept of a body that is not a 2xx's; the rest is dropped */
	HTTP_REDIRECTS_MAX = 10,
};

struct http_response {
	int status;          /* 200, 404, … */
	struct strv headers; /* "name: value"; names in lower case */
	struct buf body;     /* what did not go to a sink */
	uint64_t sink_bytes; /* bytes that went to the sink, decoded */
	char *url;           /* owned; where the answer came from, after redirects */
};
void http_response_release(struct http_response *r);
#define cleanup_http_response __attribute__((cleanup(http_response_release)))

/* The value of the first header of that (lower case) name, or NULL. Borrowed. */
const char *http_response_header(const struct http_response *r, const char *name);
/* Content-Length as a number; E_NOTFOUND without, E_INVALID. */
int http_response_length(const struct http_response *r, uint64_t *ret);
/* Sets `err` for a status that was not hoped for ("what: HTTP 404 Not Found from URL") and
 * returns its code: 401, 403 E_DENIED; 404, 410 E_NOTFOUND; 405, 501 E_UNSUPPORTED; 409, 412
 * E_CONFLICT; 413 E_LIMIT; 408, 429, 5xx E_NET; other 4xx E_INVALID. */
int http_status_err(const struct http_response *r, const char *what, struct err *err);

/* Called once when a submitted request is over, with its response, or with NULL and the failure.
 * `resp` is borrowed until it returns. < 0 with `err` set gives up the whole run. */
typedef int http_done_fn(void *arg, struct http_response *resp, const struct err *failure,
			 struct err *err);

struct http_request {
	enum http_method method;
	const char *url;            /* http or https, without user information */
	const struct strv *headers; /* "Name: value"; may be NULL */
	const char *
		authorization; /* value of that header, for the origin of `url` alone; may be NULL */
	struct http_source *body; /* borrowed until done; NULL: none (PUT, POST, PATCH: empty) */
	struct sink *
		sink; /* borrowed until done; takes a 2xx body, is not finished; NULL: the response's buffer */
	uint64_t
		max_body; /* bytes of a 2xx body; 0: HTTP_BODY_DEFAULT_MAX in memory, no limit to a sink */
	bool is_secret; /* what is sent is for the host of `url` alone: no redirect to another */
	bool accept_encoded; /* GET: let the server compress the body for transport */
	http_done_fn *done;  /* http_submit() */
	void *arg;
};

/* Queues a request; texts are copied. E_USAGE for a malformed URL or header. */
int http_submit(struct http *h, const struct http_request *req, struct err *err);
/* Carries out everything queued, blocking, `parallel` at a time. After an error from `done`,
 * what is left is dropped without its callback. */
int http_run(struct http *h, struct err *err);
/* Drops everything queued or under way, without callbacks. */
void http_cancel(struct http *h);
/* One request, blocking; runs what is queued besides. `done` and `arg` are ignored. `ret` is
 * written on success only. */
int http_perform(struct http *h, const struct http_request *req, struct http_response *ret,
		 struct err *err);

/* For requests that are made anew by hand: what the server says of when. All bytes 0: nothing. */
struct http_wait {
	char retry_after[64];
};
void http_wait_note(struct http_wait *ret, const struct http_response *resp);
/* Waits as before the next attempt, after `attempts` (1 and more) of them. E_CANCELLED. */
int http_pause(const struct http *h, unsigned attempts, const struct http_wait *wait,
	       struct err *err);

/* A request whose body is written to a sink instead of being read from a source. It is sent
 * once: no retry, no redirect. `req` has no body; `size` is UINT64_MAX where it is not known.
 * What else the client has in its queue goes on meanwhile, but http_run() and http_perform() are
 * refused until it is freed. */
struct http_upload;
int http_upload_new(struct http_upload **ret, struct http *h, const struct http_request *req,
		    uint64_t size, struct err *err);
/* Exactly `size` bytes. A write blocks until its bytes were taken; it fails with E_CANCELLED
 * when the server has answered already: then http_upload_response() has the answer. finish()
 * does nothing. Borrowed. */
struct sink *http_upload_sink(struct http_upload *u);
/* Has the answer come, or the connection broken, whether or not the body is complete? */
bool http_upload_is_over(const struct http_upload *u);
/* Ends the body if that was not done, and waits for the answer. Once. */
int http_upload_response(struct http_upload *u, struct http_response *ret, struct err *err);
/* Breaks the request off if it is under way. */
void http_upload_free(struct http_upload *u);
CLEANUP_FUNC(struct http_upload, http_upload_free)

#endif
