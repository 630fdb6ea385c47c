/* SPDX-License-Identifier: Apache-2.0 */
/* Repositories from the registry upstreams of a view: manifests, blobs, referrers. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "net/registry.h"
#include "serve/upstream-internal.h"

enum { REFERRERS_MAX = 256, INCOMPLETE_MAX = 256 };

/* The name that a repository of the view has at the upstream; `ret` has REPOSITORY_MAX + 1 bytes.
 * False: it is not the upstream's. */
static bool remote_name(const struct upstream_settings *up, const char *repository, char *ret)
{
	size_t n = strlen(up->prefix);
	int len;

	if (up->kind != UPSTREAM_REGISTRY || strncmp(repository, up->prefix, n) != 0 ||
	    (up->repositories.len && !patterns_fit(&up->repositories, repository)))
		return false;
	len = snprintf(ret, REPOSITORY_MAX + 1, "%s%s", up->remote_prefix, repository + n);
	return len > 0 && len <= REPOSITORY_MAX && repository_check(slice_str(ret)) == 0;
}

const struct upstream_settings *upstream_of_host(const struct view_settings *view, const char *host,
						 const char *repository, char *ret)
{
	const struct upstream_list *l = &view->upstreams;

	for (size_t i = 0; i < l->len; i++) {
		const struct upstream_settings *up = &l->items[i];
		size_t n = strlen(up->remote_prefix);
		char remote[REPOSITORY_MAX + 1];
		const char *own = ret; /* what it is called here */
		int len;

		if (up->kind != UPSTREAM_REGISTRY || strcmp(up->where, host) != 0 ||
		    strncmp(repository, up->remote_prefix, n) != 0)
			continue;
		len = snprintf(ret, REPOSITORY_MAX + 1, "%s%s", up->prefix, repository + n);
		if (len > 0 && len <= REPOSITORY_MAX && repository_check(slice_str(own)) == 0 &&
		    remote_name(up, own, remote))
			return up;
	}
	return NULL;
}

bool upstream_has_registry(const struct view_settings *view)
{
	for (size_t i = 0; i < view->upstreams.len; i++)
		if (view->upstreams.items[i].kind == UPSTREAM_REGISTRY)
			return true;
	return false;
}

/* ---- Asking them in turn ---- */

/* What is asked of one: 1 it has it, 0 not; < 0. */
typedef int ask_fn(void *arg, struct registry *reg, const char *remote, struct err *err);

static int ask_registry(const struct upstream_ask *ask, const struct upstream_settings *up,
			const char *remote, ask_fn *fn, void *arg, struct err *err)
{
	struct registry *reg;
	int r = upstream_take_registry(up, &ask->upstreams->flights.stopping, &reg, err);

	if (r < 0)
		return r;
	r = fn(arg, reg, remote, err);
	upstream_give_registry(up, reg, r < 0 ? r : 0);
	return r;
}

/* The first that has it; *ret_from may be NULL. E_NOTFOUND: none; E_NET: perhaps one that could not
 * be asked. */
static int ask_registries(const struct upstream_ask *ask, const char *repository, ask_fn *fn,
			  void *arg, const struct upstream_settings **ret_from, struct err *err)
{
	const struct upstream_list *l = &ask->view->upstreams;
	struct err down = ERR_INIT;

	for (size_t i = 0; i < l->len; i++) {
		const struct upstream_settings *up = &l->items[i];
		char remote[REPOSITORY_MAX + 1];
		struct err why = ERR_INIT;
		int r;

		if (!remote_name(up, repository, remote))
			continue;
		r = ask_registry(ask, up, remote, fn, arg, &why);
		if (r > 0) {
			*ret_from = up;
			return 0;
		}
		if (r == 0 || r == E_NOTFOUND)
			continue;
		/* Our own disk: no upstream can help. */
		if (r == E_IO && why.sys_errno) {
			*err = why;
			return r;
		}
		/* Registries say 401 and 403 of what is not there, too. */
		log_warn("upstream %s: %s", up->name, why.text);
		if (r != E_DENIED && !up->optional && !down.code)
			down = why;
	}
	if (down.code)
		return err_set(err, E_NET, "an upstream of %s failed: %s", repository, down.text);
	return err_set(err, E_NOTFOUND, "neither this registry nor its upstreams have it in %s",
		       repository);
}

/* ---- Manifests ---- */

struct manifest_wanted {
	const char *reference;
	struct manifest_bytes bytes; /* owned */
};

static int get_manifest(void *arg, struct registry *reg, const char *remote, struct err *err)
{
	struct manifest_wanted *w = arg;
	int r = registry_get_manifest(reg, remote, w->reference, &w->bytes, err);

	return r < 0 ? r : 1;
}

struct head_wanted {
	const char *reference;
	struct descriptor descriptor; /* owned */
};

static int head_manifest(void *arg, struct registry *reg, const char *remote, struct err *err)
{
	struct head_wanted *w = arg;
	int r = registry_head_manifest(reg, remote, w->reference, &w->descriptor, err);

	return r < 0 ? r : 1;
}

/* A manifest whose blobs are not all here: what it says of store paths is looked at when they are. */
struct incomplete {
	struct incomplete *next;
	struct store_view *view;
	char *repository; /* owned */
	char *upstream;   /* owned; the name of whose it is */
	struct manifest_bytes bytes;
	struct manifest m;
};

static void incomplete_free(struct incomplete *i)
{
	manifest_release(&i->m);
	manifest_bytes_release(&i->bytes);
	free(i->repository);
	free(i->upstream);
	free(i);
}

void incompletes_free(struct incomplete *list)
{
	while (list) {
		struct incomplete *next = list->next;

		incomplete_free(list);
		list = next;
	}
}

static bool has_blob(const struct incomplete *i, const struct descriptor *d)
{
	struct err ignored = ERR_INIT;
	uint64_t size;

	return store_blob_stat(i->view, i->repository, &d->digest, &size, &ignored) == 0;
}

static bool is_complete(const struct incomplete *i)
{
	if (i->m.has_config && !has_blob(i, &i->m.config))
		return false;
	for (size_t k = 0; k < i->m.layers.len; k++)
		if (!has_blob(i, &i->m.layers.items[k]))
			return false;
	return true;
}

/* `reference` NULL: by its digest. Nobody with a right to write vouches for what the upstream says of
 * store paths: the keys do that it is trusted by. */
static int put_manifest(const struct upstream_settings *from, struct store_view *view,
			const char *repository, const struct manifest_bytes *bytes,
			const char *reference, struct err *err)
{
	struct store_trust trust = {from->trusted, from->n_trusted, from->trust_all};
	char digest[DIGEST_TEXT_MAX];
	struct manifest_put_result result = {0};
	struct manifest_put put = {
		.reference = reference ? reference : digest,
		.media_type = bytes->media_type,
		.bytes = buf_slice(&bytes->bytes),
		.sparse = true,
		.fetched = &trust,
	};

	digest_format(digest, &bytes->digest);
	return store_manifest_put(view, repository, &put, &result, err);
}

/* Takes over `bytes`, also on failure. */
static void remember_incomplete(const struct upstream_ask *ask,
				const struct upstream_settings *from, const char *repository,
				struct manifest_bytes *bytes)
{
	struct upstreams *u = ask->upstreams;
	struct incomplete *i = xcalloc(1, sizeof(*i)), **at;
	struct err ignored = ERR_INIT;
	size_t n = 1;

	*i = (struct incomplete){.view = ask->view->view,
				 .repository = xstrdup(repository),
				 .upstream = xstrdup(from->name),
				 .bytes = *bytes};
	*bytes = (struct manifest_bytes){0};
	if (manifest_parse(&i->m, i->bytes.media_type, buf_slice(&i->bytes.bytes), &ignored) < 0 ||
	    i->m.kind == MANIFEST_INDEX || is_complete(i)) {
		incomplete_free(i);
		return;
	}
	pthread_mutex_lock(&u->bind_lock);
	i->next = u->incomplete;
	u->incomplete = i;
	for (at = &u->incomplete; *at && n < INCOMPLETE_MAX; at = &(*at)->next)
		n++;
	incompletes_free(*at);
	*at = NULL;
	pthread_mutex_unlock(&u->bind_lock);
}

/* Where it came from, as the settings are today. NULL: that is no upstream any more. */
static const struct upstream_settings *upstream_of(const struct view_settings *view,
						   const struct incomplete *i)
{
	char remote[REPOSITORY_MAX + 1];

	for (size_t k = 0; k < view->upstreams.len; k++) {
		const struct upstream_settings *up = &view->upstreams.items[k];

		if (strcmp(up->name, i->upstream) == 0 && remote_name(up, i->repository, remote))
			return up;
	}
	return NULL;
}

static void complete_manifest(const struct upstream_ask *ask, const struct incomplete *i)
{
	const struct upstream_settings *from = upstream_of(ask->view, i);
	struct err err = ERR_INIT;

	if (from && put_manifest(from, i->view, i->repository, &i->bytes, NULL, &err) < 0)
		log_warn("an image of an upstream in %s: %s", i->repository, err.text);
}

/* A blob came: puts the manifests again that are complete now. */
static void complete_manifests(const struct upstream_ask *ask, const char *repository)
{
	struct upstreams *u = ask->upstreams;
	struct incomplete **at = &u->incomplete;

	pthread_mutex_lock(&u->bind_lock);
	while (*at) {
		struct incomplete *i = *at;

		if (i->view != ask->view->view || strcmp(i->repository, repository) != 0 ||
		    !is_complete(i)) {
			at = &i->next;
			continue;
		}
		complete_manifest(ask, i);
		*at = i->next;
		incomplete_free(i);
	}
	pthread_mutex_unlock(&u->bind_lock);
}

static int fetch_manifest(const struct upstream_ask *ask, const char *repository,
			  const char *reference, struct err *err)
{
	struct manifest_wanted w = {.reference = reference};
	const struct upstream_settings *from = NULL;
	int r = ask_registries(ask, repository, get_manifest, &w, &from, err);

	if (from) { /* one has it */
		r = put_manifest(from, ask->view->view, repository, &w.bytes, reference, err);
		if (r == 0)
			remember_incomplete(ask, from, repository, &w.bytes);
	}
	manifest_bytes_release(&w.bytes);
	return r;
}

/* Is it one of a registry's? */
static bool is_covered(const struct view_settings *view, const char *repository)
{
	char remote[REPOSITORY_MAX + 1];

	for (size_t i = 0; i < view->upstreams.len; i++)
		if (remote_name(&view->upstreams.items[i], repository, remote))
			return true;
	return false;
}

static uint64_t tag_ttl_ms(const struct view_settings *view, const char *repository)
{
	char remote[REPOSITORY_MAX + 1];

	for (size_t i = 0; i < view->upstreams.len; i++)
		if (remote_name(&view->upstreams.items[i], repository, remote))
			return view->upstreams.items[i].tag_ttl_ms;
	return 0;
}

/* Fetches, once for all who want it, and remembers what came of it. */
static int
manifest_flight(const struct upstream_ask *ask, const char *repository, const char *reference,
		int (*work)(const struct upstream_ask *, const char *, const char *, struct err *),
		struct err *err)
{
	struct upstreams *u = ask->upstreams;
	cleanup_free char *key = xasprintf("m/%s/%s:%s", ask->view->name, repository, reference);
	cleanup_free char *where = NULL, *text = NULL;
	struct flight *f;
	bool mine;
	int r;

	if (known_find(u, key, false, &where, &text))
		return where ? 0 : err_set(err, E_NOTFOUND, "%s", text);
	f = flights_join(&u->flights, key, &mine);
	if (mine) {
		struct err why = ERR_INIT;

		r = work(ask, repository, reference, &why);
		if (r == 0)
			known_set(u, key, repository, NULL, tag_ttl_ms(ask->view, repository));
		else if (r == E_NOTFOUND)
			known_set(u, key, NULL, why.text, ask->view->upstreams.negative_ttl_ms);
		flight_end(f, r, &why);
	}
	r = flight_wait(f, err);
	flight_unref(f);
	return r;
}

/* By HEAD, which costs the upstream less; the bytes only if they are others. */
static int renew_tag(const struct upstream_ask *ask, const char *repository, const char *tag,
		     struct err *err)
{
	struct head_wanted w = {.reference = tag};
	const struct upstream_settings *from;
	struct manifest_stat stat;
	struct err ignored = ERR_INIT;
	int r = store_manifest_stat(ask->view->view, repository, tag, &stat, &ignored);

	if (r < 0)
		return fetch_manifest(ask, repository, tag, err);
	r = ask_registries(ask, repository, head_manifest, &w, &from, err);
	if (r == 0 && !hash_equal(&w.descriptor.digest, &stat.digest))
		r = fetch_manifest(ask, repository, tag, err);
	descriptor_release(&w.descriptor);
	return r;
}

int upstream_tag(const struct upstream_ask *ask, const char *repository, const char *tag,
		 struct err *err)
{
	if (strchr(tag, ':') || !is_covered(ask->view, repository))
		return 0;
	return manifest_flight(ask, repository, tag, renew_tag, err);
}

int upstream_manifest(const struct upstream_ask *ask, const char *repository, const char *reference,
		      struct err *err)
{
	if (!is_covered(ask->view, repository))
		return err->code ? err->code
				 : err_set(err, E_NOTFOUND, "there is no %s", reference);
	return manifest_flight(ask, repository, reference,
			       strchr(reference, ':') ? fetch_manifest : renew_tag, err);
}

/* ---- Blobs ---- */

struct blob_job {
	struct upstream_ask ask; /* with a reference of the settings */
	char *repository;        /* owned */
	struct hash digest;
	struct flight *flight; /* a reference */
	/* While it runs: */
	struct sink sink;
	struct upload *upload; /* NULL: a quota leaves no room, it goes to readers alone */
	bool sent;             /* to readers: there is no other try */
};

struct blob_size {
	const struct hash *digest;
	uint64_t size;
};

static int head_blob(void *arg, struct registry *reg, const char *remote, struct err *err)
{
	struct blob_size *w = arg;

	return registry_has_blob(reg, remote, w->digest, &w->size, err);
}

/* `result` is what the store said to the upload. < 0: a failure. */
static int blob_kept(struct blob_job *job, int result, struct err *err)
{
	int r = upstream_kept(job->repository, result, err);

	if (r == 0) {
		upload_close(job->upload);
		job->upload = NULL;
	}
	return r < 0 ? r : 0;
}

static int blob_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct blob_job *job = container_of(self, struct blob_job, sink);
	int r = 0;

	if (job->upload)
		r = blob_kept(job, upload_write(job->upload, data, len, err), err);
	return r < 0 ? r : sink_write(flight_sink(job->flight), data, len, err);
}

/* What comes is verified by the client of the registry already. */
static int blob_fetch(struct blob_job *job, struct registry *reg, const char *remote, uint64_t size,
		      struct err *err)
{
	int r = store_upload_once(job->ask.view->view, job->repository, job->digest.algo,
				  &job->upload, err);

	r = blob_kept(job, r, err);
	if (r == 0)
		r = registry_get_blob(reg, remote, &job->digest, (int64_t)size, &job->sink, err);
	if (r == 0 && job->upload)
		r = blob_kept(job, upload_finish(job->upload, &job->digest, err), err);
	upload_close(job->upload);
	job->upload = NULL;
	return r;
}

static int get_blob(void *arg, struct registry *reg, const char *remote, struct err *err)
{
	struct blob_job *job = arg;
	uint64_t size;
	int r = registry_has_blob(reg, remote, &job->digest, &size, err);

	if (r <= 0)
		return r;
	if (job->sent)
		return err_set(err, E_NET, "another upstream broke off");
	job->sent = true;
	if (size > INT64_MAX)
		return err_set(err, E_LIMIT, "a blob of %llu bytes", (unsigned long long)size);
	r = flight_open(job->flight, size, err);
	if (r == 0)
		r = blob_fetch(job, reg, remote, size, err);
	return r < 0 ? r : 1;
}

static void blob_free(struct blob_job *job)
{
	flight_unref(job->flight);
	settings_unref(job->ask.settings);
	free(job->repository);
	free(job);
}

static void blob_run(void *arg)
{
	struct blob_job *job = arg;
	const struct upstream_settings *from;
	struct err err = ERR_INIT;
	int r;

	job->sink = (struct sink){.write = blob_write};
	r = ask_registries(&job->ask, job->repository, get_blob, job, &from, &err);
	if (r == 0)
		complete_manifests(&job->ask, job->repository);
	flight_end(job->flight, r, &err);
	blob_free(job);
}

int upstream_blob_size(const struct upstream_ask *ask, const char *repository,
		       const struct hash *digest, uint64_t *ret, struct err *err)
{
	struct blob_size w = {.digest = digest};
	const struct upstream_settings *from;
	int r = ask_registries(ask, repository, head_blob, &w, &from, err);

	if (r == 0)
		*ret = w.size;
	return r;
}

int upstream_blob(const struct upstream_ask *ask, const char *repository, const struct hash *digest,
		  struct flight **ret, struct err *err)
{
	cleanup_free char *key = NULL;
	char text[DIGEST_TEXT_MAX];
	struct err why = ERR_INIT;
	struct blob_job *job;
	struct flight *f;
	uint64_t size;
	bool mine;
	int r;

	digest_format(text, digest);
	key = xasprintf("b/%s/%s@%s", ask->view->name, repository, text);
	f = flights_join(&ask->upstreams->flights, key, &mine);
	if (!mine) {
		*ret = f;
		return 0;
	}
	if (store_blob_stat(ask->view->view, repository, digest, &size, &why) == 0) {
		r = err_set(err, E_EXISTS, "it is here by now");
		flight_end(f, r, err);
		flight_unref(f);
		return r;
	}
	job = xcalloc(1, sizeof(*job));
	*job = (struct blob_job){.ask = *ask,
				 .repository = xstrdup(repository),
				 .digest = *digest,
				 .flight = flight_ref(f)};
	settings_ref(ask->settings);
	why = ERR_INIT;
	r = flights_spawn(&ask->upstreams->flights, blob_run, job, &why);
	if (r < 0) {
		flight_end(f, r, &why);
		blob_free(job);
	}
	*ret = f;
	return 0;
}

bool upstream_covers(const struct view_settings *view, const char *repository)
{
	return is_covered(view, repository);
}

/* ---- Referrers ---- */

struct referrers_wanted {
	struct hash subject;
	struct descriptors list; /* owned */
};

/* What any of them has counts; so none "has it", and all are asked. */
static int get_referrers(void *arg, struct registry *reg, const char *remote, struct err *err)
{
	struct referrers_wanted *w = arg;
	int r = registry_referrers(reg, remote, &w->subject, NULL, &w->list, err);

	return r < 0 ? r : 0;
}

static int renew_referrers(const struct upstream_ask *ask, const char *repository,
			   const char *subject, struct err *err)
{
	struct referrers_wanted w = {0};
	const struct upstream_settings *from;
	char digest[DIGEST_TEXT_MAX];
	int r;

	if (digest_parse(&w.subject, slice_str(subject + strlen("referrers "))) < 0)
		return err_set(err, E_INVALID, "not a digest");
	r = ask_registries(ask, repository, get_referrers, &w, &from, err);
	if (r == E_NOTFOUND)
		r = 0;
	for (size_t i = 0; r == 0 && i < w.list.len && i < REFERRERS_MAX; i++) {
		struct manifest_stat stat;
		struct err why = ERR_INIT;

		digest_format(digest, &w.list.items[i].digest);
		if (store_manifest_stat(ask->view->view, repository, digest, &stat, &why) == 0)
			continue;
		why = ERR_INIT;
		if (fetch_manifest(ask, repository, digest, &why) < 0)
			log_warn("referrer %s of %s: %s", digest, repository, why.text);
	}
	descriptors_release(&w.list);
	return r;
}

int upstream_referrers(const struct upstream_ask *ask, const char *repository,
		       const struct hash *subject, struct err *err)
{
	char name[DIGEST_TEXT_MAX + 10] = "referrers ";

	if (!is_covered(ask->view, repository))
		return 0;
	digest_format(name + strlen(name), subject);
	return manifest_flight(ask, repository, name, renew_referrers, err);
}
