/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a request comes from, and whether it may do what it asks for (sections `auth`, `access`).
 *
 * Credentials are a user and password (a file of bcrypt hashes), a login token in the place of the
 * password, a bearer token that this server issued, or a client's certificate. What a user may do
 * is decided by the rules each time; a bearer token can only narrow it. Private to src/serve.
 */
#ifndef NACRE_SERVE_AUTH_H
#define NACRE_SERVE_AUTH_H

#include "serve/jwt.h"

struct htpasswd_file;
struct request;

struct auth_settings {
	bool configured;                /* there is a section `auth` */
	struct htpasswd_file *htpasswd; /* owned; or NULL */
	const char *service;            /* audience of tokens; borrowed from the tree */
	const char *token_url;          /* NULL: as the client addressed us */
	unsigned token_lifetime_s;
	unsigned refresh_lifetime_s;
};

/* On failure `ret` may hold a part. */
int auth_settings_read(struct auth_settings *ret, struct config *root, struct err *err);
void auth_settings_release(struct auth_settings *s);

/* What the server knows besides: the key that signs tokens, passwords that were checked lately,
 * tokens that were revoked. */
struct auth;
/* The key is kept in DATA/token.key, made if it is missing. `data` NULL: for this process alone. */
int auth_open(struct auth **ret, const char *data, struct err *err);
void auth_free(struct auth *a); /* NULL is nothing */
const struct secret_key *auth_key(const struct auth *a);

/* The key in a data directory, for the command that makes login tokens. */
int token_key_load(struct secret_key *ret, const char *data, struct err *err);

/* Finds out who asks: req->user, req->token. False: answered (401, credentials that are no good). */
bool auth_identify(struct request *req);
/* The same with a user and password that came otherwise; true: they are good. */
bool auth_login(struct request *req, const char *user, const char *password);
/* The same with a refresh or login token. */
bool auth_refresh(struct request *req, const char *token);
/* Short text that changes with a user's password; `ret` has PASSWORD_STAMP_LEN + 1 bytes. False: the
 * user has none. */
bool auth_password_stamp(const struct request *req, const char *user, char *ret);
/* What the request's user may do with something. */
unsigned auth_rights(const struct request *req, enum resource resource, const char *name);
/* The same without regard to a token: what one could be issued for. */
unsigned auth_user_rights(const struct request *req, enum resource resource, const char *name);

#endif
