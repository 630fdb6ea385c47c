/* SPDX-License-Identifier: Apache-2.0 */
/* The token endpoint; private to src/serve. */
#ifndef NACRE_SERVE_TOKEN_H
#define NACRE_SERVE_TOKEN_H

#include "serve/auth.h"

/* A fresh id. */
void token_id(char ret[JWT_ID_LEN + 1]);

#endif
