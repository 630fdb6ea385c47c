/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <nacre/closure.h>

#include "store/bindings.h"
#include "store/closures.h"
#include "store/uses.h"

enum { PATHS_MAX = 1 << 20 };

void closure_release(struct closure *k)
{
	path_infos_release(&k->set);
	free(k->nars);
	*k = (struct closure){0};
}

static void closure_add(struct closure *k, struct binding *b)
{
	size_t nars_cap = k->set.cap;

	/* Rows come sorted, so each is added at the end. */
	array_grow(k->set.items, k->set.cap, k->set.len + 1);
	if (nars_cap != k->set.cap)
		k->nars = xreallocarray(k->nars, k->set.cap, sizeof(*k->nars));
	k->nars[k->set.len] = b->nar;
	k->set.items[k->set.len++] = b->info;
	b->info = (struct path_info){0};
}

size_t closure_name_parse(const char *name, const char **ret_end)
{
	const char *at = name;

	for (size_t n = 0; n < CLOSURE_ROOTS_MAX; n++) {
		if (strnlen(at, STORE_HASH_LEN) < STORE_HASH_LEN ||
		    store_hash_part_check(slice_make(at, STORE_HASH_LEN)) < 0)
			return 0;
		for (const char *other = name; other < at; other += STORE_HASH_LEN + 1)
			if (memcmp(other, at, STORE_HASH_LEN) == 0)
				return 0;
		*ret_end = at + STORE_HASH_LEN;
		if (**ret_end != '.')
			return n + 1;
		at = *ret_end + 1;
	}
	return 0;
}

static int binding_root(struct conn *c, const struct store_view *v, struct slice hash_part,
			int64_t *ret, int64_t *ret_generation, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT binding.id, generation FROM binding JOIN view ON view.id = binding.view"
		   " WHERE view = ?1 AND hash_part = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_text(&q, 2, hash_part);
	r = query_step(&q, err);
	if (r > 0) {
		*ret = query_int(&q, 0);
		*ret_generation = query_int(&q, 1);
		/* Whoever wants an image of it uses it, and all that it refers to with it. */
		r = use_note(v->store, (struct use_key){USE_PATH, *ret, 0});
	}
	query_end(&q);
	return r != 0 ? r
		      : err_set(err, E_NOTFOUND, "there is no store path %.*s", (int)hash_part.len,
				(const char *)hash_part.data);
}

/* Places that are left over have the first one again. */
static int bindings_find(struct conn *c, const struct store_view *v, const char *name,
			 struct closure *k, int64_t ids[CLOSURE_ROOTS_MAX], struct err *err)
{
	const char *end;

	k->n_roots = closure_name_parse(name, &end);
	if (!k->n_roots)
		return err_set(err, E_NOTFOUND, "%.128s does not name a store path", name);
	for (size_t i = 0; i < k->n_roots; i++) {
		int r = binding_root(c, v,
				     slice_make(name + i * (STORE_HASH_LEN + 1), STORE_HASH_LEN),
				     &ids[i], &k->generation, err);

		if (r < 0)
			return r;
	}
	for (size_t i = k->n_roots; i < CLOSURE_ROOTS_MAX; i++)
		ids[i] = ids[0];
	return 0;
}

static int rows_read(struct conn *c, const char *store_dir, const int64_t ids[CLOSURE_ROOTS_MAX],
		     struct closure *k, struct err *err)
{
	struct query q;
	int r;

	_Static_assert(CLOSURE_ROOTS_MAX == 10, "as many are in the statement");
	query_init(
		&q, c,
		"WITH RECURSIVE closure (id) AS (VALUES (?1), (?2), (?3), (?4), (?5), (?6), (?7),"
		"  (?8), (?9), (?10) UNION SELECT referred FROM closure"
		"  JOIN reference ON reference.referrer = closure.id WHERE ?11)"
		"SELECT binding.id, nar, attested, base, refs, deriver, signatures, ca, nar_hash,"
		" nar_size FROM closure JOIN binding ON binding.id = closure.id"
		" JOIN nar ON nar.id = binding.nar ORDER BY base");
	for (int i = 0; i < CLOSURE_ROOTS_MAX; i++)
		query_bind_int(&q, i + 1, ids[i]);
	query_bind_int(&q, CLOSURE_ROOTS_MAX + 1, k->whole);
	while ((r = query_step(&q, err)) > 0) {
		cleanup_binding struct binding b = {0};

		r = k->set.len < PATHS_MAX ? binding_load(&q, store_dir, &b, err)
					   : err_set(err, E_LIMIT, "the closure is too large");
		if (r < 0)
			break;
		for (size_t i = 0; i < k->n_roots; i++)
			if (b.id == ids[i])
				k->roots[i] = k->set.len;
		closure_add(k, &b);
	}
	query_end(&q);
	return r;
}

int closure_read(struct store_view *v, const char *name, bool whole, struct closure *ret,
		 struct err *err)
{
	cleanup_closure struct closure k = {.whole = whole};
	char dir[STORE_DIR_MAX + 1];
	struct conn *c;
	int64_t ids[CLOSURE_ROOTS_MAX] = {0};
	int r;

	if (!view_store_dir(v, dir))
		return err_set(err, E_NOTFOUND, "there is no store path %.128s", name);
	c = reader(v, err);
	if (!c)
		return err->code;
	r = db_snapshot_begin(c, err);
	if (r >= 0) {
		r = bindings_find(c, v, name, &k, ids, err);
		if (r >= 0)
			r = rows_read(c, dir, ids, &k, err);
		db_snapshot_end(c);
	}
	reader_done(v, c);
	if (r >= 0 && whole)
		r = path_infos_check_closed(&k.set, err);
	if (r < 0)
		return r;
	*ret = k;
	k = (struct closure){0};
	return 0;
}

/* 1: it is bound to the same content. */
static int path_is_current(struct conn *c, const struct store_view *v, const struct closure *k,
			   size_t path, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT 1 FROM binding WHERE view = ?1 AND hash_part = ?2 AND nar = ?3");
	query_bind_int(&q, 1, v->id);
	query_bind_text(&q, 2, store_path_hash_part(&k->set.items[path].path));
	query_bind_int(&q, 3, k->nars[path]);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

int closure_is_current(struct conn *c, const struct store_view *v, const struct closure *k,
		       struct err *err)
{
	struct query q;
	bool same;
	int r;

	query_init(&q, c, "SELECT 1 FROM view WHERE id = ?1 AND generation = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_int(&q, 2, k->generation);
	r = query_step(&q, err);
	query_end(&q);
	if (r < 0)
		return r;
	same = r > 0;
	/* What others refer to does not go, and if it became another, that was counted. */
	r = 1;
	for (size_t i = 0; same && r > 0 && i < k->n_roots; i++)
		r = path_is_current(c, v, k, k->roots[i], err);
	for (size_t i = 0; !same && r > 0 && i < k->set.len; i++)
		r = path_is_current(c, v, k, i, err);
	return r;
}
