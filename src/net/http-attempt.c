/* SPDX-License-Identifier: Apache-2.0 */
/* One attempt: what is asked of libcurl, and what its callbacks do with the answer. */
#include "net/http-internal.h"

#include <ctype.h>
#include <inttypes.h>

#include <nacre/encode.h>

#include "codec/codec.h"
#include "net/url.h"

static const char *const method_names[] = {
	[HTTP_GET] = "GET",   [HTTP_HEAD] = "HEAD",   [HTTP_PUT] = "PUT",
	[HTTP_POST] = "POST", [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE",
};

const char *http_method_name(enum http_method m)
{
	return method_names[m];
}

static bool has_body(const struct http_request *req)
{
	return req->method == HTTP_PUT || req->method == HTTP_POST || req->method == HTTP_PATCH;
}

/* Where decoded bytes of a 2xx go. */
static int deliver_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct transfer *t = container_of(self, struct transfer, deliver);
	uint64_t max = t->req.max_body;
	int r;

	if (!max && !t->req.sink)
		max = HTTP_BODY_DEFAULT_MAX;
	if (max && (t->delivered > max || len > max - t->delivered))
		return err_set(err, E_LIMIT,
			       "the body is larger than the %" PRIu64 " bytes allowed", max);
	if (t->req.sink) {
		r = sink_write(t->req.sink, data, len, err);
	} else {
		t->resp.body.max = max;
		r = buf_add(&t->resp.body, data, len);
		if (r < 0)
			err_set(err, (enum err_code)r, "no memory for the body");
	}
	if (r == 0)
		t->delivered += len;
	return r;
}

/* "bytes <from>-<last>/<total>": does it continue where we are, to the end? SPEC rfc9110 14.4 */
static bool range_continues(const char *value, uint64_t from)
{
	const char *dash, *slash;
	uint64_t first, last, total;

	if (!value || strncasecmp(value, "bytes ", 6) != 0)
		return false;
	value += 6;
	dash = strchr(value, '-');
	slash = dash ? strchr(dash, '/') : NULL;
	if (!slash || parse_u64(&first, slice_make(value, (size_t)(dash - value))) < 0 ||
	    parse_u64(&last, slice_make(dash + 1, (size_t)(slash - dash - 1))) < 0 || first != from)
		return false;
	if (strcmp(slash + 1, "*") == 0)
		return true;
	return parse_u64(&total, slice_str(slash + 1)) == 0 && last < total && last == total - 1;
}

static enum codec codec_of_encoding(const char *value)
{
	if (!value || !value[0] || strcasecmp(value, "identity") == 0)
		return CODEC_NONE;
	if (strcasecmp(value, "x-gzip") == 0)
		return CODEC_GZIP;
	return codec_by_name(slice_str(value));
}

/* The header is complete and the first byte of the body is there: where does it go? */
static int begin_body(struct transfer *t, struct err *err)
{
	const char *encoding = http_response_header(&t->resp, "content-encoding");
	const char *ranges = http_response_header(&t->resp, "accept-ranges");
	const char *etag = http_response_header(&t->resp, "etag");
	enum codec codec = codec_of_encoding(encoding);
	struct codec_limits limits = {.max_output = t->req.max_body};

	if (t->resp.status / 100 != 2) {
		t->route = HTTP_ROUTE_KEEP;
		return 0;
	}
	t->route = HTTP_ROUTE_DELIVER;
	if (t->resume_from) {
		if (t->resp.status != 206 || codec != CODEC_NONE ||
		    !range_continues(http_response_header(&t->resp, "content-range"),
				     t->resume_from))
			return err_set(err, E_NET,
				       "the transfer broke off at byte %" PRIu64
				       " and the server does not resume it there",
				       t->resume_from);
		return 0;
	}
	t->can_resume = ranges && strcasecmp(ranges, "bytes") == 0;
	free(t->etag);
	t->etag = codec == CODEC_NONE && etag && etag[0] == '"' ? xstrdup(etag) : NULL;
	if (codec == CODEC_NONE)
		return 0;
	if (codec == CODEC_UNKNOWN)
		return err_set(err, E_UNSUPPORTED, "Content-Encoding %s is not supported",
			       encoding);
	return decoder_new(&t->decoder, codec, &t->deliver, &limits, err);
}

/* The body of a redirect or an error: as much as may help a message. */
static bool keep(struct transfer *t, const void *data, size_t len)
{
	size_t room = HTTP_ERROR_BODY_MAX - t->resp.body.len;

	t->resp.body.max = HTTP_ERROR_BODY_MAX;
	if (buf_add(&t->resp.body, data, len < room ? len : room) < 0 || len > room)
		t->enough = true;
	return !t->enough;
}

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct transfer *t = arg;
	int r = 0;

	(void)one; /* always 1 */
	if (t->route == HTTP_ROUTE_UNDECIDED)
		r = begin_body(t, &t->err);
	if (r == 0 && t->route == HTTP_ROUTE_KEEP)
		return keep(t, data, len) ? len : CURL_WRITEFUNC_ERROR;
	if (r == 0)
		r = sink_write(t->decoder ? t->decoder : &t->deliver, data, len, &t->err);
	return r < 0 ? CURL_WRITEFUNC_ERROR : len;
}

/* "HTTP/1.1 200 OK": the status, or -1. */
static int parse_status(struct slice line)
{
	const uint8_t *space = memchr(line.data, ' ', line.len);
	size_t at = space ? (size_t)(space - line.data) + 1 : 0;
	int status = 0;

	if (!space || line.len < at + 3)
		return -1;
	for (size_t i = at; i < at + 3; i++) {
		if (line.data[i] < '0' || line.data[i] > '9')
			return -1;
		status = status * 10 + (line.data[i] - '0');
	}
	return status;
}

static int add_header(struct transfer *t, struct slice line, struct err *err)
{
	const uint8_t *colon = memchr(line.data, ':', line.len);
	struct slice value;
	char *text;
	size_t name_len;

	if (!colon)
		return 0; /* a folded or foreign line; libcurl has looked at it already */
	name_len = (size_t)(colon - line.data);
	value = slice_make(colon + 1, line.len - name_len - 1);
	while (value.len && (value.data[0] == ' ' || value.data[0] == '\t'))
		slice_advance(&value, 1);
	while (value.len && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t'))
		value.len--;
	if (memchr(line.data, '\0', line.len))
		return err_set(err, E_INVALID, "NUL in a header of the response");
	text = xasprintf("%.*s: %.*s", (int)name_len, (const char *)line.data, (int)value.len,
			 (const char *)value.data);
	for (size_t i = 0; i < name_len; i++)
		text[i] = (char)tolower((unsigned char)text[i]);
	strv_take(&t->resp.headers, text);
	return 0;
}

static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
	struct transfer *t = arg;
	struct slice line = slice_make(data, len);

	(void)one; /* always 1 */
	t->header_bytes += len;
	if (t->header_bytes > HTTP_HEADERS_MAX) {
		err_set(&t->err, E_LIMIT, "the header of the response is larger than %d bytes",
			HTTP_HEADERS_MAX);
		return 0;
	}
	while (line.len && (line.data[line.len - 1] == '\n' || line.data[line.len - 1] == '\r'))
		line.len--;
	if (!line.len)
		return len;
	if (slice_has_prefix(line, "HTTP/")) {
		/* A new header: the one before was a 100 Continue or a proxy's. */
		strv_release(&t->resp.headers);
		t->resp.status = parse_status(line);
		return len;
	}
	return add_header(t, line, &t->err) < 0 ? 0 : len;
}

static size_t on_read(char *data, size_t one, size_t len, void *arg)
{
	struct transfer *t = arg;
	int64_t n;

	t->body_touched = true;
	n = t->req.body->read(t->req.body, data, one * len, &t->err);
	if (n == HTTP_SOURCE_LATER)
		return CURL_READFUNC_PAUSE;
	return n < 0 ? CURL_READFUNC_ABORT : (size_t)n;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct transfer *t = arg;

	if (offset != 0 || origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	/* libcurl 8 rewinds before it sends on another connection, whether anything was read or
	 * not. */
	if (!t->body_touched)
		return CURL_SEEKFUNC_OK;
	if (!t->req.body->rewind)
		return CURL_SEEKFUNC_CANTSEEK;
	return t->req.body->rewind(t->req.body, &t->err) < 0 ? CURL_SEEKFUNC_FAIL
							     : CURL_SEEKFUNC_OK;
}

static void add_line(struct transfer *t, const char *line)
{
	struct curl_slist *grown = curl_slist_append(t->slist, line);

	if (!grown)
		abort();
	t->slist = grown;
}

static void fill_headers(struct transfer *t)
{
	for (size_t i = 0; i < t->headers.len; i++)
		add_line(t, t->headers.items[i]);
	if (t->req.authorization && !t->left_origin) {
		cleanup_free char *line = xasprintf("Authorization: %s", t->req.authorization);

		add_line(t, line);
	}
	if (t->resume_from) {
		cleanup_free char *range = xasprintf("Range: bytes=%" PRIu64 "-", t->resume_from);

		add_line(t, range);
		if (t->etag) {
			cleanup_free char *line = xasprintf("If-Range: %s", t->etag);

			add_line(t, line);
		}
	} else if (t->req.accept_encoded && t->req.method == HTTP_GET) {
		add_line(t, "Accept-Encoding: zstd, gzip");
	}
}

static void set_method(struct transfer *t)
{
	CURL *e = t->easy;

	switch (t->req.method) {
	case HTTP_GET:
		curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
		return;
	case HTTP_HEAD:
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
		return;
	default:
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method_names[t->req.method]);
	}
	if (!has_body(&t->req))
		return;
	curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
	/* -1: not known, sent in chunks. */
	curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE,
			 (curl_off_t)(t->req.body ? t->req.body->size : 0));
	if (t->req.body) {
		curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(e, CURLOPT_READDATA, t);
		curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
	}
}

static void set_transport(CURL *e, const struct http_options *o, bool upload)
{
	unsigned stall = o->stall_timeout_s ? o->stall_timeout_s : upload ? 300 : 60;

	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 128L << 10);
	curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 128L << 10);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "nacre/" NACRE_VERSION);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_timeout_ms);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)o->timeout_s * 1000);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, o->min_speed ? (long)o->min_speed : 1L);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)stall);
	if (o->insecure) {
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (o->ca_file)
		curl_easy_setopt(e, CURLOPT_CAINFO, o->ca_file);
}

static CURL *take_easy(struct http *h)
{
	return h->n_idle ? h->idle[--h->n_idle] : curl_easy_init();
}

static int rewind_body(struct transfer *t, struct err *err)
{
	if (!t->body_touched)
		return 0;
	t->body_touched = false;
	return t->req.body->rewind(t->req.body, err);
}

int transfer_prepare(struct transfer *t, struct err *err)
{
	int r = rewind_body(t, err);

	if (r < 0)
		return r;
	http_response_release(&t->resp);
	t->deliver = (struct sink){.write = deliver_write};
	t->route = HTTP_ROUTE_UNDECIDED;
	t->header_bytes = 0;
	t->enough = false;
	t->waiting = false;
	t->curl_text[0] = '\0';
	if (!t->req.sink)
		t->delivered = 0;
	t->resume_from = t->delivered;
	t->attempt_start = t->delivered;
	t->easy = take_easy(t->http);
	if (!t->easy)
		return err_set(err, E_NOMEM, "no memory for a transfer");
	set_transport(t->easy, &t->http->options, has_body(&t->req));
	set_method(t);
	fill_headers(t);
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->slist);
	curl_easy_setopt(t->easy, CURLOPT_URL, t->url);
	curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
	curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->curl_text);
	curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	return 0;
}

void transfer_end_attempt(struct transfer *t)
{
	struct http *h = t->http;

	if (t->easy) {
		curl_easy_reset(t->easy);
		h->idle[h->n_idle++] = t->easy;
		t->easy = NULL;
	}
	curl_slist_free_all(t->slist);
	t->slist = NULL;
	decoder_free(t->decoder);
	t->decoder = NULL;
}
