/* SPDX-License-Identifier: Apache-2.0 */
#include "store/collect.h"
#include "store/clock.h"
#include "store/garbage.h"

enum {
	BATCH_LOOKS = 128,  /* in one transaction, */
	BATCH_GONE = 64,    /* that take so many away at the most */
	ALL_STEP = 500,     /* rows put in at once after rules changed */
	DRY_RUN_MAX = 4096, /* items */
	DRY_RUN_LOOKS = 20000,
	DRY_RUN_MS = 50, /* after that, it ends when somebody else wants to write */
};

/* ---- The queue ---- */

int candidate_put(struct conn *c, const struct candidate *cand, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "INSERT INTO candidate (kind, a, b, name, since, due)"
		   " VALUES (?1, ?2, ?3, ?4, ?5, 0) ON CONFLICT DO UPDATE SET due = 0");
	query_bind_int(&q, 1, cand->kind);
	query_bind_int(&q, 2, cand->a);
	query_bind_int(&q, 3, cand->b);
	query_bind_str(&q, 4, cand->name ? cand->name : "");
	query_bind_int(&q, 5, cand->since);
	return query_run(&q, err);
}

/* The one that is due longest. 1 found, 0 there is none. */
static int candidate_next(struct conn *c, int64_t now, struct candidate *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT id, kind, a, b, name, since FROM candidate WHERE due <= ?1"
		   " ORDER BY due, id LIMIT 1");
	query_bind_int(&q, 1, now);
	r = query_step(&q, err);
	if (r > 0)
		*ret = (struct candidate){
			.id = query_int(&q, 0),
			.kind = (enum candidate_kind)query_int(&q, 1),
			.a = query_int(&q, 2),
			.b = query_int(&q, 3),
			.name = query_dup(&q, 4),
			.since = query_int(&q, 5),
		};
	query_end(&q);
	return r;
}

/* Its going may have dropped it already, and another one may have its id. */
static int candidate_drop(struct conn *c, const struct candidate *cand, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "DELETE FROM candidate WHERE id = ?1 AND kind = ?2 AND a = ?3 AND b = ?4"
		   " AND name = ?5");
	query_bind_int(&q, 1, cand->id);
	query_bind_int(&q, 2, cand->kind);
	query_bind_int(&q, 3, cand->a);
	query_bind_int(&q, 4, cand->b);
	query_bind_str(&q, 5, cand->name);
	return query_run(&q, err);
}

static int candidate_wait(struct conn *c, const struct candidate *cand, int64_t due,
			  struct err *err)
{
	struct query q;

	query_init(&q, c, "UPDATE OR REPLACE candidate SET a = ?2, b = ?3, due = ?4 WHERE id = ?1");
	query_bind_int(&q, 1, cand->id);
	query_bind_int(&q, 2, cand->a);
	query_bind_int(&q, 3, cand->b);
	query_bind_int(&q, 4, due);
	return query_run(&q, err);
}

bool collector_take(struct collector *k, struct use_key key)
{
	return k->dry ? !use_is_noted(k->store, key) : use_take(k->store, key);
}

enum verdict collector_wait(struct collector *k, int64_t due)
{
	k->due = due;
	return VERDICT_WAIT;
}

void collector_note(struct collector *k, const char *kind, const char *cache, char *name,
		    char *reason, uint64_t bytes)
{
	array_grow(k->gone, k->gone_cap, k->n_gone + 1);
	k->gone[k->n_gone++] =
		(struct gone){kind, cache ? xstrdup(cache) : NULL, name, reason, bytes};
}

void collector_forget(struct collector *k)
{
	for (size_t i = 0; i < k->n_gone; i++) {
		free(k->gone[i].cache);
		free(k->gone[i].name);
		free(k->gone[i].reason);
	}
	k->n_gone = 0;
	k->result = (struct store_gc_result){0};
}

/* ---- After rules changed ---- */

int collect_look_again(struct conn *c, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "DELETE FROM candidate WHERE kind >= ?1");
	query_bind_int(&q, 1, CANDIDATE_ALL_REPOSITORIES);
	r = query_run(&q, err);
	for (enum candidate_kind kind = CANDIDATE_ALL_REPOSITORIES;
	     kind <= CANDIDATE_ALL_WAITING && r >= 0; kind++)
		r = candidate_put(c, &(struct candidate){.kind = kind}, err);
	return r;
}

/* Runs a statement that puts in what lies between two ids, and one that gives the last id. */
static int all_step(struct collector *k, struct conn *c, struct candidate *cand,
		    const char *const sql[2], struct err *err)
{
	int64_t last = 0;
	struct query q;
	int r;

	query_init(&q, c, sql[0]);
	query_bind_int(&q, 1, cand->a);
	query_bind_int(&q, 2, cand->a + ALL_STEP);
	query_bind_int(&q, 3, k->now);
	r = query_run(&q, err);
	if (r < 0)
		return r;
	cand->a += ALL_STEP;
	query_init(&q, c, sql[1]);
	r = query_step(&q, err);
	if (r > 0)
		last = query_int(&q, 0);
	query_end(&q);
	if (r < 0)
		return r;
	return last > cand->a ? collector_wait(k, 0) : VERDICT_USED;
}

static int collect_all(struct collector *k, struct conn *c, struct candidate *cand, struct err *err)
{
	static const char *const repositories[2] = {
		"INSERT INTO candidate (kind, a, b, name, since, due)"
		" SELECT 1, id, 0, '', ?3, 0 FROM repository WHERE id > ?1 AND id <= ?2"
		" ON CONFLICT DO UPDATE SET due = 0",
		"SELECT coalesce(max(id), 0) FROM repository",
	};
	static const char *const paths[2] = {
		"INSERT INTO candidate (kind, a, b, name, since, due)"
		" SELECT 6, binding, 0, '', ?3, 0 FROM path_use"
		" WHERE binding > ?1 AND binding <= ?2 AND referrers = 0"
		" ON CONFLICT DO UPDATE SET due = 0",
		"SELECT coalesce(max(binding), 0) FROM path_use",
	};
	static const char *const waiting[2] = {
		"UPDATE candidate SET due = min(due, ?3)"
		" WHERE id > ?1 AND id <= ?2 AND kind < 7",
		"SELECT coalesce(max(id), 0) FROM candidate",
	};

	if (cand->kind == CANDIDATE_ALL_REPOSITORIES)
		return all_step(k, c, cand, repositories, err);
	return all_step(k, c, cand, cand->kind == CANDIDATE_ALL_PATHS ? paths : waiting, err);
}

/* ---- Looking ---- */

static int look(struct collector *k, struct conn *c, struct candidate *cand, struct err *err)
{
	static collect_fn *const fns[] = {
		[CANDIDATE_LISTING] = collect_listing, [CANDIDATE_REPOSITORY] = collect_repository,
		[CANDIDATE_TAG] = collect_tag,         [CANDIDATE_MANIFEST] = collect_manifest,
		[CANDIDATE_LINK] = collect_link,       [CANDIDATE_BLOB] = collect_blob,
		[CANDIDATE_PATH] = collect_path,       [CANDIDATE_ALL_REPOSITORIES] = collect_all,
		[CANDIDATE_ALL_PATHS] = collect_all,   [CANDIDATE_ALL_WAITING] = collect_all,
	};
	struct candidate was = *cand;
	int r = cand->kind < ARRAY_LEN(fns) && fns[cand->kind] ? fns[cand->kind](k, c, cand, err)
							       : VERDICT_USED;

	k->result.looked_at++;
	if (r < 0)
		return r;
	if (r != VERDICT_WAIT)
		return candidate_drop(c, &was, err);
	/* What goes on at once makes progress by itself; all else must not come again now. */
	if (k->due > 0 && k->due <= k->now)
		k->due = k->now + 1;
	return candidate_wait(c, cand, k->due, err);
}

struct run {
	struct collector *k;
	const struct store_gc_options *options;
	int64_t view; /* whose least used paths go; 0: the queue */
	bool more;
	uint64_t began_ms;    /* of a dry run: when it became the writer */
	uint64_t deadline_ms; /* time_is_up() */
};

/* A dry run is one transaction, since what goes last is known by what went first, and everything is
 * taken back. So it cannot let others in between and go on. It ends early instead. */
static bool must_end(const struct run *run)
{
	return run->options->dry_run && monotonic_ms() - run->began_ms >= DRY_RUN_MS &&
	       db_is_awaited(run->k->store->db);
}

static int queue_job(struct conn *c, void *arg, struct err *err)
{
	struct run *run = arg;
	struct collector *k = run->k;
	size_t looks = run->options->dry_run ? (size_t)DRY_RUN_LOOKS : (size_t)BATCH_LOOKS;
	size_t gone = run->options->dry_run ? (size_t)DRY_RUN_MAX : (size_t)BATCH_GONE;
	int r = 1;

	collector_forget(k);
	while (k->result.looked_at < looks && k->n_gone < gone && r > 0 && !must_end(run)) {
		struct candidate cand = {0};

		r = candidate_next(c, k->now, &cand, err);
		if (r > 0)
			r = look(k, c, &cand, err) < 0 ? err->code : 1;
		free(cand.name);
	}
	run->more = r > 0;
	return r;
}

/* One after the other, so that a dry run takes all back at once. */
static int least_used_job(struct conn *c, void *arg, struct err *err)
{
	struct run *run = arg;

	collector_forget(run->k);
	return collect_least_used(run->k, c, run->view, &run->more, err);
}

static int documents_job(struct conn *c, void *arg, struct err *err)
{
	struct run *run = arg;

	collector_forget(run->k);
	return collect_documents(run->k, c, run->view, &run->more, err);
}

/* What a view has too much of, or too old. */
typedef int view_fn(struct collector *k, struct conn *c, int64_t view, bool *ret_more,
		    struct err *err);

static int dry_view(struct run *run, struct conn *c, view_fn *fn, int64_t view, struct err *err)
{
	bool more = !run->more;
	int r = 0;

	while (more && r >= 0 && run->k->n_gone < DRY_RUN_MAX && !must_end(run))
		r = fn(run->k, c, view, &more, err);
	run->more |= more;
	return r;
}

/* 1: found the next view behind *view. */
static int view_next(struct conn *c, int64_t *view, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT id FROM view WHERE id > ?1 ORDER BY id LIMIT 1");
	query_bind_int(&q, 1, *view);
	r = query_step(&q, err);
	if (r > 0)
		*view = query_int(&q, 0);
	query_end(&q);
	return r;
}

static int dry_job(struct conn *c, void *arg, struct err *err)
{
	struct run *run = arg;
	int64_t view = 0;
	int r;

	run->began_ms = monotonic_ms();
	r = queue_job(c, run, err);
	while (r >= 0 && (r = view_next(c, &view, err)) > 0) {
		r = dry_view(run, c, collect_least_used, view, err);
		if (r >= 0)
			r = dry_view(run, c, collect_documents, view, err);
	}
	/* Takes everything back. */
	return r < 0 ? r : err_set(err, E_CANCELLED, "a dry run");
}

/* ---- Running ---- */

static void result_add(struct store_gc_result *sum, const struct store_gc_result *add)
{
	sum->tags += add->tags;
	sum->manifests += add->manifests;
	sum->blobs += add->blobs;
	sum->paths += add->paths;
	sum->objects += add->objects;
	sum->bytes += add->bytes;
	sum->looked_at += add->looked_at;
}

static void report(const struct collector *k, const struct store_gc_options *o)
{
	for (size_t i = 0; i < k->n_gone && o->report; i++)
		o->report(o->arg, &(struct store_gc_item){k->gone[i].kind, k->gone[i].cache,
							  k->gone[i].name, k->gone[i].reason,
							  k->gone[i].bytes});
}

static int run_one(struct run *run, db_job_fn *fn, struct store_gc_result *ret, struct err *err)
{
	int r = db_write(run->k->store->db, fn, run, err);

	uses_settle(run->k->store);
	if (r >= 0) {
		report(run->k, run->options);
		result_add(ret, &run->k->result);
	}
	return r;
}

/* Behind the one that was looked at. */
static int run_next_view(struct run *run, struct err *err)
{
	struct conn *c = db_reader(run->k->store->db, err);
	int r;

	if (!c)
		return err->code;
	r = view_next(c, &run->view, err);
	db_reader_done(run->k->store->db, c);
	return r;
}

/* One job again and again, until there is no more for it or the budget is spent. */
static int run_job(struct run *run, db_job_fn *fn, struct store_gc_result *ret, struct err *err)
{
	int r = 0;

	run->more = true;
	while (r >= 0 && run->more && !time_is_up(run->deadline_ms))
		r = run_one(run, fn, ret, err);
	ret->more |= run->more;
	return r;
}

static int run_all(struct run *run, struct store_gc_result *ret, struct err *err)
{
	int r = run_job(run, queue_job, ret, err);

	while (r >= 0 && (r = run_next_view(run, err)) > 0) {
		r = run_job(run, least_used_job, ret, err);
		if (r >= 0)
			r = run_job(run, documents_job, ret, err);
	}
	return r;
}

static int run_dry(struct run *run, struct store_gc_result *ret, struct err *err)
{
	struct err why = ERR_INIT;
	int r = db_write(run->k->store->db, dry_job, run, &why);

	if (r != E_CANCELLED) {
		*err = why;
		return r;
	}
	report(run->k, run->options);
	result_add(ret, &run->k->result);
	ret->more = run->more || run->k->n_gone >= DRY_RUN_MAX;
	return 0;
}

/* The rest of the time, but not so little that a long queue keeps all bytes on the disk. */
static uint64_t garbage_deadline(const struct run *run)
{
	uint64_t least = monotonic_ms() + run->options->budget_ms / 4;

	return run->deadline_ms && run->deadline_ms < least ? least : run->deadline_ms;
}

static int run_wet(struct run *run, struct store_gc_result *ret, struct err *err)
{
	struct store *s = run->k->store;
	struct clock_job noted = {.now = run->k->now};
	int r = clock_hold(s, run->k->rules->upload_grace_s, &noted.was_ahead, err);

	if (r >= 0)
		r = db_write(s->db, clock_job, &noted, err);
	if (r >= 0)
		r = run_all(run, ret, err);
	/* Without a budget, what nobody reads goes at once: the second time. */
	for (int times = run->options->budget_ms ? 1 : 2; r >= 0 && times > 0; times--) {
		r = garbage_collect(s, ret, garbage_deadline(run), err);
		ret->more |= r > 0;
	}
	return r;
}

int store_gc(struct store *s, const struct store_gc_options *o, struct store_gc_result *ret,
	     struct err *err)
{
	struct collector k = {.store = s, .dry = o->dry_run};
	struct run run = {.k = &k, .options = o};
	struct store_gc_result sum = {0};
	int r;

	pthread_mutex_lock(&s->collect_lock);
	if (o->budget_ms)
		run.deadline_ms = monotonic_ms() + o->budget_ms;
	k.rules = store_rules(s);
	k.now = now_seconds();
	r = uses_flush(s, o->budget_ms ? monotonic_ms() + o->budget_ms / 2 : 0, err);
	/* Who does not know all uses takes nothing. */
	sum.more = r > 0;
	if (r == 0)
		r = o->dry_run ? run_dry(&run, &sum, err) : run_wet(&run, &sum, err);
	pthread_mutex_unlock(&s->collect_lock);
	if (!o->dry_run) {
		pthread_mutex_lock(&s->collected_lock);
		result_add(&s->collected, &sum);
		pthread_mutex_unlock(&s->collected_lock);
	}
	collector_forget(&k);
	free(k.gone);
	if (r < 0)
		return r;
	*ret = sum;
	return 0;
}

void store_gc_total(struct store *s, struct store_gc_result *ret)
{
	pthread_mutex_lock(&s->collected_lock);
	*ret = s->collected;
	pthread_mutex_unlock(&s->collected_lock);
}
