/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Web addresses: http and https only, at most URL_MAX bytes, parsed by libcurl. Texts that come
 * back are owned by the caller, NUL-terminated, and without fragment. Without libcurl every address
 * is E_UNSUPPORTED: whoever begins with one calls http_require() first, which says why. Threads: no
 * state.
 */
#ifndef NACRE_NET_URL_H
#define NACRE_NET_URL_H

#include <nacre/buf.h>

enum { URL_MAX = 8192 };

struct url {
	bool https;
	char *user;     /* owned, percent-decoded; NULL: none */
	char *password; /* owned, percent-decoded; NULL: none */
	char *host;     /* owned, lower case; an IPv6 address in brackets */
	uint16_t port;
	char *text; /* owned: the whole address without user information and fragment */
};
void url_release(struct url *u);
#define cleanup_url __attribute__((cleanup(url_release)))

/* 0, or E_INVALID: another scheme, a control character, no host, … */
int url_parse(struct url *ret, struct slice text);
/* Resolves `ref` against the address `base` (SPEC rfc3986 5.2). User information in `ref` is
 * dropped: nobody may choose the credentials that we send. E_INVALID as above. */
int url_resolve(char **ret, const char *base, struct slice ref);
/* Same scheme, host and port? False if either is malformed. */
bool url_same_origin(const char *a, const char *b);
/* Would going from `from` to `to` lose encryption? */
bool url_downgrades(const char *from, const char *to);
/* For messages: without query, which may be a capability. `ret` has `size` bytes; a longer
 * address is cut. */
void url_display(char *ret, size_t size, const char *url);
/* Appends `text`, with every byte but letters, digits and "-._~" and those in `keep` as %XX. */
int url_encode(struct buf *ret, struct slice text, const char *keep);
/* Is this host (without port, IPv6 in brackets) the machine itself? */
bool url_host_is_local(const char *host);

#endif
