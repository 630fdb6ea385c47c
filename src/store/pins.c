/* SPDX-License-Identifier: Apache-2.0 */
/* Pins: what is kept whatever the rules say. */
#include <string.h>

#include <nacre/reference.h>

#include "store/collect.h"
#include "store/manifests.h"

/* ---- Asking ---- */

int pin_find(struct conn *c, int64_t view, const char *repository, const char *reference,
	     struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT 1 FROM pin WHERE view = ?1 AND repository = ?2"
		   " AND reference IN ('', ?3)");
	query_bind_int(&q, 1, view);
	query_bind_str(&q, 2, repository);
	query_bind_str(&q, 3, reference);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

int pin_find_path(struct conn *c, int64_t view, const char *base, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT 1 FROM pin WHERE view = ?1 AND ((repository = '' AND reference = ?2)"
		   " OR (repository IN ('nix', 'nix/package') AND reference IN"
		   " ('', ?3, ?3 || '-tar', ?3 || '-gzip', ?3 || '-native')))");
	query_bind_int(&q, 1, view);
	query_bind_str(&q, 2, base);
	query_bind_text(&q, 3, slice_make(base, STORE_HASH_LEN));
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

/* ---- Changing ---- */

struct pin_job {
	struct store_view *view;
	const char *repository, *reference;
	bool remove;
};

/* What the pin held is looked at again: what waits for ever may wait because of it. Of one thing, that one;
 * of a whole repository, what waits for ever and lies in it: either way not all that the repository has. */

static int released_run(struct conn *c, const char *sql, const struct pin_job *job, struct err *err)
{
	struct query q;

	query_init(&q, c, sql);
	query_bind_int(&q, 1, job->view->id);
	query_bind_str(&q, 2, job->repository);
	query_bind_str(&q, 3, job->reference);
	query_bind_int(&q, 4, DUE_NEVER);
	return query_run(&q, err);
}

static int released_digest(struct conn *c, const struct pin_job *job, struct err *err)
{
	struct hash digest;
	struct query q;

	if (digest_parse(&digest, slice_str(job->reference)) < 0)
		return 0;
	query_init(&q, c,
		   "UPDATE candidate SET due = 0 WHERE kind = 3 AND b = 0 AND name = '' AND a ="
		   " (SELECT manifest.id FROM repository JOIN manifest"
		   "  ON manifest.repository = repository.id AND digest = ?3"
		   "  WHERE view = ?1 AND repository.name = ?2)");
	query_bind_int(&q, 1, job->view->id);
	query_bind_str(&q, 2, job->repository);
	query_bind_hash(&q, 3, &digest);
	return query_run(&q, err);
}

/* A path, or what the server made of one. */
static int released_path(struct conn *c, const struct pin_job *job, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "INSERT INTO candidate (kind, a, b, name, since, due)"
		   " SELECT 6, id, 0, '', ?3, 0 FROM binding"
		   " WHERE view = ?1 AND hash_part = ?2"
		   " ON CONFLICT DO UPDATE SET due = 0");
	query_bind_int(&q, 1, job->view->id);
	query_bind_text(&q, 2, slice_make(job->reference, strnlen(job->reference, STORE_HASH_LEN)));
	query_bind_int(&q, 3, now_seconds());
	return query_run(&q, err);
}

static int released_all(struct conn *c, const struct pin_job *job, struct err *err)
{
	int r = released_run(c,
			     "UPDATE candidate INDEXED BY candidate_due SET due = 0 WHERE due = ?4"
			     " AND kind IN (2, 3) AND coalesce(CASE kind WHEN 2 THEN a"
			     "  ELSE (SELECT repository FROM manifest WHERE id = a) END ="
			     "  (SELECT id FROM repository WHERE view = ?1 AND name = ?2), 0)",
			     job, err);

	if (r < 0 || repository_made_kind(job->repository) == MADE_NONE)
		return r;
	return released_run(c,
			    "UPDATE candidate INDEXED BY candidate_due SET due = 0 WHERE due = ?4"
			    " AND kind = 6 AND (SELECT view FROM binding WHERE id = a) = ?1",
			    job, err);
}

static int pin_released(struct conn *c, const struct pin_job *job, struct err *err)
{
	int r = 0;

	if (!job->repository[0])
		return released_path(c, job, err);
	if (!job->reference[0])
		return released_all(c, job, err);
	if (strchr(job->reference, ':'))
		return released_digest(c, job, err);
	if (repository_made_kind(job->repository) != MADE_NONE)
		r = released_path(c, job, err);
	if (r < 0)
		return r;
	return released_run(
		c,
		"UPDATE candidate SET due = 0 WHERE kind = 2 AND b = 0 AND name = ?3 AND a ="
		" (SELECT id FROM repository WHERE view = ?1 AND name = ?2)",
		job, err);
}

static int pin_job(struct conn *c, void *arg, struct err *err)
{
	const struct pin_job *job = arg;
	struct query q;
	int r;

	if (job->remove)
		query_init(&q, c,
			   "DELETE FROM pin WHERE view = ?1 AND repository = ?2"
			   " AND reference = ?3");
	else
		query_init(&q, c,
			   "INSERT OR IGNORE INTO pin (view, repository, reference, added)"
			   " VALUES (?1, ?2, ?3, ?4)");
	query_bind_int(&q, 1, job->view->id);
	query_bind_str(&q, 2, job->repository);
	query_bind_str(&q, 3, job->reference);
	if (!job->remove)
		query_bind_int(&q, 4, now_seconds());
	r = query_run(&q, err);
	if (r < 0 || !job->remove)
		return r;
	return conn_changes(c) ? pin_released(c, job, err)
			       : err_set(err, E_NOTFOUND, "there is no such pin");
}

static int pin_change(struct store_view *v, const char *repository, const char *reference,
		      bool remove, struct err *err)
{
	struct pin_job job = {v, repository, reference, remove};
	struct manifest_ref ref;
	int r = repository_name_check(repository, err);

	if (r >= 0 && reference[0])
		r = manifest_ref_parse(&ref, reference, err);
	return r < 0 ? r : db_write(v->store->db, pin_job, &job, err);
}

int store_pin(struct store_view *v, const char *repository, const char *reference, struct err *err)
{
	return pin_change(v, repository, reference, false, err);
}

int store_unpin(struct store_view *v, const char *repository, const char *reference,
		struct err *err)
{
	return pin_change(v, repository, reference, true, err);
}

static int pin_change_path(struct store_view *v, const char *base, bool remove, struct err *err)
{
	struct pin_job job = {v, "", base, remove};
	struct store_path path;

	if (store_path_make(&path, STORE_DIR_DEFAULT, slice_str(base)) < 0)
		return err_set(err, E_INVALID, "'%.300s' is not the name of a store path", base);
	return db_write(v->store->db, pin_job, &job, err);
}

int store_pin_path(struct store_view *v, const char *base, struct err *err)
{
	return pin_change_path(v, base, false, err);
}

int store_unpin_path(struct store_view *v, const char *base, struct err *err)
{
	return pin_change_path(v, base, true, err);
}

int store_pins(struct store *s, store_pin_report *report, void *arg, struct err *err)
{
	struct conn *c = db_reader(s->db, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c,
		   "SELECT view.name, repository, reference, pin.added FROM pin"
		   " JOIN view ON view.id = pin.view ORDER BY view.name, repository, reference");
	while ((r = query_step(&q, err)) > 0) {
		cleanup_free char *view = query_dup(&q, 0), *repository = query_dup(&q, 1),
				  *reference = query_dup(&q, 2);

		report(arg,
		       &(struct store_pin_item){view, repository, reference, query_int(&q, 3)});
	}
	query_end(&q);
	db_reader_done(s->db, c);
	return r;
}
