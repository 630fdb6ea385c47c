/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection's HTTP/2, without I/O: bytes go in and come out, calls go out and answers come in.
 * Private to grpc-server.c and tests.
 *
 * A call belongs to its session until the session hands it out by `events.start`; it is then the
 * receiver's until grpc_session_finish(). A stream that ends before leaves its call running,
 * cancelled; a session must not be freed while it has calls out.
 */
#ifndef NACRE_NODE_GRPC_SESSION_H
#define NACRE_NODE_GRPC_SESSION_H

#include "node/grpc.h"

struct grpc_session;

struct grpc_stream {
	struct grpc_call call;
	struct grpc_session *session;     /* borrowed */
	const struct grpc_method *method; /* borrowed; NULL: unknown */
	struct grpc_stream *next, *prev;  /* all of the session */
	struct grpc_stream *queue_next;   /* the server's */
	struct buf body;
	int64_t deadline_ms; /* monotonic; 0: none */
	size_t header_bytes;
	size_t sent;      /* of the reply */
	int64_t spent_us; /* the server's; with earlier parts of the reply */
	int32_t id;
	int http_status;       /* not 200: refused before it was gRPC */
	bool is_post, is_grpc; /* seen */
	bool is_out;           /* with a worker */
	bool is_closed;        /* HTTP/2 is done with it */
	bool is_answered;
	bool is_streaming; /* its headers are out, messages and status follow */
};

struct grpc_session_events {
	const struct grpc_method *methods; /* borrowed */
	void *data;
	/* Takes the call until grpc_session_finish(), for one part of its reply. False: too busy. */
	bool (*start)(void *data, struct grpc_stream *stream);
};

struct grpc_session *grpc_session_new(const struct grpc_session_events *events);
/* Only with no calls out. */
void grpc_session_free(struct grpc_session *s);
/* E_INVALID: the peer broke the protocol; send what is to be sent and hang up. */
int grpc_session_receive(struct grpc_session *s, struct slice data);
/* What is to be sent next: bytes (borrowed until the next call), 0 for nothing, or negative. */
ssize_t grpc_session_output(struct grpc_session *s, const uint8_t **ret);
/* Neither reads nor writes any more. */
bool grpc_session_is_over(const struct grpc_session *s);
/* Answers, or sends the next part of the answer; the stream may be gone afterwards. A call that has more is handed out again by
 * `events.start` once what it had is on its way, as the peer's flow control allows. */
void grpc_session_finish(struct grpc_session *s, struct grpc_stream *t);
/* No new calls. */
void grpc_session_goaway(struct grpc_session *s);
/* The peer is gone: all calls are cancelled, none starts. */
void grpc_session_hang_up(struct grpc_session *s);
size_t grpc_session_calls_out(const struct grpc_session *s);
/* Answers calls whose deadline has passed; returns the next deadline or 0. */
int64_t grpc_session_expire(struct grpc_session *s, int64_t now_ms);
int64_t grpc_now_ms(void);

#endif
