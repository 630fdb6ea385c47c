/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which store paths are signed as the policy wants. A signature holds for a name and a NarHash, and so
 * does a layer's diffID: what was found once is true as long as the same keys are trusted.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/node-host.h"
#include "node/node-sources-internal.h"

static bool is_signed(const struct node_sources *s, const struct path_info *info,
		      const struct layer_path *path)
{
	return info && hash_equal(&info->nar_hash, &path->nar_hash) &&
	       strcmp(store_path_base(&info->path), path->base) == 0 &&
	       path_info_verify(info, s->trusted, s->n_trusted) > 0;
}

static bool is_said(const struct node_sources *s, const struct referrer_infos *said,
		    const struct layer_path *path)
{
	for (size_t i = 0; said && i < said->len; i++)
		if (is_signed(s, path_infos_find(&said->sets[i], path->base), path))
			return true;
	return false;
}

bool node_sources_require_signatures(const struct node_sources *s)
{
	return s->require_signatures;
}

/* ---- what caches say, asked by several threads ---- */

struct inquiry {
	struct node_sources *sources;      /* borrowed */
	const char *store_dir;             /* borrowed */
	const struct layer_path **unknown; /* owned; in the order of the record */
	size_t n_unknown;
	pthread_mutex_t lock; /* guards what follows */
	size_t next;
	size_t unsigned_at; /* the first that nobody has signed; n_unknown: none */
};

/* NULL: none is left that could be the first. */
static const struct layer_path *next_path(struct inquiry *q, size_t *ret_at)
{
	const struct layer_path *path = NULL;

	pthread_mutex_lock(&q->lock);
	*ret_at = q->next;
	if (q->next < q->unsigned_at)
		path = q->unknown[q->next++];
	pthread_mutex_unlock(&q->lock);
	return path;
}

static bool is_signed_somewhere(struct node_sources *s, struct path_source **caches,
				const struct layer_path *path)
{
	for (size_t i = 0; i < s->caches.len; i++) {
		cleanup_path_info struct path_info info = {0};
		struct err ignored = ERR_INIT;

		if (caches[i] &&
		    caches[i]->query(caches[i], slice_make(path->base, STORE_HASH_LEN), &info,
				     &ignored) >= 0 &&
		    is_signed(s, &info, path))
			return true;
	}
	return false;
}

static void *inquire(void *data)
{
	struct inquiry *q = data;
	struct err ignored = ERR_INIT;
	struct path_source **caches = node_sources_open_caches(q->sources, q->store_dir, &ignored);
	const struct layer_path *path;
	size_t at;

	while ((path = next_path(q, &at))) {
		if (is_signed_somewhere(q->sources, caches, path))
			continue;
		pthread_mutex_lock(&q->lock);
		if (at < q->unsigned_at)
			q->unsigned_at = at;
		pthread_mutex_unlock(&q->lock);
	}
	node_sources_close_caches(q->sources, caches);
	return NULL;
}

/* The first path that no cache has signed; NULL: there is none. */
static const struct layer_path *ask_caches(struct inquiry *q)
{
	pthread_t threads[NODE_JOBS_MAX];
	unsigned n_threads = 0;

	q->unsigned_at = q->n_unknown;
	pthread_mutex_init(&q->lock, NULL);
	while (n_threads + 1 < q->sources->n_jobs && n_threads + 1 < q->n_unknown &&
	       pthread_create(&threads[n_threads], NULL, inquire, q) == 0)
		n_threads++;
	if (q->n_unknown)
		inquire(q);
	for (unsigned i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&q->lock);
	return q->unsigned_at < q->n_unknown ? q->unknown[q->unsigned_at] : NULL;
}

static int check(struct node_sources *s, const struct layer_record *record,
		 const struct referrer_infos *said, struct err *err)
{
	struct inquiry q = {.sources = s, .store_dir = record->store_dir};
	const struct layer_path *bad;
	struct nix_store *host = NULL;
	struct err ignored = ERR_INIT;

	if (s->host && nix_store_open(&host, s->host, record->store_dir, &ignored) < 0)
		host = NULL;
	q.unknown = xcalloc(record->len + 1, sizeof(*q.unknown));
	for (size_t i = 0; i < record->len; i++) {
		const struct layer_path *path = &record->paths[i];

		if (!is_said(s, said, path) &&
		    !(host && node_host_has(host, record->store_dir, path)))
			q.unknown[q.n_unknown++] = path;
	}
	nix_store_free(host);
	bad = ask_caches(&q);
	free(q.unknown);
	return bad ? err_set(err, E_DENIED, "%s/%s is not signed by a trusted key",
			     record->store_dir, bad->base)
		   : 0;
}

/* ---- what was found before ---- */

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct public_key));
}

/* Names what is believed: the keys that are trusted, in any order, and the host's store. */
static void policy_of(const struct node_sources *s, struct hash *ret)
{
	struct public_key *keys = xcalloc(s->n_trusted + 1, sizeof(*keys));
	cleanup_buf struct buf text = {0};

	for (size_t i = 0; i < s->n_trusted; i++) {
		snprintf(keys[i].name, sizeof(keys[i].name), "%s", s->trusted[i].name);
		memcpy(keys[i].bytes, s->trusted[i].bytes, sizeof(keys[i].bytes));
	}
	qsort(keys, s->n_trusted, sizeof(*keys), compare_keys);
	buf_add(&text, keys, s->n_trusted * sizeof(*keys));
	buf_add_str(&text, s->host ? s->host : "");
	hash_bytes(ret, HASH_SHA256, text.data, text.len);
	free(keys);
}

bool node_sources_is_settled(const struct node_sources *s, const struct node_store *store,
			     const struct hash *diff_id)
{
	struct hash policy;

	if (!s->require_signatures)
		return true;
	policy_of(s, &policy);
	return node_store_was_signed(store, diff_id, &policy);
}

int node_sources_check(struct node_sources *s, struct node_store *store, const struct hash *diff_id,
		       const struct layer_record *record, const struct referrer_infos *said,
		       struct err *err)
{
	struct hash policy;

	if (node_sources_is_settled(s, store, diff_id))
		return 0;
	if (check(s, record, said, err) < 0)
		return err->code;
	policy_of(s, &policy);
	return node_store_put_signed(store, diff_id, &policy, err);
}
