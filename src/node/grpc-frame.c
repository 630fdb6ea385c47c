/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "node/grpc.h"

/* SPEC grpc PROTOCOL-HTTP2 Length-Prefixed-Message */
int grpc_body_parse(struct slice *ret, struct slice body)
{
	uint32_t len;

	if (body.len < GRPC_PREFIX)
		return E_INVALID;
	if (body.data[0] != 0)
		return body.data[0] == 1 ? E_UNSUPPORTED : E_INVALID;
	len = (uint32_t)body.data[1] << 24 | (uint32_t)body.data[2] << 16 |
	      (uint32_t)body.data[3] << 8 | body.data[4];
	if (len > GRPC_MESSAGE_MAX)
		return E_LIMIT;
	if (len != body.len - GRPC_PREFIX)
		return E_INVALID;
	*ret = slice_make(body.data + GRPC_PREFIX, len);
	return 0;
}

/* SPEC grpc PROTOCOL-HTTP2 Timeout: at most 8 digits and a unit */
int grpc_timeout_parse(int64_t *ret_ms, struct slice text)
{
	static const char units[] = "HMSmun";
	static const int64_t unit_ns[] = {3600000000000, 60000000000, 1000000000, 1000000, 1000, 1};
	const char *unit;
	int64_t value = 0;

	if (text.len < 2 || text.len > 9)
		return E_INVALID;
	for (size_t i = 0; i + 1 < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return E_INVALID;
		value = value * 10 + (text.data[i] - '0');
	}
	unit = memchr(units, text.data[text.len - 1], sizeof(units) - 1);
	if (!unit)
		return E_INVALID;
	if (unit_ns[unit - units] >= 1000000)
		*ret_ms = value * (unit_ns[unit - units] / 1000000);
	else
		*ret_ms = (value * unit_ns[unit - units] + 999999) / 1000000;
	return 0;
}

/* SPEC grpc PROTOCOL-HTTP2 Percent-Encoded */
void grpc_text_encode(char *ret, size_t cap, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool is_plain = c >= ' ' && c <= '~' && c != '%';

		if (n + (is_plain ? 1 : 3) >= cap)
			break;
		if (is_plain) {
			ret[n++] = (char)c;
			continue;
		}
		ret[n++] = '%';
		ret[n++] = hex[c >> 4];
		ret[n++] = hex[c & 15];
	}
	ret[n] = '\0';
}

int grpc_call_add(struct grpc_call *call, const void *message, size_t len)
{
	uint8_t prefix[GRPC_PREFIX] = {0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
				       (uint8_t)(len >> 8), (uint8_t)len};

	call->reply.max = GRPC_REPLY_MAX;
	if (len > GRPC_MESSAGE_MAX || call->reply.len + GRPC_PREFIX + len > GRPC_REPLY_MAX)
		return E_LIMIT;
	if (buf_add(&call->reply, prefix, sizeof(prefix)) < 0)
		return E_LIMIT;
	return len ? buf_add(&call->reply, message, len) : 0;
}

void grpc_call_fail(struct grpc_call *call, enum grpc_code code, const char *fmt, ...)
{
	va_list ap;

	call->code = code;
	va_start(ap, fmt);
	vsnprintf(call->text, sizeof(call->text), fmt, ap);
	va_end(ap);
}
