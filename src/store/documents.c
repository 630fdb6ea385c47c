/* SPDX-License-Identifier: Apache-2.0 */
/* Documents by name: listings, logs, debug information, realisations, build traces. Kept as
 * they come. */
#include <string.h>

#include <nacre/nar.h>

#include "store/collect.h"
#include "store/garbage.h"
#include "store/nars.h"
#include "store/puts.h"
#include "store/stored-content.h"

enum {
	DOCUMENT_NAME_MAX = 512,
	LISTING_TRIES = 3, /* of a path that changes while its NAR is read */
};

static const struct {
	const char *what;
	uint64_t max; /* bytes */
} trees[STORE_TREES] = {
	[STORE_LISTING] = {"a listing", 64ull << 20},
	[STORE_LOG] = {"a build log", 1ull << 30},
	[STORE_DEBUGINFO] = {"debug information", 1ull << 20},
	[STORE_REALISATION] = {"a realisation", 1ull << 20},
	[STORE_BUILD_TRACE] = {"a build trace", 1ull << 20},
};

/* A path of one or two components without anything that a file system or a terminal would mind. */
static int name_check(enum store_tree tree, const char *name, struct err *err)
{
	size_t len = strlen(name), slashes = 0;
	bool good = len > 0 && len <= DOCUMENT_NAME_MAX && name[0] != '/' && name[len - 1] != '/';

	if (tree == STORE_LISTING)
		good = store_hash_part_check(slice_str(name)) >= 0;
	for (size_t i = 0; i < len && good; i++) {
		slashes += name[i] == '/';
		if (name[i] <= ' ' || name[i] > '~' || name[i] == '\\')
			good = false;
		if (name[i] == '.' && (i == 0 || name[i - 1] == '/'))
			good = false;
	}
	if (!good || slashes > (tree == STORE_BUILD_TRACE))
		return err_set(err, E_INVALID, "'%.*s' is not a name for %s", DOCUMENT_NAME_MAX,
			       name, trees[tree].what);
	return 0;
}

struct document_row {
	int64_t object;
	char coding[32]; /* empty: none */
};

/* ---- Putting ---- */

struct document_put {
	struct store_put put;
	struct store_view *view; /* borrowed */
	enum store_tree tree;
	char *name, *coding; /* owned; coding may be NULL */
	bool replace;
	struct hash made_of; /* the NAR that a listing was made of; HASH_NONE: a client put it */
	bool is_late;        /* the path has another one by now, or has gone: it was not kept */
	struct incoming bytes;
};

static int document_put_write(struct store_put *self, const void *data, size_t len, struct err *err)
{
	struct document_put *p = container_of(self, struct document_put, put);

	if (len > trees[p->tree].max - p->bytes.size)
		return err_set(err, E_LIMIT, "%s may have %llu bytes at the most",
			       trees[p->tree].what, (unsigned long long)trees[p->tree].max);
	return sink_write(&p->bytes.sink, data, len, err);
}

static int document_find(struct conn *c, const struct store_view *v, enum store_tree tree,
			 const char *name, struct document_row *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(
		&q, c,
		"SELECT object, coding FROM document WHERE view = ?1 AND tree = ?2 AND name = ?3");
	query_bind_int(&q, 1, v->id);
	query_bind_int(&q, 2, tree);
	query_bind_str(&q, 3, name);
	r = query_step(&q, err);
	if (r > 0) {
		struct slice coding = query_bytes(&q, 1);

		*ret = (struct document_row){.object = query_int(&q, 0)};
		if (coding.len && coding.len < sizeof(ret->coding))
			memcpy(ret->coding, coding.data, coding.len);
	}
	query_end(&q);
	return r;
}

/* 1 and its NAR, or 0: there is no such path. */
static int path_nar(struct conn *c, const struct store_view *v, const char *hash_part,
		    struct nar *ret, struct err *err)
{
	struct query q;
	int64_t nar = 0;
	int r;

	query_init(&q, c, "SELECT nar FROM binding WHERE view = ?1 AND hash_part = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, hash_part);
	r = query_step(&q, err);
	if (r > 0)
		nar = query_int(&q, 0);
	query_end(&q);
	return r > 0 ? nar_find_id(c, nar, ret, err) : r;
}

/* A listing that a client put goes with its path. As long as there is none, it waits for it. */
static int listing_wait(struct conn *c, const struct document_put *p, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "INSERT INTO candidate (kind, a, b, name, since, due)"
		   " SELECT ?1, ?2, 0, ?3, ?4, 0 WHERE NOT EXISTS"
		   " (SELECT 1 FROM binding WHERE view = ?2 AND hash_part = ?3)"
		   " ON CONFLICT DO UPDATE SET since = excluded.since, due = 0");
	query_bind_int(&q, 1, CANDIDATE_LISTING);
	query_bind_int(&q, 2, p->view->id);
	query_bind_str(&q, 3, p->name);
	query_bind_int(&q, 4, now_seconds());
	return query_run(&q, err);
}

/* 1; 0: a listing was made too late. */
static int listing_check(struct conn *c, struct document_put *p, struct err *err)
{
	cleanup_nar struct nar n = {0};
	int r;

	if (p->tree != STORE_LISTING)
		return 1;
	if (p->made_of.algo == HASH_NONE)
		return listing_wait(c, p, err) < 0 ? err->code : 1;
	r = path_nar(c, p->view, p->name, &n, err);
	if (r < 0)
		return r;
	p->is_late = r == 0 || !hash_equal(&n.nar_hash, &p->made_of);
	return !p->is_late;
}

static int document_job(struct conn *c, void *arg, struct err *err)
{
	struct document_put *p = arg;
	struct document_row old = {0};
	int64_t object;
	struct query q;
	int r = document_find(c, p->view, p->tree, p->name, &old, err);

	if (r < 0 || (r > 0 && !p->replace))
		return r < 0 ? r : 0;
	r = listing_check(c, p, err);
	if (r <= 0)
		return r;
	r = incoming_record(&p->bytes, c, OBJECT_OPAQUE, &object, err);
	if (r < 0)
		return r;
	query_init(&q, c,
		   "INSERT INTO document (view, tree, name, object, coding, added)"
		   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
		   " ON CONFLICT DO UPDATE SET object = ?4, coding = ?5, added = ?6");
	query_bind_int(&q, 1, p->view->id);
	query_bind_int(&q, 2, p->tree);
	query_bind_str(&q, 3, p->name);
	query_bind_int(&q, 4, object);
	query_bind_str(&q, 5, p->coding);
	query_bind_int(&q, 6, now_seconds());
	r = query_run(&q, err);
	return r < 0 || !old.object || old.object == object ? r
							    : garbage_object(c, old.object, err);
}

static int document_put_commit(struct store_put *self, struct err *err)
{
	struct document_put *p = container_of(self, struct document_put, put);
	int r;

	incoming_end(&p->bytes);
	r = incoming_seal(&p->bytes, err);
	if (r >= 0)
		r = db_write(p->view->store->db, document_job, p, err);
	incoming_settle(&p->bytes, r >= 0);
	return r;
}

static void document_put_free(struct store_put *self)
{
	struct document_put *p = container_of(self, struct document_put, put);

	incoming_release(&p->bytes);
	free(p->name);
	free(p->coding);
	free(p);
}

static struct document_put *document_put_new(struct store_view *v, enum store_tree tree,
					     const char *name)
{
	struct document_put *p = xcalloc(1, sizeof(*p));

	p->put = (struct store_put){document_put_write, document_put_commit, document_put_free,
				    false};
	p->view = v;
	p->tree = tree;
	p->name = xstrdup(name);
	incoming_init(&p->bytes, v->store);
	return p;
}

int store_document_put(struct store_view *v, enum store_tree tree, const char *name,
		       const char *coding, struct store_put **ret, struct err *err)
{
	struct document_put *p;
	int r = name_check(tree, name, err);

	if (r >= 0 && coding && strlen(coding) >= sizeof(((struct document_row *)0)->coding))
		r = err_set(err, E_INVALID, "'%.40s' is not a content coding", coding);
	if (r < 0)
		return r;
	p = document_put_new(v, tree, name);
	p->coding = coding ? xstrdup(coding) : NULL;
	p->replace = true;
	*ret = &p->put;
	return 0;
}

/* ---- Listings that nobody put ---- */

static int binding_nar(struct store_view *v, const char *hash_part, struct nar *ret,
		       struct err *err)
{
	struct conn *c = reader(v, err);
	int r;

	if (!c)
		return err->code;
	r = path_nar(c, v, hash_part, ret, err);
	reader_done(v, c);
	return r;
}

static int listing_write(struct document_put *p, const struct nar *n, struct err *err)
{
	struct nar_lister *lister = nar_lister_new((size_t)trees[STORE_LISTING].max);
	struct nar_decoder decoder;
	struct slice json;
	int r;

	nar_decoder_init(&decoder, nar_lister_node_sink(lister));
	r = nar_decode(p->view->store, n, &decoder.sink, err);
	json = nar_lister_json(lister);
	if (r >= 0)
		r = sink_write(&p->bytes.sink, json.data, json.len, err);
	nar_decoder_release(&decoder);
	nar_lister_free(lister);
	return r;
}

/* Makes it and keeps it. 1; 0: the path changed meanwhile. */
static int listing_make(struct store_view *v, const char *hash_part, struct err *err)
{
	CLEANUP(content_free) struct content *guard = content_new(v->store);
	struct document_put *p;
	cleanup_nar struct nar n = {0};
	int r = binding_nar(v, hash_part, &n, err);

	if (r <= 0)
		return r < 0 ? r : err_set(err, E_NOTFOUND, "there is no store path %s", hash_part);
	p = document_put_new(v, STORE_LISTING, hash_part);
	p->made_of = n.nar_hash;
	r = listing_write(p, &n, err);
	if (r >= 0)
		r = document_put_commit(&p->put, err) < 0 ? err->code : !p->is_late;
	document_put_free(&p->put);
	return r;
}

/* ---- Reading ---- */

/* 1 found, 0 there is none. */
static int document_open(struct store_view *v, enum store_tree tree, const char *name,
			 struct content *content, struct err *err)
{
	struct conn *c = reader(v, err);
	struct document_row row = {0};
	int r;

	if (!c)
		return err->code;
	r = db_snapshot_begin(c, err);
	if (r >= 0) {
		r = document_find(c, v, tree, name, &row, err);
		if (r > 0)
			r = content_set_object(content, c, row.object, err) < 0 ? err->code : 1;
		db_snapshot_end(c);
	}
	reader_done(v, c);
	content_set_coding(content, row.coding[0] ? row.coding : NULL);
	return r;
}

int store_document_open(struct store_view *v, enum store_tree tree, const char *name,
			struct content **ret, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(v->store);
	int r = name_check(tree, name, err);

	if (r >= 0)
		r = document_open(v, tree, name, content, err);
	for (int tries = 0; r == 0 && tree == STORE_LISTING && tries < LISTING_TRIES; tries++) {
		r = listing_make(v, name, err);
		if (r > 0)
			r = document_open(v, tree, name, content, err);
	}
	if (r == 0)
		return err_set(err, E_NOTFOUND, "there is no such document");
	if (r < 0)
		return r;
	*ret = take_ptr(content);
	return 0;
}
