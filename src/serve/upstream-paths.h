/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about store paths share; private to src/serve. */
#ifndef NACRE_SERVE_UPSTREAM_PATHS_H
#define NACRE_SERVE_UPSTREAM_PATHS_H

#include <nacre/pathinfo.h>

#include "serve/upstream.h"

/* upstream-closure.c */

/* The NAR is in the store: binds the path, or remembers it until its references are bound, which
 * are fetched if `complete`. */
void upstream_bind(const struct upstream_ask *ask, const struct narinfo *n, bool complete);

/* upstream-cache.c */

/* Fetches one path into the store, and says what it refers to. */
int upstream_path_fetch(const struct upstream_ask *ask, const char *hash_part,
			struct strv *ret_references, struct err *err);
/* The narinfo that binds; owned; NULL: it would be too large. */
char *upstream_bind_text(const struct narinfo *n);

/* upstream-package.c: package artifacts in a registry (SPEC nacre 5). */

int upstream_package_narinfo(const struct upstream_ask *ask, const struct upstream_settings *up,
			     const char *hash_part, struct narinfo *ret, struct err *err);
/* Writes the NAR to `out`, proven, without finishing it. */
int upstream_package_nar(const struct upstream_ask *ask, const struct upstream_settings *up,
			 const struct path_info *info, struct sink *out, struct err *err);

#endif
