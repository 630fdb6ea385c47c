/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens that the server signs for itself: JSON Web Tokens (SPEC rfc7519) with Ed25519 (SPEC rfc8037),
 * and no other algorithm. Private to src/serve.
 */
#ifndef NACRE_SERVE_JWT_H
#define NACRE_SERVE_JWT_H

#include <nacre/buf.h>
#include <nacre/pathinfo.h>

#include "serve/access.h"

enum { JWT_MAX = 16 << 10, JWT_ID_LEN = 32, PASSWORD_STAMP_LEN = 16, CLOCK_SKEW_S = 60 };

enum token_use {
	TOKEN_ACCESS,  /* a bearer token: what its scopes say */
	TOKEN_LOGIN,   /* stands for a password */
	TOKEN_REFRESH, /* gets bearer tokens, while the password stays that it was got with */
};

/* What a token says. All-zero is nothing said. */
struct claims {
	char *subject;  /* owned; NULL: anonymous */
	char *audience; /* owned: the service */
	char id[JWT_ID_LEN + 1];
	int64_t issued_s, expires_s;
	enum token_use use;
	char stamp[PASSWORD_STAMP_LEN + 1]; /* TOKEN_REFRESH: htpasswd_stamp() */
	struct grants grants;               /* TOKEN_ACCESS */
};
void jwt_claims_release(struct claims *c);

/* Appends the text. E_LIMIT: too many scopes. */
int jwt_make(struct buf *ret, const struct claims *claims, const struct secret_key *key,
	     struct err *err);
/* E_DENIED with the reason: signature, algorithm, audience, time (`now_s`, with CLOCK_SKEW_S to either
 * side), form. */
int jwt_verify(struct claims *ret, struct slice text, const struct public_key *key,
	       const char *audience, int64_t now_s, struct err *err);

#endif
