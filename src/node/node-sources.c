/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <nacre/closure.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/node-host.h"
#include "node/node-sources-internal.h"

enum {
	JOBS_DEFAULT = 4,
	ROUNDS_MAX = 3, /* in which others are waited for */
};

struct node_sources *node_sources_new(const struct node_sources_options *options)
{
	struct node_sources *s = xcalloc(1, sizeof(*s));

	s->host = options->host ? xstrdup(options->host) : NULL;
	for (size_t i = 0; i < options->n_caches; i++)
		strv_add(&s->caches, options->caches[i]);
	s->auth_file = options->auth_file ? xstrdup(options->auth_file) : NULL;
	s->insecure = options->insecure;
	s->n_trusted = options->n_trusted;
	if (s->n_trusted)
		s->trusted = xmemdup(options->trusted, s->n_trusted * sizeof(*s->trusted));
	s->require_signatures = options->require_signatures;
	s->n_jobs = options->n_jobs ? options->n_jobs : JOBS_DEFAULT;
	if (s->n_jobs > NODE_JOBS_MAX)
		s->n_jobs = NODE_JOBS_MAX;
	return s;
}

void node_sources_free(struct node_sources *s)
{
	if (!s)
		return;
	free(s->host);
	free(s->auth_file);
	strv_release(&s->caches);
	free(s->trusted);
	free(s);
}

/* The paths that are to be fetched, and who fetches them. */
struct fetch {
	struct node_sources *sources;      /* borrowed */
	struct node_store *store;          /* borrowed */
	const struct layer_record *record; /* borrowed */
	int locks;            /* owned; of the paths that this fetches; -1: it waits for nobody */
	pthread_mutex_t lock; /* guards what follows */
	size_t next;
	const struct layer_path **busy; /* owned; somebody else fetches them */
	size_t n_busy, cap_busy;
	struct path_import **done; /* owned; complete, not yet published */
	size_t n_done, cap_done;
	uint64_t bytes;
	char *why; /* ERR_TEXT_MAX bytes */
};

static void note(struct fetch *f, const struct err *why)
{
	pthread_mutex_lock(&f->lock);
	if (!*f->why)
		snprintf(f->why, ERR_TEXT_MAX, "%s", why->text);
	pthread_mutex_unlock(&f->lock);
}

static struct slice hash_part(const struct layer_path *path)
{
	return slice_make(path->base, STORE_HASH_LEN);
}

/* 1: it is complete in *ret; 0: this source does not have it under this NarHash. */
static int fetch_from(struct fetch *f, struct path_source *source, const struct layer_path *path,
		      struct path_import **ret, uint64_t *ret_size, struct err *err)
{
	cleanup_path_info struct path_info info = {0};
	struct path_import *import;
	struct hash got;
	int r = source->query(source, hash_part(path), &info, err);

	if (r < 0)
		return r == E_NOTFOUND ? 0 : r;
	if (!hash_equal(&info.nar_hash, &path->nar_hash) ||
	    strcmp(store_path_base(&info.path), path->base) != 0)
		return 0;
	import = path_import_new(f->store);
	r = source->dump(source, &info, path_import_sink(import), err);
	if (r >= 0) {
		path_import_finish(import, &got, ret_size);
		if (hash_equal(&got, &path->nar_hash)) {
			*ret = import;
			return 1;
		}
		r = err_set(err, E_MISMATCH, "%s: %s has another NarHash", source->name,
			    path->base);
	}
	path_import_free(import);
	return r;
}

static void keep(struct fetch *f, struct path_import *import, uint64_t size)
{
	pthread_mutex_lock(&f->lock);
	f->bytes += size;
	array_grow(f->done, f->cap_done, f->n_done + 1);
	f->done[f->n_done++] = import;
	pthread_mutex_unlock(&f->lock);
}

/* Is it for us to fetch? What cannot be locked is fetched all the same: at worst twice. */
static bool is_ours(struct fetch *f, const struct layer_path *path)
{
	struct err ignored = ERR_INIT;

	if (node_store_has_path(f->store, &path->nar_hash))
		return false;
	if (f->locks < 0)
		return true;
	if (node_store_try_lock(f->locks, &path->nar_hash, &ignored) == 0) {
		array_grow(f->busy, f->cap_busy, f->n_busy + 1);
		f->busy[f->n_busy++] = path;
		return false;
	}
	/* Somebody may have published it just now. */
	return !node_store_has_path(f->store, &path->nar_hash);
}

/* The next path that is not here; NULL: none is left. */
static const struct layer_path *next_path(struct fetch *f)
{
	const struct layer_path *path = NULL;

	pthread_mutex_lock(&f->lock);
	while (!path && f->next < f->record->len) {
		path = &f->record->paths[f->next++];
		if (!is_ours(f, path))
			path = NULL;
	}
	pthread_mutex_unlock(&f->lock);
	return path;
}

struct path_source **node_sources_open_caches(struct node_sources *s, const char *store_dir,
					      struct err *why)
{
	struct path_source_options options = {
		.store_dir = store_dir,
		.auth_file = s->auth_file,
		.insecure = s->insecure,
		.trusted = s->require_signatures ? s->trusted : NULL,
		.n_trusted = s->require_signatures ? s->n_trusted : 0,
	};
	struct path_source **caches = xcalloc(s->caches.len + 1, sizeof(*caches));

	for (size_t i = 0; i < s->caches.len; i++) {
		struct err local = ERR_INIT;

		if (path_source_open(&caches[i], s->caches.items[i], &options, &local) < 0) {
			caches[i] = NULL;
			*why = local;
		}
	}
	return caches;
}

void node_sources_close_caches(const struct node_sources *s, struct path_source **caches)
{
	for (size_t i = 0; i < s->caches.len; i++)
		path_source_free(caches[i]);
	free(caches);
}

/* Each thread has connections of its own. */
static void *fetch_main(void *data)
{
	struct fetch *f = data;
	size_t n = f->sources->caches.len;
	struct err unreachable = ERR_INIT;
	struct path_source **sources =
		node_sources_open_caches(f->sources, f->record->store_dir, &unreachable);
	const struct layer_path *path;

	if (unreachable.code < 0)
		note(f, &unreachable);
	while ((path = next_path(f)))
		for (size_t i = 0; i < n; i++) {
			struct path_import *import = NULL;
			struct err why = ERR_INIT;
			uint64_t size = 0;
			int r = sources[i] ? fetch_from(f, sources[i], path, &import, &size, &why)
					   : 0;

			if (r < 0)
				note(f, &why);
			if (r > 0) {
				keep(f, import, size);
				break;
			}
		}
	node_sources_close_caches(f->sources, sources);
	return NULL;
}

static size_t count_missing(const struct node_store *store, const struct layer_record *record)
{
	size_t n = 0;

	for (size_t i = 0; i < record->len; i++)
		n += !node_store_has_path(store, &record->paths[i].nar_hash);
	return n;
}

static int publish(struct fetch *f, struct err *err)
{
	if (f->n_done && node_store_sync(f->store, err) < 0)
		return err->code;
	for (size_t i = 0; i < f->n_done; i++)
		if (path_import_publish(f->done[i], err) < 0)
			return err->code;
	return 0;
}

/* Fetches what nobody else does, and publishes it. */
static int fetch_round(struct fetch *f, struct sources_stats *stats, struct err *err)
{
	size_t missing = count_missing(f->store, f->record);
	unsigned n_threads = 0, n_jobs = f->sources->n_jobs;
	pthread_t threads[NODE_JOBS_MAX];
	int r;

	if (missing < n_jobs)
		n_jobs = (unsigned)missing;
	f->next = f->n_busy = f->n_done = 0;
	while (n_threads + 1 < n_jobs &&
	       pthread_create(&threads[n_threads], NULL, fetch_main, f) == 0)
		n_threads++;
	if (missing)
		fetch_main(f);
	for (unsigned i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	r = publish(f, err);
	stats->from_caches += f->n_done;
	for (size_t i = 0; i < f->n_done; i++)
		path_import_free(f->done[i]);
	return r;
}

/* Until they have published their paths, or given up. Nothing is locked meanwhile. */
static int wait_for_others(const struct fetch *f, struct err *err)
{
	for (size_t i = 0; i < f->n_busy; i++) {
		cleanup_fd int lock = node_store_lock_content(f->store, &f->busy[i]->nar_hash, err);

		if (lock < 0)
			return lock;
	}
	return 0;
}

static int fetch_from_caches(struct node_sources *s, struct node_store *store,
			     const struct layer_record *record, struct sources_stats *stats,
			     char *why, struct err *err)
{
	struct fetch f = {.sources = s, .store = store, .record = record, .why = why, .locks = -1};
	int r = 0;

	pthread_mutex_init(&f.lock, NULL);
	for (int round = 0; r >= 0 && (round == 0 || f.n_busy); round++) {
		if (round > 0)
			r = wait_for_others(&f, err);
		if (r >= 0 && round < ROUNDS_MAX)
			r = f.locks = node_store_open_locks(store, err);
		if (r >= 0)
			r = fetch_round(&f, stats, err);
		close_fd(&f.locks);
	}
	stats->bytes += f.bytes;
	free(f.done);
	free(f.busy);
	pthread_mutex_destroy(&f.lock);
	return r < 0 ? r : 0;
}

static void take_from_host(struct node_sources *s, struct node_store *store,
			   const struct layer_record *record, struct sources_stats *stats,
			   char *why)
{
	struct nix_store *host;
	struct err local = ERR_INIT;
	int r = nix_store_open(&host, s->host, record->store_dir, &local);

	if (r < 0) {
		if (r != E_NOTFOUND)
			snprintf(why, ERR_TEXT_MAX, "%s", local.text);
		return;
	}
	for (size_t i = 0; i < record->len; i++) {
		if (node_store_has_path(store, &record->paths[i].nar_hash))
			continue;
		local = ERR_INIT;
		r = node_host_adopt(store, host, s->host, record->store_dir, &record->paths[i],
				    &local);
		stats->from_host += r > 0;
		if (r < 0)
			snprintf(why, ERR_TEXT_MAX, "%s", local.text);
	}
	nix_store_free(host);
}

int node_sources_provide(struct node_sources *s, struct node_store *store,
			 const struct layer_record *record, struct sources_stats *stats,
			 char *ret_why, struct err *err)
{
	ret_why[0] = '\0';
	if (s->host)
		take_from_host(s, store, record, stats, ret_why);
	if (s->caches.len)
		return fetch_from_caches(s, store, record, stats, ret_why, err);
	return 0;
}

/* ---- paths by their names ---- */

struct find {
	struct node_sources *sources; /* borrowed */
	struct layer_record *record;  /* borrowed; each path is one thread's */
	pthread_mutex_t lock;         /* guards what follows */
	size_t next;
	char *why; /* ERR_TEXT_MAX bytes */
};

static struct layer_path *next_unknown(struct find *f)
{
	struct layer_path *path = NULL;

	pthread_mutex_lock(&f->lock);
	while (!path && f->next < f->record->len) {
		path = &f->record->paths[f->next++];
		if (path->nar_hash.algo != HASH_NONE)
			path = NULL;
	}
	pthread_mutex_unlock(&f->lock);
	return path;
}

static void find_one(struct find *f, struct path_source *source, struct layer_path *path)
{
	cleanup_path_info struct path_info info = {0};
	struct err why = ERR_INIT;
	int r = source->query(source, hash_part(path), &info, &why);

	if (r >= 0 && strcmp(store_path_base(&info.path), path->base) == 0)
		path->nar_hash = info.nar_hash;
	if (r < 0 && r != E_NOTFOUND) {
		pthread_mutex_lock(&f->lock);
		snprintf(f->why, ERR_TEXT_MAX, "%s", why.text);
		pthread_mutex_unlock(&f->lock);
	}
}

static void *find_main(void *data)
{
	struct find *f = data;
	struct node_sources *s = f->sources;
	struct err ignored = ERR_INIT;
	struct path_source **sources = node_sources_open_caches(s, f->record->store_dir, &ignored);
	struct layer_path *path;

	while ((path = next_unknown(f)))
		for (size_t i = 0; i < s->caches.len && path->nar_hash.algo == HASH_NONE; i++)
			if (sources[i])
				find_one(f, sources[i], path);
	node_sources_close_caches(s, sources);
	return NULL;
}

static void find_in_host(struct node_sources *s, struct layer_record *record)
{
	struct nix_store *host;
	struct err ignored = ERR_INIT;

	if (!s->host || nix_store_open(&host, s->host, record->store_dir, &ignored) < 0)
		return;
	for (size_t i = 0; i < record->len; i++) {
		cleanup_path_info struct path_info info = {0};
		struct store_path path;

		if (store_path_make(&path, record->store_dir, slice_str(record->paths[i].base)) >=
			    0 &&
		    nix_store_query(host, &path, &info, &ignored) >= 0)
			record->paths[i].nar_hash = info.nar_hash;
	}
	nix_store_free(host);
}

static void find_in_caches(struct node_sources *s, struct layer_record *record, char *why)
{
	struct find f = {.sources = s, .record = record, .why = why};
	pthread_t threads[NODE_JOBS_MAX];
	unsigned n_threads = 0;

	pthread_mutex_init(&f.lock, NULL);
	while (n_threads + 1 < s->n_jobs && n_threads + 1 < record->len &&
	       pthread_create(&threads[n_threads], NULL, find_main, &f) == 0)
		n_threads++;
	find_main(&f);
	for (unsigned i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&f.lock);
}

static void record_of_bases(struct layer_record *ret, const char *store_dir,
			    const struct strv *bases)
{
	*ret = (struct layer_record){.len = bases->len, .cap = bases->len};
	snprintf(ret->store_dir, sizeof(ret->store_dir), "%s", store_dir);
	ret->paths = xcalloc(bases->len + 1, sizeof(*ret->paths));
	for (size_t i = 0; i < bases->len; i++)
		snprintf(ret->paths[i].base, sizeof(ret->paths[i].base), "%s", bases->items[i]);
}

int node_sources_find(struct node_sources *s, const char *store_dir, const struct strv *bases,
		      struct layer_record *ret, char *ret_why, struct err *err)
{
	struct layer_record record;

	ret_why[0] = '\0';
	record_of_bases(&record, store_dir, bases);
	find_in_host(s, &record);
	if (s->caches.len)
		find_in_caches(s, &record, ret_why);
	for (size_t i = 0; i < record.len; i++) {
		if (record.paths[i].nar_hash.algo != HASH_NONE)
			continue;
		err_set(err, E_NOTFOUND, "no source has %s/%s%s%s", store_dir, record.paths[i].base,
			*ret_why ? ": " : "", ret_why);
		layer_record_release(&record);
		return E_NOTFOUND;
	}
	*ret = record;
	return 0;
}
