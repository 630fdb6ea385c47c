/* SPDX-License-Identifier: Apache-2.0 */
/* The client: its options, its queue, and the loop that drives all transfers. */
#include "net/http-internal.h"

#include <inttypes.h>
#include <pthread.h>
#include <time.h>

#include "net/url.h"

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_require(struct err *err)
{
	int r = libcurl_load(err);

	if (r == 0)
		pthread_once(&curl_once, init_curl);
	return r;
}

uint64_t http_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static const char *ca_file_of_environment(void)
{
	static const char *const names[] = {"NIX_SSL_CERT_FILE", "SSL_CERT_FILE"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *value = getenv(names[i]);

		if (value && value[0])
			return value;
	}
	return NULL;
}

static void complete_options(struct http_options *o)
{
	const char *ca = o->ca_file ? o->ca_file : ca_file_of_environment();

	o->ca_file = ca ? xstrdup(ca) : NULL;
	if (!o->parallel)
		o->parallel = 16;
	if (o->parallel > HTTP_PARALLEL_MAX)
		o->parallel = HTTP_PARALLEL_MAX;
	if (!o->attempts)
		o->attempts = 5;
	if (!o->retry_delay_ms)
		o->retry_delay_ms = 250;
	if (!o->connect_timeout_ms)
		o->connect_timeout_ms = 15000;
}

int http_new(struct http **ret, const struct http_options *options, struct err *err)
{
	struct http *h;
	int r = http_require(err);

	if (r < 0)
		return r;
	h = xcalloc(1, sizeof(*h));
	if (options)
		h->options = *options;
	complete_options(&h->options);
	h->queue_tail = &h->queue;
	h->slots = xcalloc(h->options.parallel, sizeof(*h->slots));
	h->idle = xcalloc(h->options.parallel, sizeof(CURL *));
	h->multi = curl_multi_init();
	if (!h->multi) {
		http_free(h);
		return err_set(err, E_NOMEM, "no memory for an HTTP client");
	}
	curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)h->options.parallel);
	*ret = h;
	return 0;
}

static void transfer_free(struct transfer *t)
{
	if (t->handle)
		*t->handle = NULL;
	if (t->easy)
		curl_multi_remove_handle(t->http->multi, t->easy);
	transfer_end_attempt(t);
	http_response_release(&t->resp);
	strv_release(&t->headers);
	free((char *)(uintptr_t)t->req.url);
	if (t->req.authorization)
		explicit_bzero((char *)(uintptr_t)t->req.authorization,
			       strlen(t->req.authorization));
	free((char *)(uintptr_t)t->req.authorization);
	free(t->url);
	free(t->etag);
	free(t);
}

void http_drop(struct http *h, struct transfer *t)
{
	for (unsigned i = 0; i < h->options.parallel; i++) {
		if (h->slots[i] == t)
			h->slots[i] = NULL;
	}
	for (struct transfer **at = &h->queue; *at; at = &(*at)->next) {
		if (*at != t)
			continue;
		*at = t->next;
		if (!*at)
			h->queue_tail = at;
		break;
	}
	transfer_free(t);
}

void http_cancel(struct http *h)
{
	for (unsigned i = 0; i < h->options.parallel; i++) {
		if (h->slots[i])
			transfer_free(h->slots[i]);
		h->slots[i] = NULL;
	}
	while (h->queue) {
		struct transfer *t = h->queue;

		h->queue = t->next;
		transfer_free(t);
	}
	h->queue_tail = &h->queue;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	http_cancel(h);
	for (unsigned i = 0; i < h->n_idle; i++)
		curl_easy_cleanup(h->idle[i]);
	if (h->multi)
		curl_multi_cleanup(h->multi);
	free(h->slots);
	free(h->idle);
	free((char *)(uintptr_t)h->options.ca_file);
	free(h);
}

static bool header_is_clean(const char *line)
{
	for (const char *p = line; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	}
	return strchr(line, ':') != NULL;
}

static int check_request(const struct http_request *req, struct err *err)
{
	cleanup_url struct url u = {0};
	size_t n = req->headers ? req->headers->len : 0;

	if (url_parse(&u, slice_str(req->url)) < 0)
		return err_set(err, E_USAGE, "%s is not an http or https address", req->url);
	if (u.user || u.password)
		return err_set(err, E_USAGE,
			       "an address with a password in it was not taken apart");
	for (size_t i = 0; i < n; i++) {
		if (!header_is_clean(req->headers->items[i]))
			return err_set(err, E_USAGE, "%s is not a header", req->headers->items[i]);
	}
	for (const char *p = req->authorization; p && *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return err_set(err, E_USAGE, "the credentials have a control character");
	}
	return 0;
}

int http_submit_transfer(struct http *h, const struct http_request *req, struct transfer **ret,
			 struct err *err)
{
	int r = check_request(req, err);
	struct transfer *t;

	if (r < 0)
		return r;
	t = xcalloc(1, sizeof(*t));
	t->http = h;
	t->req = *req;
	t->req.url = xstrdup(req->url);
	t->req.authorization = req->authorization ? xstrdup(req->authorization) : NULL;
	if (req->headers)
		strv_copy(&t->headers, req->headers);
	t->req.headers = &t->headers;
	t->url = xstrdup(req->url);
	*h->queue_tail = t;
	h->queue_tail = &t->next;
	*ret = t;
	return 0;
}

int http_submit(struct http *h, const struct http_request *req, struct err *err)
{
	struct transfer *t;

	return http_submit_transfer(h, req, &t, err);
}

/* Takes the transfer out of its slot, calls back, and frees it. */
static int complete(struct http *h, unsigned slot, enum http_verdict verdict, struct err *err)
{
	struct transfer *t = h->slots[slot];
	int r = 0;

	h->slots[slot] = NULL;
	if (t->req.done && verdict == HTTP_DONE)
		r = t->req.done(t->req.arg, &t->resp, NULL, err);
	else if (t->req.done)
		r = t->req.done(t->req.arg, NULL, &t->err, err);
	transfer_free(t);
	return r;
}

static int start(struct http *h, unsigned slot, struct err *err)
{
	struct transfer *t = h->slots[slot];

	t->attempts++;
	if (transfer_prepare(t, &t->err) < 0)
		return complete(h, slot, HTTP_FAILED, err);
	if (curl_multi_add_handle(h->multi, t->easy) != CURLM_OK) {
		err_set(&t->err, E_INTERNAL, "libcurl refuses the transfer");
		return complete(h, slot, HTTP_FAILED, err);
	}
	return 0;
}

/* Starts what waits in the queue, as far as there is room, and what was put off until now. */
static int start_ready(struct http *h, struct err *err)
{
	uint64_t now = http_now_ms();

	for (unsigned i = 0; i < h->options.parallel; i++) {
		struct transfer *t = h->slots[i];
		int r;

		if (t && (t->easy || (t->waiting && t->due_ms > now)))
			continue;
		if (!t) {
			t = h->queue;
			if (!t)
				continue;
			h->queue = t->next;
			if (!h->queue)
				h->queue_tail = &h->queue;
			t->next = NULL;
			h->slots[i] = t;
		}
		r = start(h, i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static unsigned slot_of(const struct http *h, const struct transfer *t)
{
	unsigned i = 0;

	while (h->slots[i] != t)
		i++;
	return i;
}

/* Looks at the attempts that ended. */
static int reap(struct http *h, struct err *err)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(h->multi, &left))) {
		CURLcode code = msg->data.result;
		enum http_verdict verdict;
		struct transfer *t = NULL;
		int r;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t);
		curl_multi_remove_handle(h->multi, t->easy);
		verdict = transfer_judge(t, code);
		transfer_end_attempt(t);
		if (verdict == HTTP_AGAIN)
			continue;
		r = complete(h, slot_of(h, t), verdict, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* How long there is nothing to do but to wait for the network; -1: all is done. */
static int wait_ms(const struct http *h)
{
	uint64_t now = http_now_ms();
	int wait = -1;

	for (unsigned i = 0; i < h->options.parallel; i++) {
		const struct transfer *t = h->slots[i];

		if (!t && h->queue)
			return 0;
		if (!t)
			continue;
		if (!t->easy && (!t->waiting || t->due_ms <= now))
			return 0;
		if (wait < 0)
			wait = 1000;
		if (!t->easy && t->due_ms - now < (uint64_t)wait)
			wait = (int)(t->due_ms - now);
	}
	return wait;
}

static int run(struct http *h, const bool *stop, struct err *err)
{
	while (!*stop) {
		int r = start_ready(h, err), running, wait;

		if (r == 0 && h->options.cancel && atomic_load(h->options.cancel))
			r = err_set(err, E_CANCELLED, "stopped");
		if (r == 0 && curl_multi_perform(h->multi, &running) != CURLM_OK)
			r = err_set(err, E_INTERNAL, "libcurl cannot go on");
		if (r == 0)
			r = reap(h, err);
		if (r < 0)
			return r;
		wait = wait_ms(h);
		if (wait < 0)
			return 0;
		if (wait > 0 && !*stop)
			curl_multi_poll(h->multi, NULL, 0, wait, NULL);
	}
	return 0;
}

int http_run_until(struct http *h, const bool *stop, struct err *err)
{
	int r;

	if (h->running)
		return err_set(err, E_INTERNAL, "an HTTP client was used from its own callback");
	h->running = true;
	r = run(h, stop, err);
	h->running = false;
	if (r < 0)
		http_cancel(h);
	return r;
}

int http_run(struct http *h, struct err *err)
{
	bool never = false;

	if (h->uploads)
		return err_set(err, E_INTERNAL, "an HTTP client was run while it uploads");
	return http_run_until(h, &never, err);
}

/* http_perform()'s callback: moves the response out. */
static int keep_response(void *arg, struct http_response *resp, const struct err *failure,
			 struct err *err)
{
	struct http_response *ret = arg;

	if (failure) {
		*err = *failure;
		return failure->code;
	}
	http_response_release(ret);
	*ret = *resp;
	*resp = (struct http_response){0};
	return 0;
}

int http_perform(struct http *h, const struct http_request *req, struct http_response *ret,
		 struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	struct http_request copy = *req;
	int r;

	copy.done = keep_response;
	copy.arg = &resp;
	r = http_submit(h, &copy, err);
	if (r == 0)
		r = http_run(h, err);
	if (r < 0)
		return r;
	http_response_release(ret);
	*ret = resp;
	resp = (struct http_response){0};
	return 0;
}
