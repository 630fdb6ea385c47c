/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client may send. The first byte chooses: bytes of a connection, whose calls are answered at
 * once or later; or the small parsers.
 */
#include <stdlib.h>

#include "node/grpc-session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS_MAX = 64 };

struct calls {
	struct grpc_stream *items[CALLS_MAX];
	size_t len;
};

static void handle(void *data, struct grpc_call *call)
{
	(void)data, (void)call;
}

static const struct grpc_method methods[] = {{"/s/M", handle}, {NULL, NULL}};

static bool start(void *data, struct grpc_stream *stream)
{
	struct calls *calls = data;

	if (calls->len == CALLS_MAX)
		return false;
	calls->items[calls->len++] = stream;
	return true;
}

static void finish(struct grpc_session *s, struct calls *calls)
{
	while (calls->len) {
		struct grpc_stream *stream = calls->items[--calls->len];

		grpc_call_add(&stream->call, stream->call.request.data, stream->call.request.len);
		grpc_session_finish(s, stream);
	}
}

static void drain(struct grpc_session *s)
{
	const uint8_t *out;

	while (grpc_session_output(s, &out) > 0)
		;
}

static void fuzz_session(struct slice data, size_t step, bool is_late)
{
	struct calls calls = {0};
	const struct grpc_session_events events = {methods, &calls, start};
	struct grpc_session *s = grpc_session_new(&events);

	while (data.len) {
		size_t n = data.len < step ? data.len : step;

		if (grpc_session_receive(s, slice_make(data.data, n)) < 0)
			break;
		slice_advance(&data, n);
		if (!is_late)
			finish(s, &calls);
		drain(s);
	}
	grpc_session_expire(s, INT64_MAX);
	drain(s);
	if (is_late)
		grpc_session_hang_up(s);
	finish(s, &calls);
	if (grpc_session_calls_out(s))
		abort();
	grpc_session_free(s);
}

static void fuzz_parsers(struct slice data)
{
	char text[64], input[256];
	struct slice message;
	int64_t ms;

	if (grpc_body_parse(&message, data) >= 0 && message.len + GRPC_PREFIX != data.len)
		abort();
	if (grpc_timeout_parse(&ms, data) >= 0 && ms < 0)
		abort();
	snprintf(input, sizeof(input), "%.*s", (int)(data.len < 255 ? data.len : 255),
		 (const char *)data.data);
	grpc_text_encode(text, sizeof(text), input);
	if (strlen(text) >= sizeof(text))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1)
		fuzz_session(slice_make(data + 1, size - 1), 1 + (data[0] >> 2) * 16, data[0] & 2);
	else
		fuzz_parsers(slice_make(data + 1, size - 1));
	return 0;
}
