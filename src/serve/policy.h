/* SPDX-License-Identifier: Apache-2.0 */
/* May a request do what it asks for? Private to src/serve. */
#ifndef NACRE_SERVE_POLICY_H
#define NACRE_SERVE_POLICY_H

#include <stdbool.h>

struct request;

/* False: answered. */
bool policy_admit(struct request *req);
/* 401 with the challenge that the endpoint's clients understand. */
void policy_unauthorized(struct request *req, const char *text);
/* May the request's user read this repository (full name)? For lists. */
bool policy_may_pull(const struct request *req, const char *repository);
/* The same, as far as the request's token goes. For mounts. */
bool policy_may_pull_now(const struct request *req, const char *repository);
/* False: answered; a token that is not made out for the catalog. */
bool policy_admit_catalog(struct request *req);
/* Are there no rules about that at all? */
bool policy_all_may_pull(const struct request *req);

#endif
