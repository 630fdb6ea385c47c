/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes the connections that arrive at listening sockets, in a thread of its own, and hands them on;
 * private to src/serve.
 *
 * libmicrohttpd could accept them itself, but not stop: MHD_quiesce_daemon() (0.9.75, and 1.0.1
 * still) takes the socket out of the epoll set of another thread without a lock and aborts the
 * process when that thread came first.
 */
#ifndef NACRE_SERVE_ACCEPTOR_H
#define NACRE_SERVE_ACCEPTOR_H

#include <nacre/err.h>
#include <sys/socket.h>

struct acceptor;

/* A connection arrived at the socket that was given with `ctx`. `fd` is non-blocking and owned by
 * the function from here on. Called by the acceptor's thread. */
typedef void acceptor_fn(void *ctx, int fd, const struct sockaddr *peer, socklen_t peer_len);

struct acceptor_socket {
	int fd;    /* listens, non-blocking; borrowed until acceptor_stop() */
	void *ctx; /* borrowed */
};

/* `sockets` are copied. E_NOMEM, E_IO. */
int acceptor_start(struct acceptor **ret, const struct acceptor_socket *sockets, size_t n,
		   acceptor_fn *take, struct err *err);

/* After it nothing is accepted and the sockets can be closed. NULL is nothing. */
void acceptor_stop(struct acceptor *a);

#endif
