/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream-client.h"

#include <pthread.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/cache.h"
#include "net/registry.h"

struct upstream_state {
	pthread_mutex_t lock;
	unsigned failures;             /* on end */
	uint64_t back_off_ms;          /* how long it is left alone next */
	uint64_t until_ms;             /* it is left alone until then */
	void *idle[UPSTREAM_IDLE_MAX]; /* owned; struct cache or struct registry */
	unsigned n_idle;
	bool registry; /* what the idle ones are */
	struct upstream_counts counts;
};

uint64_t upstream_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

struct upstream_state *upstream_state_new(void)
{
	struct upstream_state *s = xcalloc(1, sizeof(*s));

	pthread_mutex_init(&s->lock, NULL);
	return s;
}

static void client_free(bool registry, void *client)
{
	if (registry)
		registry_free(client);
	else
		cache_free(client);
}

void upstream_state_free(struct upstream_state *s)
{
	if (!s)
		return;
	while (s->n_idle)
		client_free(s->registry, s->idle[--s->n_idle]);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* An idle client, or NULL. E_NET: leave it alone. */
static int take_idle(const struct upstream_settings *u, void **ret, struct err *err)
{
	struct upstream_state *s = u->state;
	uint64_t now = upstream_now_ms();
	int r = 0;

	*ret = NULL;
	pthread_mutex_lock(&s->lock);
	if (s->until_ms > now) {
		r = err_set(err, E_NET, "%s failed %u times and is asked again in %llu s", u->name,
			    s->failures, (unsigned long long)((s->until_ms - now + 999) / 1000));
	} else {
		/* This one tries; the others wait for what it finds. */
		if (s->until_ms)
			s->until_ms = now + u->back_off_ms;
		if (s->n_idle)
			*ret = s->idle[--s->n_idle];
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* Only what says that nobody is there, or nobody who can: a lie or a refusal is an answer. */
static bool is_down(int result)
{
	return result == E_NET || result == E_TRUNCATED;
}

static void count(struct upstream_counts *c, int result)
{
	if (result >= 0)
		c->found++;
	else if (result == E_NOTFOUND)
		c->absent++;
	else if (is_down(result))
		c->failed++;
	else
		c->refused++;
}

void upstream_counts(const struct upstream_settings *u, struct upstream_counts *ret)
{
	struct upstream_state *s = u->state;

	pthread_mutex_lock(&s->lock);
	*ret = s->counts;
	ret->is_left_alone = s->until_ms > upstream_now_ms();
	pthread_mutex_unlock(&s->lock);
}

static void note(const struct upstream_settings *u, int result)
{
	struct upstream_state *s = u->state;

	if (result == E_CANCELLED)
		return;
	count(&s->counts, result);
	if (!is_down(result)) {
		if (s->until_ms)
			log_info("upstream %s is back", u->name);
		s->failures = 0;
		s->until_ms = s->back_off_ms = 0;
		return;
	}
	if (++s->failures < UPSTREAM_FAILURES)
		return;
	s->back_off_ms = s->back_off_ms ? s->back_off_ms * 2 : u->back_off_ms;
	if (s->back_off_ms > UPSTREAM_BACK_OFF_MAX_MS && u->back_off_ms < UPSTREAM_BACK_OFF_MAX_MS)
		s->back_off_ms = UPSTREAM_BACK_OFF_MAX_MS;
	s->until_ms = upstream_now_ms() + s->back_off_ms;
	log_warn("upstream %s failed %u times: it is left alone for %llu ms", u->name, s->failures,
		 (unsigned long long)s->back_off_ms);
}

static void give(const struct upstream_settings *u, bool registry, void *client, int result)
{
	struct upstream_state *s = u->state;

	pthread_mutex_lock(&s->lock);
	note(u, result);
	if (client && !is_down(result) && s->n_idle < UPSTREAM_IDLE_MAX) {
		s->registry = registry;
		s->idle[s->n_idle++] = client;
		client = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	if (client)
		client_free(registry, client);
}

static struct http_options transport(const struct upstream_settings *u, _Atomic bool *cancel)
{
	return (struct http_options){
		.attempts = 2,
		.connect_timeout_ms = u->connect_timeout_ms,
		.stall_timeout_s = u->stall_timeout_s,
		.min_speed = u->min_speed,
		.insecure = u->insecure,
		.cancel = cancel,
	};
}

int upstream_take_cache(const struct upstream_settings *u, const char *store_dir,
			_Atomic bool *cancel, struct cache **ret, struct err *err)
{
	struct cache_options options = {
		.store_dir = store_dir,
		.netrc_file = u->credentials,
		.trusted = u->trust_all ? NULL : u->trusted,
		.n_trusted = u->trust_all ? 0 : u->n_trusted,
		.http = transport(u, cancel),
	};
	void *idle;
	int r = take_idle(u, &idle, err);

	if (r < 0)
		return r;
	*ret = idle;
	if (idle)
		return 0;
	r = cache_open(ret, u->where, &options, err);
	/* Without nix-cache-info it is no cache at all: that is no answer to what was asked. */
	if (r == E_NOTFOUND)
		r = err->code = E_NET;
	if (r < 0) {
		*ret = NULL;
		give(u, false, NULL, r);
	}
	return r;
}

int upstream_take_registry(const struct upstream_settings *u, _Atomic bool *cancel,
			   struct registry **ret, struct err *err)
{
	struct registry_options options = {
		.insecure = u->insecure,
		.auth_file = u->credentials,
		.http = transport(u, cancel),
	};
	void *idle;
	int r = take_idle(u, &idle, err);

	if (r < 0)
		return r;
	*ret = idle;
	return idle ? 0 : registry_open(ret, u->where, &options, err);
}

void upstream_give_cache(const struct upstream_settings *u, struct cache *c, int result)
{
	give(u, false, c, result);
}

void upstream_give_registry(const struct upstream_settings *u, struct registry *r, int result)
{
	give(u, true, r, result);
}
