/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nghttp2/nghttp2.h>

#include "base/mem.h"
#include "node/grpc-session.h"

static void test_bodies(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int want;
	} cases[] = {
		{"\0\0\0\0\0", 5, 0},
		{"\0\0\0\0\2ab", 7, 0},
		{"", 0, E_INVALID},
		{"\0\0\0\0", 4, E_INVALID},
		{"\0\0\0\0\2a", 6, E_INVALID},
		{"\0\0\0\0\2abc", 8, E_INVALID},
		{"\1\0\0\0\2ab", 7, E_UNSUPPORTED},
		{"\2\0\0\0\2ab", 7, E_INVALID},
		{"\0\1\0\0\1ab", 7, E_LIMIT},
		{"\0\377\377\377\377ab", 7, E_LIMIT},
	};
	struct slice message;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(
			grpc_body_parse(&message, slice_make(cases[i].bytes, cases[i].len)),
			cases[i].want);
}

static void test_timeouts(void **state)
{
	static const struct {
		const char *text;
		int64_t want_ms; /* < 0: E_INVALID */
	} cases[] = {
		{"1H", 3600000}, {"2M", 120000},
		{"3S", 3000},    {"100m", 100},
		{"1u", 1},       {"1001u", 2},
		{"1n", 1},       {"99999999H", 99999999 * INT64_C(3600000)},
		{"0S", 0},       {"", -1},
		{"S", -1},       {"1", -1},
		{"1s", -1},      {"-1S", -1},
		{"1 S", -1},     {"123456789S", -1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t got = -1;
		int r = grpc_timeout_parse(&got, slice_str(cases[i].text));

		assert_int_equal(r, cases[i].want_ms < 0 ? E_INVALID : 0);
		assert_true(got == cases[i].want_ms);
	}
}

static void test_texts(void **state)
{
	char text[12];

	(void)state;
	grpc_text_encode(text, sizeof(text), "a b%\n");
	assert_string_equal(text, "a b%25%0A");
	grpc_text_encode(text, sizeof(text), "\303\244");
	assert_string_equal(text, "%C3%A4");
	grpc_text_encode(text, sizeof(text), "0123456789\n");
	assert_string_equal(text, "0123456789");
	grpc_text_encode(text, sizeof(text), "0123456789abcdef");
	assert_string_equal(text, "0123456789a");
}

/* ---- a session and a client, both without I/O ---- */

struct world {
	struct grpc_session *session;
	nghttp2_session *client;
	struct grpc_stream *call; /* started, not finished */
	size_t n_started;
	bool is_busy;
	/* What the client got. */
	char status[16], code[16], text[64];
	struct buf data;
	uint32_t error;
	bool is_closed;
	/* What it sends. */
	struct slice body;
};

static void handle(void *data, struct grpc_call *call)
{
	(void)data, (void)call;
}

static const struct grpc_method methods[] = {{"/s/M", handle}, {NULL, NULL}};

static bool on_start(void *data, struct grpc_stream *stream)
{
	struct world *w = data;

	if (w->is_busy)
		return false;
	w->call = stream;
	w->n_started++;
	return true;
}

static int client_header(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name,
			 size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
			 void *user)
{
	struct world *w = user;
	struct slice n = slice_make(name, name_len);
	int len = (int)value_len;

	(void)http, (void)frame, (void)flags;
	if (slice_equal_str(n, ":status"))
		snprintf(w->status, sizeof(w->status), "%.*s", len, (const char *)value);
	else if (slice_equal_str(n, "grpc-status"))
		snprintf(w->code, sizeof(w->code), "%.*s", len, (const char *)value);
	else if (slice_equal_str(n, "grpc-message"))
		snprintf(w->text, sizeof(w->text), "%.*s", len, (const char *)value);
	return 0;
}

static int client_data(nghttp2_session *http, uint8_t flags, int32_t id, const uint8_t *data,
		       size_t len, void *user)
{
	struct world *w = user;

	(void)http, (void)flags, (void)id;
	w->data.max = 1 << 30;
	return buf_add(&w->data, data, len);
}

static int client_close(nghttp2_session *http, int32_t id, uint32_t error, void *user)
{
	struct world *w = user;

	(void)http, (void)id;
	w->is_closed = true;
	w->error = error;
	return 0;
}

static ssize_t client_body(nghttp2_session *http, int32_t id, uint8_t *data, size_t len,
			   uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct world *w = user;
	size_t n = w->body.len < len ? w->body.len : len;

	(void)http, (void)id, (void)source;
	if (n)
		memcpy(data, w->body.data, n);
	slice_advance(&w->body, n);
	if (!w->body.len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static void world_init_with(struct world *w, const nghttp2_option *option)
{
	const struct grpc_session_events events = {methods, w, on_start};
	nghttp2_session_callbacks *callbacks;

	*w = (struct world){.session = grpc_session_new(&events)};
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, client_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, client_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, client_close);
	nghttp2_session_client_new2(&w->client, callbacks, w, option);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_submit_settings(w->client, NGHTTP2_FLAG_NONE, NULL, 0);
}

static void world_init(struct world *w)
{
	world_init_with(w, NULL);
}

static void world_release(struct world *w)
{
	nghttp2_session_del(w->client);
	grpc_session_free(w->session);
	buf_release(&w->data);
}

/* Until neither has anything to say. */
static void exchange(struct world *w)
{
	const uint8_t *data;
	ssize_t n, m;

	do {
		n = nghttp2_session_mem_send(w->client, &data);
		assert_true(n >= 0);
		if (n)
			assert_int_equal(
				grpc_session_receive(w->session, slice_make(data, (size_t)n)), 0);
		m = grpc_session_output(w->session, &data);
		assert_true(m >= 0);
		if (m)
			assert_true(nghttp2_session_mem_recv(w->client, data, (size_t)m) == m);
	} while (n || m);
}

static nghttp2_nv header(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
			    strlen(value), NGHTTP2_NV_FLAG_NONE};
}

struct request {
	const char *method, *path, *type, *timeout, *extra;
};
#define REQUEST ((struct request){"POST", "/s/M", "application/grpc", NULL, NULL})

static void submit(struct world *w, const struct request *r, struct slice body)
{
	const nghttp2_data_provider provider = {.read_callback = client_body};
	nghttp2_nv headers[8] = {
		header(":method", r->method),    header(":scheme", "http"),
		header(":path", r->path),        header(":authority", "localhost"),
		header("content-type", r->type),
	};
	size_t n = 5;

	if (r->timeout)
		headers[n++] = header("grpc-timeout", r->timeout);
	if (r->extra)
		headers[n++] = header("x-extra", r->extra);
	w->body = body;
	assert_true(nghttp2_submit_request(w->client, NULL, headers, n, &provider, NULL) > 0);
	exchange(w);
}

static void test_call(void **state)
{
	struct world w;
	const struct request r = REQUEST;

	(void)state;
	world_init(&w);
	submit(&w, &r, slice_make("\0\0\0\0\2ab", 7));
	assert_non_null(w.call);
	assert_true(slice_equal_str(w.call->call.request, "ab"));
	assert_string_equal(w.status, "");
	assert_int_equal(grpc_call_add(&w.call->call, "xyz", 3), 0);
	assert_int_equal(grpc_call_add(&w.call->call, NULL, 0), 0);
	grpc_session_finish(w.session, w.call);
	exchange(&w);
	assert_string_equal(w.status, "200");
	assert_string_equal(w.code, "0");
	assert_int_equal(w.data.len, 13);
	assert_memory_equal(w.data.data, "\0\0\0\0\3xyz\0\0\0\0\0", 13);
	assert_true(w.is_closed);
	world_release(&w);
}

/* Larger than any window. */
static void test_large(void **state)
{
	enum { LEN = 3 << 20 };
	cleanup_free uint8_t *body = xcalloc(1, LEN);
	struct world w;
	const struct request r = REQUEST;

	(void)state;
	world_init(&w);
	body[2] = (uint8_t)((LEN - GRPC_PREFIX) >> 16);
	body[3] = (uint8_t)((LEN - GRPC_PREFIX) >> 8);
	body[4] = (uint8_t)(LEN - GRPC_PREFIX);
	submit(&w, &r, slice_make(body, LEN));
	assert_non_null(w.call);
	assert_int_equal(w.call->call.request.len, LEN - GRPC_PREFIX);
	assert_int_equal(grpc_call_add(&w.call->call, body, LEN), 0);
	grpc_session_finish(w.session, w.call);
	exchange(&w);
	assert_string_equal(w.code, "0");
	assert_int_equal(w.data.len, LEN + GRPC_PREFIX);
	world_release(&w);
}

/* A client that sends a request of too many bytes is answered before its end. */
static void test_too_large(void **state)
{
	enum { LEN = GRPC_MESSAGE_MAX + GRPC_PREFIX + 1 };
	cleanup_free uint8_t *body = xcalloc(1, LEN);
	struct world w;
	const struct request r = REQUEST;

	(void)state;
	world_init(&w);
	submit(&w, &r, slice_make(body, LEN));
	assert_null(w.call);
	assert_string_equal(w.code, "8");
	world_release(&w);
}

static void test_refusals(void **state)
{
	static char long_text[20000];
	static const struct {
		struct request request;
		const char *body;
		size_t len;
		const char *status, *code;
	} cases[] = {
		{{"POST", "/s/X", "application/grpc"}, "\0\0\0\0\0", 5, "200", "12"},
		{{"GET", "/s/M", "application/grpc"}, "\0\0\0\0\0", 5, "405", "2"},
		{{"POST", "/s/M", "text/html"}, "\0\0\0\0\0", 5, "415", "2"},
		{{"POST", "/s/M", "application/grpcx"}, "\0\0\0\0\0", 5, "415", "2"},
		{{"POST", "/s/M", "application/grpc", "soon"}, "\0\0\0\0\0", 5, "200", "13"},
		{{"POST", "/s/M", "application/grpc"}, "\1\0\0\0\0", 5, "200", "12"},
		{{"POST", "/s/M", "application/grpc"}, "\0\0\0\0", 4, "200", "3"},
		{{"POST", "/s/M", "application/grpc"}, "", 0, "200", "3"},
		{{"POST", "/s/M", "application/grpc"}, "\0\377\0\0\0", 5, "200", "8"},
		{{"POST", "/s/M", "application/grpc", NULL, long_text}, "", 0, "", ""},
	};

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world w;

		world_init(&w);
		submit(&w, &cases[i].request, slice_make(cases[i].body, cases[i].len));
		assert_null(w.call);
		assert_string_equal(w.status, cases[i].status);
		assert_string_equal(w.code, cases[i].code);
		world_release(&w);
	}
}

static void test_failure(void **state)
{
	struct world w;
	const struct request r = REQUEST;

	(void)state;
	world_init(&w);
	submit(&w, &r, slice_make("\0\0\0\0\0", 5));
	assert_non_null(w.call);
	grpc_call_fail(&w.call->call, GRPC_NOT_FOUND, "no %s", "\"x\"\n");
	grpc_session_finish(w.session, w.call);
	exchange(&w);
	assert_string_equal(w.status, "200");
	assert_string_equal(w.code, "5");
	assert_string_equal(w.text, "no \"x\"%0A");
	assert_int_equal(w.data.len, 0);
	world_release(&w);
}

static void test_busy(void **state)
{
	struct world w;
	const struct request r = REQUEST;

	(void)state;
	world_init(&w);
	w.is_busy = true;
	submit(&w, &r, slice_make("\0\0\0\0\0", 5));
	assert_string_equal(w.code, "14");
	assert_int_equal(grpc_session_calls_out(w.session), 0);
	world_release(&w);
}

/* A reply in parts: each is asked for once the client has taken the one before. */
static void test_parts(void **state)
{
	enum { PART = 300 << 10, PARTS = 3 };
	cleanup_free uint8_t *part = xcalloc(1, PART);
	struct world w;
	const struct request r = REQUEST;

	(void)state;
	world_init(&w);
	submit(&w, &r, slice_make("\0\0\0\0\0", 5));
	for (size_t i = 1; i <= PARTS; i++) {
		assert_int_equal(w.n_started, i);
		assert_int_equal(w.data.len, (i - 1) * (PART + GRPC_PREFIX));
		assert_int_equal(w.call->call.cursor, i - 1);
		assert_int_equal(w.call->call.reply.len, 0);
		assert_false(w.call->call.has_more);
		assert_int_equal(grpc_session_calls_out(w.session), 1);
		assert_int_equal(grpc_call_add(&w.call->call, part, PART), 0);
		w.call->call.cursor = (int64_t)i;
		w.call->call.has_more = i < PARTS;
		assert_string_equal(w.code, "");
		grpc_session_finish(w.session, w.call);
		exchange(&w);
	}
	assert_int_equal(w.n_started, PARTS);
	assert_int_equal(w.data.len, PARTS * (PART + GRPC_PREFIX));
	assert_string_equal(w.code, "0");
	assert_true(w.is_closed);
	assert_int_equal(grpc_session_calls_out(w.session), 0);
	world_release(&w);
}

/* How a reply ends whose second part does not come. */
static void test_parts_end(void **state)
{
	enum ending { FAILS, IS_LATE, FINDS_NO_WORKER, IS_RESET, IS_HUNG_UP, ENDINGS };
	static const char *const codes[ENDINGS] = {"8", "4", "14", "", ""};

	(void)state;
	for (enum ending ending = 0; ending < ENDINGS; ending++) {
		struct world w;
		struct request r = REQUEST;

		world_init(&w);
		r.timeout = "5S";
		submit(&w, &r, slice_make("\0\0\0\0\0", 5));
		assert_int_equal(grpc_call_add(&w.call->call, "x", 1), 0);
		w.call->call.has_more = true;
		w.is_busy = ending == FINDS_NO_WORKER;
		grpc_session_finish(w.session, w.call);
		exchange(&w);
		assert_int_equal(w.n_started, w.is_busy ? 1 : 2);
		assert_string_equal(w.status, "200");
		if (ending == FAILS) {
			assert_int_equal(grpc_call_add(&w.call->call, "y", 1), 0);
			w.call->call.has_more = true;
			grpc_call_fail(&w.call->call, GRPC_RESOURCE_EXHAUSTED, "too much");
		} else if (ending == IS_LATE) {
			assert_true(grpc_session_expire(w.session, grpc_now_ms() + 6000) == 0);
		} else if (ending == IS_RESET) {
			nghttp2_submit_rst_stream(w.client, NGHTTP2_FLAG_NONE, 1, NGHTTP2_CANCEL);
			exchange(&w);
		} else if (ending == IS_HUNG_UP) {
			grpc_session_hang_up(w.session);
		}
		if (!w.is_busy) {
			assert_int_equal(atomic_load(&w.call->call.cancelled), ending != FAILS);
			grpc_session_finish(w.session, w.call);
		}
		if (ending != IS_HUNG_UP)
			exchange(&w);
		assert_string_equal(w.code, codes[ending]);
		assert_int_equal(w.data.len, GRPC_PREFIX + 1);
		assert_int_equal(grpc_session_calls_out(w.session), 0);
		world_release(&w);
	}
}

/* One that does not read is not asked for more: what is kept for it is a part. */
static void test_parts_unread(void **state)
{
	enum { PART = 1 << 20 };
	cleanup_free uint8_t *part = xcalloc(1, PART);
	nghttp2_option *option;
	struct world w;
	const struct request r = REQUEST;

	(void)state;
	nghttp2_option_new(&option);
	nghttp2_option_set_no_auto_window_update(option, 1);
	world_init_with(&w, option);
	nghttp2_option_del(option);
	submit(&w, &r, slice_make("\0\0\0\0\0", 5));
	assert_int_equal(grpc_call_add(&w.call->call, part, PART), 0);
	w.call->call.has_more = true;
	grpc_session_finish(w.session, w.call);
	exchange(&w);
	assert_true(w.data.len < PART);
	assert_int_equal(w.n_started, 1);
	/* It reads on. */
	nghttp2_submit_window_update(w.client, NGHTTP2_FLAG_NONE, 0, 2 * PART);
	nghttp2_submit_window_update(w.client, NGHTTP2_FLAG_NONE, 1, 2 * PART);
	exchange(&w);
	assert_int_equal(w.data.len, PART + GRPC_PREFIX);
	assert_int_equal(w.n_started, 2);
	grpc_session_finish(w.session, w.call);
	exchange(&w);
	assert_string_equal(w.code, "0");
	world_release(&w);
}

static void test_deadline(void **state)
{
	struct world w;
	struct request r = REQUEST;

	(void)state;
	world_init(&w);
	r.timeout = "5S";
	submit(&w, &r, slice_make("\0\0\0\0\0", 5));
	assert_non_null(w.call);
	assert_true(grpc_session_expire(w.session, grpc_now_ms()) > 0);
	assert_true(grpc_session_expire(w.session, grpc_now_ms() + 6000) == 0);
	exchange(&w);
	assert_string_equal(w.code, "4");
	assert_true(atomic_load(&w.call->call.cancelled));
	/* The worker comes back later. */
	assert_int_equal(grpc_session_calls_out(w.session), 1);
	grpc_session_finish(w.session, w.call);
	assert_int_equal(grpc_session_calls_out(w.session), 0);
	exchange(&w);
	world_release(&w);
}

static void test_reset(void **state)
{
	struct world w;
	const struct request r = REQUEST;

	(void)state;
	world_init(&w);
	submit(&w, &r, slice_make("\0\0\0\0\0", 5));
	assert_non_null(w.call);
	nghttp2_submit_rst_stream(w.client, NGHTTP2_FLAG_NONE, 1, NGHTTP2_CANCEL);
	exchange(&w);
	assert_true(atomic_load(&w.call->call.cancelled));
	assert_int_equal(grpc_call_add(&w.call->call, "x", 1), 0);
	grpc_session_finish(w.session, w.call);
	exchange(&w);
	/* The connection lives on. */
	submit(&w, &r, slice_make("\0\0\0\0\0", 5));
	assert_int_equal(w.n_started, 2);
	grpc_session_finish(w.session, w.call);
	exchange(&w);
	assert_string_equal(w.code, "0");
	world_release(&w);
}

static void test_hang_up(void **state)
{
	struct world w;
	const struct request r = REQUEST;

	(void)state;
	world_init(&w);
	submit(&w, &r, slice_make("\0\0\0\0\0", 5));
	assert_non_null(w.call);
	grpc_session_hang_up(w.session);
	assert_true(atomic_load(&w.call->call.cancelled));
	grpc_session_finish(w.session, w.call);
	assert_int_equal(grpc_session_calls_out(w.session), 0);
	world_release(&w);
}

static void test_no_http2(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	assert_int_equal(grpc_session_receive(w.session, slice_str("GET / HTTP/1.1\r\n\r\n"
								   "and more of that")),
			 E_INVALID);
	world_release(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bodies),    cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_texts),     cmocka_unit_test(test_call),
		cmocka_unit_test(test_large),     cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_refusals),  cmocka_unit_test(test_failure),
		cmocka_unit_test(test_busy),      cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_reset),     cmocka_unit_test(test_hang_up),
		cmocka_unit_test(test_no_http2),  cmocka_unit_test(test_parts),
		cmocka_unit_test(test_parts_end), cmocka_unit_test(test_parts_unread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
