/* SPDX-License-Identifier: Apache-2.0 */
/* Views: the name spaces of the store (SPEC nacre 1), and what their operator wants of them. */
#include <string.h>

#include <nacre/reference.h>

#include "store/views.h"

/* ---- Policy ---- */

static void policy_free(struct view_policy *p)
{
	while (p) {
		struct view_policy *older = p->older;

		for (size_t i = 0; i < p->n_signing; i++)
			secret_key_release(&p->signing[i]);
		free(p->signing);
		free(p->trusted);
		free(p);
		p = older;
	}
}

static struct view_policy *policy_new(const struct store_view_options *o)
{
	struct view_policy *p = xcalloc(1, sizeof(*p));

	p->priority = o->priority;
	p->require_signatures = o->require_signatures;
	p->sign_images = o->sign_images;
	p->sparse = o->sparse;
	p->n_trusted = o->n_trusted;
	p->n_signing = o->n_signing;
	if (p->n_trusted)
		p->trusted = xmemdup(o->trusted, p->n_trusted * sizeof(*p->trusted));
	if (p->n_signing)
		p->signing = xmemdup(o->signing, p->n_signing * sizeof(*p->signing));
	return p;
}

/* ---- In the database ---- */

static int view_open_job(struct conn *c, void *arg, struct err *err)
{
	struct store_view *v = arg;
	struct query q;
	int r;

	query_init(&q, c, "INSERT OR IGNORE INTO view (name) VALUES (?1)");
	query_bind_str(&q, 1, v->name);
	r = query_run(&q, err);
	if (r < 0 || !v->store_dir[0])
		return r;
	query_init(&q, c, "UPDATE view SET store_dir = ?1 WHERE name = ?2 AND store_dir IS NULL");
	query_bind_str(&q, 1, v->store_dir);
	query_bind_str(&q, 2, v->name);
	return query_run(&q, err);
}

static int view_read(struct store_view *v, struct err *err)
{
	struct conn *c = reader(v, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c, "SELECT id, coalesce(store_dir, '') FROM view WHERE name = ?1");
	query_bind_str(&q, 1, v->name);
	r = query_step(&q, err);
	if (r > 0) {
		struct slice dir = query_bytes(&q, 1);

		v->id = query_int(&q, 0);
		if (v->store_dir[0] && dir.len && !slice_equal_str(dir, v->store_dir))
			r = err_set(err, E_CONFLICT,
				    "this store holds paths of %.*s%s%s, not of %s", (int)dir.len,
				    (const char *)dir.data, v->name[0] ? " in " : "", v->name,
				    v->store_dir);
		else if (dir.len <= STORE_DIR_MAX)
			memcpy(v->store_dir, dir.data, dir.len);
	}
	query_end(&q);
	reader_done(v, c);
	return r < 0 ? r : 0;
}

/* ---- Opening and finding ---- */

static int options_check(const char *name, const struct store_view_options *o, struct err *err)
{
	if (name[0] && repository_check(slice_str(name)) < 0)
		return err_set(err, E_INVALID, "'%s' cannot be the name of a view", name);
	if (o->store_dir && store_dir_check(slice_str(o->store_dir)) < 0)
		return err_set(err, E_INVALID, "'%s' is not a store directory", o->store_dir);
	return 0;
}

static void view_free(struct store_view *v)
{
	policy_free(atomic_load(&v->policy));
	pthread_rwlock_destroy(&v->lock);
	free(v->name);
	free(v);
}

static int view_new(struct store_view **ret, struct store *s, const char *name,
		    const struct store_view_options *o, struct err *err)
{
	struct store_view *v = xcalloc(1, sizeof(*v));
	int r;

	v->store = s;
	v->name = xstrdup(name);
	pthread_rwlock_init(&v->lock, NULL);
	if (o->store_dir)
		memcpy(v->store_dir, o->store_dir, strlen(o->store_dir));
	atomic_store(&v->policy, policy_new(o));
	r = db_write(s->db, view_open_job, v, err);
	if (r >= 0)
		r = view_read(v, err);
	if (r < 0) {
		view_free(v);
		return r;
	}
	*ret = v;
	return 0;
}

static struct store_view *find_locked(struct store *s, struct slice name)
{
	for (size_t i = 0; i < s->n_views; i++)
		if (slice_equal_str(name, s->views[i]->name))
			return s->views[i];
	return NULL;
}

/* A store dir that was set later is taken; another one than what stands is not. */
static int view_change(struct store_view *v, const struct store_view_options *o, struct err *err)
{
	struct view_policy *p;

	if (o->store_dir) {
		struct store_view wanted = {.store = v->store, .name = v->name};
		int r;

		memcpy(wanted.store_dir, o->store_dir, strlen(o->store_dir));
		r = db_write(v->store->db, view_open_job, &wanted, err);
		if (r >= 0)
			r = view_read(&wanted, err);
		if (r < 0)
			return r;
		pthread_rwlock_wrlock(&v->lock);
		memcpy(v->store_dir, wanted.store_dir, sizeof(v->store_dir));
		pthread_rwlock_unlock(&v->lock);
	}
	p = policy_new(o);
	p->older = atomic_load(&v->policy);
	atomic_store(&v->policy, p);
	return 0;
}

static void add_locked(struct store *s, struct store_view *v)
{
	array_grow(s->views, s->views_cap, s->n_views + 1);
	s->views[s->n_views++] = v;
}

int store_view_open(struct store_view **ret, struct store *s, const char *name,
		    const struct store_view_options *o, struct err *err)
{
	struct store_view *v;
	int r = options_check(name, o, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&s->views_lock);
	v = find_locked(s, slice_str(name));
	if (v) {
		r = view_change(v, o, err);
	} else {
		r = view_new(&v, s, name, o, err);
		if (r >= 0)
			add_locked(s, v);
	}
	pthread_mutex_unlock(&s->views_lock);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}

int store_view_check(struct store *s, const char *name, const struct store_view_options *o,
		     struct err *err)
{
	struct store_view wanted = {.store = s, .name = (char *)(uintptr_t)name};
	int r = options_check(name, o, err);

	if (r < 0 || !o->store_dir)
		return r;
	memcpy(wanted.store_dir, o->store_dir, strlen(o->store_dir));
	return view_read(&wanted, err);
}

struct store_view *store_view_find(struct store *s, struct slice name)
{
	struct store_view *v;

	pthread_mutex_lock(&s->views_lock);
	v = find_locked(s, name);
	pthread_mutex_unlock(&s->views_lock);
	return v;
}

struct store_view *store_root(struct store *s)
{
	return s->root;
}

const char *store_view_name(const struct store_view *v)
{
	return v->name;
}

void views_close(struct store *s)
{
	for (size_t i = 0; i < s->n_views; i++)
		view_free(s->views[i]);
	free(s->views);
}

bool view_store_dir(struct store_view *v, char *ret)
{
	pthread_rwlock_rdlock(&v->lock);
	memcpy(ret, v->store_dir, sizeof(v->store_dir));
	pthread_rwlock_unlock(&v->lock);
	return ret[0] != '\0';
}
