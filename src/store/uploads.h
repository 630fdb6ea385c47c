/* SPDX-License-Identifier: Apache-2.0 */
/* Upload sessions, as the store sees them; private to src/store. */
#ifndef NACRE_STORE_UPLOADS_H
#define NACRE_STORE_UPLOADS_H

#include "store/store-internal.h"

enum { SESSION_SLOTS = 4096 };

/* Drops the sessions that nobody holds and nobody touched since `before` (seconds). */
void sessions_expire(struct store *store, int64_t before);

/* Is something being uploaded to this repository? */
bool sessions_active(struct store *store, const char *view, const char *repository);

#endif
