/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which login tokens were made, and which tokens are void: two files in the data directory, to which
 * commands append and which the server looks at. Private to src/serve and to `nacre admin token`.
 */
#ifndef NACRE_SERVE_REVOKED_H
#define NACRE_SERVE_REVOKED_H

#include "serve/jwt.h"

struct revoked;

/* `data` NULL: nothing is revoked. */
int revoked_open(struct revoked **ret, const char *data, struct err *err);
void revoked_free(struct revoked *r); /* NULL is nothing */
/* Looks at the file again if it changed. What cannot be known is revoked. */
bool revoked_is(struct revoked *r, const struct claims *claims);

int token_revoke(const char *data, const char *id, struct err *err);
/* All tokens of the user that were made until then, those that nobody listed as well. */
int token_revoke_user(const char *data, const char *user, int64_t until_s, struct err *err);

/* Writes a login token down, for lists. */
int token_record(const char *data, const struct claims *claims, struct err *err);
/* `claims` has subject, id and times. */
typedef void token_list_fn(void *ctx, const struct claims *claims, bool revoked);
int token_list(const char *data, token_list_fn *fn, void *ctx, struct err *err);

#endif
