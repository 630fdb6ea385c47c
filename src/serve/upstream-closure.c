/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closures: binding what was fetched, references first, and fetching what is missing of one.
 */
#include <string.h>

#include "base/cond.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/upstream-internal.h"
#include "serve/upstream-paths.h"

enum { WORKERS = 8, CLOSURE_MAX = 1 << 18, WORKER_STACK = 2 << 20 };

/* ---- Binding ---- */

static void waiting_free(struct waiting *w)
{
	free(w->hash_part);
	free(w->text);
	free(w);
}

/* Binds those that waited for one of `bound` alone; their names are added. Under bind_lock. */
static void bind_waiting(struct upstreams *u, struct store_view *view, struct strv *bound)
{
	for (size_t i = 0; i < bound->len; i++) {
		struct waiting **at = &u->waiting;

		while (*at) {
			struct waiting *w = *at;
			struct err err = ERR_INIT;
			int r = E_NOTFOUND;

			if (w->view == view && strstr(w->text, bound->items[i]))
				r = store_narinfo_fetched(view, w->hash_part, slice_str(w->text),
							  &err);
			if (r == E_NOTFOUND) {
				at = &w->next;
				continue;
			}
			if (r < 0)
				log_warn("%s of an upstream is not bound: %s", w->hash_part,
					 err.text);
			else
				strv_add(bound, w->hash_part);
			*at = w->next;
			u->waiting_bytes -= strlen(w->text);
			waiting_free(w);
		}
	}
}

static void wait_for_references(struct upstreams *u, struct store_view *view, const char *hash_part,
				char *text)
{
	struct waiting *w;

	for (w = u->waiting; w; w = w->next) {
		if (w->view == view && strcmp(w->hash_part, hash_part) == 0)
			break;
	}
	if (w || strlen(text) > WAITING_BYTES_MAX - u->waiting_bytes) {
		free(text);
		return;
	}
	w = xmalloc(sizeof(*w));
	*w = (struct waiting){u->waiting, view, xstrdup(hash_part), text};
	u->waiting = w;
	u->waiting_bytes += strlen(text);
}

static void complete_run(void *arg)
{
	struct upstreams *u = arg;

	for (;;) {
		struct completion *c;
		struct upstream_ask ask;
		struct err err = ERR_INIT;

		pthread_mutex_lock(&u->bind_lock);
		c = u->completions;
		if (c) {
			u->completions = c->next;
			u->n_completions--;
		} else {
			u->completing = false;
		}
		pthread_mutex_unlock(&u->bind_lock);
		if (!c)
			return;
		ask = (struct upstream_ask){u, c->settings, c->view, false};
		if (!atomic_load(&u->flights.stopping) &&
		    upstream_closure(&ask, c->hash_part, &err) < 0)
			log_warn("what %s refers to: %s", c->hash_part, err.text);
		settings_unref(c->settings);
		free(c->hash_part);
		free(c);
	}
}

/* Under bind_lock. */
static void complete_later(const struct upstream_ask *ask, const char *hash_part)
{
	struct upstreams *u = ask->upstreams;
	struct completion *c;

	for (c = u->completions; c; c = c->next)
		if (c->view == ask->view && strcmp(c->hash_part, hash_part) == 0)
			return;
	if (u->n_completions == COMPLETIONS_MAX)
		return;
	u->n_completions++;
	c = xmalloc(sizeof(*c));
	*c = (struct completion){u->completions, settings_ref(ask->settings), ask->view,
				 xstrdup(hash_part)};
	u->completions = c;
}

void upstream_bind(const struct upstream_ask *ask, const struct narinfo *n, bool complete)
{
	struct upstreams *u = ask->upstreams;
	struct store_view *view = ask->view->view;
	char *text = upstream_bind_text(n);
	cleanup_free char *hash_part = xstrndup(store_path_base(&n->info.path), STORE_HASH_LEN);
	cleanup_strv struct strv bound = {0};
	struct err err = ERR_INIT;
	bool spawn = false;
	int r;

	if (!text)
		return;
	/* Where something of a closure is not to be had, fetching it would order the next try. */
	complete = complete && !ask->in_closure;
	pthread_mutex_lock(&u->bind_lock);
	r = store_narinfo_fetched(view, hash_part, slice_str(text), &err);
	if (r == E_NOTFOUND) {
		wait_for_references(u, view, hash_part, take_ptr(text));
		if (complete)
			complete_later(ask, hash_part);
		spawn = complete && !u->completing;
		u->completing |= complete;
	} else if (r < 0) {
		log_warn("%s of an upstream is not bound: %s", hash_part, err.text);
	} else {
		strv_add(&bound, hash_part);
		bind_waiting(u, view, &bound);
	}
	pthread_mutex_unlock(&u->bind_lock);
	free(text);
	if (spawn && flights_spawn(&u->flights, complete_run, u, &err) < 0) {
		pthread_mutex_lock(&u->bind_lock);
		u->completing = false;
		pthread_mutex_unlock(&u->bind_lock);
	}
}

/* ---- Fetching ---- */

struct closure_job {
	const struct upstream_ask *ask;
	pthread_mutex_t lock;
	struct cond changed;
	/* Under the lock: */
	struct strv bases, referrers; /* what is wanted, and by whom ("": the caller) */
	uint32_t *table;              /* owned; indexes of `bases` + 1 by hash part; 0: free */
	size_t table_size;            /* a power of two */
	size_t next;                  /* of `bases`, to be worked on */
	unsigned busy;
	int result;
	struct err err;
};

static size_t place_of(const struct closure_job *j, const char *base)
{
	uint64_t h = 14695981039346656037U;
	size_t i;

	for (i = 0; i < STORE_HASH_LEN; i++)
		h = (h ^ (uint8_t)base[i]) * 1099511628211U;
	for (i = h & (j->table_size - 1); j->table[i]; i = (i + 1) & (j->table_size - 1)) {
		if (strncmp(j->bases.items[j->table[i] - 1], base, STORE_HASH_LEN) == 0)
			break;
	}
	return i;
}

static void table_grow(struct closure_job *j)
{
	free(j->table);
	j->table_size = j->table_size ? j->table_size * 2 : 64;
	j->table = xcalloc(j->table_size, sizeof(*j->table));
	for (size_t i = 0; i < j->bases.len; i++)
		j->table[place_of(j, j->bases.items[i])] = (uint32_t)i + 1;
}

static int want(struct closure_job *j, const char *base, const char *referrer, struct err *err)
{
	size_t at;

	if ((j->bases.len + 1) * 2 > j->table_size)
		table_grow(j);
	at = place_of(j, base);
	if (j->table[at])
		return 0;
	if (j->bases.len == CLOSURE_MAX)
		return err_set(err, E_LIMIT, "the closure has more than %d paths", CLOSURE_MAX);
	strv_add(&j->bases, base);
	strv_add(&j->referrers, referrer);
	j->table[at] = (uint32_t)j->bases.len;
	return 0;
}

/* Without the lock. What is bound here is closed. */
static int fetch_one(struct closure_job *j, const char *base, const char *referrer,
		     struct strv *ret_references, struct err *err)
{
	cleanup_free char *hash_part = xstrndup(base, STORE_HASH_LEN);
	struct err why = ERR_INIT;
	int r = store_narinfo_exists(j->ask->view->view, hash_part, err);

	if (r)
		return r < 0 ? r : 0;
	r = upstream_path_fetch(j->ask, hash_part, ret_references, &why);
	if (r == E_NOTFOUND && referrer[0])
		return err_set(err, E_NOTFOUND, "%s is missing, which %s refers to: %s", base,
			       referrer, why.text);
	if (r < 0)
		*err = why;
	return r;
}

static void work_on_next(struct closure_job *j)
{
	cleanup_strv struct strv references = {0};
	cleanup_free char *base = xstrdup(j->bases.items[j->next]);
	cleanup_free char *referrer = xstrdup(j->referrers.items[j->next++]);
	struct err err = ERR_INIT;
	int r;

	j->busy++;
	pthread_mutex_unlock(&j->lock);
	r = fetch_one(j, base, referrer, &references, &err);
	pthread_mutex_lock(&j->lock);
	j->busy--;
	for (size_t i = 0; r == 0 && i < references.len; i++)
		r = want(j, references.items[i], base, &err);
	if (r < 0 && j->result == 0) {
		j->result = r;
		j->err = err;
	}
	cond_wake_all(&j->changed);
}

static void *work(void *arg)
{
	struct closure_job *j = arg;

	pthread_mutex_lock(&j->lock);
	for (;;) {
		while (j->result == 0 && j->next == j->bases.len && j->busy)
			cond_wait(&j->changed, &j->lock);
		if (j->result < 0 || j->next == j->bases.len)
			break;
		work_on_next(j);
	}
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

static void run_workers(struct closure_job *j)
{
	pthread_t threads[WORKERS - 1];
	pthread_attr_t attr;
	size_t n = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WORKER_STACK);
	while (n < WORKERS - 1 && pthread_create(&threads[n], &attr, work, j) == 0)
		n++;
	pthread_attr_destroy(&attr);
	work(j);
	while (n)
		pthread_join(threads[--n], NULL);
}

static int fetch_closure(const struct upstream_ask *ask, const char *hash_part, struct err *err)
{
	struct upstream_ask own = *ask;
	struct closure_job j = {.ask = &own};
	int r;

	own.in_closure = true;
	pthread_mutex_init(&j.lock, NULL);
	want(&j, hash_part, "", err);
	run_workers(&j);
	r = j.result;
	if (r < 0)
		*err = j.err;
	pthread_mutex_destroy(&j.lock);
	strv_release(&j.bases);
	strv_release(&j.referrers);
	free(j.table);
	return r;
}

int upstream_closure(const struct upstream_ask *ask, const char *hash_part, struct err *err)
{
	cleanup_free char *key = xasprintf("c/%s/%s", ask->view->name, hash_part);
	struct flight *f;
	bool mine;
	int r;

	if (!ask->view->upstreams.len || store_hash_part_check(slice_str(hash_part)) < 0)
		return err_set(err, E_NOTFOUND, "there is no %.40s", hash_part);
	f = flights_join(&ask->upstreams->flights, key, &mine);
	if (mine) {
		struct err why = ERR_INIT;

		r = fetch_closure(ask, hash_part, &why);
		flight_end(f, r, &why);
	}
	r = flight_wait(f, err);
	flight_unref(f);
	return r;
}
