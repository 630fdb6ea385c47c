/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "store/clock.h"
#include "store/collect.h"

enum { STEP_S = 600 }; /* less than this is no step */

static int64_t seconds_of(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return now.tv_sec;
}

int64_t now_seconds(void)
{
	return seconds_of(CLOCK_REALTIME);
}

int64_t steady_seconds(void)
{
	return seconds_of(CLOCK_BOOTTIME);
}

uint64_t monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool time_is_up(uint64_t deadline_ms)
{
	return deadline_ms && monotonic_ms() >= deadline_ms;
}

void clock_begin(struct store *s)
{
	s->clock_offset_s = now_seconds() - steady_seconds();
}

static int last_collection(struct conn *c, int64_t *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'collected'");
	r = query_step(&q, err);
	*ret = r > 0 ? query_int(&q, 0) : 0;
	query_end(&q);
	return r < 0 ? r : 0;
}

/* Is it earlier than when we last collected? What was noted then was noted by a clock that was
 * ahead, or this one is behind for a while: who knew would write down what is true. E_CONFLICT: it
 * may be the latter. */
static int hold_behind(struct store *s, int64_t grace_s, struct err *err)
{
	struct conn *c = db_reader(s->db, err);
	int64_t last, steady = steady_seconds(), now = now_seconds();
	int r;

	if (!c)
		return err->code;
	r = last_collection(c, &last, err);
	db_reader_done(s->db, c);
	if (r < 0)
		return r;
	if (last - now <= USE_GRAIN_S) {
		s->behind_until_s = 0;
		return 0;
	}
	if (!s->behind_until_s) {
		s->behind_until_s = steady + grace_s;
		s->hold_told = false;
	}
	if (steady < s->behind_until_s)
		return err_set(
			err, E_CONFLICT,
			"the clock is %lld seconds behind that of the last collection: nothing"
			" is collected for %lld more, unless it is put right",
			(long long)(last - now), (long long)(s->behind_until_s - steady));
	s->behind_until_s = 0;
	return 0;
}

int clock_hold(struct store *s, int64_t grace_s, bool *ret_was_ahead, struct err *err)
{
	int64_t steady = steady_seconds(), offset = now_seconds() - steady;
	int64_t step = offset - s->clock_offset_s;
	int r;

	if (step <= STEP_S) {
		*ret_was_ahead = s->held_until_s != 0;
		r = *ret_was_ahead ? 0 : hold_behind(s, grace_s, err);
		if (r < 0)
			return r;
		s->clock_offset_s = offset;
		s->held_until_s = 0;
		return 0;
	}
	if (!s->held_until_s || offset - s->held_offset_s > STEP_S) {
		s->held_until_s = steady + grace_s;
		s->held_offset_s = offset;
		s->hold_told = false;
	}
	if (steady < s->held_until_s)
		return err_set(err, E_CONFLICT,
			       "the clock was put forward by %lld seconds: nothing is collected for"
			       " %lld more, unless it is put back",
			       (long long)step, (long long)(s->held_until_s - steady));
	/* Then it is as late as the clock says. */
	*ret_was_ahead = false;
	s->clock_offset_s = offset;
	s->held_until_s = 0;
	return 0;
}

/* What comes from the future happened now, and what waits is looked at: when it is due follows from
 * the rest. What was written down by a clock that was right stays as it is. */
static int future_forget(struct conn *c, int64_t now, struct err *err)
{
	static const char *const sql[] = {
		"UPDATE candidate SET since = min(since, ?1), due = ?1 WHERE due > ?1 AND due < ?2",
		"UPDATE candidate SET since = ?1 WHERE since > ?1 AND ?2",
		"UPDATE pending SET added = ?1 WHERE added > ?1 AND ?2",
		"UPDATE path_use SET used = ?1 WHERE used > ?1 AND ?2",
		"UPDATE manifest_use SET used = ?1 WHERE used > ?1 AND ?2",
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(sql) && r >= 0; i++) {
		struct query q;

		query_init(&q, c, sql[i]);
		query_bind_int(&q, 1, now);
		query_bind_int(&q, 2, DUE_NEVER);
		r = query_run(&q, err);
	}
	return r;
}

int clock_job(struct conn *c, void *arg, struct err *err)
{
	const struct clock_job *job = arg;
	int64_t last, now = job->now;
	struct query q;
	int r = last_collection(c, &last, err);

	if (r >= 0 && (job->was_ahead || last - now > USE_GRAIN_S))
		r = future_forget(c, now, err);
	if (r < 0 || (last <= now && now - last <= USE_GRAIN_S))
		return r;
	query_init(&q, c,
		   "INSERT INTO setting (name, value) VALUES ('collected', ?1)"
		   " ON CONFLICT DO UPDATE SET value = ?1");
	query_bind_int(&q, 1, now);
	return query_run(&q, err);
}
