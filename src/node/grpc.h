/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC for one machine: unary and server-streaming calls over HTTP/2 without TLS on a unix socket.
 *
 * HTTP/2 is nghttp2's; here are the framing of messages, calls and their limits. A session
 * (grpc-session.h) does no I/O; the server does it all in one thread and hands calls to workers.
 *
 *	static const struct grpc_method methods[] = {{"/pkg.Service/Method", handle}, {0}};
 *	struct grpc_server_options options = {.methods = methods, .data = self};
 *	grpc_server_new(&server, listen_fd, &options, err)
 *	grpc_server_run(server, stop_fd, err)
 */
#ifndef NACRE_NODE_GRPC_H
#define NACRE_NODE_GRPC_H

#include <stdatomic.h>

#include <nacre/buf.h>

enum {
	GRPC_MESSAGE_MAX = 16 << 20, /* of a request; gRPC's and containerd's own limit */
	GRPC_REPLY_MAX = 32 << 20,   /* of the messages of one part of a reply */
	GRPC_TEXT_MAX = 1024,
	GRPC_PREFIX = 5,
};

/* SPEC grpc statuscodes */
enum grpc_code {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_ALREADY_EXISTS = 6,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
};

/* What a handler sees of a call. A reply that may be large comes in parts: a handler that sets `has_more` is called again once
 * the client has taken what there was, and finds `cursor` as it left it. No worker waits for a client. */
struct grpc_call {
	struct slice request; /* borrowed; the message */
	struct buf
		reply;  /* framed messages, by grpc_call_add(); empty at the beginning of a part */
	bool has_more;  /* false at the beginning of a part; does not count in a call that failed */
	int64_t cursor; /* the handler's; 0 in the first part */
	enum grpc_code code; /* by grpc_call_fail() */
	char text[GRPC_TEXT_MAX];
	atomic_bool cancelled; /* nobody waits for the answer any more */
};

/* Runs in a worker; may block. */
typedef void grpc_handler(void *data, struct grpc_call *call);

struct grpc_method {
	const char *path; /* "/package.Service/Method" */
	grpc_handler *handle;
};

/* Appends a message to the reply. E_LIMIT. */
int grpc_call_add(struct grpc_call *call, const void *message, size_t len);
void grpc_call_fail(struct grpc_call *call, enum grpc_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

struct grpc_server;
struct grpc_server_options {
	const struct grpc_method *methods; /* borrowed; ends with a NULL path */
	void *data;                        /* borrowed; of the handlers */
	unsigned n_workers;                /* at most; made when they are needed; 0: 64, no more */
	/* Called by a worker after each call (the last part of its reply), with the number of its method and the time that it took;
	 * may be NULL. */
	void (*observe)(void *data, size_t method, const struct grpc_call *call, int64_t us);
};
/* The socket that systemd has opened (SPEC systemd sd_listen_fds), or -1: it outlives this process, so
 * that nobody is refused in between. */
int grpc_inherited_socket(void);
/* Listens on a unix socket that only its owner may use. A socket that nobody serves is replaced;
 * E_EXISTS when somebody does. Returns a descriptor. */
int grpc_listen(const char *path, struct err *err);
/* `listen_fd` is borrowed. */
int grpc_server_new(struct grpc_server **ret, int listen_fd,
		    const struct grpc_server_options *options, struct err *err);
/* Serves until `stop_fd` is readable; then calls that run are finished. */
int grpc_server_run(struct grpc_server *server, int stop_fd, struct err *err);
void grpc_server_free(struct grpc_server *server);

/* The pieces of the protocol, without I/O. */

/* The one message that a request's body must be. E_INVALID, E_LIMIT, E_UNSUPPORTED (compressed). */
int grpc_body_parse(struct slice *ret, struct slice body);
/* "100m": milliseconds, rounded up. E_INVALID. */
int grpc_timeout_parse(int64_t *ret_ms, struct slice text);
/* Percent-encodes as grpc-message wants it; what does not fit in `cap` bytes with the NUL is cut. */
void grpc_text_encode(char *ret, size_t cap, const char *text);

#endif
