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

/* What the pin held is looked at again: what waits for ever may wait because of it. */
static int pin_released(struct conn *c, const struct pin_job *job, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "INSERT INTO candidate (kind, a, b, name, since, due)"
		   " SELECT 6, id, 0, '', ?4, 0 FROM binding"
		   " WHERE view = ?1 AND hash_part = ?3 AND ?2 IN ('', 'nix', 'nix/package')"
		   " ON CONFLICT DO UPDATE SET due = 0");
	query_bind_int(&q, 1, job->view->id);
	query_bind_str(&q, 2, job->repository);
	query_bind_text(&q, 3, slice_make(job->reference, strnlen(job->reference, STORE_HASH_LEN)));
	query_bind_int(&q, 4, now_seconds());
	r = query_run(&q, err);
	if (r < 0 || !job->repository[0])
		return r;
	query_init(&q, c,
		   "UPDATE candidate SET due = 0 WHERE kind = 2 AND b = 0 AND a ="
		   " (SELECT id FROM repository WHERE view = ?1 AND name = ?2)"
		   " AND (?3 = '' OR name = ?3)");
	query_bind_int(&q, 1, job->view->id);
	query_bind_str(&q, 2, job->repository);
	query_bind_str(&q, 3, job->reference);
	r = query_run(&q, err);
	if (r < 0)
		return r;
	query_init(&q, c,
		   "UPDATE candidate SET due = 0 WHERE kind = 3 AND b = 0 AND name = '' AND a IN"
		   " (SELECT manifest.id FROM manifest JOIN repository"
		   "  ON repository.id = manifest.repository WHERE view = ?1"
		   "  AND repository.name = ?2)");
	query_bind_int(&q, 1, job->view->id);
	query_bind_str(&q, 2, job->repository);
	return query_run(&q, err);
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
