/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server: an OCI registry (SPEC dist-1.1) and a Nix binary cache (SPEC nix-cache) over
 * one store. It knows protocols and holds no data: what a request asks for goes to src/store,
 * what comes back goes out.
 *
 * 	settings_read(&settings, tree, err);
 * 	server_start(&server, store, settings, err);
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

struct settings;
struct store;
struct server;

/* Listens and answers until server_stop(). An address is "HOST:PORT", "[IPv6]:PORT", ":PORT" (all
 * addresses) or "unix:PATH"; port 0 takes a free one. `store` is borrowed until then, `settings`
 * are referred to. SIGPIPE must be ignored by the program. */
int server_start(struct server **ret, struct store *store, struct settings *settings,
		 struct err *err);

/* Requests that begin from now on go by other settings. Addresses, the data directory and the
 * options of the store stay as they are. On failure nothing changes. */
int server_reload(struct server *server, struct settings *settings, struct err *err);

/* Where address `i` really listens: "http://127.0.0.1:8080" or "unix:/run/nacre.sock". Borrowed. */
const char *server_address(const struct server *server, size_t i);

/* Accepts no more connections, gives the requests in progress up to `drain_ms` to end, then ends
 * everything and frees the server. */
void server_stop(struct server *server, unsigned drain_ms);

#endif
