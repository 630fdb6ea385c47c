/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of candidates in the caches: store paths. */
#include <string.h>

#include "base/pattern.h"
#include "store/collect.h"
#include "store/garbage.h"
#include "store/repositories.h"

enum {
	DOCUMENTS_STEP = 64,    /* that go in one transaction */
	LEAST_USED_STEP = 64,   /* paths that go in one transaction */
	LEAST_USED_KEPT = 1024, /* that are kept although it is their turn: enough for one */
	YOUNG_S = 2 * 3600,     /* used so lately: a pull may be under way */
	DAY_S = 24 * 3600,
	REMOVE_TRIES = 20,
};

struct path_row {
	int64_t id, view, bytes, used, referrers;
	char *view_name, *base; /* owned */
	char *deriver;          /* owned; NULL: none */
};

static void path_row_release(struct path_row *p)
{
	free(p->view_name);
	free(p->base);
	free(p->deriver);
}
#define cleanup_path_row __attribute__((cleanup(path_row_release)))

static int path_read(struct conn *c, int64_t id, struct path_row *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT binding.view, bytes, used, referrers, base,"
		   " (SELECT name FROM view WHERE id = binding.view), deriver FROM binding"
		   " JOIN path_use ON path_use.binding = binding.id WHERE binding.id = ?1");
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	if (r > 0)
		*ret = (struct path_row){
			.id = id,
			.view = query_int(&q, 0),
			.bytes = query_int(&q, 1),
			.used = query_int(&q, 2),
			.referrers = query_int(&q, 3),
			.base = query_dup(&q, 4),
			.view_name = query_dup(&q, 5),
			.deriver = query_dup(&q, 6),
		};
	query_end(&q);
	return r;
}

/* ---- Taking one away ---- */

static int document_delete(struct conn *c, int64_t view, int tree, struct slice name,
			   struct err *err)
{
	int64_t object = 0;
	struct query q;
	int r;

	query_init(&q, c,
		   "DELETE FROM document WHERE view = ?1 AND tree = ?2 AND name = ?3"
		   " RETURNING object");
	query_bind_int(&q, 1, view);
	query_bind_int(&q, 2, tree);
	query_bind_text(&q, 3, name);
	r = query_step(&q, err);
	if (r > 0) {
		object = query_int(&q, 0);
		r = query_step(&q, err);
	}
	query_end(&q);
	return r < 0 || !object ? r : garbage_object(c, object, err);
}

/* How it was built is told as long as something is here that was built so: its log is named by the
 * derivation, which may have several outputs. */
static int log_delete(struct collector *k, struct conn *c, const struct path_row *p,
		      struct err *err)
{
	struct query q;
	int r;

	if (!p->deriver)
		return 0;
	query_init(&q, c,
		   "SELECT 1 FROM document WHERE view = ?1 AND tree = ?2 AND name = ?3"
		   " AND NOT EXISTS (SELECT 1 FROM binding WHERE view = ?1 AND deriver = ?3)");
	query_bind_int(&q, 1, p->view);
	query_bind_int(&q, 2, STORE_LOG);
	query_bind_str(&q, 3, p->deriver);
	r = query_step(&q, err);
	query_end(&q);
	if (r > 0)
		r = document_delete(c, p->view, STORE_LOG, slice_str(p->deriver), err) < 0
			    ? err->code
			    : 1;
	if (r > 0)
		collector_note(k, "log", p->view_name,
			       xasprintf("%s%slog/%s", p->view_name, p->view_name[0] ? "/" : "",
					 p->deriver),
			       xstrdup("the last path that was built so goes"), 0);
	return r;
}

/* The tags of what the server made of it: hash, in every form, in both repositories. */
#define MADE_TAGS                                                               \
	" FROM tag WHERE made = 1 AND repository IN (SELECT id FROM repository" \
	"  WHERE view = ?1 AND name IN ('nix', 'nix/package'))"                 \
	" AND name IN (?2, ?2 || '-tar', ?2 || '-gzip', ?2 || '-native')"

static int made_run(struct conn *c, const char *sql, const struct path_row *p, struct err *err)
{
	struct query q;

	query_init(&q, c, sql);
	query_bind_int(&q, 1, p->view);
	query_bind_text(&q, 2, slice_make(p->base, STORE_HASH_LEN));
	return query_run(&q, err);
}

static int path_delete(struct collector *k, struct conn *c, const struct path_row *p, char *reason,
		       struct err *err)
{
	struct query q;
	int r = document_delete(c, p->view, STORE_LISTING, slice_make(p->base, STORE_HASH_LEN),
				err);

	if (r >= 0)
		r = made_run(c, "DELETE FROM made WHERE manifest IN (SELECT manifest" MADE_TAGS ")",
			     p, err);
	if (r >= 0)
		r = made_run(c, "DELETE" MADE_TAGS, p, err);
	if (r >= 0) {
		query_init(&q, c, "DELETE FROM binding WHERE id = ?1");
		query_bind_int(&q, 1, p->id);
		r = query_run(&q, err);
	}
	if (r >= 0)
		r = log_delete(k, c, p, err);
	if (r < 0) {
		free(reason);
		return r;
	}
	k->result.paths++;
	collector_note(k, "path", p->view_name,
		       xasprintf("%s%s%s", p->view_name, p->view_name[0] ? "/" : "", p->base),
		       reason, (uint64_t)p->bytes);
	return VERDICT_GONE;
}

/* ---- On request ---- */

struct remove_job {
	struct collector *k;
	const struct store_view *view;
	const char *name;
};

static int path_find(struct conn *c, const struct remove_job *job, int64_t *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(
		&q, c,
		"SELECT id FROM binding WHERE view = ?1 AND hash_part = ?2 AND ?3 IN (?2, base)");
	query_bind_int(&q, 1, job->view->id);
	query_bind_text(&q, 2, slice_make(job->name, STORE_HASH_LEN));
	query_bind_str(&q, 3, job->name);
	r = query_step(&q, err);
	if (r > 0)
		*ret = query_int(&q, 0);
	query_end(&q);
	return r != 0 ? r : err_set(err, E_NOTFOUND, "there is no path %.300s", job->name);
}

static int remove_job(struct conn *c, void *arg, struct err *err)
{
	const struct remove_job *job = arg;
	cleanup_path_row struct path_row p = {0};
	int64_t id = 0;
	int r = path_find(c, job, &id, err);

	if (r >= 0)
		r = path_read(c, id, &p, err);
	if (r == 0)
		r = err_set(err, E_NOTFOUND, "there is no path %.300s", job->name);
	if (r >= 0 && p.referrers)
		r = err_set(err, E_CONFLICT, "%s is referred to by %lld others: delete them first",
			    p.base, (long long)p.referrers);
	if (r < 0)
		return r;
	r = pin_find_path(c, p.view, p.base, err);
	if (r > 0)
		r = err_set(err, E_CONFLICT, "%s is pinned", p.base);
	if (r < 0)
		return r;
	if (!collector_take(job->k, (struct use_key){USE_PATH, id, 0}))
		return err_set(err, E_CANCELLED, "%s is asked for at this moment: try again",
			       p.base);
	r = path_delete(job->k, c, &p, xstrdup("deleted"), err);
	return r < 0 ? r : 0;
}

int store_path_remove(struct store_view *v, const char *name, struct err *err)
{
	struct store *s = v->store;
	struct collector k = {.store = s, .rules = store_rules(s), .now = now_seconds()};
	struct remove_job job = {&k, v, name};
	int r = E_CANCELLED;

	if (strnlen(name, STORE_HASH_LEN) < STORE_HASH_LEN ||
	    store_hash_part_check(slice_make(name, STORE_HASH_LEN)) < 0)
		return err_set(err, E_NOTFOUND, "'%.300s' is no store path", name);
	pthread_mutex_lock(&s->collect_lock);
	/* Somebody may ask for it just between the two; not for ever. */
	for (int tries = 0; tries < REMOVE_TRIES && r == E_CANCELLED; tries++) {
		*err = ERR_INIT;
		r = uses_flush(s, 0, err);
		if (r >= 0)
			r = db_write(s->db, remove_job, &job, err);
		uses_settle(s);
	}
	pthread_mutex_unlock(&s->collect_lock);
	collector_forget(&k);
	free(k.gone);
	return r < 0 ? r : 0;
}

/* ---- By time ---- */

int collect_path(struct collector *k, struct conn *c, struct candidate *cand, struct err *err)
{
	cleanup_path_row struct path_row p = {0};
	const struct path_rule *rule;
	int64_t until;
	int r = path_read(c, cand->a, &p, err);

	if (r <= 0 || p.referrers)
		return r < 0 ? r : VERDICT_USED;
	rule = path_rule_find(k->rules, rule_cache_name(p.view_name));
	if (!rule || !rule->keep_used_for_s)
		return VERDICT_USED;
	r = pin_find_path(c, p.view, p.base, err);
	if (r < 0)
		return r;
	if (r > 0 || patterns_fit(&rule->keep_paths, p.base))
		return collector_wait(k, DUE_NEVER);
	/* Uses are written down to the hour. */
	until = p.used + rule->keep_used_for_s + USE_GRAIN_S;
	if (until > k->now)
		return collector_wait(k, until);
	if (!collector_take(k, (struct use_key){USE_PATH, p.id, 0}))
		return collector_wait(k, k->now + USE_GRAIN_S);
	return path_delete(k, c, &p,
			   xasprintf("used %lld days ago", (long long)(k->now - p.used) / DAY_S),
			   err);
}

/* ---- By size ---- */

static int view_read(struct conn *c, int64_t view, char **ret_name, uint64_t *ret_bytes,
		     struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT name, bytes FROM view WHERE id = ?1");
	query_bind_int(&q, 1, view);
	r = query_step(&q, err);
	if (r > 0) {
		*ret_name = query_dup(&q, 0);
		*ret_bytes = (uint64_t)query_int(&q, 1);
	}
	query_end(&q);
	return r;
}

struct least_used {
	struct collector *k;
	const struct path_rule *rule;
	struct least_used_at at; /* go on behind this one */
};

/* The next path in which nothing refers, by its last use; 0: there is none. */
static int least_used_next(struct conn *c, struct least_used *l, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT used, binding FROM path_use WHERE view = ?1 AND referrers = 0"
		   " AND (used, binding) > (?2, ?3) AND used < ?4 ORDER BY used, binding LIMIT 1");
	query_bind_int(&q, 1, l->at.view);
	query_bind_int(&q, 2, l->at.used);
	query_bind_int(&q, 3, l->at.id);
	query_bind_int(&q, 4, l->k->now - YOUNG_S);
	r = query_step(&q, err);
	if (r > 0) {
		l->at.used = query_int(&q, 0);
		l->at.id = query_int(&q, 1);
	}
	query_end(&q);
	l->k->result.looked_at++;
	return r;
}

/* VERDICT_GONE, or VERDICT_WAIT: it is kept all the same. */
static int least_used_take(struct conn *c, struct least_used *l, uint64_t *bytes, struct err *err)
{
	cleanup_path_row struct path_row p = {0};
	struct collector *k = l->k;
	int r = path_read(c, l->at.id, &p, err);

	if (r <= 0)
		return r < 0 ? r : VERDICT_WAIT;
	r = pin_find_path(c, p.view, p.base, err);
	if (r < 0)
		return r;
	if (r > 0 || patterns_fit(&l->rule->keep_paths, p.base) ||
	    !collector_take(k, (struct use_key){USE_PATH, p.id, 0}))
		return VERDICT_WAIT;
	*bytes -= *bytes < (uint64_t)p.bytes ? *bytes : (uint64_t)p.bytes;
	return path_delete(k, c, &p,
			   xasprintf("the cache is beyond its %llu bytes; used %lld days ago",
				     (unsigned long long)l->rule->max_bytes,
				     (long long)(k->now - p.used) / DAY_S),
			   err);
}

/* 1: there are more, but this was enough for one transaction. */
static int least_used_batch(struct conn *c, struct least_used *l, uint64_t bytes, struct err *err)
{
	size_t gone = 0, kept = 0;

	while (bytes > l->rule->max_bytes) {
		int r;

		if (gone == LEAST_USED_STEP || kept == LEAST_USED_KEPT)
			return 1;
		r = least_used_next(c, l, err);
		if (r <= 0)
			return r; /* nothing is left that could go */
		r = least_used_take(c, l, &bytes, err);
		if (r < 0)
			return r;
		gone += r == VERDICT_GONE;
		kept += r != VERDICT_GONE;
		l->at.gone += r == VERDICT_GONE;
		l->at.kept += r != VERDICT_GONE;
	}
	return 0;
}

int collect_least_used(struct collector *k, struct conn *c, int64_t view, bool *ret_more,
		       struct err *err)
{
	struct least_used l = {.k = k, .at = {.view = view, .used = INT64_MIN}};
	cleanup_free char *name = NULL;
	uint64_t bytes = 0;
	bool anew;
	int r = view_read(c, view, &name, &bytes, err);

	*ret_more = false;
	if (r <= 0)
		return r;
	l.rule = path_rule_find(k->rules, rule_cache_name(name));
	if (!l.rule || !l.rule->max_bytes)
		return 0;
	if (k->least_used.view == view)
		l.at = k->least_used;
	r = least_used_batch(c, &l, bytes, err);
	if (r < 0)
		return r;
	/* What those that went referred to may be free now, and older. But not again and again past
	 * many that stay: then at the end. */
	anew = l.at.gone && (r == 0 || l.at.kept < LEAST_USED_KEPT);
	k->least_used = anew ? (struct least_used_at){0} : l.at;
	*ret_more = anew || r > 0;
	return 0;
}

/* ---- Documents ---- */

struct old_document {
	int tree;
	char *name; /* owned */
	int64_t added;
};

/* The one that was put first of those whose time is over. 1 found, 0 there is none. */
static int old_document_next(struct conn *c, int64_t view, int64_t before, struct old_document *ret,
			     struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT tree, name, added FROM document WHERE view = ?1 AND added < ?2"
		   " AND tree <> 0 ORDER BY added LIMIT 1");
	query_bind_int(&q, 1, view);
	query_bind_int(&q, 2, before);
	r = query_step(&q, err);
	if (r > 0)
		*ret = (struct old_document){(int)query_int(&q, 0), query_dup(&q, 1),
					     query_int(&q, 2)};
	query_end(&q);
	return r;
}

static void document_note(struct collector *k, const char *view, const struct old_document *d)
{
	static const struct {
		const char *kind, *folder;
	} trees[STORE_TREES] = {
		[STORE_LISTING] = {"listing", ""},
		[STORE_LOG] = {"log", "log/"},
		[STORE_DEBUGINFO] = {"debuginfo", "debuginfo/"},
		[STORE_REALISATION] = {"realisation", "realisations/"},
		[STORE_BUILD_TRACE] = {"build trace", "build-trace-v2/"},
	};
	int tree = d->tree > 0 && d->tree < STORE_TREES ? d->tree : STORE_LISTING;

	collector_note(k, trees[tree].kind, view,
		       xasprintf("%s%s%s%s", view, view[0] ? "/" : "", trees[tree].folder, d->name),
		       xasprintf("put %lld days ago", (long long)(k->now - d->added) / DAY_S), 0);
}

/* 1: there is such a listing, and no path that it could go with. */
static int listing_is_alone(struct conn *c, const struct candidate *cand, struct err *err)
{
	struct query q;
	int r;

	query_init(
		&q, c,
		"SELECT 1 FROM document WHERE view = ?1 AND tree = ?2 AND name = ?3 AND NOT EXISTS"
		" (SELECT 1 FROM binding WHERE view = ?1 AND hash_part = ?3)");
	query_bind_int(&q, 1, cand->a);
	query_bind_int(&q, 2, STORE_LISTING);
	query_bind_str(&q, 3, cand->name);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

int collect_listing(struct collector *k, struct conn *c, struct candidate *cand, struct err *err)
{
	cleanup_free char *view_name = NULL;
	struct old_document d = {STORE_LISTING, cand->name, cand->since};
	int64_t until = cand->since + k->rules->upload_grace_s;
	uint64_t bytes;
	int r = listing_is_alone(c, cand, err);

	if (r <= 0)
		return r < 0 ? r : VERDICT_USED;
	if (until > k->now)
		return collector_wait(k, until);
	r = view_read(c, cand->a, &view_name, &bytes, err);
	if (r > 0)
		r = document_delete(c, cand->a, STORE_LISTING, slice_str(cand->name), err);
	if (r < 0)
		return r;
	document_note(k, view_name ? view_name : "", &d);
	return VERDICT_GONE;
}

int collect_documents(struct collector *k, struct conn *c, int64_t view, bool *ret_more,
		      struct err *err)
{
	cleanup_free char *view_name = NULL;
	const struct path_rule *rule;
	uint64_t bytes = 0;
	int n = 0, r = view_read(c, view, &view_name, &bytes, err);

	*ret_more = false;
	if (r <= 0)
		return r;
	rule = path_rule_find(k->rules, rule_cache_name(view_name));
	if (!rule || !rule->keep_documents_for_s)
		return 0;
	for (; n < DOCUMENTS_STEP; n++) {
		struct old_document d = {0};

		r = old_document_next(c, view, k->now - rule->keep_documents_for_s, &d, err);
		if (r > 0)
			r = document_delete(c, view, d.tree, slice_str(d.name), err) < 0 ? err->code
											 : 1;
		if (r > 0)
			document_note(k, view_name, &d);
		free(d.name);
		if (r <= 0)
			return r;
	}
	*ret_more = true;
	return 0;
}
