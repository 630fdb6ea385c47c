/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/answers.h"

#include <nacre/reference.h>

#include "serve/server-internal.h"
#include "store/store.h"

enum {
	PLACES = 1024, /* a power of two */
	LOCKS = 64,
	BODY_MAX = 1 << 20,                  /* bytes */
	KEY_MAX = 32 + REPOSITORY_MAX + 256, /* what is longer is not kept */
	HOLDS_US = 10 * 1000000,
};

/* Of all bodies and keys together. */
#define BYTES_MAX ((size_t)8 << 20)

struct answers {
	pthread_mutex_t locks[LOCKS];
	struct answer *places[PLACES];  /* references; each under a lock */
	_Atomic uint64_t asked[PLACES]; /* hashes of keys */
	_Atomic size_t bytes;
};

/* What makes a question the same. */
struct key {
	size_t len;
	uint64_t hash;
	char text[KEY_MAX];
};

struct answers *answers_new(void)
{
	struct answers *a = xcalloc(1, sizeof(*a));

	for (size_t i = 0; i < LOCKS; i++)
		pthread_mutex_init(&a->locks[i], NULL);
	return a;
}

void answer_release(struct answer *a)
{
	if (!a || atomic_fetch_sub(&a->refs, 1) > 1)
		return;
	free(a->key);
	free(a->content_type);
	free(a->link);
	free(a->body);
	free(a);
}

void answers_free(struct answers *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < PLACES; i++)
		answer_release(a->places[i]);
	for (size_t i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&a->locks[i]);
	free(a);
}

static bool key_add(struct key *k, const void *data, size_t len)
{
	if (len > sizeof(k->text) - k->len)
		return false;
	memcpy(k->text + k->len, data, len);
	k->len += len;
	return true;
}

/* FNV-1a: the places are few, and nobody gains by sharing one. */
static uint64_t hash_text(const char *text, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)text[i]) * 0x100000001b3ull;
	return h ^ h >> 32;
}

/* Settings and their views differ where rules may. False: it is too long to be kept. */
static bool key_make(struct key *k, const struct request *req, const char *repository,
		     const char *name)
{
	uint32_t endpoint = req->route.endpoint;

	if (!name)
		return false;
	k->len = 0;
	if (!key_add(k, &req->settings->serial, sizeof(req->settings->serial)) ||
	    !key_add(k, &req->view, sizeof(req->view)) ||
	    !key_add(k, &endpoint, sizeof(endpoint)) ||
	    !key_add(k, repository, strlen(repository) + 1) || !key_add(k, name, strlen(name)))
		return false;
	k->hash = hash_text(k->text, k->len);
	return true;
}

static size_t place_of(const struct key *k)
{
	return k->hash & (PLACES - 1);
}

static bool holds(const struct answer *a, const struct key *k, uint64_t changes)
{
	return a && a->changes == changes && a->key_len == k->len &&
	       memcmp(a->key, k->text, k->len) == 0 && a->until_us > clock_us();
}

struct answer *answers_find(const struct request *req, const char *repository, const char *name)
{
	struct answers *all = req->server->answers;
	uint64_t changes = store_changes(req->server->store);
	struct answer *found;
	struct key key;
	size_t place;

	if (!key_make(&key, req, repository, name))
		return NULL;
	place = place_of(&key);
	pthread_mutex_lock(&all->locks[place % LOCKS]);
	found = all->places[place];
	if (holds(found, &key, changes))
		atomic_fetch_add(&found->refs, 1);
	else
		found = NULL;
	pthread_mutex_unlock(&all->locks[place % LOCKS]);
	return found;
}

bool answers_asked_before(const struct request *req, const char *repository, const char *name)
{
	struct key key;

	return key_make(&key, req, repository, name) &&
	       atomic_exchange(&req->server->answers->asked[place_of(&key)], key.hash) == key.hash;
}

static size_t weight(const struct answer *a)
{
	return a ? a->key_len + a->len + (a->link ? strlen(a->link) : 0) : 0;
}

/* Takes the place of what is there, with a reference of its own; what does not fit is not kept. */
static void put(struct answers *all, struct answer *a, size_t place)
{
	struct answer *old = NULL;

	pthread_mutex_lock(&all->locks[place % LOCKS]);
	if (atomic_load(&all->bytes) + weight(a) - weight(all->places[place]) <= BYTES_MAX) {
		old = all->places[place];
		all->places[place] = a;
		atomic_fetch_add(&a->refs, 1);
		atomic_fetch_add(&all->bytes, weight(a));
		atomic_fetch_sub(&all->bytes, weight(old));
	}
	pthread_mutex_unlock(&all->locks[place % LOCKS]);
	answer_release(old);
}

struct answer *answers_keep(const struct request *req, const char *repository, const char *name,
			    const struct answer_source *source, struct buf *body)
{
	struct answer *a = xcalloc(1, sizeof(*a));
	struct key key;

	atomic_init(&a->refs, 1);
	a->changes = source->changes;
	a->until_us = clock_us() + HOLDS_US;
	a->content_type = source->content_type ? xstrdup(source->content_type) : NULL;
	if (source->digest)
		digest_format(a->digest, source->digest);
	a->link = source->link ? xstrdup(source->link) : NULL;
	a->body = body->data;
	a->len = body->len;
	*body = (struct buf){0};
	if (a->len <= BODY_MAX && key_make(&key, req, repository, name)) {
		a->key = xmalloc(key.len);
		a->key_len = key.len;
		memcpy(a->key, key.text, key.len);
		put(req->server->answers, a, place_of(&key));
	}
	return a;
}

static void release(void *arg)
{
	answer_release(arg);
}

static void respond_bytes(struct request *req, unsigned status, struct answer *a,
			  struct slice bytes)
{
	atomic_fetch_add(&a->refs, 1);
	respond_shared(req, status, a->content_type, bytes, &(struct shared){release, a});
}

void respond_answer_range(struct request *req, struct answer *a, struct byte_range range)
{
	respond_bytes(req, 206, a,
		      slice_make(a->body + range.first, (size_t)(range.last - range.first + 1)));
}

void respond_answer(struct request *req, struct answer *a)
{
	respond_bytes(req, 200, a, slice_make(a->body, a->len));
	if (a->link)
		respond_header(req, "Link", "%s", a->link);
}
