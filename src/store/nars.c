/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "store/bindings.h"
#include "store/bodies.h"
#include "store/garbage.h"
#include "store/nars.h"
#include "store/settle.h"

/* ---- Taking one in ---- */

void new_nar_init(struct new_nar *n, struct store *s, const struct store_path *path,
		  bool with_layer, struct frame_supply *supply)
{
	/* Few layers that are pushed are wanted again one path at a time. */
	struct absorb_options options = {s->frame_pool, supply, .unnamed = true};
	char dir[STORE_DIR_MAX + 1] = "";

	*n = (struct new_nar){.store = s, .with_layer = path && with_layer};
	incoming_init(&n->nar, s);
	incoming_init(&n->glue, s);
	n->nar.hash_given = n->glue.hash_given = true; /* `absorb` hashes what it writes */
	if (path) {
		n->path = xstrdup(path->text);
		memcpy(dir, path->text, path->dir_len);
	}
	n->absorb = absorb_new(&n->nar.sink, &n->glue.sink, n->with_layer ? dir : NULL,
			       path && n->with_layer ? store_path_base(path) : NULL, &options);
}

struct node_sink *new_nar_node_sink(struct new_nar *n)
{
	return absorb_node_sink(n->absorb);
}

int new_nar_seal(struct new_nar *n, struct err *err)
{
	struct err unlayerable = ERR_INIT;
	int r;

	absorb_nar(n->absorb, &n->object);
	if (n->with_layer) {
		r = absorb_layer(n->absorb, &n->layer, &unlayerable);
		n->has_layer = r >= 0;
		if (r < 0 && r != E_UNSUPPORTED) {
			*err = unlayerable;
			return r;
		}
	}
	/* What the pass held in memory is not needed any more. */
	absorb_free(take_ptr(n->absorb));
	n->nar.sha256 = n->object.zstd.digest;
	r = incoming_seal(&n->nar, err);
	if (r >= 0 && n->has_layer) {
		n->glue.sha256 = n->layer.glue.digest;
		r = incoming_seal(&n->glue, err);
	}
	return r;
}

static int nar_insert(struct new_nar *n, struct conn *c, int64_t *ret_id, struct err *err)
{
	cleanup_buf struct buf frames = BUF_INIT(256u << 20);
	char encoder[FRAME_ENCODER_MAX];
	int64_t object;
	struct query q;
	int r = incoming_record(&n->nar, c, OBJECT_FRAMED, &object, err);

	if (r < 0)
		return r;
	if (frames_serialize(&frames, &n->object.frames) < 0)
		return err_set(err, E_LIMIT, "the NAR has too many frames");
	frame_encoder_identity(encoder);
	query_init(&q, c,
		   "INSERT INTO nar (nar_hash, nar_size, object, frames, encoder, added)"
		   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
	query_bind_hash(&q, 1, &n->object.nar.digest);
	query_bind_int(&q, 2, (int64_t)n->object.nar.size);
	query_bind_int(&q, 3, object);
	query_bind_blob(&q, 4, buf_slice(&frames));
	query_bind_str(&q, 5, encoder);
	query_bind_int(&q, 6, now_seconds());
	r = query_run(&q, err);
	if (r >= 0)
		*ret_id = conn_last_id(c);
	n->is_new = r >= 0;
	return r;
}

/* A NAR gets other frames: the first ones, or, damaged, it came again. Framed by another encoder it is
 * another object from now on, by which the layers that are splices of the old one are not helped. 1: it
 * is another object. */
static int nar_reframe(struct new_nar *n, struct conn *c, int64_t id, struct err *err)
{
	cleanup_buf struct buf frames = BUF_INIT(256u << 20);
	char encoder[FRAME_ENCODER_MAX];
	int64_t object;
	struct query q;
	int r = incoming_record(&n->nar, c, OBJECT_FRAMED, &object, err);

	if (r < 0)
		return r;
	if (frames_serialize(&frames, &n->object.frames) < 0)
		return err_set(err, E_LIMIT, "the NAR has too many frames");
	frame_encoder_identity(encoder);
	query_init(&q, c,
		   "UPDATE nar SET object = ?2, frames = ?3, encoder = ?4"
		   " WHERE id = ?1 AND object <> ?2");
	query_bind_int(&q, 1, id);
	query_bind_int(&q, 2, object);
	query_bind_blob(&q, 3, buf_slice(&frames));
	query_bind_str(&q, 4, encoder);
	r = query_run(&q, err);
	return r < 0 ? r : conn_changes(c) > 0;
}

/* Who named the old frames names the new ones, and glue that was made with the old ones goes. */
static int nar_follow(struct conn *c, int64_t id, int64_t old, struct err *err)
{
	int r = bindings_reframed(c, id, err);

	if (r >= 0)
		r = garbage_bodies(c, id, err);
	return r < 0 ? r : garbage_object(c, old, err);
}

int new_nar_record(struct new_nar *n, struct conn *c, int64_t *ret_id, struct err *err)
{
	struct query q;
	bool same_frames = true, damaged = false, unframed = false;
	int64_t old = 0;
	int r;

	*ret_id = 0;
	query_init(&q, c,
		   "SELECT nar.id, object.sha256, damaged, encoder = '', object.id FROM nar"
		   " JOIN object ON object.id = nar.object WHERE nar.nar_hash = ?1");
	query_bind_hash(&q, 1, &n->object.nar.digest);
	r = query_step(&q, err);
	if (r > 0) {
		struct hash object;

		*ret_id = query_int(&q, 0);
		query_hash(&q, 1, &object);
		damaged = query_int(&q, 2);
		unframed = query_int(&q, 3);
		old = query_int(&q, 4);
		same_frames = unframed || hash_equal(&object, &n->object.zstd.digest);
	}
	query_end(&q);
	if (r == 0 && n->known_only)
		return 0;
	if (r == 0)
		r = nar_insert(n, c, ret_id, err);
	else if (r > 0 && (damaged || unframed)) {
		r = nar_reframe(n, c, *ret_id, err);
		same_frames = true; /* they are kept now */
		n->is_new = unframed;
		if (r > 0)
			r = nar_follow(c, *ret_id, old, err);
	}
	/* Glue fits the frames that it was made with (another encoder made those that are kept). */
	if (r < 0 || !n->has_layer || !same_frames)
		return r < 0 ? r : 0;
	return body_record(c, *ret_id, n->path, &n->glue, &n->layer, err);
}

void new_nar_settle(struct new_nar *n, bool committed)
{
	incoming_settle(&n->nar, committed);
	incoming_settle(&n->glue, committed);
}

void new_nar_release(struct new_nar *n)
{
	if (!n->store)
		return;
	absorb_free(n->absorb);
	incoming_release(&n->nar);
	incoming_release(&n->glue);
	nar_object_release(&n->object);
	layer_object_release(&n->layer);
	free(n->path);
	*n = (struct new_nar){0};
}

/* ---- What is kept ---- */

void nar_release(struct nar *n)
{
	frames_release(&n->frames);
	*n = (struct nar){0};
}

bool encoder_is_ours(struct slice encoder)
{
	char ours[FRAME_ENCODER_MAX];

	frame_encoder_identity(ours);
	return slice_equal_str(encoder, ours);
}

static int nar_load(struct query *q, struct nar *ret, struct err *err)
{
	struct nar n = {0};
	int r = query_step(q, err);

	if (r > 0) {
		n.id = query_int(q, 0);
		query_hash(q, 1, &n.nar_hash);
		n.nar_size = (uint64_t)query_int(q, 2);
		n.object = query_int(q, 3);
		n.current_encoder = encoder_is_ours(query_bytes(q, 5));
		n.unframed = query_bytes(q, 5).len == 0;
		n.file_size = n.unframed ? n.nar_size : (uint64_t)query_int(q, 7);
		if (!n.unframed)
			query_hash(q, 6, &n.file_hash);
		if (!n.unframed && frames_parse(&n.frames, query_bytes(q, 4)) < 0)
			r = err_set(err, E_INTERNAL, "the frames of a NAR cannot be read");
	}
	query_end(q);
	if (r > 0)
		*ret = n;
	return r;
}

#define NAR_COLUMNS                                                                              \
	"SELECT nar.id, nar_hash, nar_size, object, frames, encoder, object.sha256, object.size" \
	" FROM nar JOIN object ON object.id = nar.object"

int nar_find_hash(struct conn *c, const struct hash *nar_hash, struct nar *ret, struct err *err)
{
	struct query q;

	query_init(&q, c, NAR_COLUMNS " WHERE nar_hash = ?1");
	query_bind_hash(&q, 1, nar_hash);
	return nar_load(&q, ret, err);
}

int nar_find_id(struct conn *c, int64_t id, struct nar *ret, struct err *err)
{
	struct query q;

	query_init(&q, c, NAR_COLUMNS " WHERE nar.id = ?1");
	query_bind_int(&q, 1, id);
	return nar_load(&q, ret, err);
}

int nar_decode(struct store *s, const struct nar *n, struct sink *out, struct err *err)
{
	cleanup_object struct object object = OBJECT_INIT;
	cleanup_nar struct nar framed = {0};
	struct conn *c;
	int r;

	if (n->unframed) {
		if (nar_frame(s, n->id, &framed, err) < 0)
			return err->code;
		n = &framed;
	}
	c = db_reader(s->db, err);
	if (!c)
		return err->code;
	r = object_open(s, c, n->object, &object, err);
	db_reader_done(s->db, c);
	if (r >= 0)
		r = nar_object_decode(&(struct framed_nar){object_reader(&object), &n->frames}, out,
				      err);
	return r < 0 ? r : sink_finish(out, err);
}

/* CODEC_ZSTD: by the hash of the framed object; CODEC_NONE: by NarHash. */
static void name_format(char ret[HASH_TEXT_MAX + 16], const struct nar *n, enum codec codec)
{
	bool framed = codec == CODEC_ZSTD;

	hash_format_bare(ret, framed ? &n->file_hash : &n->nar_hash, HASH_NIX32);
	memcpy(ret + strlen(ret), framed ? ".nar.zst" : ".nar",
	       framed ? sizeof(".nar.zst") : sizeof(".nar"));
}

static int name_insert(struct conn *c, int64_t view, const struct nar *n, enum codec codec,
		       struct err *err)
{
	char name[HASH_TEXT_MAX + 16];
	struct query q;

	name_format(name, n, codec);
	query_init(
		&q, c,
		"INSERT OR IGNORE INTO nar_name (view, name, nar, codec) VALUES (?1, ?2, ?3, ?4)");
	query_bind_int(&q, 1, view);
	query_bind_str(&q, 2, name);
	query_bind_int(&q, 3, n->id);
	query_bind_int(&q, 4, codec);
	return query_run(&q, err);
}

int nar_name_views(struct conn *c, int64_t view, const struct nar *n, bool plain, struct err *err)
{
	int r = plain ? 0 : name_insert(c, view, n, CODEC_ZSTD, err);

	return r < 0 ? r : name_insert(c, view, n, CODEC_NONE, err);
}

/* 1: it has such a name in the view; 0. */
static int is_named(struct conn *c, int64_t view, const char *name, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT 1 FROM nar_name WHERE view = ?1 AND name = ?2");
	query_bind_int(&q, 1, view);
	query_bind_str(&q, 2, name);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

int nar_is_plain(struct conn *c, int64_t view, const struct nar *n, bool later, struct err *err)
{
	char name[HASH_TEXT_MAX + 16];
	int r;

	if (n->unframed)
		return 1;
	name_format(name, n, CODEC_ZSTD);
	r = is_named(c, view, name, err);
	if (r != 0 || later)
		return r < 0 ? r : r == 0;
	return nar_in_view(c, view, &n->nar_hash, err);
}

int nar_in_view(struct conn *c, int64_t view, const struct hash *nar_hash, struct err *err)
{
	char name[HASH_TEXT_MAX + 16];

	name_format(name, &(struct nar){.nar_hash = *nar_hash}, CODEC_NONE);
	return is_named(c, view, name, err);
}
