/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks: that of the wall, which is written down and which anybody may set, and a steady one that
 * means something only while we run; private to src/store.
 *
 * The wall's stepping back makes things stay longer, never shorter; its stepping forward while we
 * run makes everything look old. Nothing is collected after either, until what was under way had its
 * grace by the steady clock, or the wall's is right again: so a glitch costs nothing, and nothing is
 * written down by a clock that may be wrong.
 */
#ifndef NACRE_STORE_CLOCK_H
#define NACRE_STORE_CLOCK_H

#include "store/store-internal.h"

/* Seconds of the steady clock. Time asleep counts. */
int64_t steady_seconds(void);

/* Milliseconds, for what must not take long. */
uint64_t monotonic_ms(void);
/* A time by that clock; 0: never. */
bool time_is_up(uint64_t deadline_ms);

void clock_begin(struct store *s);
/* Under collect_lock. E_CONFLICT: nothing may be collected now. `ret_was_ahead`: it was put forward,
 * and is back. */
int clock_hold(struct store *s, int64_t grace_s, bool *ret_was_ahead, struct err *err);

struct clock_job {
	int64_t now; /* by the wall */
	bool was_ahead;
};
/* Notes how late it is, and undoes what was written down when it was later. */
int clock_job(struct conn *c, void *arg, struct err *err);

#endif
