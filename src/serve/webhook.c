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
	QUEUE_MAX = 1024, /* events of a receiver; each is less than 4 KiB */
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

/* With a thread of its own: the others do not wait for one that does not answer. */
struct receiver {
	struct receiver *next;
	struct webhooks *all;
	char *url; /* owned */
	pthread_t thread;
	struct cond wake;
	struct event *queue; /* by due_us; under the lock, as is the rest */
	size_t n;
	bool full; /* and that was said */
};

struct webhooks {
	pthread_mutex_t lock;
	_Atomic bool stopping;
	struct receiver *receivers; /* once known, to the end */
};

/* ---- Queue ---- */

static void event_free(struct event *e)
{
	settings_unref(e->settings);
	free(e->body);
	free(e);
}

/* Behind those that are due as early. */
static void insert(struct receiver *to, struct event *e)
{
	struct event **at = &to->queue;

	while (*at && (*at)->due_us <= e->due_us)
		at = &(*at)->next;
	e->next = *at;
	*at = e;
	to->n++;
}

static void *run(void *arg);

/* Under the lock. NULL: there is no thread to be had. */
static struct receiver *find_receiver(struct webhooks *w, const char *url)
{
	struct receiver *found = w->receivers;

	while (found && strcmp(found->url, url) != 0)
		found = found->next;
	if (found)
		return found;
	found = xcalloc(1, sizeof(*found));
	found->all = w;
	if (pthread_create(&found->thread, NULL, run, found) != 0) {
		free(found);
		return NULL;
	}
	found->url = xstrdup(url);
	found->next = w->receivers;
	w->receivers = found;
	return found;
}

void webhooks_submit(struct webhooks *w, struct settings *settings, const struct webhook *hook,
		     const char *body)
{
	struct event *e = xcalloc(1, sizeof(*e));
	struct receiver *to;
	bool full, tell;

	e->settings = settings_ref(settings);
	e->hook = hook;
	e->body = xstrdup(body);
	e->due_us = clock_us();
	pthread_mutex_lock(&w->lock);
	to = find_receiver(w, hook->url);
	full = to && to->n >= QUEUE_MAX;
	tell = full && !to->full;
	if (to)
		to->full = full;
	if (to && !full) {
		insert(to, e);
		cond_wake_one(&to->wake);
	}
	pthread_mutex_unlock(&w->lock);
	if (tell)
		log_error("webhooks: %d events wait for %s; more are dropped", QUEUE_MAX,
			  hook->url);
	if (!to)
		log_error("webhooks: given up: start a thread failed: %s", body);
	if (!to || full)
		event_free(e);
}

/* Waits for the next event that is due; NULL: the end. */
static struct event *take(struct receiver *from)
{
	struct webhooks *w = from->all;
	struct event *e = NULL;

	pthread_mutex_lock(&w->lock);
	while (!w->stopping && !(from->queue && from->queue->due_us <= clock_us())) {
		if (from->queue)
			cond_wait_until(&from->wake, &w->lock, from->queue->due_us);
		else
			cond_wait(&from->wake, &w->lock);
	}
	if (!w->stopping) {
		e = from->queue;
		from->queue = e->next;
		from->n--;
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

static void send_event(struct receiver *to, struct http *http, struct event *e)
{
	struct webhooks *w = to->all;
	struct err err = ERR_INIT;

	if (post(http, e, &err) == 0) {
		event_free(e);
		return;
	}
	if (++e->attempts < ATTEMPTS && !atomic_load(&w->stopping)) {
		e->due_us = clock_us() + (1000000LL << (e->attempts - 1));
		pthread_mutex_lock(&w->lock);
		insert(to, e);
		pthread_mutex_unlock(&w->lock);
		return;
	}
	log_error("webhooks: given up: %s: %s", err.text, e->body);
	event_free(e);
}

static void *run(void *arg)
{
	struct receiver *to = arg;
	struct http_options options = {
		.attempts = 1,
		.parallel = 1,
		.timeout_s = TIMEOUT_S,
		.cancel = &to->all->stopping,
	};
	struct http *http = NULL;
	struct err err = ERR_INIT;
	struct event *e;

	while ((e = take(to))) {
		if (http || http_new(&http, &options, &err) == 0) {
			send_event(to, http, e);
		} else {
			log_error("webhooks: given up: %s: %s", err.text, e->body);
			event_free(e);
		}
	}
	http_free(http);
	return NULL;
}

struct webhooks *webhooks_new(void)
{
	struct webhooks *w = xcalloc(1, sizeof(*w));

	pthread_mutex_init(&w->lock, NULL);
	return w;
}

static void receiver_free(struct receiver *to)
{
	for (struct event *e = to->queue, *next; e; e = next) {
		next = e->next;
		log_error("webhooks: given up: the server ends: %s", e->body);
		event_free(e);
	}
	free(to->url);
	free(to);
}

void webhooks_free(struct webhooks *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->stopping, true);
	for (struct receiver *to = w->receivers; to; to = to->next)
		cond_wake_one(&to->wake);
	pthread_mutex_unlock(&w->lock);
	for (struct receiver *to = w->receivers, *next; to; to = next) {
		next = to->next;
		pthread_join(to->thread, NULL);
		receiver_free(to);
	}
	pthread_mutex_destroy(&w->lock);
	free(w);
}
