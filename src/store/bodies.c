/* SPDX-License-Identifier: Apache-2.0 */
#include "store/bodies.h"
#include "store/garbage.h"
#include "store/stored-content.h"

/* ---- Rows ---- */

void body_release(struct body *b)
{
	frames_release(&b->frames);
	*b = (struct body){0};
}

static int body_insert(struct conn *c, int64_t nar, const char *path, struct incoming *glue,
		       const struct layer_object *layer, struct err *err)
{
	cleanup_buf struct buf frames = BUF_INIT(256u << 20);
	char encoder[FRAME_ENCODER_MAX];
	int64_t object;
	struct query q;
	int r = incoming_record(glue, c, OBJECT_GLUE, &object, err);

	if (r < 0)
		return r;
	if (frames_serialize(&frames, &layer->frames) < 0)
		return err_set(err, E_LIMIT, "the layer has too many frames");
	frame_encoder_identity(encoder);
	query_init(&q, c,
		   "INSERT INTO body (path, nar, glue, frames, tar_digest, tar_size, zstd_digest,"
		   " zstd_size, encoder) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
	query_bind_str(&q, 1, path);
	query_bind_int(&q, 2, nar);
	query_bind_int(&q, 3, object);
	query_bind_blob(&q, 4, buf_slice(&frames));
	query_bind_hash(&q, 5, &layer->tar.digest);
	query_bind_int(&q, 6, (int64_t)layer->tar.size);
	query_bind_hash(&q, 7, &layer->zstd.digest);
	query_bind_int(&q, 8, (int64_t)layer->zstd.size);
	query_bind_str(&q, 9, encoder);
	return query_run(&q, err);
}

static int body_exists(struct conn *c, int64_t nar, const char *path, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT 1 FROM body WHERE path = ?1 AND nar = ?2");
	query_bind_str(&q, 1, path);
	query_bind_int(&q, 2, nar);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

int body_record(struct conn *c, int64_t nar, const char *path, struct incoming *glue,
		const struct layer_object *layer, struct err *err)
{
	int r = body_exists(c, nar, path, err);

	return r != 0 ? (r < 0 ? r : 0) : body_insert(c, nar, path, glue, layer, err);
}

struct name_job {
	int64_t body;
	const struct hash *tar, *zstd;
};

static int name_job(struct conn *c, void *arg, struct err *err)
{
	const struct name_job *job = arg;
	struct query q;

	query_init(&q, c,
		   "UPDATE body SET"
		   " tar_digest = CASE length(?2) WHEN 0 THEN tar_digest ELSE ?2 END,"
		   " zstd_digest = CASE length(?3) WHEN 0 THEN zstd_digest ELSE ?3 END"
		   " WHERE id = ?1");
	query_bind_int(&q, 1, job->body);
	query_bind_hash(&q, 2, job->tar);
	query_bind_hash(&q, 3, job->zstd);
	return query_run(&q, err);
}

int body_name(struct store *s, int64_t body, const struct hash *tar, const struct hash *zstd,
	      struct err *err)
{
	struct name_job job = {body, tar, zstd};

	return db_write(s->db, name_job, &job, err);
}

/* 1 found, 0 there is none. */
static int body_find(struct conn *c, int64_t nar, const char *path, struct body *ret,
		     struct err *err)
{
	struct body b = {0};
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT body.id, object.sha256, frames, tar_digest, tar_size, zstd_digest,"
		   " zstd_size, encoder FROM body JOIN object ON object.id = body.glue"
		   " WHERE path = ?1 AND nar = ?2");
	query_bind_str(&q, 1, path);
	query_bind_int(&q, 2, nar);
	r = query_step(&q, err);
	if (r > 0) {
		b.id = query_int(&q, 0);
		query_hash(&q, 1, &b.glue);
		query_hash(&q, 3, &b.tar.digest);
		b.tar.size = (uint64_t)query_int(&q, 4);
		query_hash(&q, 5, &b.zstd.digest);
		b.zstd.size = (uint64_t)query_int(&q, 6);
		b.current_encoder = encoder_is_ours(query_bytes(&q, 7));
		if (frames_parse(&b.frames, query_bytes(&q, 2)) < 0)
			r = err_set(err, E_INTERNAL, "the frames of a layer cannot be read");
	}
	query_end(&q);
	if (r > 0)
		*ret = b;
	return r;
}

/* ---- Deriving ---- */

struct derived {
	const struct body_wanted *wanted; /* borrowed; NULL: is there already */
	struct incoming glue;
	struct layer_object layer;
};

struct derive_job {
	struct derived items[BODIES_MAX];
	size_t n;
};

static void derive_job_release(struct derive_job *job)
{
	for (size_t i = 0; i < job->n; i++) {
		incoming_release(&job->items[i].glue);
		layer_object_release(&job->items[i].layer);
	}
	free(job);
}
CLEANUP_FUNC(struct derive_job, derive_job_release)

static int derive_job(struct conn *c, void *arg, struct err *err)
{
	struct derive_job *job = arg;
	int r = 0;

	for (size_t i = 0; i < job->n && r >= 0; i++) {
		struct derived *d = &job->items[i];

		if (d->wanted)
			r = body_record(c, d->wanted->nar, d->wanted->path->text, &d->glue,
					&d->layer, err);
	}
	return r;
}

static int derive_read(struct store *s, const struct body_wanted *wanted, bool again,
		       struct nar *ret_nar, struct object *ret_object, struct err *err)
{
	struct conn *c = db_reader(s->db, err);
	int r = 0;

	if (!c)
		return err->code;
	if (!again)
		r = body_exists(c, wanted->nar, wanted->path->text, err);
	if (r == 0) {
		r = nar_find_id(c, wanted->nar, ret_nar, err);
		if (r == 0)
			r = err_set(err, E_NOTFOUND, "the NAR of %s is gone", wanted->path->text);
		else if (r > 0)
			r = object_open(s, c, ret_nar->object, ret_object, err);
	}
	db_reader_done(s->db, c);
	return r;
}

/* Reads the NAR once, and holds what its tar needs besides. */
static int derive(struct store *s, const struct body_wanted *wanted, bool again, struct derived *d,
		  struct err *err)
{
	cleanup_object struct object object = OBJECT_INIT;
	cleanup_nar struct nar n = {0};
	struct framed_nar framed;
	int r = derive_read(s, wanted, again, &n, &object, err);

	if (r != 0)
		return r < 0 ? r : 0;
	incoming_init(&d->glue, s);
	d->glue.hash_given = true;
	framed = (struct framed_nar){object_reader(&object), &n.frames, &n.nar_hash};
	r = derive_layer(&framed, wanted->path, &d->glue.sink, &d->layer, err);
	if (r < 0)
		return err_wrap(err, "%s", wanted->path->text);
	d->glue.sha256 = d->layer.glue.digest;
	d->wanted = wanted;
	return incoming_seal(&d->glue, err);
}

int bodies_derive(struct store *s, const struct body_wanted *wanted, size_t n, struct err *err)
{
	CLEANUP(content_free) struct content *guard = content_new(s);
	CLEANUP(derive_job_release) struct derive_job *job = xcalloc(1, sizeof(*job));
	bool any = false;
	int r = 0;

	for (size_t i = 0; i < n && i < BODIES_MAX && r >= 0; i++) {
		job->n++;
		r = derive(s, &wanted[i], false, &job->items[i], err);
		any = any || job->items[i].wanted;
	}
	if (r >= 0 && any)
		r = db_write(s->db, derive_job, job, err);
	for (size_t i = 0; i < job->n; i++)
		if (job->items[i].wanted)
			incoming_settle(&job->items[i].glue, r >= 0);
	return r < 0 ? r : 0;
}

static int again_job(struct conn *c, void *arg, struct err *err)
{
	struct derived *d = arg;
	int64_t object;
	int r = incoming_record(&d->glue, c, OBJECT_GLUE, &object, err);

	/* Another encoder makes other bytes, which nothing uses. */
	return r < 0 ? r : garbage_object(c, object, err);
}

int body_derive_again(struct store *s, const struct body_wanted *wanted, struct err *err)
{
	CLEANUP(content_free) struct content *guard = content_new(s);
	struct derived d = {0};
	int r = derive(s, wanted, true, &d, err);

	if (r >= 0)
		r = db_write(s->db, again_job, &d, err);
	incoming_settle(&d.glue, r >= 0);
	incoming_release(&d.glue);
	layer_object_release(&d.layer);
	return r < 0 ? r : 0;
}

static int body_look(struct store *s, int64_t nar, const char *path, struct body *ret,
		     struct err *err)
{
	struct conn *c = db_reader(s->db, err);
	int r;

	if (!c)
		return err->code;
	r = body_find(c, nar, path, ret, err);
	db_reader_done(s->db, c);
	return r;
}

int body_make(struct store *s, int64_t nar, const struct store_path *path, struct body *ret,
	      struct err *err)
{
	struct body_wanted wanted = {nar, path};
	int r = body_look(s, nar, path->text, ret, err);

	if (r != 0)
		return r < 0 ? r : 0;
	r = bodies_derive(s, &wanted, 1, err);
	if (r >= 0)
		r = body_look(s, nar, path->text, ret, err);
	if (r == 0)
		return err_set(err, E_INTERNAL, "the layer of %s was not kept", path->text);
	return r < 0 ? r : 0;
}
