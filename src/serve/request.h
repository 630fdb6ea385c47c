/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request on its way through the server; private to src/serve.
 *
 * Life: the head arrives -> route, policy, handler->begin(); the body arrives in pieces ->
 * handler->body(); all is there -> handler->end(). Whoever sets a response first has the word:
 * after that the rest of the body is read and dropped, so that the client gets to hear it
 * (closing a connection that the other side still writes to destroys the answer; Nix before
 * 2.33.2 then hangs). A client that waits with "Expect: 100-continue" hears it before it has
 * sent the body.
 *
 * Handlers run in a worker and may block; see exchange.h for how a request gets there. What is in
 * memory the event loop may answer itself (handler->recall()), and begin what waits for nothing
 * (handler->prompt): each way to a worker and back is two changes of threads.
 */
#ifndef NACRE_SERVE_REQUEST_H
#define NACRE_SERVE_REQUEST_H

#include <nacre/buf.h>

#include "net/libmicrohttpd.h"
#include "serve/body-queue.h"
#include "serve/route.h"
#include "serve/server.h"
#include "serve/settings.h"
#include "serve/workers.h"

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_PUT,
	HTTP_POST,
	HTTP_PATCH,
	HTTP_DELETE,
	HTTP_METHODS,
	HTTP_OTHER = HTTP_METHODS,
};

/* What a request wants to do, for policy.c. */
enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_DELETE };

enum { REQUEST_ID_MAX = 64, REQUEST_TARGET_MAX = 8192, BODY_UNKNOWN = -1 };

struct request;
struct claims;
struct connection;

/* What one method does at one endpoint. A function sets a response or leaves it to the next one;
 * end() always sets one. */
struct handler {
	void (*begin)(struct request *req);                              /* may be NULL */
	void (*body)(struct request *req, const void *data, size_t len); /* NULL: dropped */
	void (*end)(struct request *req);
	/* In the event loop, which must not wait for anything, a disk included, of a request
	 * without a body that was admitted: sets a response if that is at hand. May be NULL. */
	void (*recall)(struct request *req);
	enum access access;
	bool resumable; /* what arrives of a body is of use although it breaks off */
	/* begin() waits for nothing where nobody has a quota, and so may the event loop call it. */
	bool prompt;
};

/* How far a request is, for its event loop. */
enum stage {
	STAGE_HEAD,      /* nothing was looked at */
	STAGE_WHOLE,     /* the head is all there is */
	STAGE_ADMITTING, /* a worker has it, before the body comes */
	STAGE_BODY,      /* the body comes */
	STAGE_ANSWERING, /* a worker has it */
	STAGE_DROPPED,   /* the server stops */
};

struct request {
	struct server *server;            /* borrowed */
	struct settings *settings;        /* a reference: what held when the request began */
	const struct view_settings *view; /* borrowed from settings; never NULL once routed */
	struct connection *connection;    /* borrowed */
	struct MHD_Connection *mhd;       /* borrowed */
	char method_name[16];             /* for the log */
	enum http_method method;
	char *target;       /* owned; as it came */
	char *path;         /* owned; decoded */
	struct slice query; /* borrowed from target; without '?' */
	struct route route; /* borrowed from path; names are those within the view */
	char *repository; /* owned; what route.name is borrowed from in place of the path; or NULL */
	const struct handler *handler; /* NULL: none is responsible */
	const char *oci_namespace; /* borrowed from settings: whose repository is meant; or NULL */
	int64_t content_length;    /* bytes, or BODY_UNKNOWN for a chunked body */
	uint64_t body_bytes;       /* received so far */
	uint64_t arrived;          /* the loop's: of the body, so far */
	int64_t started_us;
	bool begun;
	enum stage stage;            /* the loop's */
	bool turned;                 /* the loop's: see hand_over_whole() */
	struct work work;            /* what a worker does for it, one thing at a time */
	struct body_queue incoming;  /* all zero until a body comes */
	bool admitted;               /* may do what it asks for, and begin() was called */
	char id[REQUEST_ID_MAX + 1]; /* the client's, or one of ours */

	char *user;           /* owned; NULL: anonymous */
	struct claims *token; /* owned; NULL: the request came without one */

	struct buf body; /* for handlers that want it whole */
	void *state;     /* owned by the handler */
	void (*state_release)(void *state);

	struct MHD_Response *response; /* owned; NULL: none yet */
	unsigned status;
	uint64_t response_bytes; /* of the body, for the log */
	bool sent;               /* it was handed to libmicrohttpd */
	bool close;              /* end the connection behind the response */
};

/* A header of the request; an empty slice (data NULL) if there is none. Borrowed. */
struct slice request_header(struct request *req, const char *name);
bool request_has_body(const struct request *req);
/* Names, NUL-terminated in buffers of the caller; false when they do not fit (then they are nothing
 * that exists). */
bool slice_to_text(char *ret, size_t size, struct slice s);

/* Refuses in the language of the endpoint: error JSON or a line of text. */
void request_refuse(struct request *req, unsigned status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* One line of JSON for the access log. */
void request_log_json(const struct request *req, bool complete);
/* A failure of ours, for the log and not for the client. */
void request_log_failure(const struct request *req, const struct err *err);

/* request.c, for server.c and exchange.c: the life of a request. */
struct request *request_new(struct server *server, const char *target, struct MHD_Connection *mhd);
void request_free(struct request *req);
/* The head is there: reads it, and waits for nothing. */
void request_head(struct request *req, const char *method, const char *version);
/* Must the response, if there is one, go out now, before the body? */
bool request_answers_early(struct request *req);
/* Can the event loop itself do what comes next? */
bool request_is_prompt(struct request *req);
/* Asks whether it may do that, and begins. */
void request_admit(struct request *req);
/* A request without a body: answers it if the answer is at hand. False: request_end() has to. */
bool request_recall(struct request *req);
void request_body(struct request *req, const void *data, size_t len);
/* All is there; there is a response afterwards, which is ready. */
void request_end(struct request *req);
/* Adds what every response has, and tells those who want to know of it. */
void request_ready(struct request *req);

/* respond.c: each makes the response of a request, which must have none yet. */

/* No body. */
void respond_empty(struct request *req, unsigned status);
/* A copy of `text`. */
void respond_text(struct request *req, unsigned status, const char *content_type,
		  struct slice text);
/* Takes over the content of `b`. */
void respond_buf(struct request *req, unsigned status, const char *content_type, struct buf *b);
/* Who the bytes belong to: `release(cls)` when they are not needed any more. */
struct shared {
	void (*release)(void *cls);
	void *cls;
};
void respond_shared(struct request *req, unsigned status, const char *content_type,
		    struct slice bytes, const struct shared *owner);
/* "<text>\n", text/plain. */
void respond_plain(struct request *req, unsigned status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds a header to the response that was made. Values with line breaks are dropped. */
void respond_header(struct request *req, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* conn.c's word on the peer. */
bool connection_is_local(const struct connection *c);
const char *connection_peer(const struct connection *c);

/* handlers.c: NULL if the endpoint has nothing for the method. */
const struct handler *handler_find(enum endpoint e, enum http_method m);
/* "GET, HEAD, PUT". */
void handler_allowed(enum endpoint e, char *ret, size_t size);

#endif
