/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <nacre/nar.h>
#include <nacre/tar.h>

#include "store/decode.h"
#include "store/garbage.h"
#include "store/layer-scan.h"
#include "store/stored-content.h"

struct scan {
	struct sink sink;
	struct decode_sink decode;
	struct tar_reader *tar; /* owned */
	char store_dir[STORE_DIR_MAX + 1];
	struct layer_path *path; /* borrowed from `paths`; what is being read */
	struct nar_writer *nar;  /* owned */
	struct hash_sink hash;
	struct layer_paths *paths; /* borrowed */
};

void layer_scan_release(struct layer_scan *l)
{
	layer_paths_release(&l->paths);
}

/* ---- Reading ---- */

static void path_end(struct scan *s)
{
	nar_writer_free(take_ptr(s->nar));
	hash_sink_release(&s->hash);
	s->path = NULL;
}

static int path_begin(struct scan *s, struct slice base, struct err *err)
{
	struct store_path path;

	if (s->paths->len >= LAYER_PATHS_MAX)
		return err_set(err, E_LIMIT, "a layer may hold %d store paths at the most",
			       LAYER_PATHS_MAX);
	if (store_path_make(&path, s->store_dir, base) < 0)
		return err_set(err, E_INVALID, "the layer has a malformed store path");
	s->path = layer_paths_add(s->paths, path.text);
	hash_sink_init(&s->hash, HASH_SHA256, NULL);
	s->nar = nar_writer_new(&s->hash.sink);
	return 0;
}

static int node(struct scan *s, const struct node_event *ev, struct err *err)
{
	int r;

	/* Events come from a reader that opens a path before its nodes. */
	if (!s->path)
		return err_set(err, E_INTERNAL, "a node outside of any path");
	r = node_sink_event(nar_writer_node_sink(s->nar), ev, err);
	if (r < 0 || ev->type != NODE_END)
		return r;
	hash_sink_final(&s->hash, &s->path->nar_hash);
	s->path->nar_size = s->hash.bytes;
	path_end(s);
	return 0;
}

static int event(struct scan *s, const struct tar_event *ev, struct err *err)
{
	switch (ev->type) {
	case TAR_STORE_DIR:
		if (ev->text.len > STORE_DIR_MAX)
			return err_set(err, E_INVALID, "the store directory is too long");
		memcpy(s->store_dir, ev->text.data, ev->text.len);
		return 0;
	case TAR_PATH:
		return path_begin(s, ev->text, err);
	case TAR_NODE:
		return node(s, &ev->node, err);
	default:
		return 0;
	}
}

static int scan_write(struct sink *sink, const void *data, size_t len, struct err *err)
{
	struct scan *s = container_of(sink, struct scan, sink);
	struct slice input = slice_make(data, len);
	struct tar_event ev;
	int r;

	while ((r = tar_reader_step(s->tar, &input, &ev)) > 0)
		if (event(s, &ev, err) < 0)
			return err->code;
	return r < 0 ? err_set(err, r, "not a store layer: %s", tar_reader_expected(s->tar)) : 0;
}

static int scan_finish(struct sink *sink, struct err *err)
{
	struct scan *s = container_of(sink, struct scan, sink);
	int r = s->paths->len ? tar_reader_finish(s->tar) : E_INVALID;

	return r < 0 ? err_set(err, r, "the layer is not complete") : 0;
}

static int read_layer(struct store *store, struct content *content, struct layer_paths *ret,
		      struct err *err)
{
	struct scan s = {.sink = {scan_write, scan_finish}, .paths = ret};
	int r;

	s.tar = tar_reader_new();
	decode_sink_init(&s.decode, CODEC_UNKNOWN, &s.sink, &store->options, "the layer");
	r = content_copy(content, &s.decode.sink, err);
	if (r >= 0)
		r = sink_finish(&s.decode.sink, err);
	if (s.path)
		path_end(&s);
	decode_sink_release(&s.decode);
	tar_reader_free(s.tar);
	return r;
}

int layer_scan(struct store_view *v, int64_t blob, struct layer_scan *ret, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(v->store);
	struct err why = ERR_INIT;
	enum layer_kind kind;
	int r = blob_look(v, blob, content, &kind, err);

	if (r <= 0 || kind != LAYER_UNKNOWN)
		return r < 0 ? r : 0;
	r = read_layer(v->store, content, &ret->paths, &why);
	/* Nothing of it was read but its beginning. */
	if (r == E_UNSUPPORTED)
		return blob_ingest(v, blob, &kind, err);
	if (r < 0 && !ingest_is_ordinary(r)) {
		*err = why;
		return r;
	}
	if (r < 0)
		layer_paths_release(&ret->paths);
	ret->blob = blob;
	ret->kind = r >= 0 ? LAYER_STORE : LAYER_ORDINARY;
	return 0;
}

/* ---- Recording ---- */

static int nar_insert(struct conn *c, const struct layer_path *path, int64_t object, int64_t *ret,
		      struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "INSERT INTO nar (nar_hash, nar_size, object, frames, encoder, added)"
		   " VALUES (?1, ?2, ?3, x'', '', ?4)");
	query_bind_hash(&q, 1, &path->nar_hash);
	query_bind_int(&q, 2, (int64_t)path->nar_size);
	query_bind_int(&q, 3, object);
	query_bind_int(&q, 4, now_seconds());
	r = query_run(&q, err);
	if (r >= 0)
		*ret = conn_last_id(c);
	return r;
}

/* It came again, and what was kept of it is damaged. */
static int nar_replace(struct conn *c, int64_t nar, int64_t old, int64_t object, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "UPDATE nar SET object = ?2, frames = x'', encoder = '' WHERE id = ?1");
	query_bind_int(&q, 1, nar);
	query_bind_int(&q, 2, object);
	r = query_run(&q, err);
	return r < 0 ? r : garbage_object(c, old, err);
}

static int nar_record(struct conn *c, struct layer_path *path, int64_t object, struct err *err)
{
	int64_t old = 0;
	bool damaged = false;
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT nar.id, object.id, damaged FROM nar"
		   " JOIN object ON object.id = nar.object WHERE nar_hash = ?1");
	query_bind_hash(&q, 1, &path->nar_hash);
	r = query_step(&q, err);
	if (r > 0) {
		path->nar = query_int(&q, 0);
		old = query_int(&q, 1);
		damaged = query_int(&q, 2);
	}
	query_end(&q);
	if (r == 0)
		return nar_insert(c, path, object, &path->nar, err);
	return r > 0 && damaged ? nar_replace(c, path->nar, old, object, err) : r;
}

/* 1: nobody looked at it before, and it is kept as it came: `ret_object`. */
static int blob_object(struct conn *c, int64_t blob, int64_t *ret_object, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT object FROM blob WHERE id = ?1 AND layer = 0 AND form = 1");
	query_bind_int(&q, 1, blob);
	r = query_step(&q, err);
	if (r > 0)
		*ret_object = query_int(&q, 0);
	query_end(&q);
	return r;
}

int layer_scan_record(struct conn *c, const struct layer_scan *l, struct err *err)
{
	int64_t object;
	struct query q;
	int r = l->kind == LAYER_UNKNOWN ? 0 : blob_object(c, l->blob, &object, err);

	if (r <= 0)
		return r;
	for (size_t i = 0; i < l->paths.len && r >= 0; i++)
		r = nar_record(c, &l->paths.items[i], object, err);
	if (r >= 0)
		r = layer_paths_write(c, l->blob, l->kind, &l->paths, err);
	if (r < 0 || l->kind != LAYER_STORE)
		return r;
	query_init(&q, c, "UPDATE blob SET unframed = 1 WHERE id = ?1");
	query_bind_int(&q, 1, l->blob);
	return query_run(&q, err);
}
