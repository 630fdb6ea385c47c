/* SPDX-License-Identifier: Apache-2.0 */
/* Store paths from the upstreams of a view: narinfos and NARs. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/cache.h"
#include "serve/upstream-internal.h"
#include "serve/upstream-paths.h"

static char *key_of(const struct upstream_ask *ask, char kind, const char *name)
{
	return xasprintf("%c/%s/%s", kind, ask->view->name, name);
}

/* The narinfo as we word it. `query`: with the hash part in the address. */
static char *narinfo_text(const struct narinfo *n, bool query)
{
	cleanup_buf struct buf text = BUF_INIT(2 * NARINFO_MAX);
	struct narinfo ours = {.info = n->info}; /* borrows */
	char hash[HASH_TEXT_MAX];
	struct slice part = store_path_hash_part(&n->info.path);
	cleanup_free char *url = NULL;

	hash_format_bare(hash, &n->info.nar_hash, HASH_NIX32);
	url = query ? xasprintf("nar/%s.nar?hash=%.*s", hash, STORE_HASH_LEN,
				(const char *)part.data)
		    : xasprintf("nar/%s.nar", hash);
	ours.url = url;
	ours.compression = (char *)(uintptr_t) "none";
	if (narinfo_format(&text, &ours) < 0)
		return NULL;
	return buf_take_str(&text);
}

/* A text of ours. */
static int narinfo_reparse(struct narinfo *ret, const char *text, struct err *err)
{
	static const char key[] = "StorePath: ";
	const char *path = text + strlen(key), *end = strchr(path, '\n'), *slash = end;
	cleanup_free char *dir = NULL;

	while (slash > path && *slash != '/')
		slash--;
	dir = xstrndup(path, (size_t)(slash - path));
	return narinfo_parse(ret, dir, slice_str(text), err);
}

static int ask_cache(const struct upstream_ask *ask, const struct upstream_settings *up,
		     const char *hash_part, struct narinfo *ret, struct err *err)
{
	struct cache *c;
	int r = upstream_take_cache(up, ask->view->store_dir, &ask->upstreams->flights.stopping, &c,
				    err);

	if (r < 0)
		return r;
	r = cache_get_narinfo(c, slice_str(hash_part), ret, err);
	upstream_give_cache(up, c, r);
	return r;
}

/* A path that the view would not bind is not to be had by way of it either. */
static int check_policy(const struct upstream_ask *ask, const struct narinfo *n, struct err *err)
{
	const struct view_settings *v = ask->view;

	if (!v->require_signatures || path_info_verify(&n->info, v->trusted, v->n_trusted) ||
	    path_info_ca_matches(&n->info) > 0)
		return 0;
	return err_set(err, E_DENIED, "%s is signed by none of the keys that this cache requires",
		       store_path_base(&n->info.path));
}

static int ask_one(const struct upstream_ask *ask, const struct upstream_settings *up,
		   const char *hash_part, struct narinfo *ret, struct err *err)
{
	cleanup_narinfo struct narinfo n = {0};
	int r = up->kind == UPSTREAM_CACHE ? ask_cache(ask, up, hash_part, &n, err)
					   : upstream_package_narinfo(ask, up, hash_part, &n, err);

	if (r == 0)
		r = check_policy(ask, &n, err);
	if (r < 0)
		return r;
	*ret = n;
	n = (struct narinfo){0};
	return 0;
}

/* The first who has it. E_NOTFOUND: nobody; E_NET: perhaps one that could not be asked. */
static int ask_all(const struct upstream_ask *ask, const char *hash_part, struct narinfo *ret,
		   const struct upstream_settings **ret_from, struct err *err)
{
	const struct upstream_list *l = &ask->view->upstreams;
	struct err down = ERR_INIT, refused = ERR_INIT;

	for (size_t i = 0; i < l->len; i++) {
		const struct upstream_settings *up = &l->items[i];
		struct err why = ERR_INIT;
		int r;

		if (up->kind == UPSTREAM_REGISTRY && !up->packages)
			continue;
		r = ask_one(ask, up, hash_part, ret, &why);
		if (r == 0) {
			*ret_from = up;
			return 0;
		}
		if (r == E_NOTFOUND)
			continue;
		log_warn("upstream %s: %s", up->name, why.text);
		if (r == E_NET || r == E_IO || r == E_TRUNCATED || r == E_CANCELLED) {
			if (!up->optional && !down.code)
				down = why;
		} else if (!refused.code) {
			refused = why;
		}
	}
	if (down.code)
		return err_set(err, E_NET, "an upstream could not be asked for %s: %s", hash_part,
			       down.text);
	if (refused.code)
		return err_set(err, E_NOTFOUND, "no upstream has %s that is to be believed: %s",
			       hash_part, refused.text);
	return err_set(err, E_NOTFOUND, "neither this cache nor its upstreams have %s", hash_part);
}

/* Asks, and keeps the answer. */
static int learn(const struct upstream_ask *ask, const char *key, const char *hash_part,
		 struct err *err)
{
	const struct upstream_list *l = &ask->view->upstreams;
	const struct upstream_settings *from;
	cleanup_buf struct buf b = BUF_INIT(2 * NARINFO_MAX);
	cleanup_narinfo struct narinfo n = {0};
	cleanup_free char *text = NULL;
	int r = ask_all(ask, hash_part, &n, &from, err);

	if (r == E_NOTFOUND)
		known_set(ask->upstreams, key, NULL, err->text, l->negative_ttl_ms);
	if (r < 0)
		return r;
	/* With the upstream's own URL and compression. */
	if (narinfo_format(&b, &n) < 0)
		return err_set(err, E_LIMIT, "the narinfo of %s is too large", hash_part);
	text = buf_take_str(&b);
	known_set(ask->upstreams, key, from->name, text, l->narinfo_ttl_ms);
	return 0;
}

/* 1 there is an answer, 0 not; < 0 the answer is that there is nothing. */
static int recall(const struct upstream_ask *ask, const char *key, struct narinfo *ret,
		  const struct upstream_settings **ret_from, struct err *err)
{
	const struct upstream_list *l = &ask->view->upstreams;
	cleanup_free char *where = NULL, *text = NULL;
	int r = known_find(ask->upstreams, key, false, &where, &text);

	if (!r)
		return 0;
	if (!where)
		return err_set(err, E_NOTFOUND, "%s", text);
	for (size_t i = 0; i < l->len; i++) {
		if (strcmp(l->items[i].name, where) != 0)
			continue;
		*ret_from = &l->items[i];
		r = narinfo_reparse(ret, text, err);
		return r < 0 ? r : 1;
	}
	return 0; /* of an upstream that is none any more */
}

/* What the upstreams say of a path; each is asked once, however many want to know. */
static int find(const struct upstream_ask *ask, const char *hash_part, struct narinfo *ret,
		const struct upstream_settings **ret_from, struct err *err)
{
	cleanup_free char *key = key_of(ask, 'i', hash_part);
	struct flight *f;
	bool mine;
	int r = recall(ask, key, ret, ret_from, err);

	if (r)
		return r < 0 ? r : 0;
	f = flights_join(&ask->upstreams->flights, key, &mine);
	if (mine) {
		struct err why = ERR_INIT;
		cleanup_narinfo struct narinfo known = {0};

		/* Somebody may have been quicker. */
		r = recall(ask, key, &known, ret_from, &why);
		if (r == 0)
			r = learn(ask, key, hash_part, &why);
		flight_end(f, r < 0 ? r : 0, &why);
	}
	r = flight_wait(f, err);
	flight_unref(f);
	if (r < 0)
		return r;
	r = recall(ask, key, ret, ret_from, err);
	/* Other answers took its place already. */
	return r < 0 ? r : r ? 0 : ask_all(ask, hash_part, ret, ret_from, err);
}

int upstream_narinfo(const struct upstream_ask *ask, const char *hash_part, struct buf *ret,
		     struct err *err)
{
	const struct upstream_settings *from;
	cleanup_narinfo struct narinfo n = {0};
	cleanup_free char *text = NULL;
	int r;

	if (!ask->view->upstreams.len || store_hash_part_check(slice_str(hash_part)) < 0)
		return err_set(err, E_NOTFOUND, "there is no %.40s", hash_part);
	r = find(ask, hash_part, &n, &from, err);
	if (r < 0)
		return r;
	text = narinfo_text(&n, true);
	if (!text || buf_add(ret, text, strlen(text)) < 0)
		return err_set(err, E_LIMIT, "the narinfo of %s is too large", hash_part);
	return 0;
}

/* ---- NARs ---- */

struct nar_job {
	struct upstream_ask ask; /* with a reference of the settings */
	const struct upstream_settings *from;
	struct narinfo n;      /* owned */
	struct flight *flight; /* a reference */
	/* While it runs: */
	struct sink sink;
	struct store_put *put; /* NULL: a quota leaves no room, it goes to readers alone */
};

static int nar_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct nar_job *job = container_of(self, struct nar_job, sink);
	int r = job->put ? store_put_write(job->put, data, len, err) : 0;

	return r < 0 ? r : sink_write(flight_sink(job->flight), data, len, err);
}

static int nar_fetch(struct nar_job *job, struct err *err)
{
	struct upstream_ask *ask = &job->ask;
	struct cache *c;
	int r;

	if (job->from->kind == UPSTREAM_REGISTRY)
		return upstream_package_nar(ask, job->from, &job->n.info, &job->sink, err);
	r = upstream_take_cache(job->from, ask->view->store_dir, &ask->upstreams->flights.stopping,
				&c, err);
	if (r < 0)
		return r;
	r = cache_get_nar(c, &job->n, &job->sink, err);
	upstream_give_cache(job->from, c, r);
	return r;
}

static int nar_fetch_and_keep(struct nar_job *job, const char *name, struct err *err)
{
	int r;

	job->sink = (struct sink){.write = nar_write};
	r = nar_fetch(job, err);
	if (r < 0 || !job->put)
		return r;
	return upstream_kept(name, store_put_commit(job->put, err), err);
}

/* 1: it is in the store; 0: it went to those who read along alone. */
static int nar_store(struct nar_job *job, struct err *err)
{
	char hash[HASH_TEXT_MAX];
	cleanup_free char *name = NULL;
	int r;

	hash_format_bare(hash, &job->n.info.nar_hash, HASH_NIX32);
	name = xasprintf("%s.nar", hash);
	r = store_nar_put(job->ask.view->view, name, &job->put, err);
	/* Nobody reads what is fetched for a closure. */
	if (!job->ask.in_closure)
		r = upstream_kept(name, r, err);
	if (r < 0)
		return r;
	r = nar_fetch_and_keep(job, name, err);
	store_put_free(job->put);
	return r;
}

static void nar_run(void *arg)
{
	struct nar_job *job = arg;
	struct err err = ERR_INIT;
	int r = nar_store(job, &err);

	if (r < 0)
		r = upstream_blame(job->from, r, &err);
	if (r > 0)
		upstream_bind(&job->ask, &job->n, job->from->closures);
	flight_end(job->flight, r < 0 ? r : 0, &err);
	flight_unref(job->flight);
	narinfo_release(&job->n);
	settings_unref(job->ask.settings);
	free(job);
}

/* Takes over `n`. Whatever happens, the flight ends. */
static void nar_begin(const struct upstream_ask *ask, const struct upstream_settings *from,
		      struct narinfo *n, struct flight *f)
{
	struct nar_job *job = xcalloc(1, sizeof(*job));
	struct err err = ERR_INIT;
	int r;

	*job = (struct nar_job){.ask = *ask, .from = from, .n = *n, .flight = flight_ref(f)};
	*n = (struct narinfo){0};
	settings_ref(ask->settings);
	r = flight_open(f, job->n.info.nar_size, &err);
	if (r == 0)
		r = flights_spawn(&ask->upstreams->flights, nar_run, job, &err);
	if (r == 0)
		return;
	flight_end(f, r, &err);
	flight_unref(f);
	narinfo_release(&job->n);
	settings_unref(job->ask.settings);
	free(job);
}

/* The flight of a NAR that is known; takes over `n`. */
static int nar_flight(const struct upstream_ask *ask, const struct upstream_settings *from,
		      struct narinfo *n, struct flight **ret, struct err *err)
{
	char hash[HASH_TEXT_MAX];
	cleanup_free char *key = NULL, *name = NULL;
	struct err ignored = ERR_INIT;
	struct flight *f;
	uint64_t size;
	bool mine;

	hash_format_bare(hash, &n->info.nar_hash, HASH_NIX32);
	key = key_of(ask, 'n', hash);
	name = xasprintf("%s.nar", hash);
	f = flights_join(&ask->upstreams->flights, key, &mine);
	if (mine && store_nar_stat(ask->view->view, name, &size, &ignored) == 0) {
		struct err there = ERR_INIT;

		err_set(&there, E_EXISTS, "%s is here by now", name);
		flight_end(f, E_EXISTS, &there);
		flight_unref(f);
		upstream_bind(ask, n, from->closures);
		*err = there;
		return E_EXISTS;
	}
	if (mine)
		nar_begin(ask, from, n, f);
	*ret = f;
	return 0;
}

static int find_nar(const struct upstream_ask *ask, const char *hash_part,
		    const struct hash *nar_hash, struct narinfo *ret,
		    const struct upstream_settings **ret_from, struct err *err)
{
	int r;

	if (!ask->view->upstreams.len || store_hash_part_check(slice_str(hash_part)) < 0)
		return err_set(err, E_NOTFOUND, "there is no such NAR");
	r = find(ask, hash_part, ret, ret_from, err);
	if (r == 0 && !hash_equal(&ret->info.nar_hash, nar_hash))
		r = err_set(err, E_NOTFOUND, "%s has another NAR by now",
			    store_path_base(&ret->info.path));
	return r;
}

int upstream_nar_size(const struct upstream_ask *ask, const char *hash_part,
		      const struct hash *nar_hash, uint64_t *ret, struct err *err)
{
	const struct upstream_settings *from;
	cleanup_narinfo struct narinfo n = {0};
	int r = find_nar(ask, hash_part, nar_hash, &n, &from, err);

	if (r == 0)
		*ret = n.info.nar_size;
	return r;
}

int upstream_nar(const struct upstream_ask *ask, const char *hash_part, const struct hash *nar_hash,
		 struct flight **ret, struct err *err)
{
	const struct upstream_settings *from;
	cleanup_narinfo struct narinfo n = {0};
	int r = find_nar(ask, hash_part, nar_hash, &n, &from, err);

	return r < 0 ? r : nar_flight(ask, from, &n, ret, err);
}

/* A client's fetch goes well without that. */
static int check_kept(const struct upstream_ask *ask, const char *hash_part,
		      const struct hash *nar_hash, struct err *err)
{
	char hash[HASH_TEXT_MAX];
	cleanup_free char *name = NULL;
	struct err ignored = ERR_INIT;
	uint64_t size;

	hash_format_bare(hash, nar_hash, HASH_NIX32);
	name = xasprintf("%s.nar", hash);
	if (store_nar_stat(ask->view->view, name, &size, &ignored) == 0)
		return 0;
	err_set(err, E_LIMIT, "%s was fetched and not kept: the quota of this cache is used up",
		hash_part);
	err->sys_errno = EDQUOT;
	return E_LIMIT;
}

int upstream_path_fetch(const struct upstream_ask *ask, const char *hash_part,
			struct strv *ret_references, struct err *err)
{
	const struct upstream_settings *from;
	cleanup_narinfo struct narinfo n = {0};
	struct hash nar_hash;
	struct flight *f;
	int r = find(ask, hash_part, &n, &from, err);

	if (r < 0)
		return r;
	strv_copy(ret_references, &n.info.references);
	nar_hash = n.info.nar_hash;
	r = nar_flight(ask, from, &n, &f, err);
	if (r == E_EXISTS)
		return 0;
	if (r < 0)
		return r;
	r = flight_wait(f, err);
	flight_unref(f);
	if (r == 0)
		r = check_kept(ask, hash_part, &nar_hash, err);
	return r == E_EXISTS ? 0 : r;
}

char *upstream_bind_text(const struct narinfo *n)
{
	return narinfo_text(n, false);
}
