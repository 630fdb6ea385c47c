/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/webhook.h"

#include <pthread.h>
#include <time.h>

#include <nacre/encode.h>

#include "base/cond.h"
#include "base/libcrypto.h"
#include "base/log.h"
#include "net/http.h"
#include "serve/conn.h"
#include "serve/settings.h"

enum {
	QUEUE_MAX = 4096, /* events; each is less than 4 KiB */
	ATTEMPTS = 8,     /* after 1, 2, 4, … seconds: two minutes */
	TIMEOUT_S = 10,
	WEBHOOK_MAC_SIZE = 32,
};

struct event {
	struct event *next;
	struct settings *settings; /* a reference; holds the hook */
	const struct webhook *hook;
	char *body; /* owned */
	unsigned attempts;
	int64_t due_us;
};

struct webhooks {
	pthread_mutex_t lock;
	struct cond wake;
	pthread_t thread;
	_Atomic bool stopping;
	struct event *queue; /* by due_us; under the lock, as is the rest */
	size_t n;
	bool full; /* and that was said */
};

/* ---- Queue ---- */

static void event_free(struct event *e)
{
	settings_unref(e->settings);
	free(e->body);
	free(e);
}

/* Behind those that are due as early. */
static void insert(struct webhooks *w, struct event *e)
{
	struct event **at = &w->queue;

	while (*at && (*at)->due_us <= e->due_us)
		at = &(*at)->next;
	e->next = *at;
	*at = e;
	w->n++;
}

void webhooks_submit(struct webhooks *w, struct settings *settings, const struct webhook *hook,
		     const char *body)
{
	struct event *e = xcalloc(1, sizeof(*e));
	bool full, tell;

	e->settings = settings_ref(settings);
	e->hook = hook;
	e->body = xstrdup(body);
	e->due_us = clock_us();
	pthread_mutex_lock(&w->lock);
	full = w->n >= QUEUE_MAX;
	tell = full && !w->full;
	w->full = full;
	if (!full) {
		insert(w, e);
		cond_wake_one(&w->wake);
	}
	pthread_mutex_unlock(&w->lock);
	if (tell)
		log_error("webhooks: %d events wait; more are dropped", QUEUE_MAX);
	if (full)
		event_free(e);
}

/* Waits for the next event that is due; NULL: the end. */
static struct event *take(struct webhooks *w)
{
	struct event *e = NULL;

	pthread_mutex_lock(&w->lock);
	while (!w->stopping && !(w->queue && w->queue->due_us <= clock_us())) {
		if (w->queue)
			cond_wait_until(&w->wake, &w->lock, w->queue->due_us);
		else
			cond_wait(&w->wake, &w->lock);
	}
	if (!w->stopping) {
		e = w->queue;
		w->queue = e->next;
		w->n--;
	}
	pthread_mutex_unlock(&w->lock);
	return e;
}

/* ---- Sending ---- */

static void add_signature(struct strv *headers, const struct event *e)
{
	const struct buf *secret = &e->hook->secret;
	uint8_t mac[WEBHOOK_MAC_SIZE];
	char text[2 * WEBHOOK_MAC_SIZE + 1];

	if (!secret->len)
		return;
	libcrypto_need();
	if (!HMAC(EVP_sha256(), secret->data, (int)secret->len, (const uint8_t *)e->body,
		  strlen(e->body), mac, NULL))
		return;
	hex_encode(text, mac, sizeof(mac));
	text[2 * WEBHOOK_MAC_SIZE] = '\0';
	strv_addf(headers, "X-Nacre-Signature-256: sha256=%s", text);
}

static int post(struct http *http, const struct event *e, struct err *err)
{
	cleanup_http_response struct http_response answer = {0};
	cleanup_strv struct strv headers = {0};
	struct http_slice_source body;
	struct http_request req = {.method = HTTP_POST, .url = e->hook->url, .headers = &headers};
	int r;

	http_slice_source_init(&body, slice_str(e->body));
	req.body = &body.source;
	strv_add(&headers, "Content-Type: application/cloudevents+json; charset=utf-8");
	add_signature(&headers, e);
	r = http_perform(http, &req, &answer, err);
	if (r == 0 && answer.status / 100 != 2)
		r = http_status_err(&answer, "send an event", err);
	return r;
}

static void send_event(struct webhooks *w, struct http *http, struct event *e)
{
	struct err err = ERR_INIT;

	if (post(http, e, &err) == 0) {
		event_free(e);
		return;
	}
	if (++e->attempts < ATTEMPTS && !atomic_load(&w->stopping)) {
		e->due_us = clock_us() + (1000000LL << (e->attempts - 1));
		pthread_mutex_lock(&w->lock);
		insert(w, e);
		pthread_mutex_unlock(&w->lock);
		return;
	}
	log_error("webhooks: given up: %s: %s", err.text, e->body);
	event_free(e);
}

static void *run(void *arg)
{
	struct webhooks *w = arg;
	struct http_options options = {
		.attempts = 1,
		.parallel = 1,
		.connect_timeout_ms = TIMEOUT_S * 1000,
		.stall_timeout_s = TIMEOUT_S,
		.cancel = &w->stopping,
	};
	struct http *http = NULL;
	struct err err = ERR_INIT;
	struct event *e;

	while ((e = take(w))) {
		/* Most servers have no webhooks, and no use for a client. */
		if (http || http_new(&http, &options, &err) == 0) {
			send_event(w, http, e);
		} else {
			log_error("webhooks: given up: %s: %s", err.text, e->body);
			event_free(e);
		}
	}
	http_free(http);
	return NULL;
}

int webhooks_start(struct webhooks **ret, struct err *err)
{
	struct webhooks *w = xcalloc(1, sizeof(*w));

	pthread_mutex_init(&w->lock, NULL);
	if (pthread_create(&w->thread, NULL, run, w) != 0) {
		pthread_mutex_destroy(&w->lock);
		free(w);
		return err_set(err, E_NOMEM, "start a thread");
	}
	*ret = w;
	return 0;
}

void webhooks_stop(struct webhooks *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->stopping, true);
	cond_wake_one(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	for (struct event *e = w->queue, *next; e; e = next) {
		next = e->next;
		log_error("webhooks: given up: the server ends: %s", e->body);
		event_free(e);
	}
	pthread_mutex_destroy(&w->lock);
	free(w);
}
