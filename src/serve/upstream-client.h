/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clients of one upstream, and whether it is worth asking; private to src/serve.
 *
 * An upstream that fails UPSTREAM_FAILURES times on end is left alone for a while, which doubles
 * with each further failure; then one request tries it again.
 *
 * Threads: any; a client that was taken belongs to one thread until it is given back.
 */
#ifndef NACRE_SERVE_UPSTREAM_CLIENT_H
#define NACRE_SERVE_UPSTREAM_CLIENT_H

#include <stdatomic.h>

#include "serve/upstream-settings.h"

enum { UPSTREAM_FAILURES = 3, UPSTREAM_IDLE_MAX = 16, UPSTREAM_BACK_OFF_MAX_MS = 300000 };

struct cache;
struct registry;

/* How many questions ended how, since the configuration was read. */
struct upstream_counts {
	uint64_t found, absent, refused, failed; /* refused: answered with what is not to be used */
	bool is_left_alone;
};
void upstream_counts(const struct upstream_settings *u, struct upstream_counts *ret);

struct upstream_state *upstream_state_new(void);
void upstream_state_free(struct upstream_state *s); /* NULL is nothing */

/* Takes a client of a cache for `store_dir` (NULL: any). E_NET: the upstream is left alone now, or
 * cannot be reached. `cancel` is borrowed as long as the settings. */
int upstream_take_cache(const struct upstream_settings *u, const char *store_dir,
			_Atomic bool *cancel, struct cache **ret, struct err *err);
int upstream_take_registry(const struct upstream_settings *u, _Atomic bool *cancel,
			   struct registry **ret, struct err *err);
/* Gives it back, with the result of what was done with it (0, or the failure), which tells whether
 * the upstream is well. */
void upstream_give_cache(const struct upstream_settings *u, struct cache *c, int result);
void upstream_give_registry(const struct upstream_settings *u, struct registry *r, int result);

/* Milliseconds of the monotonic clock. */
uint64_t upstream_now_ms(void);

#endif
