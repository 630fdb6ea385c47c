/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "store/manifests.h"
#include "store/products.h"

enum { PATH_INFOS_MAX = 256 << 20 };

void product_blob_release(struct product_blob *b)
{
	incoming_release(&b->bytes);
	splice_release(&b->splice);
	layer_paths_release(&b->paths);
	*b = (struct product_blob){0};
}

int product_blob_written(struct product_blob *b, struct err *err)
{
	incoming_end(&b->bytes);
	b->form = BLOB_OBJECT;
	b->name = (struct named_bytes){b->bytes.sha256, b->bytes.size};
	return incoming_seal(&b->bytes, err);
}

int product_blob_text(struct product_blob *b, struct store *s, struct slice text, struct err *err)
{
	int r;

	incoming_init(&b->bytes, s);
	b->layer = LAYER_ORDINARY;
	r = sink_write(&b->bytes.sink, text.data, text.len, err);
	return r < 0 ? r : product_blob_written(b, err);
}

void product_release(struct product *p)
{
	product_blob_release(&p->config);
	for (size_t i = 0; i < p->n_layers; i++)
		product_blob_release(&p->layers[i]);
	free(p->layers);
	buf_release(&p->manifest);
}

/* ---- Inside a transaction ---- */

static int product_blob_record(struct conn *c, struct product_blob *b, int64_t repository,
			       struct err *err)
{
	struct new_blob blob = {
		.digest = &b->name.digest,
		.size = b->name.size,
		.form = b->form,
		.object = b->object,
		.splice = &b->splice,
	};
	int r = 0;

	if (b->form == BLOB_OBJECT && !b->object)
		r = incoming_record(&b->bytes, c, OBJECT_OPAQUE, &blob.object, err);
	if (r >= 0)
		r = blob_record(c, &blob, &b->id, err);
	if (r >= 0)
		r = layer_paths_write(c, b->id, b->layer, &b->paths, err);
	return r < 0 ? r : blob_link(c, repository, b->id, err);
}

/* A manifest that we made ourselves, and what it consists of. */
struct own_manifest {
	const char *repository;
	const struct buf *bytes;
	int64_t config;        /* ids of blobs */
	const int64_t *layers; /* in its order */
};

static int manifest_make(struct conn *c, struct store_view *v, const struct own_manifest *own,
			 int64_t *ret_id, struct err *err)
{
	cleanup_manifest struct manifest m = {0};
	struct new_manifest n = {
		.parts = {.repository = own->repository,
			  .m = &m,
			  .layer_blobs = own->layers,
			  .config_blob = own->config},
		.bytes = buf_slice(own->bytes),
	};
	int r = manifest_parse(&m, NULL, n.bytes, err);

	if (r < 0)
		return r;
	hash_bytes(&n.digest, HASH_SHA256, own->bytes->data, own->bytes->len);
	return manifest_record(c, v, &n, ret_id, err);
}

/* ---- Path infos ---- */

struct infos {
	struct product_blob config, text;
	struct buf manifest;
};

static void infos_release(struct infos *infos)
{
	product_blob_release(&infos->config);
	product_blob_release(&infos->text);
	buf_release(&infos->manifest);
}

static void infos_settle(struct infos *infos, bool committed)
{
	incoming_settle(&infos->config.bytes, committed);
	incoming_settle(&infos->text.bytes, committed);
}

static int infos_make(struct infos *infos, struct store *s, const struct descriptor *subject,
		      const struct closure *closure, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(PATH_INFOS_MAX);
	int r;

	if (path_infos_format(&text, &closure->set) < 0)
		return err_set(err, E_LIMIT, "the path infos of the closure are too large");
	r = product_blob_text(&infos->text, s, buf_slice(&text), err);
	if (r >= 0)
		r = product_blob_text(&infos->config, s, slice_str(OCI_EMPTY_JSON), err);
	infos->manifest = BUF_INIT(MANIFEST_BYTES_MAX);
	if (r >= 0 && path_infos_manifest(&infos->manifest, subject, &infos->text.name) < 0)
		r = err_set(err, E_INTERNAL, "the manifest of path infos cannot be made");
	return r;
}

static int infos_record(struct conn *c, struct store_view *v, const char *repository,
			struct infos *infos, int64_t *ret_id, struct err *err)
{
	struct own_manifest own;
	int64_t id;
	int r = repository_make(c, v, repository, &id, err);

	if (r >= 0)
		r = product_blob_record(c, &infos->config, id, err);
	if (r >= 0)
		r = product_blob_record(c, &infos->text, id, err);
	own = (struct own_manifest){repository, &infos->manifest, infos->config.id,
				    &infos->text.id};
	return r < 0 ? r : manifest_make(c, v, &own, ret_id, err);
}

static int made_note(struct conn *c, int64_t manifest, int64_t infos, const struct closure *closure,
		     struct err *err)
{
	cleanup_buf struct buf paths = BUF_INIT(CLOSURE_NAME_MAX);
	struct query q;

	for (size_t i = 0; i < closure->n_roots; i++) {
		struct slice part =
			store_path_hash_part(&closure->set.items[closure->roots[i]].path);

		if (i)
			buf_add_str(&paths, ".");
		buf_add(&paths, part.data, part.len);
	}
	query_init(&q, c,
		   "INSERT INTO made (manifest, hash_part, whole, infos, generation)"
		   " VALUES (?1, ?2, ?3, ?4, ?5)"
		   " ON CONFLICT DO UPDATE SET infos = ?4, generation = ?5");
	query_bind_int(&q, 1, manifest);
	query_bind_text(&q, 2, buf_slice(&paths));
	query_bind_int(&q, 3, closure->whole);
	query_bind_int(&q, 4, infos);
	query_bind_int(&q, 5, closure->generation);
	return query_run(&q, err);
}

/* ---- All together ---- */

struct store_job {
	struct product *p;
	const struct closure *closure;
	struct infos infos;
};

static int layers_record(struct conn *c, struct product *p, int64_t repository, int64_t *ids,
			 struct err *err)
{
	int r = product_blob_record(c, &p->config, repository, err);

	for (size_t i = 0; i < p->n_layers && r >= 0; i++) {
		r = product_blob_record(c, &p->layers[i], repository, err);
		ids[i] = p->layers[i].id;
	}
	return r;
}

static int store_job(struct conn *c, void *arg, struct err *err)
{
	struct store_job *job = arg;
	struct product *p = job->p;
	cleanup_free int64_t *ids = xcalloc(p->n_layers + 1, sizeof(*ids));
	struct own_manifest own = {p->repository, &p->manifest, 0, ids};
	struct new_tag tag = {p->repository, p->tag, 0, true};
	int64_t repository, infos;
	int r = closure_is_current(c, p->view, job->closure, err);

	if (r == 0)
		return err_set(err, E_CANCELLED, "%s changed while its image was made", p->tag);
	if (r > 0)
		r = repository_make(c, p->view, p->repository, &repository, err);
	if (r >= 0)
		r = layers_record(c, p, repository, ids, err);
	own.config = p->config.id;
	if (r >= 0)
		r = manifest_make(c, p->view, &own, &tag.manifest, err);
	if (r >= 0)
		r = tag_set(c, p->view, &tag, err);
	if (r >= 0)
		r = infos_record(c, p->view, p->repository, &job->infos, &infos, err);
	return r < 0 ? r : made_note(c, tag.manifest, infos, job->closure, err);
}

static void product_settle(struct product *p, bool committed)
{
	incoming_settle(&p->config.bytes, committed);
	for (size_t i = 0; i < p->n_layers; i++)
		if (p->layers[i].bytes.store)
			incoming_settle(&p->layers[i].bytes, committed);
}

int product_store(struct product *p, const struct closure *closure, struct err *err)
{
	struct store_job job = {.p = p, .closure = closure};
	cleanup_descriptor struct descriptor subject = {0};
	struct hash digest;
	int r;

	hash_bytes(&digest, HASH_SHA256, p->manifest.data, p->manifest.len);
	descriptor_make(&subject, MT_OCI_MANIFEST, &digest, p->manifest.len);
	r = infos_make(&job.infos, p->view->store, &subject, closure, err);
	if (r >= 0)
		r = db_write(p->view->store->db, store_job, &job, err);
	product_settle(p, r >= 0);
	infos_settle(&job.infos, r >= 0);
	infos_release(&job.infos);
	return r;
}

/* ---- Path infos anew ---- */

struct replace_job {
	struct store_view *view;
	const char *repository;
	int64_t manifest;
	const struct closure *closure;
	struct infos infos;
};

/* Whether these are path infos of what was made: its row may still have an id that another
 * manifest has by now. */
static int is_infos_of(struct conn *c, int64_t infos, int64_t made, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT 1 FROM referrer AS r JOIN manifest AS m"
		   " ON m.repository = r.repository AND m.digest = r.subject"
		   " WHERE r.manifest = ?1 AND m.id = ?2 AND r.artifact_type = ?3");
	query_bind_int(&q, 1, infos);
	query_bind_int(&q, 2, made);
	query_bind_str(&q, 3, MT_NIX_PATH_INFOS);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

static int replace_job(struct conn *c, void *arg, struct err *err)
{
	struct replace_job *job = arg;
	int64_t old = 0, infos;
	struct query q;
	int r;

	query_init(&q, c, "SELECT infos FROM made WHERE manifest = ?1");
	query_bind_int(&q, 1, job->manifest);
	r = query_step(&q, err);
	if (r > 0)
		old = query_int(&q, 0);
	query_end(&q);
	if (r <= 0)
		return r; /* deleted meanwhile */
	r = infos_record(c, job->view, job->repository, &job->infos, &infos, err);
	if (r >= 0)
		r = made_note(c, job->manifest, infos, job->closure, err);
	if (r < 0 || !old || old == infos)
		return r;
	r = is_infos_of(c, old, job->manifest, err);
	return r > 0 ? manifest_drop(c, old, err) : r;
}

static int subject_read(struct store_view *v, int64_t manifest, struct descriptor *ret,
			struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	struct conn *c = reader(v, err);
	int r;

	if (!c)
		return err->code;
	r = manifest_read(c, manifest, &bytes, err);
	reader_done(v, c);
	if (r >= 0)
		descriptor_make(ret, bytes.media_type, &bytes.digest, bytes.bytes.len);
	return r;
}

int product_infos_replace(struct store_view *v, const char *repository, int64_t manifest,
			  const struct closure *closure, struct err *err)
{
	struct replace_job job = {v, repository, manifest, closure, {{{{0}}}}};
	cleanup_descriptor struct descriptor subject = {0};
	int r = subject_read(v, manifest, &subject, err);

	if (r >= 0)
		r = infos_make(&job.infos, v->store, &subject, closure, err);
	if (r >= 0)
		r = db_write(v->store->db, replace_job, &job, err);
	infos_settle(&job.infos, r >= 0);
	infos_release(&job.infos);
	return r;
}
