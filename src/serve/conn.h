/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections that are open, and the watch over them; private to src/serve.
 *
 * libmicrohttpd ends a connection on which nothing moves, but has one time for all that may mean, and
 * does not mind one on which a byte moves now and then. So the watch does: a connection between
 * requests (or in the head of one) has `idle_ms`; a body or a response has to move at all in each
 * `stall_ms`, and by `progress_bytes` in each `progress_ms`. A request that the server itself is busy
 * with has all the time it needs; what takes very long is told to the log. A TLS handshake has ten
 * seconds: while one is under way, the library asks its socket again and again.
 *
 * Threads: a `struct connection` is written by its own thread; the watch reads its atomics and
 * shuts sockets down under the lock of the set, which an entry leaves before its socket is
 * closed.
 */
#ifndef NACRE_SERVE_CONN_H
#define NACRE_SERVE_CONN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cond.h"

struct sockaddr;

enum phase {
	PHASE_IDLE,    /* between requests, or in the head of one */
	PHASE_BODY,    /* the client sends */
	PHASE_WORKING, /* the server works */
	PHASE_SENDING, /* the client receives */
};

enum { PEER_TEXT_MAX = 64, CERTIFICATE_NAME_MAX = 256 };

struct connection {
	struct connection *next, *prev; /* under the lock of the set */
	struct connection_set *set;     /* borrowed */
	int fd;                         /* borrowed from libmicrohttpd */
	bool local;                     /* the peer is on this machine */
	uint64_t client;                /* its address, or the /64 that it is in, as a number */
	bool tls;                       /* it begins with a handshake */
	_Atomic bool looked_at;         /* its first request came, and the next is known */
	char certificate_name[CERTIFICATE_NAME_MAX]; /* of the client, proven; empty: none */
	char peer[PEER_TEXT_MAX];                    /* its address, for the log */
	_Atomic int phase;
	_Atomic int64_t since_us; /* when this phase began */
	/* The watch's own: */
	int64_t moved_us;      /* when `moved_bytes` was first seen */
	uint64_t moved_bytes;  /* as mark_bytes */
	int64_t mark_us;       /* when `mark_bytes` was taken */
	uint64_t mark_bytes;   /* bytes moved by then, both ways */
	int64_t mark_since_us; /* of the phase that the mark belongs to */
};

struct connection_set {
	pthread_mutex_t lock;
	struct cond wake;
	pthread_t watcher;
	bool watching, stopping; /* under the lock */
	struct connection *head; /* under the lock */
	_Atomic unsigned busy;   /* connections in another phase than PHASE_IDLE */
	_Atomic unsigned idle_ms, stall_ms, progress_ms;
	_Atomic uint64_t progress_bytes;
};

int64_t clock_us(void);

/* Before the start, and whenever they change. */
struct limit_settings;
void connection_set_limits(struct connection_set *set, const struct limit_settings *limits);
/* Starts the watch. */
int connection_set_start(struct connection_set *set);
/* Stops it; no connection is left. */
void connection_set_stop(struct connection_set *set);
/* Ends the connections that wait for a request. */
void connection_set_close_idle(struct connection_set *set);

struct connection *connection_new(struct connection_set *set, int fd, bool tls,
				  const struct sockaddr *addr);
void connection_free(struct connection *c);
void connection_phase(struct connection *c, enum phase phase);

#endif
