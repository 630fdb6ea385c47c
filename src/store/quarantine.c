/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <nacre/hash.h>

#include "base/fs.h"
#include "store/bodies.h"
#include "store/garbage.h"
#include "store/objects.h"
#include "store/quarantine.h"
#include "store/repositories.h"

/* ---- Asking ---- */

static int one_int(struct conn *c, const char *sql, int64_t id, int64_t *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, sql);
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	if (r > 0)
		*ret = query_int(&q, 0);
	query_end(&q);
	return r;
}

int quarantine_count(struct store *s, struct err *err)
{
	struct conn *c = db_reader(s->db, err);
	int64_t n = 0;
	int r;

	if (!c)
		return err->code;
	r = one_int(c, "SELECT count(*) FROM object WHERE damaged = 1 AND id > ?1", 0, &n, err);
	db_reader_done(s->db, c);
	if (r >= 0)
		atomic_store(&s->damaged, n);
	return r < 0 ? r : 0;
}

int blob_is_damaged(struct conn *c, int64_t blob, struct err *err)
{
	int64_t n;

	return one_int(c,
		       "SELECT 1 WHERE EXISTS (SELECT 1 FROM blob JOIN object"
		       "  ON object.id = blob.object WHERE blob.id = ?1 AND damaged = 1)"
		       " OR EXISTS (SELECT 1 FROM blob_part JOIN object"
		       "  ON object.id = blob_part.object WHERE blob = ?1 AND damaged = 1)",
		       blob, &n, err);
}

int blob_is_whole(const struct store *s, struct conn *c, int64_t blob, struct err *err)
{
	int damaged = quarantine_any(s) ? blob_is_damaged(c, blob, err) : 0;

	return damaged < 0 ? damaged : !damaged;
}

int nar_is_damaged(struct conn *c, int64_t nar, struct err *err)
{
	int64_t n;

	return one_int(c,
		       "SELECT 1 FROM nar JOIN object ON object.id = nar.object"
		       " WHERE nar.id = ?1 AND damaged = 1",
		       nar, &n, err);
}

/* ---- Moving aside ---- */

struct mark_job {
	int64_t object;
	char file[OBJECT_FILE_MAX]; /* empty: its bytes are in the database */
	bool marked;
};

static int mark_job(struct conn *c, void *arg, struct err *err)
{
	struct mark_job *job = arg;
	struct query q;
	int r;

	query_init(&q, c,
		   "UPDATE object SET damaged = 1 WHERE id = ?1 AND damaged = 0"
		   " RETURNING coalesce(file, '')");
	query_bind_int(&q, 1, job->object);
	r = query_step(&q, err);
	job->marked = r > 0;
	if (r > 0) {
		struct slice file = query_bytes(&q, 0);

		snprintf(job->file, sizeof(job->file), "%.*s", (int)file.len,
			 (const char *)file.data);
		r = query_step(&q, err);
	}
	query_end(&q);
	return r;
}

/* The bytes may be wanted to find out what happened; they may also be unreadable, or gone. */
static void move_aside(struct store *s, const char *file)
{
	char name[OBJECT_FILE_MAX + sizeof("quarantine/")];

	if (mkdirat(s->dirfd, "quarantine", 0700) < 0 && errno != EEXIST)
		return;
	snprintf(name, sizeof(name), "quarantine/%s", file);
	name[sizeof("quarantine/") - 1 + 2] = '-';
	renameat(s->objects_fd, file, s->dirfd, name);
}

int quarantine_object(struct store *s, int64_t object, struct err *err)
{
	struct mark_job job = {.object = object};
	int r = db_write(s->db, mark_job, &job, err);

	if (r < 0 || !job.marked)
		return r < 0 ? r : 0;
	atomic_fetch_add(&s->damaged, 1);
	if (job.file[0])
		move_aside(s, job.file);
	return 1;
}

/* ---- Getting back ---- */

int blob_heal(struct conn *c, int64_t blob, int64_t object, struct err *err)
{
	cleanup_blob_parts struct blob_parts parts = {0};
	int64_t old = 0;
	struct query q;
	int r = one_int(c, "SELECT coalesce(object, 0) FROM blob WHERE id = ?1", blob, &old, err);

	if (r <= 0 || old == object)
		return r < 0 ? r : 0;
	r = blob_parts_take(c, blob, &parts, err);
	if (r < 0)
		return r;
	/* It is no splice any more, and nobody has looked what is in it. */
	query_init(&q, c,
		   "UPDATE blob SET form = 1, object = ?2, splice = NULL, layer = 0,"
		   " unframed = 0 WHERE id = ?1");
	query_bind_int(&q, 1, blob);
	query_bind_int(&q, 2, object);
	r = query_run(&q, err);
	return r < 0 ? r : garbage_blob_parts(c, &parts, err);
}

struct repair {
	struct store *store;
	const struct store_check_options *o;
	int64_t object;
};

static int is_whole(struct repair *k, struct err *err)
{
	struct conn *c = db_reader(k->store->db, err);
	int64_t n;
	int r;

	if (!c)
		return err->code;
	r = one_int(c, "SELECT 1 FROM object WHERE id = ?1 AND damaged = 1", k->object, &n, err);
	db_reader_done(k->store->db, c);
	return r < 0 ? r : r == 0;
}

/* Tar glue: made again from its NAR. */
static int repair_glue(struct repair *k, struct err *err)
{
	struct conn *c = db_reader(k->store->db, err);
	cleanup_free char *text = NULL;
	struct store_path path;
	int64_t nar = 0;
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(
		&q, c,
		"SELECT path, nar FROM body JOIN nar ON nar.id = body.nar"
		" JOIN object ON object.id = nar.object WHERE glue = ?1 AND damaged = 0 LIMIT 1");
	query_bind_int(&q, 1, k->object);
	r = query_step(&q, err);
	if (r > 0) {
		text = query_dup(&q, 0);
		nar = query_int(&q, 1);
	}
	query_end(&q);
	db_reader_done(k->store->db, c);
	if (r <= 0 || store_path_parse_any(&path, slice_str(text)) < 0)
		return r;
	return body_derive_again(k->store, &(struct body_wanted){nar, &path}, err);
}

/* Listings that the server makes: forgotten, they are made again when somebody asks. */
static int listing_job(struct conn *c, void *arg, struct err *err)
{
	struct repair *k = arg;
	int r = query_run_id(c, "DELETE FROM document WHERE object = ?1 AND tree = 0", k->object,
			     err);

	return r < 0 ? r : garbage_object(c, k->object, err);
}

/* Asks `fetch` for one thing that needs the object, after another, until it is whole. */
static int repair_fetch_nar(struct repair *k, struct err *err)
{
	struct conn *c = db_reader(k->store->db, err);
	cleanup_free char *base = NULL, *view = NULL;
	struct store_repair_request request = {.kind = STORE_REPAIR_NAR};
	struct hash hash;
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c,
		   "SELECT base, view.name, nar_hash FROM nar JOIN binding ON binding.nar = nar.id"
		   " JOIN view ON view.id = binding.view WHERE nar.object = ?1"
		   " ORDER BY attested DESC LIMIT 1");
	query_bind_int(&q, 1, k->object);
	r = query_step(&q, err);
	if (r > 0) {
		base = query_dup(&q, 0);
		view = query_dup(&q, 1);
		query_hash(&q, 2, &hash);
	}
	query_end(&q);
	db_reader_done(k->store->db, c);
	if (r <= 0)
		return r;
	request.view = store_view_find(k->store, slice_str(view));
	request.path = base;
	request.hash = &hash;
	return request.view ? k->o->fetch(k->o->fetch_arg, &request, err) : 0;
}

static int repair_fetch_blob(struct repair *k, struct err *err)
{
	struct conn *c = db_reader(k->store->db, err);
	cleanup_free char *repository = NULL, *view = NULL;
	struct store_repair_request request = {.kind = STORE_REPAIR_BLOB};
	struct hash hash;
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c,
		   "SELECT repository.name, view.name, digest FROM blob"
		   " JOIN repository_blob ON repository_blob.blob = blob.id"
		   " JOIN repository ON repository.id = repository_blob.repository"
		   " JOIN view ON view.id = repository.view WHERE blob.object = ?1 LIMIT 1");
	query_bind_int(&q, 1, k->object);
	r = query_step(&q, err);
	if (r > 0) {
		repository = query_dup(&q, 0);
		view = query_dup(&q, 1);
		query_hash(&q, 2, &hash);
	}
	query_end(&q);
	db_reader_done(k->store->db, c);
	if (r <= 0)
		return r;
	request.view = store_view_find(k->store, slice_str(view));
	request.repository = repository;
	request.hash = &hash;
	return request.view ? k->o->fetch(k->o->fetch_arg, &request, err) : 0;
}

/* 1: it is whole again, or nobody needs it any more. What one way fails at, another may do. */
static int repair_one(struct repair *k, struct err *err)
{
	static int (*const ways[])(struct repair *, struct err *) = {repair_glue, repair_fetch_nar,
								     repair_fetch_blob};
	struct err why = ERR_INIT;
	int r = db_write(k->store->db, listing_job, k, err);

	for (size_t i = 0; i < ARRAY_LEN(ways) && r >= 0; i++) {
		if (i > 0 && !k->o->fetch)
			break;
		ways[i](k, &why);
		r = is_whole(k, err);
		if (r != 0)
			return r;
	}
	return r;
}

static int next_damaged(struct store *s, int64_t *object, char *ret_digest, struct err *err)
{
	struct conn *c = db_reader(s->db, err);
	struct hash h;
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c,
		   "SELECT id, sha256 FROM object WHERE damaged = 1 AND id > ?1"
		   " AND NOT EXISTS (SELECT 1 FROM garbage WHERE object = object.id)"
		   " ORDER BY id LIMIT 1");
	query_bind_int(&q, 1, *object);
	r = query_step(&q, err);
	if (r > 0) {
		*object = query_int(&q, 0);
		query_hash(&q, 1, &h);
		digest_format(ret_digest, &h);
	}
	query_end(&q);
	db_reader_done(s->db, c);
	return r;
}

static int is_garbage(struct store *s, int64_t object, struct err *err)
{
	struct conn *c = db_reader(s->db, err);
	int64_t n;
	int r;

	if (!c)
		return err->code;
	r = one_int(c, "SELECT 1 FROM garbage WHERE object = ?1", object, &n, err);
	db_reader_done(s->db, c);
	return r;
}

int quarantine_repair(struct store *s, const struct store_check_options *o,
		      struct store_check_result *result, struct err *err)
{
	struct repair k = {s, o, 0};
	char digest[DIGEST_TEXT_MAX], text[DIGEST_TEXT_MAX + 100];
	int r;

	while ((r = next_damaged(s, &k.object, digest, err)) > 0) {
		if (o->cancel && atomic_load(o->cancel))
			return err_set(err, E_CANCELLED, "stopped on request");
		r = repair_one(&k, err);
		if (r == 0)
			r = is_garbage(s, k.object, err);
		if (r < 0)
			return r;
		*(r > 0 ? &result->repaired : &result->lost) += 1;
		snprintf(text, sizeof(text), "object %s: %s", digest,
			 r > 0 ? "repaired" : "cannot be repaired: put it again");
		o->report(o->arg, text);
	}
	return r < 0 ? r : quarantine_count(s, err);
}
