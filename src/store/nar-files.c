/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NARs as files below nar/ (SPEC nix-cache 1.1). Whatever compression a NAR is sent in, it is
 * decoded, verified and kept framed; its name and compression are remembered. Who asks for it by
 * that name is answered in that compression, encoded anew: nobody checks FileHash, and the bytes
 * that were sent would double what is stored. The names that we advertise are those of the framed
 * object.
 */
#include <stdio.h>
#include <string.h>

#include <nacre/encode.h>
#include <nacre/nar.h>

#include "store/decode.h"
#include "store/nars.h"
#include "store/puts.h"
#include "store/quarantine.h"
#include "store/quotas.h"
#include "store/settle.h"
#include "store/stored-content.h"
#include "store/uses.h"

enum {
	HASH_STEM = 52,    /* characters of a sha256 in nix32 */
	KEPT_MORE = 65536, /* bytes that an encoding may have beyond an eighth more than the NAR */
};

/* ---- Names ---- */

static const struct {
	const char *suffix;
	enum codec codec;
} suffixes[] = {
	{".nar", CODEC_UNKNOWN}, /* gzip and none alike: Nix gives them no suffix */
	{".nar.xz", CODEC_XZ},     {".nar.zst", CODEC_ZSTD},  {".nar.bz2", CODEC_BZIP2},
	{".nar.gz", CODEC_GZIP},   {".nar.br", CODEC_BROTLI}, {".nar.lz4", CODEC_LZ4},
	{".nar.lzip", CODEC_LZIP},
};

static bool is_name_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("+-._=?", c));
}

/* Length of the part before ".nar…". */
static int name_parse(const char *name, enum codec *ret_codec, size_t *ret_stem, struct err *err)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len && len <= NAR_NAME_MAX; i++)
		if (!is_name_char(name[i]) || name[0] == '.')
			return err_set(err, E_INVALID, "'%s' is not a name for a NAR", name);
	for (size_t i = 0; i < ARRAY_LEN(suffixes) && len <= NAR_NAME_MAX; i++) {
		size_t n = strlen(suffixes[i].suffix);

		if (len > n && strcmp(name + len - n, suffixes[i].suffix) == 0) {
			*ret_codec = suffixes[i].codec;
			*ret_stem = len - n;
			return 0;
		}
	}
	return err_set(
		err, E_INVALID,
		"'%.80s' is not a name for a NAR: <hash>.nar, with .xz, .zst, .bz2, .gz, .br,"
		" .lz4 or .lzip",
		name);
}

/* ---- Reading ---- */

struct name_row {
	int64_t nar;
	enum codec codec;
	int64_t object; /* 0: none */
	uint64_t nar_size, file_size;
	bool pending; /* no path of the view is bound to it */
};

static int name_find(struct conn *c, const struct store_view *v, const char *name,
		     struct name_row *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(
		&q, c,
		"SELECT nar, codec, coalesce(nar_name.object, 0), nar_size,"
		" (SELECT size FROM object WHERE id = coalesce(nar_name.object, nar.object)),"
		" EXISTS (SELECT 1 FROM pending WHERE pending.view = ?1 AND pending.nar ="
		"  nar_name.nar)"
		" FROM nar_name JOIN nar ON nar.id = nar_name.nar WHERE view = ?1 AND name = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, name);
	r = query_step(&q, err);
	if (r > 0)
		*ret = (struct name_row){query_int(&q, 0),           (enum codec)query_int(&q, 1),
					 query_int(&q, 2),           (uint64_t)query_int(&q, 3),
					 (uint64_t)query_int(&q, 4), query_int(&q, 5)};
	query_end(&q);
	if (r > 0 && quarantine_any(v->store)) {
		int damaged = nar_is_damaged(c, ret->nar, err);

		r = damaged < 0 ? damaged : !damaged;
	}
	/* Who hears that it is here may not send it. */
	if (r > 0 && ret->pending &&
	    !use_note(v->store, (struct use_key){USE_PENDING, v->id, ret->nar}))
		r = 0;
	return r != 0 ? r : err_set(err, E_NOTFOUND, "there is no nar/%.*s", NAR_NAME_MAX, name);
}

int store_nar_stat(struct store_view *v, const char *name, uint64_t *ret_size, struct err *err)
{
	struct conn *c = reader(v, err);
	struct name_row row;
	uint64_t epoch;
	int r;

	if (!c)
		return err->code;
	do {
		epoch = use_epoch(v->store);
		r = name_find(c, v, name, &row, err);
	} while (r >= 0 && use_epoch(v->store) != epoch);
	reader_done(v, c);
	if (r < 0)
		return r;
	*ret_size = row.object || row.codec == CODEC_ZSTD ? row.file_size
		    : row.codec == CODEC_NONE             ? row.nar_size
							  : CONTENT_SIZE_UNKNOWN;
	return 0;
}

/* 1; 0: it has to be framed first. */
static int nar_content(struct content *content, struct conn *c, const struct name_row *row,
		       struct err *err)
{
	cleanup_nar struct nar n = {0};
	cleanup_splice struct splice splice = {0};
	int r;

	if (row->object)
		return content_set_object(content, c, row->object, err) < 0 ? err->code : 1;
	r = nar_find_id(c, row->nar, &n, err);
	if (r <= 0)
		return r < 0 ? r : err_set(err, E_NOTFOUND, "the NAR is gone");
	if (n.unframed)
		return 0;
	if (row->codec == CODEC_ZSTD)
		return content_set_object(content, c, n.object, err) < 0 ? err->code : 1;
	splice_nar(&splice, &n.file_hash, &n.frames);
	if (row->codec != CODEC_NONE)
		return content_set_encoded(content, row->codec, &splice, err) < 0 ? err->code : 1;
	content_set_splice(content, CONTENT_DECODED, &splice);
	content_set_digest(content, &n.nar_hash);
	return 1;
}

/* 1; 0: *ret_nar has to be framed first. */
static int nar_open(struct store_view *v, const char *name, struct content *content,
		    int64_t *ret_nar, struct err *err)
{
	struct conn *c = reader(v, err);
	struct name_row row;
	int r;

	if (!c)
		return err->code;
	r = db_snapshot_begin(c, err);
	if (r >= 0) {
		r = name_find(c, v, name, &row, err);
		if (r >= 0)
			r = nar_content(content, c, &row, err);
		if (r == 0)
			*ret_nar = row.nar;
		db_snapshot_end(c);
	}
	reader_done(v, c);
	return r;
}

int store_nar_open(struct store_view *v, const char *name, struct content **ret, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(v->store);
	int64_t nar = 0;
	int r = nar_open(v, name, content, &nar, err);

	if (r == 0) {
		cleanup_nar struct nar n = {0};

		r = nar_frame(v->store, nar, &n, err);
		if (r >= 0)
			r = nar_open(v, name, content, &nar, err);
	}
	if (r == 0)
		return err_set(err, E_INTERNAL, "a NAR lost its frames");
	if (r < 0)
		return r;
	*ret = take_ptr(content);
	return 0;
}

/* ---- Putting ---- */

struct nar_put {
	struct store_put put;
	struct store_view *view; /* borrowed */
	char *name;              /* owned */
	size_t stem;             /* bytes of the name before ".nar" */
	struct hash_sink file;   /* what arrives, */
	struct incoming kept;    /* kept besides if we cannot encode it */
	bool keep;
	struct decode_sink decode; /* decoded, */
	struct nar_decoder parser; /* read, */
	struct new_nar nar;        /* and framed */
};

static int nar_put_write(struct store_put *self, const void *data, size_t len, struct err *err)
{
	struct nar_put *p = container_of(self, struct nar_put, put);
	int r = p->keep ? sink_write(&p->kept.sink, data, len, err) : 0;

	return r < 0 ? r : sink_write(&p->file.sink, data, len, err);
}

/* A name that is a hash is that of the file (as Nix names it) or of the NAR (as others do). */
static int name_verify(const struct nar_put *p, const struct hash *file, struct err *err)
{
	struct hash named = {.algo = HASH_SHA256};
	char is_file[HASH_TEXT_MAX], is_nar[HASH_TEXT_MAX];

	if (p->stem != HASH_STEM ||
	    nix32_decode(named.bytes, 32, slice_make(p->name, p->stem)) < 0 ||
	    hash_equal(&named, file) || hash_equal(&named, &p->nar.object.nar.digest))
		return 0;
	hash_format_bare(is_file, file, HASH_NIX32);
	hash_format_bare(is_nar, &p->nar.object.nar.digest, HASH_NIX32);
	return err_set(
		err, E_MISMATCH,
		"nar/%s has the hash %s, and the NAR in it %s: it was damaged on the way, or the"
		" store path changed while it was read",
		p->name, is_file, is_nar);
}

static int pending_insert(struct conn *c, int64_t view, int64_t nar, struct err *err)
{
	struct query q;

	/* Put again, it is as new; bound, it is not pending. */
	query_init(&q, c,
		   "INSERT INTO pending (view, nar, added) SELECT ?1, ?2, ?3 WHERE NOT EXISTS"
		   " (SELECT 1 FROM binding WHERE nar = ?2 AND view = ?1)"
		   " ON CONFLICT DO UPDATE SET added = ?3");
	query_bind_int(&q, 1, view);
	query_bind_int(&q, 2, nar);
	query_bind_int(&q, 3, now_seconds());
	return query_run(&q, err);
}

/* Of one NAR a view keeps one encoding of a kind, whatever names it is put under: any is as good, and
 * they do not count towards a quota. */
static int kept_object(struct conn *c, struct nar_put *p, int64_t nar, int64_t *ret,
		       struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT object FROM nar_name WHERE nar = ?1 AND view = ?2 AND codec = ?3"
		   " AND object IS NOT NULL LIMIT 1");
	query_bind_int(&q, 1, nar);
	query_bind_int(&q, 2, p->view->id);
	query_bind_int(&q, 3, p->decode.codec);
	r = query_step(&q, err);
	if (r > 0)
		*ret = query_int(&q, 0);
	query_end(&q);
	return r != 0 ? r : incoming_record(&p->kept, c, OBJECT_OPAQUE, ret, err);
}

/* The name under which it was put. One name, one content, for ever. */
static int own_name_insert(struct conn *c, struct nar_put *p, int64_t nar, struct err *err)
{
	int64_t object = 0;
	struct query q;
	int r;

	query_init(&q, c, "SELECT nar FROM nar_name WHERE view = ?1 AND name = ?2");
	query_bind_int(&q, 1, p->view->id);
	query_bind_str(&q, 2, p->name);
	r = query_step(&q, err);
	if (r > 0 && query_int(&q, 0) != nar)
		r = err_set(err, E_CONFLICT, "nar/%s is another NAR already", p->name);
	query_end(&q);
	if (r != 0)
		return r < 0 ? r : 0;
	if (p->keep)
		r = kept_object(c, p, nar, &object, err);
	if (r < 0)
		return r;
	query_init(&q, c,
		   "INSERT INTO nar_name (view, name, nar, codec, object) VALUES (?1, ?2, ?3, ?4, "
		   "?5)");
	query_bind_int(&q, 1, p->view->id);
	query_bind_str(&q, 2, p->name);
	query_bind_int(&q, 3, nar);
	query_bind_int(&q, 4, p->decode.codec);
	if (object)
		query_bind_int(&q, 5, object);
	return query_run(&q, err);
}

static int nar_put_job(struct conn *c, void *arg, struct err *err)
{
	struct nar_put *p = arg;
	cleanup_nar struct nar n = {0};
	int64_t id;
	int r = new_nar_record(&p->nar, c, &id, err);

	if (r >= 0)
		r = nar_find_id(c, id, &n, err);
	/* Its own name first: should it look like one of ours, it still is what was put. */
	if (r >= 0)
		r = own_name_insert(c, p, id, err);
	if (r >= 0)
		r = nar_name_views(c, p->view->id, &n, false, err);
	if (r >= 0)
		r = pending_insert(c, p->view->id, id, err);
	return r < 0 ? r : quota_cache_check(c, p->view, err);
}

/* What compresses makes nothing much larger; what is, is no NAR alone. */
static int kept_seal(struct nar_put *p, struct err *err)
{
	uint64_t size = p->nar.object.nar.size;

	if (p->kept.size > size + size / 8 + KEPT_MORE)
		return err_set(err, E_INVALID,
			       "nar/%s has %llu bytes for a NAR of %llu: something else is in it",
			       p->name, (unsigned long long)p->kept.size, (unsigned long long)size);
	incoming_end(&p->kept);
	return incoming_seal(&p->kept, err);
}

static int nar_put_commit(struct store_put *self, struct err *err)
{
	struct nar_put *p = container_of(self, struct nar_put, put);
	struct hash file;
	int r = sink_finish(&p->decode.sink, err);

	if (r < 0)
		return r;
	hash_sink_final(&p->file, &file);
	r = new_nar_seal(&p->nar, err);
	if (r >= 0)
		r = name_verify(p, &file, err);
	if (r >= 0 && p->keep)
		r = kept_seal(p, err);
	if (r >= 0)
		r = db_write(p->view->store->db, nar_put_job, p, err);
	new_nar_settle(&p->nar, r >= 0);
	incoming_settle(&p->kept, r >= 0);
	return r;
}

static void nar_put_free(struct store_put *self)
{
	struct nar_put *p = container_of(self, struct nar_put, put);

	hash_sink_release(&p->file);
	decode_sink_release(&p->decode);
	nar_decoder_release(&p->parser);
	new_nar_release(&p->nar);
	incoming_release(&p->kept);
	free(p->name);
	free(p);
}

int store_nar_put(struct store_view *v, const char *name, struct store_put **ret, struct err *err)
{
	enum codec codec;
	struct nar_put *p;
	size_t stem;
	int r = name_parse(name, &codec, &stem, err);

	if (r >= 0)
		r = quota_cache_room(v, err);
	if (r < 0)
		return r;
	p = xcalloc(1, sizeof(*p));
	p->put = (struct store_put){nar_put_write, nar_put_commit, nar_put_free, false};
	p->view = v;
	p->name = xstrdup(name);
	p->stem = stem;
	/* Only what a suffix announces can be a compression that we cannot make. */
	p->keep = codec != CODEC_UNKNOWN && !codec_can_encode(codec);
	new_nar_init(&p->nar, v->store, NULL, false, NULL);
	incoming_init(&p->kept, v->store);
	nar_decoder_init(&p->parser, new_nar_node_sink(&p->nar));
	decode_sink_init(&p->decode, codec, &p->parser.sink, &v->store->options, "the NAR");
	hash_sink_init(&p->file, HASH_SHA256, &p->decode.sink);
	*ret = &p->put;
	return 0;
}
