/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two response headers with a grammar of their own: WWW-Authenticate (SPEC rfc9110 11.6.1, with
 * the parameters of the registry token protocol) and Link (SPEC rfc8288). Strict: what breaks
 * the grammar is E_INVALID, never guessed.
 */
#ifndef NACRE_NET_CHALLENGE_H
#define NACRE_NET_CHALLENGE_H

#include <nacre/buf.h>

enum auth_scheme { AUTH_OTHER = 0, AUTH_BASIC, AUTH_BEARER };

enum {
	CHALLENGES_MAX = 8,        /* in one header */
	CHALLENGE_PARAMS_MAX = 16, /* in one challenge */
};

/* Owned texts, NULL where the parameter is absent. */
struct challenge {
	enum auth_scheme scheme;
	char *realm, *service, *scope, *error;
};
struct challenges {
	struct challenge items[CHALLENGES_MAX];
	size_t len;
};
void challenges_release(struct challenges *c);
#define cleanup_challenges __attribute__((cleanup(challenges_release)))

/* Adds the challenges of one header; all-zero is empty. 0; E_INVALID; E_LIMIT. On failure
 * nothing was added. */
int challenges_parse(struct challenges *ret, struct slice header);
/* The first of that scheme, or NULL. Borrowed. */
const struct challenge *challenges_find(const struct challenges *c, enum auth_scheme scheme);

/* The target of the first link with the relation `rel` in a Link header: *ret is owned. 1 there
 * is one, 0 there is none, E_INVALID. */
int link_find(char **ret, struct slice header, const char *rel);

#endif
