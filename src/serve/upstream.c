/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/oci-error.h"
#include "serve/upstream-internal.h"

struct upstreams *upstreams_new(void)
{
	struct upstreams *u = xcalloc(1, sizeof(*u));

	flights_init(&u->flights);
	pthread_mutex_init(&u->known_lock, NULL);
	pthread_mutex_init(&u->bind_lock, NULL);
	return u;
}

static void known_clear(struct upstreams *u, struct known *k)
{
	u->known_bytes -= k->bytes;
	free(k->key);
	free(k->where);
	free(k->text);
	*k = (struct known){0};
}

void upstreams_forget(struct upstreams *u)
{
	pthread_mutex_lock(&u->known_lock);
	for (size_t i = 0; i < KNOWN_SLOTS; i++)
		known_clear(u, &u->known[i]);
	pthread_mutex_unlock(&u->known_lock);
}

void upstreams_cancel(struct upstreams *u)
{
	atomic_store(&u->flights.stopping, true);
}

void upstreams_stop(struct upstreams *u)
{
	if (!u)
		return;
	flights_stop(&u->flights);
	upstreams_forget(u);
	while (u->waiting) {
		struct waiting *w = u->waiting;

		u->waiting = w->next;
		free(w->hash_part);
		free(w->text);
		free(w);
	}
	while (u->completions) {
		struct completion *c = u->completions;

		u->completions = c->next;
		settings_unref(c->settings);
		free(c->hash_part);
		free(c);
	}
	incompletes_free(u->incomplete);
	pthread_mutex_destroy(&u->bind_lock);
	pthread_mutex_destroy(&u->known_lock);
	free(u);
}

static struct known *slot_of(struct upstreams *u, const char *key)
{
	uint64_t h = 14695981039346656037U;

	for (; *key; key++)
		h = (h ^ (uint8_t)*key) * 1099511628211U;
	return &u->known[(h ^ h >> 32) % KNOWN_SLOTS];
}

int known_find(struct upstreams *u, const char *key, bool stale, char **ret_where, char **ret_text)
{
	struct known *k;
	int found;

	pthread_mutex_lock(&u->known_lock);
	k = slot_of(u, key);
	found = k->key && strcmp(k->key, key) == 0 && (stale || k->until_ms > upstream_now_ms());
	if (found) {
		u->known_found += k->where != NULL;
		u->known_absent += !k->where;
		*ret_where = k->where ? xstrdup(k->where) : NULL;
		*ret_text = k->text ? xstrdup(k->text) : NULL;
	}
	pthread_mutex_unlock(&u->known_lock);
	return found;
}

void known_set(struct upstreams *u, const char *key, const char *where, const char *text,
	       uint64_t ttl_ms)
{
	struct known *k;

	pthread_mutex_lock(&u->known_lock);
	k = slot_of(u, key);
	known_clear(u, k);
	*k = (struct known){
		.key = xstrdup(key),
		.where = where ? xstrdup(where) : NULL,
		.text = text ? xstrdup(text) : NULL,
		.until_ms = upstream_now_ms() + ttl_ms,
		.bytes = strlen(key) + (where ? strlen(where) : 0) + (text ? strlen(text) : 0),
	};
	u->known_bytes += k->bytes;
	while (u->known_bytes > KNOWN_BYTES_MAX)
		known_clear(u, &u->known[u->known_next++ % KNOWN_SLOTS]);
	pthread_mutex_unlock(&u->known_lock);
}

int upstream_blame(const struct upstream_settings *up, int result, struct err *err)
{
	if (err_is_quota(err))
		return err->code;
	log_warn("upstream %s: %s", up->name, err->text);
	if (result != E_IO && result != E_NOTFOUND && result != E_CANCELLED && result != E_EXISTS)
		err->code = E_NET;
	return err->code;
}

int upstream_kept(const char *what, int result, struct err *err)
{
	if (result >= 0)
		return 1;
	if (!err_is_quota(err))
		return result;
	log_warn("%s goes to clients and is not kept: %s", what, err->text);
	*err = ERR_INIT;
	return 0;
}
