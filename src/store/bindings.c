/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "store/bindings.h"
#include "store/garbage.h"
#include "store/quotas.h"
#include "store/repositories.h"
#include "store/views.h"

enum {
	NAMES_IN_ERROR = 8,
	TEXT_MAX = NARINFO_MAX,
	NAMING_MAX = 256, /* by which the text may grow when frames are named in it */
	SIGNATURES_LESSER_MAX =
		SIGNATURES_MAX / 2, /* where who says so is less than who did before */
};

void binding_release(struct binding *b)
{
	path_info_release(&b->info);
	*b = (struct binding){0};
}

static bool is_strong(enum attestation a)
{
	return a >= ATTEST_CONTENT;
}

enum attestation attestation_of(const struct store_view *v, const struct path_info *info,
				enum attestation otherwise)
{
	const struct view_policy *p = view_policy(v);

	return p->n_trusted && path_info_verify(info, p->trusted, p->n_trusted) ? ATTEST_SIGNED
										: otherwise;
}

/* Words by ' ' into a list. */
static void words_split(struct strv *ret, struct slice text)
{
	while (text.len) {
		const uint8_t *space = memchr(text.data, ' ', text.len);
		size_t n = space ? (size_t)(space - text.data) : text.len;

		strv_add_slice(ret, slice_make(text.data, n));
		slice_advance(&text, n + (space ? 1 : 0));
	}
}

static int words_join(struct buf *ret, const struct strv *v)
{
	int r = buf_reserve(ret, 1); /* an empty text is no NULL */

	for (size_t i = 0; i < v->len && r >= 0; i++) {
		if (i)
			r = buf_add(ret, " ", 1);
		if (r >= 0)
			r = buf_add_str(ret, v->items[i]);
	}
	return r;
}

/* ---- Reading ---- */

int binding_load(struct query *q, const char *store_dir, struct binding *ret, struct err *err)
{
	struct binding b = {
		.id = query_int(q, 0),
		.nar = query_int(q, 1),
		.attested = (enum attestation)query_int(q, 2),
	};

	if (store_path_make(&b.info.path, store_dir, query_bytes(q, 3)) < 0)
		return err_set(err, E_INTERNAL, "a store path in the database is malformed");
	words_split(&b.info.references, query_bytes(q, 4));
	b.info.deriver = query_dup(q, 5);
	words_split(&b.info.signatures, query_bytes(q, 6));
	b.info.ca = query_dup(q, 7);
	query_hash(q, 8, &b.info.nar_hash);
	b.info.nar_size = (uint64_t)query_int(q, 9);
	*ret = b;
	return 1;
}

int binding_find(struct conn *c, const struct store_view *v, const char *store_dir,
		 struct slice hash_part, struct binding *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(
		&q, c,
		"SELECT binding.id, nar, attested, base, refs, deriver, signatures, ca, nar_hash,"
		" nar_size FROM binding JOIN nar ON nar.id = binding.nar"
		" WHERE view = ?1 AND hash_part = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_text(&q, 2, hash_part);
	r = query_step(&q, err);
	if (r > 0)
		r = binding_load(&q, store_dir, ret, err);
	query_end(&q);
	return r;
}

/* ---- References ---- */

static int binding_id(struct conn *c, const struct store_view *v, const char *base, int64_t *ret,
		      struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT id FROM binding WHERE view = ?1 AND hash_part = ?2 AND base = ?3");
	query_bind_int(&q, 1, v->id);
	query_bind_text(&q, 2, slice_make(base, STORE_HASH_LEN));
	query_bind_str(&q, 3, base);
	r = query_step(&q, err);
	if (r > 0)
		*ret = query_int(&q, 0);
	query_end(&q);
	return r;
}

static void missing_note(struct buf *missing, size_t *n, const char *base)
{
	if (++*n <= NAMES_IN_ERROR)
		buf_addf(missing, "%s%s", *n > 1 ? " " : "", base);
}

/* Ids of the references but the path itself; `ret` has room for all. */
static int references_find(struct conn *c, const struct store_view *v, const struct path_info *info,
			   int64_t *ret, size_t *ret_n, struct err *err)
{
	cleanup_buf struct buf missing = {0};
	size_t n = 0, n_missing = 0;

	for (size_t i = 0; i < info->references.len; i++) {
		const char *base = info->references.items[i];
		int r;

		if (strcmp(base, store_path_base(&info->path)) == 0)
			continue;
		r = binding_id(c, v, base, &ret[n], err);
		if (r < 0)
			return r;
		if (r > 0)
			n++;
		else
			missing_note(&missing, &n_missing, base);
	}
	*ret_n = n;
	if (n_missing == 0)
		return 0;
	return err_set(err, E_NOTFOUND, "%s refers to %zu path%s not here: %s%s; put them first",
		       store_path_base(&info->path), n_missing, n_missing == 1 ? "" : "s",
		       (char *)missing.data, n_missing > NAMES_IN_ERROR ? " …" : "");
}

static int references_write(struct conn *c, int64_t binding, const int64_t *ids, size_t n,
			    struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "DELETE FROM reference WHERE referrer = ?1");
	query_bind_int(&q, 1, binding);
	r = query_run(&q, err);
	for (size_t i = 0; i < n && r >= 0; i++) {
		query_init(&q, c,
			   "INSERT OR IGNORE INTO reference (referrer, referred) VALUES (?1, ?2)");
		query_bind_int(&q, 1, binding);
		query_bind_int(&q, 2, ids[i]);
		r = query_run(&q, err);
	}
	return r;
}

static bool references_equal(const struct path_info *a, const struct path_info *b)
{
	if (a->references.len != b->references.len)
		return false;
	for (size_t i = 0; i < a->references.len; i++)
		if (strcmp(a->references.items[i], b->references.items[i]) != 0)
			return false;
	return true;
}

/* ---- Writing ---- */

/* What is to be written of an offer. */
struct writing {
	const struct path_info *info;
	const struct nar *nar;
	enum attestation attested;
	bool plain; /* the view has the NAR uncompressed alone */
};

/* Bytes that count as stored. */
static uint64_t stored_bytes(const struct writing *w)
{
	return w->plain ? w->nar->nar_size : w->nar->file_size;
}

/* The narinfo that we serve: ours is the file, so ours are URL, Compression and FileHash. Of a NAR that
 * is named uncompressed there is no hash of a file. */
static int narinfo_text(struct buf *ret, const struct writing *w, size_t max, struct err *err)
{
	const struct path_info *info = w->info;
	const struct nar *n = w->nar;
	char url[HASH_TEXT_MAX + 16] = "nar/", zstd[] = "zstd", none[] = "none";
	/* Borrows everything: never released. */
	struct narinfo text = {.info = *info, .url = url, .compression = w->plain ? none : zstd};

	if (!w->plain) {
		text.file_hash = n->file_hash;
		text.file_size = n->file_size;
	}
	hash_format_bare(url + 4, w->plain ? &n->nar_hash : &n->file_hash, HASH_NIX32);
	memcpy(url + strlen(url), w->plain ? ".nar" : ".nar.zst",
	       w->plain ? sizeof(".nar") : sizeof(".nar.zst"));
	ret->max = max;
	if (narinfo_format(ret, &text) < 0)
		return err_set(err, E_LIMIT, "%s has too many references", info->path.text);
	return 0;
}

/* What the columns of a row are made of. */
struct row_texts {
	struct buf refs, signatures, narinfo;
};

static void row_texts_release(struct row_texts *t)
{
	buf_release(&t->refs);
	buf_release(&t->signatures);
	buf_release(&t->narinfo);
}

static int row_texts_make(struct row_texts *t, const struct writing *w, size_t max, struct err *err)
{
	const struct path_info *info = w->info;
	int r = narinfo_text(&t->narinfo, w, max, err);

	/* Both are parts of the text that was just within its limit. */
	if (r >= 0 && (words_join(&t->refs, &info->references) < 0 ||
		       words_join(&t->signatures, &info->signatures) < 0))
		r = err_set(err, E_LIMIT, "%s has too many references", info->path.text);
	return r;
}

static int row_insert(struct conn *c, const struct store_view *v, const struct writing *o,
		      int64_t *ret_id, struct err *err)
{
	__attribute__((cleanup(row_texts_release))) struct row_texts t = {0};
	struct query q;
	int r = row_texts_make(&t, o, TEXT_MAX - NAMING_MAX, err);

	if (r < 0)
		return r;
	query_init(&q, c,
		   "INSERT INTO binding (view, hash_part, base, nar, attested, refs, deriver,"
		   " signatures, ca, narinfo, added, bytes, plain)"
		   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
	query_bind_int(&q, 1, v->id);
	query_bind_text(&q, 2, store_path_hash_part(&o->info->path));
	query_bind_str(&q, 3, store_path_base(&o->info->path));
	query_bind_int(&q, 4, o->nar->id);
	query_bind_int(&q, 5, o->attested);
	query_bind_text(&q, 6, slice_make(t.refs.data, t.refs.len));
	query_bind_str(&q, 7, o->info->deriver);
	query_bind_text(&q, 8, slice_make(t.signatures.data, t.signatures.len));
	query_bind_str(&q, 9, o->info->ca);
	query_bind_text(&q, 10, buf_slice(&t.narinfo));
	query_bind_int(&q, 11, now_seconds());
	query_bind_int(&q, 12, (int64_t)stored_bytes(o));
	query_bind_int(&q, 13, o->plain);
	r = query_run(&q, err);
	if (r >= 0)
		*ret_id = conn_last_id(c);
	return r;
}

static int row_update(struct conn *c, int64_t id, const struct writing *o, struct err *err)
{
	__attribute__((cleanup(row_texts_release))) struct row_texts t = {0};
	struct query q;
	int r = row_texts_make(&t, o, TEXT_MAX - NAMING_MAX, err);

	if (r < 0)
		return r;
	query_init(&q, c,
		   "UPDATE binding SET nar = ?2, attested = ?3, refs = ?4, deriver = ?5,"
		   " signatures = ?6, ca = ?7, narinfo = ?8,"
		   " bytes = CASE nar WHEN ?2 THEN bytes ELSE ?9 END, plain = ?10"
		   " WHERE id = ?1");
	query_bind_int(&q, 1, id);
	query_bind_int(&q, 2, o->nar->id);
	query_bind_int(&q, 3, o->attested);
	query_bind_text(&q, 4, slice_make(t.refs.data, t.refs.len));
	query_bind_str(&q, 5, o->info->deriver);
	query_bind_text(&q, 6, slice_make(t.signatures.data, t.signatures.len));
	query_bind_str(&q, 7, o->info->ca);
	query_bind_text(&q, 8, buf_slice(&t.narinfo));
	query_bind_int(&q, 9, (int64_t)stored_bytes(o));
	query_bind_int(&q, 10, o->plain);
	return query_run(&q, err);
}

/* Counts the change, so that what was made of the view before can be told from what is made
 * after. */
static int generation_count(struct conn *c, const struct store_view *v, struct err *err)
{
	struct query q;

	query_init(&q, c, "UPDATE view SET generation = generation + 1 WHERE id = ?1");
	query_bind_int(&q, 1, v->id);
	return query_run(&q, err);
}

/* The NAR is in the view, and not pending any more. */
static int nar_taken(struct conn *c, const struct store_view *v, const struct writing *o,
		     struct err *err)
{
	struct query q;
	int r = nar_name_views(c, v->id, o->nar, o->plain, err);

	if (r < 0)
		return r;
	query_init(&q, c, "DELETE FROM pending WHERE view = ?1 AND nar = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_int(&q, 2, o->nar->id);
	return query_run(&q, err);
}

static int binding_new(struct conn *c, struct store_view *v, const struct writing *o,
		       struct err *err)
{
	cleanup_free int64_t *ids = xcalloc(o->info->references.len + 1, sizeof(*ids));
	int64_t id;
	size_t n_ids;
	int r = references_find(c, v, o->info, ids, &n_ids, err);

	if (r >= 0)
		r = quota_path_check(c, v, stored_bytes(o), err);
	if (r >= 0)
		r = row_insert(c, v, o, &id, err);
	if (r >= 0)
		r = references_write(c, id, ids, n_ids, err);
	return r < 0 ? r : nar_taken(c, v, o, err);
}

static int listing_forget(struct conn *c, const struct store_view *v, const struct path_info *info,
			  struct err *err)
{
	int64_t object = 0;
	struct query q;
	int r;

	query_init(&q, c,
		   "DELETE FROM document WHERE view = ?1 AND tree = ?2 AND name = ?3"
		   " RETURNING object");
	query_bind_int(&q, 1, v->id);
	query_bind_int(&q, 2, STORE_LISTING);
	query_bind_text(&q, 3, store_path_hash_part(&info->path));
	r = query_step(&q, err);
	if (r > 0) {
		object = query_int(&q, 0);
		r = query_step(&q, err);
	}
	query_end(&q);
	return r < 0 || !object ? r : garbage_object(c, object, err);
}

/* What was derived from the old content: the listing, and the images that the server made. */
static int derived_forget(struct conn *c, const struct store_view *v, const struct path_info *info,
			  struct err *err)
{
	struct query q;
	int r = listing_forget(c, v, info, err);

	if (r < 0)
		return r;
	query_init(&q, c,
		   "DELETE FROM tag WHERE made = 1 AND repository IN"
		   " (SELECT id FROM repository WHERE view = ?1 AND " IS_MADE_REPOSITORY ")");
	query_bind_int(&q, 1, v->id);
	r = query_run(&q, err);
	if (r < 0)
		return r;
	query_init(&q, c,
		   "DELETE FROM made WHERE manifest IN (SELECT manifest.id FROM repository"
		   " JOIN manifest ON manifest.repository = repository.id"
		   " WHERE view = ?1 AND " IS_MADE_REPOSITORY ")");
	query_bind_int(&q, 1, v->id);
	return query_run(&q, err);
}

/* 1: the path refers to itself through others. */
static int is_in_cycle(struct conn *c, int64_t binding, struct err *err)
{
	struct query q;
	int r;

	query_init(
		&q, c,
		"WITH RECURSIVE closure (id) AS (SELECT referred FROM reference WHERE referrer = ?1"
		" UNION SELECT referred FROM closure JOIN reference ON referrer = closure.id)"
		" SELECT 1 FROM closure WHERE id = ?1");
	query_bind_int(&q, 1, binding);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

/* What others refer to must not refer to them: nothing of such a cycle could ever go. Where it would,
 * all stays as it was. */
static int references_replace(struct conn *c, const struct binding *old, const int64_t *ids,
			      size_t n, struct err *err)
{
	cleanup_id_list struct id_list before = {0};
	int r = id_list_read(c, "SELECT referred FROM reference WHERE referrer = ?1", old->id,
			     &before, err);

	if (r >= 0)
		r = references_write(c, old->id, ids, n, err);
	if (r >= 0)
		r = is_in_cycle(c, old->id, err);
	if (r <= 0)
		return r;
	r = references_write(c, old->id, before.items, before.len, err);
	return r < 0 ? r
		     : err_set(err, E_CONFLICT, "%s would refer to itself through others",
			       old->info.path.text);
}

static int binding_replace(struct conn *c, struct store_view *v, const struct binding *old,
			   const struct writing *o, struct err *err)
{
	cleanup_free int64_t *ids = xcalloc(o->info->references.len + 1, sizeof(*ids));
	size_t n_ids;
	int r = references_find(c, v, o->info, ids, &n_ids, err);

	if (r >= 0)
		r = references_replace(c, old, ids, n_ids, err);
	if (r >= 0)
		r = row_update(c, old->id, o, err);
	if (r >= 0)
		r = derived_forget(c, v, o->info, err);
	if (r >= 0)
		r = nar_taken(c, v, o, err);
	return r < 0 ? r : generation_count(c, v, err);
}

/* Takes the offered text if it is better vouched for, or there is none yet. */
static bool text_merge(char **text, const char *offered, bool better)
{
	if (!offered || (*text && (!better || strcmp(*text, offered) == 0)))
		return false;
	free(*text);
	*text = xstrdup(offered);
	return true;
}

/* Whoever adds what nobody can verify must not leave others without room: what is offered by who is
 * as good as those before goes in in any case. */
static bool signatures_merge(struct strv *list, const struct strv *offered, bool lesser)
{
	cleanup_strv struct strv old = {0};
	size_t before = list->len;

	strv_copy(&old, list);
	for (size_t i = 0; i < offered->len; i++)
		strv_add(list, offered->items[i]);
	strv_sort_unique(list);
	if (list->len <= (lesser ? (size_t)SIGNATURES_LESSER_MAX : (size_t)SIGNATURES_MAX))
		return list->len != before;
	strv_release(list);
	strv_copy(list, lesser ? &old : offered);
	if (lesser)
		return false;
	for (size_t i = 0; i < old.len && list->len < SIGNATURES_MAX; i++)
		if (!strv_contains(list, old.items[i]))
			strv_add(list, old.items[i]);
	strv_sort_unique(list);
	return true;
}

/* Same content and references: takes over what is new. */
static int binding_merge(struct conn *c, struct store_view *v, const struct binding *old,
			 const struct writing *o, struct err *err)
{
	cleanup_path_info struct path_info info = {0};
	struct writing merged = {&info, o->nar, old->attested, o->plain};
	bool better = o->attested > old->attested;
	bool changed = better;
	int r;

	path_info_copy(&info, &old->info);
	changed |= signatures_merge(&info.signatures, &o->info->signatures,
				    o->attested < old->attested);
	changed |= text_merge(&info.deriver, o->info->deriver, better);
	changed |= text_merge(&info.ca, o->info->ca, better);
	if (better)
		merged.attested = o->attested;
	if (!changed)
		return nar_taken(c, v, o, err);
	/* What is counted of it changes with its name. */
	r = o->plain ? 0 : bindings_unplain(c, o->nar->id, err);
	if (r >= 0)
		r = row_update(c, old->id, &merged, err);
	if (r >= 0)
		r = nar_taken(c, v, o, err);
	return r < 0 ? r : generation_count(c, v, err);
}

static int conflict(struct err *err, const struct binding *old, const struct path_info *info)
{
	char is[HASH_TEXT_MAX], offered[HASH_TEXT_MAX];

	if (strcmp(store_path_base(&old->info.path), store_path_base(&info->path)) != 0)
		return err_set(err, E_CONFLICT, "the hash part is that of %s already",
			       old->info.path.text);
	if (hash_equal(&old->info.nar_hash, &info->nar_hash))
		return err_set(err, E_CONFLICT,
			       "%s is here with the same content, but other references",
			       info->path.text);
	hash_format(is, &old->info.nar_hash, HASH_NIX32);
	hash_format(offered, &info->nar_hash, HASH_NIX32);
	return err_set(
		err, E_CONFLICT,
		"%s is bound to the NAR %s, not to %s: one store path has one content, and what"
		" stands is replaced only by a better attested one (signed by a trusted key, or"
		" content-addressed)",
		info->path.text, is, offered);
}

static int put(struct conn *c, struct store_view *v, const struct writing *o, struct err *err)
{
	const struct path_info *info = o->info;
	cleanup_binding struct binding old = {0};
	char dir[STORE_DIR_MAX + 1] = "";
	bool same_nar;
	int r;

	if (info->signatures.len > SIGNATURES_MAX)
		return err_set(err, E_LIMIT, "%s has more than %d signatures", info->path.text,
			       SIGNATURES_MAX);
	memcpy(dir, info->path.text, info->path.dir_len);
	r = binding_find(c, v, dir, store_path_hash_part(&info->path), &old, err);
	if (r <= 0)
		return r < 0 ? r : binding_new(c, v, o, err);
	if (strcmp(store_path_base(&old.info.path), store_path_base(&info->path)) != 0)
		return conflict(err, &old, info);
	same_nar = old.nar == o->nar->id;
	if (same_nar && references_equal(&old.info, info))
		return binding_merge(c, v, &old, o, err);
	/* An image does not know references better than whoever told them before. */
	if (same_nar && o->attested == ATTEST_IMAGE)
		return nar_taken(c, v, o, err);
	if (same_nar ? o->attested > old.attested
		     : is_strong(o->attested) && !is_strong(old.attested))
		return binding_replace(c, v, &old, o, err);
	return conflict(err, &old, info);
}

/* Signs as the view's policy says; never merely because an image brought the path, nor what an
 * upstream gave. */
static int offer_sign(const struct view_policy *p, const struct offer *o, struct path_info *ret,
		      struct err *err)
{
	int r = 0;

	path_info_copy(ret, o->info);
	if (o->fetched || (o->attested <= ATTEST_INFOS && !p->sign_images))
		return 0;
	for (size_t i = 0; i < p->n_signing && r >= 0; i++)
		r = path_info_sign(ret, &p->signing[i], err);
	strv_sort_unique(&ret->signatures);
	return r;
}

int binding_put(struct conn *c, struct store_view *v, const struct offer *o, struct err *err)
{
	const struct view_policy *p = view_policy(v);
	cleanup_path_info struct path_info info = {0};
	struct writing w = {&info, o->nar, o->attested, false};
	int r = 0;

	if (p->require_signatures && !is_strong(o->attested))
		return err_set(err, E_DENIED,
			       "%s is neither signed by a key that is trusted here nor"
			       " content-addressed",
			       o->info->path.text);
	if (frames_later(v->store) || o->nar->unframed)
		r = nar_is_plain(c, v->id, o->nar, o->later, err);
	w.plain = r > 0;
	if (r >= 0)
		r = offer_sign(p, o, &info, err);
	return r < 0 ? r : put(c, v, &w, err);
}

/* ---- Frames that came later, or others ---- */

/* The bindings of a NAR that name it uncompressed, or those that name its frames; in their order. */
struct naming {
	int64_t nar;
	bool plain;
	int64_t last; /* go on behind this one */
	int64_t view; /* of that one */
};

/* 1: the next one; 0: there is none (any more). */
static int naming_next(struct conn *c, struct naming *at, struct binding *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT binding.id, nar, attested, base, refs, deriver, signatures, ca,"
		   " nar_hash, nar_size, view, store_dir FROM binding"
		   " JOIN nar ON nar.id = binding.nar JOIN view ON view.id = binding.view"
		   " WHERE binding.nar = ?1 AND plain = ?2 AND binding.id > ?3"
		   " ORDER BY binding.id LIMIT 1");
	query_bind_int(&q, 1, at->nar);
	query_bind_int(&q, 2, at->plain);
	query_bind_int(&q, 3, at->last);
	r = query_step(&q, err);
	if (r > 0) {
		cleanup_free char *dir = query_dup(&q, 11);

		at->last = query_int(&q, 0);
		at->view = query_int(&q, 10);
		r = dir ? binding_load(&q, dir, ret, err)
			: err_set(err, E_INTERNAL, "a view has paths, but no store directory");
	}
	query_end(&q);
	return r;
}

/* Names the frames as they are now. */
static int frames_name(struct conn *c, const struct binding *b, int64_t view, const struct nar *n,
		       struct err *err)
{
	__attribute__((cleanup(row_texts_release))) struct row_texts t = {0};
	struct writing w = {&b->info, n, b->attested, false};
	struct query q;
	int r = row_texts_make(&t, &w, TEXT_MAX, err);

	if (r < 0)
		return r;
	query_init(&q, c,
		   "UPDATE view SET bytes = bytes + ?3 - (SELECT bytes FROM binding WHERE id = ?2)"
		   " WHERE id = ?1");
	query_bind_int(&q, 1, view);
	query_bind_int(&q, 2, b->id);
	query_bind_int(&q, 3, (int64_t)stored_bytes(&w));
	r = query_run(&q, err);
	if (r < 0)
		return r;
	query_init(&q, c, "UPDATE binding SET narinfo = ?2, bytes = ?3, plain = 0 WHERE id = ?1");
	query_bind_int(&q, 1, b->id);
	query_bind_text(&q, 2, buf_slice(&t.narinfo));
	query_bind_int(&q, 3, (int64_t)stored_bytes(&w));
	r = query_run(&q, err);
	return r < 0 ? r : nar_name_views(c, view, n, false, err);
}

static int frames_name_all(struct conn *c, struct naming *at, struct err *err)
{
	cleanup_nar struct nar n = {0};
	int r = 1;

	while (r > 0) {
		cleanup_binding struct binding b = {0};

		r = naming_next(c, at, &b, err);
		if (r > 0 && !n.id)
			r = nar_find_id(c, at->nar, &n, err);
		if (r > 0)
			r = frames_name(c, &b, at->view, &n, err) < 0 ? err->code : 1;
	}
	return r;
}

int bindings_unplain(struct conn *c, int64_t nar, struct err *err)
{
	return frames_name_all(c, &(struct naming){.nar = nar, .plain = true}, err);
}

int bindings_reframed(struct conn *c, int64_t nar, struct err *err)
{
	return frames_name_all(c, &(struct naming){.nar = nar}, err);
}
