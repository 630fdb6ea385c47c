/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets from their texts; private to src/serve. */
#ifndef NACRE_SERVE_LISTEN_H
#define NACRE_SERVE_LISTEN_H

#include <nacre/err.h>
#include <nacre/slice.h>

enum { LISTEN_HOST_MAX = 255, LISTEN_PATH_MAX = 107 };

struct listen_address {
	char host[LISTEN_HOST_MAX + 1]; /* empty: all addresses */
	char port[6];
	char path[LISTEN_PATH_MAX + 1]; /* not empty: a unix socket */
	enum listen_scheme {
		LISTEN_ANY,   /* as the server is set up */
		LISTEN_HTTP,  /* "http://" in front */
		LISTEN_HTTPS, /* "https://" in front */
	} scheme;
};

/* "HOST:PORT", "[IPv6]:PORT", ":PORT", each with "http://" or "https://" in front or not;
 * "unix:PATH". E_USAGE with a text. */
int listen_parse(struct listen_address *ret, struct slice text, struct err *err);

/* Binds and listens; returns a descriptor (owned by the caller). Who says nothing is not accepted for a while where
 * `tls` is. A unix socket that nobody
 * listens on any more is replaced; one that is in use is E_CONFLICT. `ret_name` is where it
 * really is, for people: "http://127.0.0.1:8080" (owned). */
int listen_open(const struct listen_address *address, bool tls, char **ret_name, struct err *err);

/* Sockets that systemd listens on for us (SPEC sd_listen_fds): how many, 0 if it does not. The
 * variables are taken out of the environment. */
unsigned listen_inherited(void);
/* The i-th of them: its descriptor (owned by the caller), whether it is to speak TLS (it is called
 * "https"), and its name as listen_open() says it. E_INVALID: not a socket that listens. */
int listen_inherit(unsigned i, bool *ret_tls, char **ret_name, struct err *err);

#endif
