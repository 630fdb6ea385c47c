/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "node/grpc-session.h"
#include "node/libnghttp2.h"

enum {
	HEADER_BYTES_MAX = 16 << 10,
	STREAMS_MAX = 256,
	BODIES_MAX = 64 << 20, /* of all requests that are not complete */
	ENCODED_TEXT_MAX = 3 * GRPC_TEXT_MAX + 1,
};

struct grpc_session {
	nghttp2_session *http; /* owned */
	struct grpc_session_events events;
	struct grpc_stream *streams; /* owned */
	size_t n_out;                /* calls with workers */
	size_t body_bytes;
	bool is_hung_up;
};

int64_t grpc_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void stream_free(struct grpc_stream *t)
{
	struct grpc_session *s = t->session;

	if (t->prev)
		t->prev->next = t->next;
	else
		s->streams = t->next;
	if (t->next)
		t->next->prev = t->prev;
	s->body_bytes -= t->body.len;
	buf_release(&t->body);
	buf_release(&t->call.reply);
	free(t);
}

static nghttp2_nv header(const char *name, const char *value)
{
	return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
			    .value = (uint8_t *)(uintptr_t)value,
			    .namelen = strlen(name),
			    .valuelen = strlen(value)};
}

/* grpc-status and grpc-message; `ret` has room for two. */
static size_t status_headers(const struct grpc_stream *t, nghttp2_nv *ret, char code[12],
			     char text[ENCODED_TEXT_MAX])
{
	snprintf(code, 12, "%d", t->call.code);
	ret[0] = header("grpc-status", code);
	if (t->call.code == GRPC_OK)
		return 1;
	grpc_text_encode(text, ENCODED_TEXT_MAX, t->call.text);
	ret[1] = header("grpc-message", text);
	return 2;
}

/* Hands the call out for the next part of its reply. */
static bool start_more(struct grpc_stream *t)
{
	struct grpc_session *s = t->session;

	buf_reset(&t->call.reply);
	t->sent = 0;
	t->call.has_more = false;
	t->is_out = s->events.start(s->events.data, t);
	if (t->is_out)
		s->n_out++;
	else
		grpc_call_fail(&t->call, GRPC_UNAVAILABLE, "too many calls wait already");
	return t->is_out;
}

/* nghttp2's signature. NOLINTNEXTLINE(readability-function-size) */
static ssize_t read_reply(nghttp2_session *http, int32_t id, uint8_t *data, size_t len,
			  uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct grpc_stream *t = source->ptr;
	char code[12], text[ENCODED_TEXT_MAX];
	nghttp2_nv trailers[2];
	size_t n = t->call.reply.len - t->sent;

	(void)user;
	n = n < len ? n : len;
	if (n)
		memcpy(data, t->call.reply.data + t->sent, n);
	t->sent += n;
	/* What was copied is sent before anything else is asked for. */
	if (!n && t->sent == t->call.reply.len && t->call.has_more && start_more(t))
		return NGHTTP2_ERR_DEFERRED;
	if (t->sent == t->call.reply.len && !t->call.has_more) {
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(http, id, trailers,
					   status_headers(t, trailers, code, text)) != 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

/* Sends what the call has. An error has no messages: its status comes with the headers. */
static void answer(struct grpc_stream *t)
{
	nghttp2_session *http = t->session->http;
	nghttp2_data_provider provider = {.source.ptr = t, .read_callback = read_reply};
	char code[12], text[ENCODED_TEXT_MAX], status[12];
	nghttp2_nv headers[4];
	size_t n = 2;

	if (t->is_answered || t->is_closed)
		return;
	t->is_answered = true;
	snprintf(status, sizeof(status), "%d", t->http_status ? t->http_status : 200);
	headers[0] = header(":status", status);
	headers[1] = header("content-type", "application/grpc");
	if (t->call.code != GRPC_OK || t->http_status) {
		n += status_headers(t, headers + 2, code, text);
		nghttp2_submit_response(http, t->id, headers, n, NULL);
	} else {
		t->is_streaming = true;
		nghttp2_submit_response(http, t->id, headers, n, &provider);
	}
}

static void refuse(struct grpc_stream *t, enum grpc_code code, const char *text)
{
	grpc_call_fail(&t->call, code, "%s", text);
	answer(t);
}

static int on_begin_headers(nghttp2_session *http, const nghttp2_frame *frame, void *user)
{
	struct grpc_session *s = user;
	struct grpc_stream *t;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	t = xcalloc(1, sizeof(*t));
	t->session = s;
	t->id = frame->hd.stream_id;
	t->body.max = GRPC_MESSAGE_MAX + GRPC_PREFIX;
	t->next = s->streams;
	if (t->next)
		t->next->prev = t;
	s->streams = t;
	nghttp2_session_set_stream_user_data(http, t->id, t);
	return 0;
}

static const struct grpc_method *find_method(const struct grpc_session *s, struct slice path)
{
	for (const struct grpc_method *m = s->events.methods; m->path; m++)
		if (slice_equal_str(path, m->path))
			return m;
	return NULL;
}

static void take_header(struct grpc_stream *t, struct slice name, struct slice value)
{
	int64_t timeout_ms;

	if (slice_equal_str(name, ":method")) {
		t->is_post = slice_equal_str(value, "POST");
	} else if (slice_equal_str(name, ":path")) {
		t->method = find_method(t->session, value);
	} else if (slice_equal_str(name, "content-type")) {
		t->is_grpc = slice_equal_str(value, "application/grpc") ||
			     slice_has_prefix(value, "application/grpc+proto") ||
			     slice_has_prefix(value, "application/grpc;");
	} else if (slice_equal_str(name, "grpc-timeout")) {
		if (grpc_timeout_parse(&timeout_ms, value) < 0)
			grpc_call_fail(&t->call, GRPC_INTERNAL, "malformed grpc-timeout");
		else
			t->deadline_ms = grpc_now_ms() + timeout_ms;
	}
}

/* nghttp2's signature. NOLINTNEXTLINE(readability-function-size) */
static int on_header(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		     void *user)
{
	struct grpc_stream *t = nghttp2_session_get_stream_user_data(http, frame->hd.stream_id);

	(void)flags, (void)user;
	if (!t || frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	/* SPEC rfc9113 6.5.2: 32 bytes of overhead each */
	t->header_bytes += name_len + value_len + 32;
	if (t->header_bytes > HEADER_BYTES_MAX)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	take_header(t, slice_make(name, name_len), slice_make(value, value_len));
	return 0;
}

/* All of the headers are there: is it a call? */
static void check_headers(struct grpc_stream *t)
{
	if (!t->is_post || !t->is_grpc) {
		t->http_status = t->is_post ? 415 : 405;
		refuse(t, GRPC_UNKNOWN, "this is a gRPC server");
	} else if (!t->method) {
		refuse(t, GRPC_UNIMPLEMENTED, "no such method");
	} else if (t->call.code != GRPC_OK) {
		answer(t);
	}
}

static void start(struct grpc_stream *t)
{
	struct grpc_session *s = t->session;

	switch (grpc_body_parse(&t->call.request, buf_slice(&t->body))) {
	case 0:
		break;
	case E_LIMIT:
		refuse(t, GRPC_RESOURCE_EXHAUSTED, "the request is too large");
		return;
	case E_UNSUPPORTED:
		refuse(t, GRPC_UNIMPLEMENTED, "compressed requests are not supported");
		return;
	default:
		refuse(t, GRPC_INVALID_ARGUMENT, "the request is not one whole gRPC message");
		return;
	}
	t->is_out = true;
	s->n_out++;
	if (!s->events.start(s->events.data, t)) {
		t->is_out = false;
		s->n_out--;
		refuse(t, GRPC_UNAVAILABLE, "too many calls wait already");
	}
}

static int on_frame(nghttp2_session *http, const nghttp2_frame *frame, void *user)
{
	struct grpc_session *s = user;
	struct grpc_stream *t;

	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	t = nghttp2_session_get_stream_user_data(http, frame->hd.stream_id);
	if (!t)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		check_headers(t);
	if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && !t->is_answered && !t->is_out &&
	    !s->is_hung_up)
		start(t);
	return 0;
}

static int on_data(nghttp2_session *http, uint8_t flags, int32_t id, const uint8_t *data,
		   size_t len, void *user)
{
	struct grpc_session *s = user;
	struct grpc_stream *t = nghttp2_session_get_stream_user_data(http, id);

	(void)flags;
	if (!t || t->is_answered || t->is_out)
		return 0;
	if (s->body_bytes + len > BODIES_MAX || buf_add(&t->body, data, len) < 0) {
		refuse(t, GRPC_RESOURCE_EXHAUSTED, "the request is too large");
		return 0;
	}
	s->body_bytes += len;
	return 0;
}

static int on_close(nghttp2_session *http, int32_t id, uint32_t error, void *user)
{
	struct grpc_stream *t = nghttp2_session_get_stream_user_data(http, id);

	(void)error, (void)user;
	if (!t)
		return 0;
	t->is_closed = true;
	nghttp2_session_set_stream_user_data(http, id, NULL);
	if (t->is_out)
		atomic_store(&t->call.cancelled, true);
	else
		stream_free(t);
	return 0;
}

struct grpc_session *grpc_session_new(const struct grpc_session_events *events)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_BYTES_MAX},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 256 << 10},
	};
	struct grpc_session *s = xcalloc(1, sizeof(*s));
	nghttp2_session_callbacks *callbacks;
	struct err err = ERR_INIT;

	s->events = *events;
	/* A server has loaded it before. */
	if (libnghttp2_load(&err) < 0)
		abort();
	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		abort();
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	if (nghttp2_session_server_new(&s->http, callbacks, s) != 0)
		abort();
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_submit_settings(s->http, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
	return s;
}

void grpc_session_free(struct grpc_session *s)
{
	struct grpc_stream *next;

	if (!s)
		return;
	nghttp2_session_del(s->http);
	for (struct grpc_stream *t = s->streams; t; t = next) {
		next = t->next;
		stream_free(t);
	}
	free(s);
}

int grpc_session_receive(struct grpc_session *s, struct slice data)
{
	return nghttp2_session_mem_recv(s->http, data.data, data.len) == (ssize_t)data.len
		       ? 0
		       : E_INVALID;
}

ssize_t grpc_session_output(struct grpc_session *s, const uint8_t **ret)
{
	return nghttp2_session_mem_send(s->http, ret);
}

bool grpc_session_is_over(const struct grpc_session *s)
{
	return !nghttp2_session_want_read(s->http) && !nghttp2_session_want_write(s->http);
}

/* Messages of a part that failed are not sent: its status is what comes next. */
static void end_failed(struct grpc_stream *t)
{
	if (t->call.code == GRPC_OK)
		return;
	buf_reset(&t->call.reply);
	t->call.has_more = false;
}

void grpc_session_finish(struct grpc_session *s, struct grpc_stream *t)
{
	t->is_out = false;
	s->n_out--;
	if (t->is_closed || s->is_hung_up) {
		stream_free(t);
	} else if (t->is_streaming) {
		if (atomic_load(&t->call.cancelled))
			grpc_call_fail(&t->call, GRPC_DEADLINE_EXCEEDED, "the deadline has passed");
		end_failed(t);
		nghttp2_session_resume_data(s->http, t->id);
	} else {
		answer(t);
	}
}

void grpc_session_goaway(struct grpc_session *s)
{
	nghttp2_submit_goaway(s->http, NGHTTP2_FLAG_NONE,
			      nghttp2_session_get_last_proc_stream_id(s->http), NGHTTP2_NO_ERROR,
			      NULL, 0);
}

void grpc_session_hang_up(struct grpc_session *s)
{
	struct grpc_stream *next;

	s->is_hung_up = true;
	for (struct grpc_stream *t = s->streams; t; t = next) {
		next = t->next;
		nghttp2_session_set_stream_user_data(s->http, t->id, NULL);
		if (t->is_out)
			atomic_store(&t->call.cancelled, true);
		else
			stream_free(t);
	}
}

size_t grpc_session_calls_out(const struct grpc_session *s)
{
	return s->n_out;
}

/* A worker still has the call: its answer is made here, apart from what it writes. */
static void expire(struct grpc_stream *t)
{
	const nghttp2_nv headers[] = {
		header(":status", "200"),
		header("content-type", "application/grpc"),
		header("grpc-status", "4"),
		header("grpc-message", "the deadline has passed"),
	};

	t->deadline_ms = 0;
	atomic_store(&t->call.cancelled, true);
	if (t->is_streaming) /* its worker comes back soon; then the status ends it */
		return;
	t->is_answered = true;
	nghttp2_submit_response(t->session->http, t->id, headers, ARRAY_LEN(headers), NULL);
}

int64_t grpc_session_expire(struct grpc_session *s, int64_t now_ms)
{
	int64_t earliest = 0;

	for (struct grpc_stream *t = s->streams; t; t = t->next) {
		if (!t->deadline_ms || t->is_closed || (t->is_answered && !t->is_out))
			continue;
		if (t->deadline_ms <= now_ms)
			expire(t);
		else if (!earliest || t->deadline_ms < earliest)
			earliest = t->deadline_ms;
	}
	return earliest;
}
