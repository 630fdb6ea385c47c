/* SPDX-License-Identifier: Apache-2.0 */
/* After an attempt: is the transfer done, is it tried again, where and when, or has it failed? */
#include "net/http-internal.h"

#include <inttypes.h>
#include <sys/random.h>

#include <nacre/encode.h>

#include "net/url.h"

static bool is_idempotent(enum http_method m)
{
	return m != HTTP_POST && m != HTTP_PATCH;
}

static bool is_unreachable(CURLcode code)
{
	return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
	       code == CURLE_COULDNT_RESOLVE_PROXY;
}

static bool is_transient(CURLcode code)
{
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_PARTIAL_FILE:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SEND_FAIL_REWIND:
		return true;
	default:
		return is_unreachable(code);
	}
}

static bool is_busy_status(int status)
{
	return status == 408 || status == 429 ||
	       (status >= 500 && status <= 599 && status != 501 && status != 505 && status != 511);
}

static bool can_rewind(const struct transfer *t)
{
	return !t->body_touched || t->req.body->rewind;
}

static bool can_continue(const struct transfer *t)
{
	return !t->req.sink || !t->delivered || t->can_resume;
}

/* Delays double, with jitter, so that many clients don't come back at once. */
static uint64_t find_delay(const struct http *h, unsigned attempts, const char *retry_after)
{
	uint64_t base = h->options.retry_delay_ms, delay_ms, seconds;
	uint32_t noise = 0;
	time_t date;

	for (unsigned i = 1; i < attempts && base < HTTP_RETRY_DELAY_MAX_MS; i++)
		base *= 2;
	if (getrandom(&noise, sizeof(noise), GRND_NONBLOCK) < 0)
		noise = 0;
	delay_ms = base / 2 + (base * (noise & 0xffff) >> 16);
	if (retry_after && parse_u64(&seconds, slice_str(retry_after)) == 0) {
		delay_ms = seconds > HTTP_RETRY_DELAY_MAX_MS / 1000 ? HTTP_RETRY_DELAY_MAX_MS
								    : seconds * 1000;
	} else if (retry_after) {
		date = curl_getdate(retry_after, NULL);
		if (date > time(NULL))
			delay_ms = (uint64_t)(date - time(NULL)) * 1000;
	}
	return delay_ms > HTTP_RETRY_DELAY_MAX_MS ? HTTP_RETRY_DELAY_MAX_MS : delay_ms;
}

void http_wait_note(struct http_wait *ret, const struct http_response *resp)
{
	const char *value = http_response_header(resp, "retry-after");

	snprintf(ret->retry_after, sizeof(ret->retry_after), "%s", value ? value : "");
}

int http_pause(const struct http *h, unsigned attempts, const struct http_wait *wait,
	       struct err *err)
{
	const char *retry_after = wait->retry_after[0] ? wait->retry_after : NULL;
	uint64_t end_ms = http_now_ms() + find_delay(h, attempts, retry_after), now_ms;

	while ((now_ms = http_now_ms()) < end_ms) {
		uint64_t left_ms = end_ms - now_ms < 100 ? end_ms - now_ms : 100;

		if (h->options.cancel && atomic_load(h->options.cancel))
			return err_set(err, E_CANCELLED, "cancelled");
		nanosleep(&(struct timespec){.tv_nsec = (long)left_ms * 1000000}, NULL);
	}
	return 0;
}

/* The next attempt begins at the first address again: where a redirect led may have been meant
 * for once. */
static void wait_before_next(struct transfer *t, const char *retry_after)
{
	t->waiting = true;
	t->due_ms = http_now_ms() + find_delay(t->http, t->attempts, retry_after);
	free(t->url);
	t->url = xstrdup(t->req.url);
	t->left_origin = false;
	t->redirects = 0;
}

static enum http_verdict fail(struct transfer *t, enum err_code code, const char *why)
{
	char where[512], attempts[32] = "";

	url_display(where, sizeof(where), t->url);
	if (t->attempts > 1)
		snprintf(attempts, sizeof(attempts), " (%u attempts)", t->attempts);
	if (!t->err.code)
		err_set(&t->err, code, "%s", why);
	err_wrap(&t->err, "%s %s%s", http_method_name(t->req.method), where, attempts);
	return HTTP_FAILED;
}

static enum err_code curl_err_code(CURLcode code)
{
	switch (code) {
	case CURLE_OUT_OF_MEMORY:
		return E_NOMEM;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return E_USAGE;
	default:
		return E_NET;
	}
}

/* The connection failed or broke. */
static enum http_verdict judge_broken(struct transfer *t, CURLcode code)
{
	const char *text = t->curl_text[0] ? t->curl_text : curl_easy_strerror(code);
	unsigned max = t->http->options.attempts;
	cleanup_free char *why = NULL;

	/* Only what a sink has is kept: a buffer begins at nothing again, and would for ever. */
	if (t->req.sink && t->delivered - t->attempt_start >= HTTP_PROGRESS_BYTES)
		t->attempts = 1;
	if (is_unreachable(code) && max > HTTP_CONNECT_ATTEMPTS)
		max = HTTP_CONNECT_ATTEMPTS;
	if (!is_transient(code) || (!is_idempotent(t->req.method) && !is_unreachable(code)) ||
	    !can_rewind(t))
		return fail(t, curl_err_code(code), text);
	if (!can_continue(t)) {
		why = xasprintf("%s: broke off at byte %" PRIu64 ", and the server does not resume",
				text, t->delivered);
		return fail(t, E_NET, why);
	}
	if (t->attempts >= max)
		return fail(t, curl_err_code(code), text);
	wait_before_next(t, NULL);
	return HTTP_AGAIN;
}

static enum http_verdict done(struct transfer *t)
{
	t->resp.sink_bytes = t->req.sink ? t->delivered : 0;
	t->resp.url = xstrdup(t->url);
	return HTTP_DONE;
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* SPEC rfc9110 15.4: a method other than GET and HEAD is repeated elsewhere for 307 and 308
 * only. */
static enum http_verdict judge_redirect(struct transfer *t, const char *location)
{
	bool reads = t->req.method == HTTP_GET || t->req.method == HTTP_HEAD;
	cleanup_free char *to = NULL;

	if (!reads && t->resp.status != 307 && t->resp.status != 308)
		return done(t);
	if (++t->redirects > HTTP_REDIRECTS_MAX)
		return fail(t, E_NET, "more than 10 redirects");
	if (url_resolve(&to, t->url, slice_str(location)) < 0)
		return fail(t, E_NET, "redirects to an address that is malformed or not http");
	if (url_downgrades(t->url, to))
		return fail(t, E_DENIED, "redirects from https to http, which is not followed");
	if (!can_rewind(t))
		return fail(t, E_NET, "redirects a body that cannot be sent again");
	if (!url_same_origin(t->url, to)) {
		if (t->req.is_secret)
			return fail(t, E_DENIED, "redirects a secret to another host");
		t->left_origin = true;
	}
	free(t->url);
	t->url = take_ptr(to);
	t->attempts--; /* the next attempt is of the same request */
	return HTTP_AGAIN;
}

/* There is a whole response. */
static enum http_verdict judge_response(struct transfer *t)
{
	const char *location = http_response_header(&t->resp, "location");
	int status = t->resp.status;
	bool refused = status == 429 || status == 503; /* then it was not carried out */
	char why[128];

	if (is_redirect(status) && location)
		return judge_redirect(t, location);
	if (is_busy_status(status) && t->attempts < t->http->options.attempts && can_rewind(t) &&
	    (refused || is_idempotent(t->req.method))) {
		wait_before_next(t, http_response_header(&t->resp, "retry-after"));
		return HTTP_AGAIN;
	}
	if (t->resume_from && t->route != HTTP_ROUTE_DELIVER) {
		snprintf(why, sizeof(why),
			 "broke off at byte %" PRIu64 ", and HTTP %d came instead of the rest",
			 t->resume_from, status);
		return fail(t, E_NET, why);
	}
	return done(t);
}

enum http_verdict transfer_judge(struct transfer *t, CURLcode code)
{
	if (!t->err.code && code == CURLE_OK && t->decoder &&
	    sink_finish(t->decoder, &t->err) == E_TRUNCATED) {
		/* The server ended an encoded body too early: as if the connection had broken. */
		t->err = ERR_INIT;
		code = CURLE_PARTIAL_FILE;
	}
	if (t->err.code)
		return fail(t, E_INTERNAL, "");
	if (code == CURLE_OK || t->enough)
		return judge_response(t);
	return judge_broken(t, code);
}
