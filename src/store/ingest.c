/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <nacre/nar.h>
#include <nacre/tar.h>

#include "store/bindings.h"
#include "store/decode.h"
#include "store/garbage.h"
#include "store/ingest.h"
#include "store/layer-frames.h"
#include "store/quarantine.h"
#include "store/stored-content.h"

enum {
	BATCH_NARS = 64,       /* recorded in one transaction */
	NAR_MAGIC = 8,         /* bytes that tell a NAR: the length of its first token */
	NAR_FIRST_BYTE = 0x0d, /* "nix-archive-1" has 13 */
};

/* Reads the decoded bytes of a blob. */
struct ingest {
	struct sink sink;
	struct store_view *view; /* borrowed */
	struct decode_sink decode;
	uint8_t head[NAR_MAGIC];
	size_t head_len;
	enum layer_kind kind;
	bool with_glue;              /* the blob may turn out to be made of our frames */
	struct layer_frames *frames; /* borrowed; NULL: they are made anew */
	bool is_framed;              /* they were, to the end */
	bool all_new;                /* no NAR that was recorded had been there */
	bool known_only;             /* the NARs are known; those that are not are gone */

	struct tar_reader *tar;        /* owned; LAYER_STORE */
	struct nar_decoder nar_reader; /* LAYER_NAR */
	char store_dir[STORE_DIR_MAX + 1];
	struct new_nar *open;              /* owned; what is being read */
	struct new_nar *batch[BATCH_NARS]; /* owned; sealed, but not recorded */
	size_t n_batch;
	struct layer_paths paths; /* the last n_batch have no NAR yet */
};

void layer_paths_release(struct layer_paths *p)
{
	for (size_t i = 0; i < p->len; i++)
		free(p->items[i].path);
	free(p->items);
	*p = (struct layer_paths){0};
}

struct layer_path *layer_paths_add(struct layer_paths *p, const char *path)
{
	array_grow(p->items, p->cap, p->len + 1);
	p->items[p->len] = (struct layer_path){.path = xstrdup(path)};
	return &p->items[p->len++];
}

static void new_nar_free(struct new_nar *n)
{
	if (n)
		new_nar_release(n);
	free(n);
}

/* ---- Recording ---- */

static int pending_note(struct conn *c, int64_t view, int64_t nar, struct err *err)
{
	struct query q;

	/* Should we die before somebody uses it, it is found here. */
	query_init(&q, c, "INSERT OR IGNORE INTO pending (view, nar, added) VALUES (?1, ?2, ?3)");
	query_bind_int(&q, 1, view);
	query_bind_int(&q, 2, nar);
	query_bind_int(&q, 3, now_seconds());
	return query_run(&q, err);
}

static int batch_job(struct conn *c, void *arg, struct err *err)
{
	struct ingest *in = arg;
	struct layer_path *paths = &in->paths.items[in->paths.len - in->n_batch];
	int r = 0;

	for (size_t i = 0; i < in->n_batch && r >= 0; i++) {
		r = new_nar_record(in->batch[i], c, &paths[i].nar, err);
		if (r >= 0 && in->known_only)
			r = paths[i].nar ? bindings_unplain(c, paths[i].nar, err) : 0;
		else if (r >= 0)
			r = pending_note(c, in->view->id, paths[i].nar, err);
	}
	return r;
}

static int batch_flush(struct ingest *in, struct err *err)
{
	int r = in->n_batch ? db_write(in->view->store->db, batch_job, in, err) : 0;

	for (size_t i = 0; i < in->n_batch; i++) {
		new_nar_settle(in->batch[i], r >= 0);
		in->all_new = in->all_new && in->batch[i]->is_new && in->batch[i]->has_layer;
		new_nar_free(in->batch[i]);
		if (r < 0)
			in->paths.items[in->paths.len - in->n_batch + i].nar = 0;
	}
	in->n_batch = 0;
	return r;
}

/* ---- Reading ---- */

static int nar_close(struct ingest *in, struct err *err)
{
	struct layer_path *path;
	int r;

	/* Events come from readers that open a path before they close it. */
	if (!in->open)
		return err_set(err, E_INTERNAL, "the end of a path that was not begun");
	r = new_nar_seal(in->open, err);

	if (r < 0)
		return r;
	path = layer_paths_add(&in->paths, in->open->path ? in->open->path : "");
	path->nar_hash = in->open->object.nar.digest;
	path->nar_size = in->open->object.nar.size;
	in->batch[in->n_batch++] = take_ptr(in->open);
	return in->n_batch == BATCH_NARS ? batch_flush(in, err) : 0;
}

static int path_begin(struct ingest *in, struct slice base, struct err *err)
{
	struct store_path path;

	if (in->paths.len >= LAYER_PATHS_MAX)
		return err_set(err, E_LIMIT, "a layer may hold %d store paths at the most",
			       LAYER_PATHS_MAX);
	if (store_path_make(&path, in->store_dir, base) < 0)
		return err_set(err, E_INVALID, "the layer has a malformed store path");
	in->open = xcalloc(1, sizeof(*in->open));
	if (in->frames)
		layer_frames_path(in->frames);
	new_nar_init(in->open, in->view->store, &path, in->with_glue,
		     in->frames ? &in->frames->supply : NULL);
	in->open->known_only = in->known_only;
	return 0;
}

/* The preamble and the trailer are frames of their own, which no path asks for. */
static int frames_outside(struct ingest *in, enum tar_event_type type, struct err *err)
{
	cleanup_buf struct buf raw = {0}, stored = {0};

	if (!in->frames)
		return 0;
	if (type == TAR_STORE_DIR)
		layer_preamble(&raw, &stored, in->store_dir);
	else
		layer_trailer(&raw, &stored);
	return layer_frames_expect(in->frames, buf_slice(&stored), err);
}

static int tar_event(struct ingest *in, const struct tar_event *ev, struct err *err)
{
	int r;

	switch (ev->type) {
	case TAR_STORE_DIR:
		if (ev->text.len > STORE_DIR_MAX)
			return err_set(err, E_INVALID, "the store directory is too long");
		memcpy(in->store_dir, ev->text.data, ev->text.len);
		return frames_outside(in, ev->type, err);
	case TAR_PATH:
		return path_begin(in, ev->text, err);
	case TAR_NODE:
		r = node_sink_event(new_nar_node_sink(in->open), &ev->node, err);
		return r >= 0 && ev->node.type == NODE_END ? nar_close(in, err) : r;
	case TAR_END:
		return frames_outside(in, ev->type, err);
	default:
		return 0;
	}
}

static int tar_feed(struct ingest *in, struct slice input, struct err *err)
{
	struct tar_event ev;
	int r;

	while ((r = tar_reader_step(in->tar, &input, &ev)) > 0)
		if (tar_event(in, &ev, err) < 0)
			return err->code;
	return r < 0 ? err_set(err, r, "not a store layer: %s", tar_reader_expected(in->tar)) : 0;
}

static int kind_decide(struct ingest *in, struct err *err)
{
	struct slice head = slice_make(in->head, in->head_len);

	if (in->head[0] == NAR_FIRST_BYTE && in->head[1] == 0) {
		if (in->frames)
			return err_set(err, E_MISMATCH, "no layer");
		in->kind = LAYER_NAR;
		in->open = xcalloc(1, sizeof(*in->open));
		new_nar_init(in->open, in->view->store, NULL, false, NULL);
		nar_decoder_init(&in->nar_reader, new_nar_node_sink(in->open));
		return sink_write(&in->nar_reader.sink, head.data, head.len, err);
	}
	in->kind = LAYER_STORE;
	in->with_glue = in->decode.codec == CODEC_ZSTD || in->decode.codec == CODEC_NONE;
	in->tar = tar_reader_new();
	return tar_feed(in, head, err);
}

static int ingest_write(struct sink *sink, const void *data, size_t len, struct err *err)
{
	struct ingest *in = container_of(sink, struct ingest, sink);
	struct slice input = slice_make(data, len);
	size_t n = NAR_MAGIC - in->head_len < len ? NAR_MAGIC - in->head_len : len;

	if (in->known_only && in->view->store->closing)
		return err_set(err, E_CANCELLED, "the store is being closed");
	if (n) {
		memcpy(in->head + in->head_len, data, n);
		in->head_len += n;
		slice_advance(&input, n);
		if (in->head_len < NAR_MAGIC)
			return 0;
		if (kind_decide(in, err) < 0)
			return err->code;
	}
	return in->kind == LAYER_NAR ? sink_write(&in->nar_reader.sink, input.data, input.len, err)
				     : tar_feed(in, input, err);
}

static int ingest_finish(struct sink *sink, struct err *err)
{
	struct ingest *in = container_of(sink, struct ingest, sink);
	int r;

	if (in->kind == LAYER_UNKNOWN)
		return err_set(err, E_TRUNCATED, "too short for a layer");
	if (in->kind == LAYER_STORE) {
		r = in->paths.len ? tar_reader_finish(in->tar) : E_INVALID;
		return r < 0 ? err_set(err, r, "the layer is not complete") : batch_flush(in, err);
	}
	r = sink_finish(&in->nar_reader.sink, err);
	if (r >= 0)
		r = nar_close(in, err);
	return r < 0 ? r : batch_flush(in, err);
}

static void ingest_init(struct ingest *in, struct store_view *v)
{
	*in = (struct ingest){.sink = {ingest_write, ingest_finish}, .view = v, .all_new = true};
	decode_sink_init(&in->decode, CODEC_UNKNOWN, &in->sink, &v->store->options, "the layer");
}

static void ingest_release(struct ingest *in)
{
	new_nar_free(in->open);
	while (in->n_batch)
		new_nar_free(in->batch[--in->n_batch]);
	tar_reader_free(in->tar);
	nar_decoder_release(&in->nar_reader);
	decode_sink_release(&in->decode);
	layer_paths_release(&in->paths);
}

/* ---- What layer_path says ---- */

int layer_paths_read(struct conn *c, int64_t blob, struct layer_paths *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT path, nar.id, nar_hash, nar_size FROM layer_path"
		   " JOIN nar ON nar.id = layer_path.nar WHERE blob = ?1 ORDER BY position");
	query_bind_int(&q, 1, blob);
	while ((r = query_step(&q, err)) > 0) {
		cleanup_free char *text = query_dup(&q, 0);
		struct layer_path *path = layer_paths_add(ret, text);

		path->nar = query_int(&q, 1);
		query_hash(&q, 2, &path->nar_hash);
		path->nar_size = (uint64_t)query_int(&q, 3);
	}
	query_end(&q);
	return r;
}

int layer_paths_write(struct conn *c, int64_t blob, enum layer_kind kind,
		      const struct layer_paths *paths, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "UPDATE blob SET layer = ?2 WHERE id = ?1 AND layer = 0");
	query_bind_int(&q, 1, blob);
	query_bind_int(&q, 2, kind);
	r = query_run(&q, err);
	if (r < 0 || conn_changes(c) == 0)
		return r; /* somebody else was first, with the same result */
	for (size_t i = 0; i < paths->len && r >= 0; i++) {
		query_init(&q, c,
			   "INSERT INTO layer_path (blob, position, path, nar) VALUES (?1, ?2, ?3, "
			   "?4)");
		query_bind_int(&q, 1, blob);
		query_bind_int(&q, 2, (int64_t)i);
		query_bind_str(&q, 3, paths->items[i].path);
		query_bind_int(&q, 4, paths->items[i].nar);
		r = query_run(&q, err);
	}
	return r;
}

/* ---- The verdict ---- */

struct verdict {
	struct store_view *view;
	int64_t blob;
	enum layer_kind kind;
	const struct layer_paths *paths;
	const struct splice *splice; /* NULL: the blob stays as it is */
	enum blob_form form;
};

/* The NARs have their use now, or never will. */
static int pending_clear(struct conn *c, const struct verdict *v, struct err *err)
{
	struct query q;
	int r = 0;

	for (size_t i = 0; i < v->paths->len && r >= 0; i++) {
		int64_t nar = v->paths->items[i].nar;

		if (!nar)
			continue;
		query_init(&q, c,
			   "DELETE FROM pending WHERE view = ?1 AND nar = ?2 AND NOT EXISTS"
			   " (SELECT 1 FROM nar_name WHERE nar = ?2 AND view = ?1)");
		query_bind_int(&q, 1, v->view->id);
		query_bind_int(&q, 2, nar);
		r = query_run(&q, err);
		if (r >= 0)
			r = garbage_nar(c, nar, err);
	}
	return r;
}

/* Glue that was made for nothing: no layer is put together with it. */
static int glue_drop(struct conn *c, const struct layer_path *path, struct err *err)
{
	int64_t glue = 0;
	struct query q;
	int r;

	query_init(&q, c,
		   "DELETE FROM body WHERE path = ?1 AND nar = ?2 AND NOT EXISTS"
		   " (SELECT 1 FROM blob_part WHERE object = body.glue) RETURNING glue");
	query_bind_str(&q, 1, path->path);
	query_bind_int(&q, 2, path->nar);
	r = query_step(&q, err);
	if (r > 0) {
		glue = query_int(&q, 0);
		r = query_step(&q, err);
	}
	query_end(&q);
	return r < 0 || !glue ? r : garbage_object(c, glue, err);
}

static int verdict_job(struct conn *c, void *arg, struct err *err)
{
	const struct verdict *v = arg;
	bool kept = v->kind == LAYER_STORE || v->kind == LAYER_NAR;
	struct layer_paths none = {0};
	int r = layer_paths_write(c, v->blob, v->kind, kept ? v->paths : &none, err);

	if (r >= 0 && v->splice)
		r = blob_convert(c, v->blob, v->form, v->splice, err);
	for (size_t i = 0; i < v->paths->len && r >= 0 && kept && !v->splice; i++)
		r = glue_drop(c, &v->paths->items[i], err);
	return r < 0 ? r : pending_clear(c, v, err);
}

/* Is the blob just what the splice says? 1 or 0. */
static int splice_equals(struct store *s, struct splice *splice, enum blob_form form,
			 const struct hash *digest, uint64_t size, struct err *err)
{
	CLEANUP(content_free) struct content *content = NULL;
	struct splice copy;
	struct hash got;
	int r;

	if ((form == BLOB_SPLICE ? splice->size : splice->raw_size) != size)
		return 0;
	content = content_new(s);
	splice_copy(&copy, splice);
	content_set_splice(content, form == BLOB_SPLICE ? CONTENT_SPLICE : CONTENT_DECODED, &copy);
	r = content_hash(content, digest->algo, &got, err);
	return r < 0 ? r : hash_equal(&got, digest);
}

static int nar_splice(struct store *s, int64_t nar, struct splice *ret, struct err *err)
{
	cleanup_nar struct nar n = {0};
	struct conn *c = db_reader(s->db, err);
	int r;

	if (!c)
		return err->code;
	r = nar_find_id(c, nar, &n, err);
	db_reader_done(s->db, c);
	if (r > 0)
		splice_nar(ret, &n.file_hash, &n.frames);
	return r < 0 ? r : r == 0 ? err_set(err, E_NOTFOUND, "the NAR is gone") : 0;
}

/* Looks for a splice that says the blob. 1: found. */
static int splice_search(struct ingest *in, const struct content *blob, struct splice *ret,
			 enum blob_form *ret_form, struct err *err)
{
	struct store *s = in->view->store;
	int r;

	if (in->decode.codec != CODEC_ZSTD && in->decode.codec != CODEC_NONE)
		return 0;
	*ret_form = in->decode.codec == CODEC_ZSTD ? BLOB_SPLICE : BLOB_DECODED;
	if (in->kind == LAYER_NAR && *ret_form == BLOB_SPLICE)
		return 0; /* if it is made of our frames, it is the same object already */
	r = in->kind == LAYER_NAR ? nar_splice(s, in->paths.items[0].nar, ret, err)
				  : layer_splice(s, &in->paths, ret, err);
	/* The frames of these objects are the blob's own, or were made just now of a tar that is
	 * canonical, which is to say what its paths give. What is made of older objects is read
	 * before the blob goes. */
	if (r >= 0 && in->kind == LAYER_STORE && in->all_new &&
	    (in->is_framed || *ret_form == BLOB_DECODED))
		return (in->is_framed ? ret->size : ret->raw_size) == content_size(blob);
	return r < 0 ? r
		     : splice_equals(s, ret, *ret_form, content_digest(blob), content_size(blob),
				     err);
}

/* Reads a blob of our frames. E_MISMATCH: it is none, and has to be read in the other way. */
static int read_framed(struct ingest *in, struct content *content, struct err *err)
{
	cleanup_layer_frames struct layer_frames frames;
	struct slice raw;
	size_t stored_size;
	int r;

	layer_frames_init(&frames, content, in->view->store->frame_pool);
	in->frames = &frames;
	in->decode.codec = CODEC_ZSTD;
	while ((r = layer_frames_next(&frames, &raw, &stored_size, err)) > 0 &&
	       (r = decode_sink_decoded(&in->decode, stored_size, raw.data, raw.len, err)) >= 0)
		;
	if (r >= 0)
		r = ingest_finish(&in->sink, err);
	if (r >= 0)
		r = layer_frames_finish(&frames, err);
	in->frames = NULL;
	in->is_framed = r >= 0;
	return r;
}

static int read_any(struct ingest *in, struct content *content, struct err *err)
{
	struct err why = ERR_INIT;
	bool known_only;
	int r = read_framed(in, content, &why);

	if (r != E_MISMATCH) {
		if (r < 0)
			*err = why;
		return r;
	}
	/* What was recorded so far is found there again. */
	known_only = in->known_only;
	ingest_release(in);
	ingest_init(in, in->view);
	in->known_only = known_only;
	r = content_copy(content, &in->decode.sink, err);
	return r < 0 ? r : sink_finish(&in->decode.sink, err);
}

bool ingest_is_ordinary(int code)
{
	return code != E_IO && code != E_NOMEM && code != E_INTERNAL && code != E_DENIED &&
	       code != E_CANCELLED;
}

/* Reads a blob; *ret_kind is what it is. < 0 only for what is not the blob's fault. */
static int ingest_read(struct ingest *in, struct content *content, enum layer_kind *ret_kind,
		       struct err *err)
{
	struct err why = ERR_INIT;
	int r = read_any(in, content, &why);

	*ret_kind = r >= 0 ? in->kind : LAYER_ORDINARY;
	if (r < 0 && !ingest_is_ordinary(r)) {
		*err = why;
		return r;
	}
	return 0;
}

static int blob_ingest_content(struct ingest *in, int64_t blob, struct content *content,
			       enum layer_kind *ret, struct err *err)
{
	cleanup_splice struct splice splice = {0};
	struct verdict verdict = {.view = in->view, .blob = blob, .paths = &in->paths};
	struct err ignored = ERR_INIT;
	int found = 0, r = ingest_read(in, content, &verdict.kind, err);

	if (r >= 0 && verdict.kind != LAYER_ORDINARY) {
		found = splice_search(in, content, &splice, &verdict.form, err);
		r = found;
	}
	verdict.splice = found > 0 ? &splice : NULL;
	if (r < 0) {
		/* Takes back what was recorded, and leaves the blob to be looked at again. */
		verdict.kind = LAYER_UNKNOWN;
		db_write(in->view->store->db, verdict_job, &verdict, &ignored);
		return r;
	}
	*ret = verdict.kind;
	return db_write(in->view->store->db, verdict_job, &verdict, err);
}

int blob_look(struct store_view *v, int64_t blob, struct content *content, enum layer_kind *ret,
	      struct err *err)
{
	struct conn *c = reader(v, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	*ret = LAYER_ORDINARY;
	query_init(&q, c, "SELECT layer FROM blob WHERE id = ?1");
	query_bind_int(&q, 1, blob);
	r = query_step(&q, err);
	if (r > 0)
		*ret = (enum layer_kind)query_int(&q, 0);
	query_end(&q);
	if (r > 0 && *ret == LAYER_UNKNOWN)
		r = blob_content(content, c, blob, err) < 0 ? err->code : 1;
	reader_done(v, c);
	return r;
}

int blob_ingest(struct store_view *v, int64_t blob, enum layer_kind *ret, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(v->store);
	struct ingest in;
	int r = blob_look(v, blob, content, ret, err);

	if (r < 0 || *ret != LAYER_UNKNOWN)
		return r < 0 ? r : 0;
	ingest_init(&in, v);
	r = blob_ingest_content(&in, blob, content, ret, err);
	ingest_release(&in);
	return r;
}

/* ---- Framing what is known ---- */

struct framed {
	int64_t object;
	const struct layer_paths *paths;
	const struct splice *splice; /* NULL: the blobs stay as they are */
	enum blob_form form;
};

/* One of the blobs that are this object, or 0. */
static int unframed_blob(struct conn *c, int64_t object, int64_t *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT id FROM blob WHERE object = ?1 AND unframed = 1 LIMIT 1");
	query_bind_int(&q, 1, object);
	r = query_step(&q, err);
	*ret = r > 0 ? query_int(&q, 0) : 0;
	query_end(&q);
	return r;
}

static int framed_job(struct conn *c, void *arg, struct err *err)
{
	const struct framed *f = arg;
	int64_t blob;
	struct query q;
	int r = 0;

	while (f->splice && (r = unframed_blob(c, f->object, &blob, err)) > 0 &&
	       (r = blob_convert(c, blob, f->form, f->splice, err)) >= 0)
		;
	for (size_t i = 0; i < f->paths->len && r >= 0 && !f->splice; i++)
		if (f->paths->items[i].nar)
			r = glue_drop(c, &f->paths->items[i], err);
	if (r < 0)
		return r;
	query_init(&q, c, "UPDATE blob SET unframed = 0 WHERE object = ?1 AND unframed = 1");
	query_bind_int(&q, 1, f->object);
	r = query_run(&q, err);
	return r < 0 ? r : garbage_object(c, f->object, err);
}

/* The layer was read once, and cannot be now. */
static int layer_is_lost(struct store *s, int64_t object, struct content *content, struct err *err)
{
	char text[DIGEST_TEXT_MAX];
	struct hash got;
	int r = content_hash(content, HASH_SHA256, &got, err);

	if (r >= 0 && !hash_equal(&got, content_digest(content)))
		r = quarantine_object(s, object, err);
	digest_format(text, content_digest(content));
	return r < 0 ? r
		     : err_set(err, E_INTERNAL, "object %s was a layer, and %s", text,
			       r > 0 ? "is damaged" : "cannot be read with these settings");
}

static bool has_all(const struct layer_paths *paths)
{
	for (size_t i = 0; i < paths->len; i++)
		if (!paths->items[i].nar)
			return false;
	return true;
}

static int frame_content(struct ingest *in, int64_t object, struct content *content,
			 struct err *err)
{
	cleanup_splice struct splice splice = {0};
	struct framed framed = {.object = object, .paths = &in->paths};
	enum layer_kind kind;
	int r = ingest_read(in, content, &kind, err);

	if (r >= 0 && kind != LAYER_STORE)
		return layer_is_lost(in->view->store, object, content, err);
	/* A path that is gone went after the blob. */
	if (r >= 0 && has_all(&in->paths))
		r = splice_search(in, content, &splice, &framed.form, err);
	if (r > 0)
		framed.splice = &splice;
	return r < 0 ? r : db_write(in->view->store->db, framed_job, &framed, err);
}

/* 1, or 0: it is gone, or damaged, which others see to. */
static int object_is_there(struct conn *c, int64_t object, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT 1 FROM object WHERE id = ?1 AND damaged = 0");
	query_bind_int(&q, 1, object);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

int object_frame(struct store *s, int64_t object, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(s);
	struct conn *c = db_reader(s->db, err);
	struct ingest in;
	int r;

	if (!c)
		return err->code;
	r = object_is_there(c, object, err);
	if (r > 0)
		r = content_set_object(content, c, object, err) < 0 ? err->code : 1;
	db_reader_done(s->db, c);
	if (r <= 0)
		return r;
	ingest_init(&in, s->root);
	in.known_only = true;
	r = frame_content(&in, object, content, err);
	ingest_release(&in);
	return r < 0 ? r : 0;
}
