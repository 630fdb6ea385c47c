/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: reading their headers, and turning a status into an error. */
#include "net/http.h"

#include <nacre/encode.h>

#include "net/url.h"

void http_response_release(struct http_response *r)
{
	strv_release(&r->headers);
	buf_release(&r->body);
	free(r->url);
	*r = (struct http_response){0};
}

const char *http_response_header(const struct http_response *r, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < r->headers.len; i++) {
		const char *h = r->headers.items[i];

		if (strncmp(h, name, len) == 0 && h[len] == ':')
			return h + len + 2; /* ": " */
	}
	return NULL;
}

int http_response_length(const struct http_response *r, uint64_t *ret)
{
	const char *value = http_response_header(r, "content-length");

	return value ? parse_u64(ret, slice_str(value)) : E_NOTFOUND;
}

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{407, "Proxy Authentication Required"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{410, "Gone"},
		{411, "Length Required"},
		{412, "Precondition Failed"},
		{413, "Content Too Large"},
		{415, "Unsupported Media Type"},
		{416, "Range Not Satisfiable"},
		{422, "Unprocessable Content"},
		{429, "Too Many Requests"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{507, "Insufficient Storage"},
	};

	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		if (reasons[i].status == status)
			return reasons[i].text;
	}
	return "";
}

static enum err_code status_code(int status)
{
	switch (status) {
	case 401:
	case 403:
	case 407:
		return E_DENIED;
	case 404:
	case 410:
		return E_NOTFOUND;
	case 405:
	case 501:
		return E_UNSUPPORTED;
	case 409:
	case 412:
		return E_CONFLICT;
	case 413:
		return E_LIMIT;
	case 408:
	case 429:
		return E_NET;
	default:
		return status >= 400 && status < 500 ? E_INVALID : E_NET;
	}
}

/* The first line of a textual body, if it is short enough to help. */
static struct slice first_line(const struct http_response *r)
{
	const char *type = http_response_header(r, "content-type");
	struct slice s = buf_slice(&r->body);
	const uint8_t *end = s.len ? memchr(s.data, '\n', s.len) : NULL;

	if (end)
		s.len = (size_t)(end - s.data);
	while (s.len && s.data[s.len - 1] == '\r')
		s.len--;
	if (s.len > 300 || (type && strncmp(type, "text/html", 9) == 0))
		s.len = 0;
	return s;
}

int http_status_err(const struct http_response *r, const char *what, struct err *err)
{
	struct slice line = first_line(r);
	char where[512];

	url_display(where, sizeof(where), r->url ? r->url : "?");
	return err_set(err, status_code(r->status), "%s: HTTP %d %s from %s%s%.*s", what, r->status,
		       reason(r->status), where, line.len ? ": " : "", (int)line.len,
		       line.len ? (const char *)line.data : "");
}
