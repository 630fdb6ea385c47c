/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server: an OCI registry (SPEC dist-1.1) and a Nix binary cache (SPEC nix-cache) over
 * one store. It knows protocols and holds no data: what a request asks for goes to src/store,
 * what comes back goes out.
 *
 * 	struct server_options options = SERVER_OPTIONS_INIT;
 * 	options.store = store;
 * 	options.listen = (const char *const[]){"127.0.0.1:8080"};
 * 	options.n_listen = 1;
 * 	server_start(&server, &options, err);
 * 	…
 * 	server_stop(server, 30000);
 *
 * Threads: a connection has a thread of its own (docs/performance.md says why), so a request
 * that takes long stands in nobody's way. The store is called from many threads at once.
 */
#ifndef NACRE_SERVER_H
#define NACRE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nacre/err.h>

struct store;
struct server;

struct server_options {
	struct store *store;       /* borrowed until server_stop() returns */
	const char *const *listen; /* borrowed during the call; see server_start() */
	size_t n_listen;
	bool allow_write;         /* writes from anywhere, not from this machine alone */
	bool access_log;          /* one line a request */
	unsigned connections_max; /* per listening address */
	unsigned idle_timeout_s;  /* between requests, and for the head of a request to arrive */
	unsigned stall_timeout_s; /* a transfer that does not move at all */
	unsigned slow_timeout_s;  /* a transfer slower than 1 KiB/s over so long a time */
	uint64_t manifest_max_bytes;
	uint64_t body_max_bytes; /* of a blob or NAR; 0: no limit */
};

#define SERVER_OPTIONS_INIT                       \
	((struct server_options){                 \
		.access_log = true,               \
		.connections_max = 2048,          \
		.idle_timeout_s = 90,             \
		.stall_timeout_s = 60,            \
		.slow_timeout_s = 60,             \
		.manifest_max_bytes = 8ull << 20, \
	})

/* Listens and answers until server_stop(). An address is "HOST:PORT", "[IPv6]:PORT", ":PORT" (all
 * addresses) or "unix:PATH"; port 0 takes a free one. SIGPIPE must be ignored by the program. */
int server_start(struct server **ret, const struct server_options *options, struct err *err);

/* Where address `i` really listens: "http://127.0.0.1:8080" or "unix:/run/nacre.sock". Borrowed. */
const char *server_address(const struct server *server, size_t i);

/* Accepts no more connections, gives the requests in progress up to `drain_ms` to end, then ends
 * everything and frees the server. */
void server_stop(struct server *server, unsigned drain_ms);

#endif
