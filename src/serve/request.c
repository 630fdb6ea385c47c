/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <strings.h>
#include <time.h>

#include <nacre/encode.h>

#include "serve/oci-error.h"
#include "serve/policy.h"
#include "serve/server-internal.h"
#include "serve/upstream-serve.h"

static enum http_method parse_method(const char *method)
{
	static const char *const names[HTTP_METHODS] = {"GET",  "HEAD",  "PUT",
							"POST", "PATCH", "DELETE"};

	for (int i = 0; i < HTTP_METHODS; i++)
		if (strcmp(method, names[i]) == 0)
			return (enum http_method)i;
	return HTTP_OTHER;
}

struct slice request_header(struct request *req, const char *name)
{
	const char *value = NULL;
	size_t len = 0;

	if (MHD_lookup_connection_value_n(req->mhd, MHD_HEADER_KIND, name, strlen(name), &value,
					  &len) != MHD_YES ||
	    !value)
		return slice_make(NULL, 0);
	return slice_make(value, len);
}

bool request_has_body(const struct request *req)
{
	return req->content_length != 0;
}

bool slice_to_text(char *ret, size_t size, struct slice s)
{
	if (s.len >= size || (s.len && memchr(s.data, 0, s.len)))
		return false;
	if (s.len)
		memcpy(ret, s.data, s.len);
	ret[s.len] = 0;
	return true;
}

struct request *request_new(struct server *server, const char *target, struct MHD_Connection *mhd)
{
	struct request *req = xcalloc(1, sizeof(*req));

	req->server = server;
	req->settings = server_settings(server);
	req->view = &req->settings->views[0];
	req->mhd = mhd;
	req->started_us = clock_us();
	/* One byte too many, so that a target that is too long shows. */
	req->target = xstrndup(target, REQUEST_TARGET_MAX + 1);
	return req;
}

/* What a request held is free before the client hears of it: its next request finds it so. */
static void release_state(struct request *req)
{
	if (req->state)
		req->state_release(req->state);
	req->state = NULL;
}

void request_free(struct request *req)
{
	release_state(req);
	body_queue_release(&req->incoming);
	if (req->response)
		MHD_destroy_response(req->response);
	buf_release(&req->body);
	if (req->token)
		jwt_claims_release(req->token);
	free(req->token);
	free(req->user);
	settings_unref(req->settings);
	free(req->repository);
	free(req->path);
	free(req->target);
	free(req);
}

void request_refuse(struct request *req, unsigned status, const char *fmt, ...)
{
	struct err text = ERR_INIT; /* for its escaping */
	va_list ap;

	va_start(ap, fmt);
	err_vset(&text, E_INVALID, fmt, ap);
	va_end(ap);
	if (endpoint_is_oci(req->route.endpoint))
		oci_respond(req, status, NULL, text.text);
	else
		respond_plain(req, status, "%s", text.text);
}

/* What the headers say about where the message ends and whom it is for. */
struct framing {
	unsigned lengths, encodings, hosts; /* how many headers */
	bool chunked;
	uint64_t length;
	bool bad;
	const char *at; /* the end of what was looked at; NULL: the lines are not looked at */
};

enum { LINE_END = 2, HEAD_END = 4 };

/* SPEC rfc-9112 2.2, 5: before 0.9.77 libmicrohttpd takes a line feed alone for the end of a line, and a
 * line that is ":" for the end of the head, so that a proxy before us may see one request where we
 * see two. It cuts the head up where it lies, each byte of a line end and each ":" becomes a zero,
 * and the texts that it gives us point into it: so one header begins two bytes behind the one
 * before, or something else lies between. */
static void expect_line(struct framing *f, const char *name, const char *value, size_t value_len)
{
	if (f->at && name != f->at + LINE_END)
		f->bad = true;
	if (f->at)
		f->at = value ? value + value_len : NULL;
}

/* Does the head end behind what was looked at? */
static bool head_ends(struct request *req, const char *method, const struct framing *f)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	return !info || method + info->header_size == f->at + HEAD_END;
}

/* SPEC rfc-9110 5.6.2, 5.5: libmicrohttpd takes lines for headers that other readers take for
 * something else: "Content-Length : 5", a line that goes on in the next one, no name at all. */
static bool is_header(const char *name, size_t name_len, const char *value, size_t value_len)
{
	static const char good[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	if (!name_len || strspn(name, good) != name_len)
		return false;
	for (size_t i = 0; i < value_len; i++)
		if (((uint8_t)value[i] < ' ' && value[i] != '\t') || value[i] == 0x7f)
			return false;
	return true;
}

/* The same name, or one that begins so: before 1.0 libmicrohttpd adds a line that continues a value
 * to the name, and "Content-Length:", " 5" becomes "Content-Length5". */
static bool is_framing_header(const char *name, size_t name_len, const char *wanted, bool *ret_bad)
{
	size_t n = strlen(wanted);

	if (name_len < n || strncasecmp(name, wanted, n) != 0)
		return false;
	*ret_bad |= name_len > n;
	return true;
}

/* libmicrohttpd's signature. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result count_framing(void *cls, enum MHD_ValueKind kind, const char *name,
				     size_t name_len, const char *value, size_t value_len)
{
	struct framing *f = cls;
	uint64_t length;

	(void)kind;
	expect_line(f, name, value, value_len);
	if (!is_header(name, name_len, value, value_len)) {
		f->bad = true;
	} else if (is_framing_header(name, name_len, "Content-Length", &f->bad)) {
		if (!value || parse_u64(&length, slice_make(value, value_len)) < 0 ||
		    length > INT64_MAX || (f->lengths && length != f->length))
			f->bad = true;
		else
			f->length = length;
		f->lengths++;
	} else if (is_framing_header(name, name_len, "Transfer-Encoding", &f->bad)) {
		f->chunked = value && strcasecmp(value, "chunked") == 0;
		f->encodings++;
	} else if (strcasecmp(name, "Host") == 0) {
		f->hosts++;
	}
	return MHD_YES;
}

/* SPEC rfc-9112 3.2, 5.1, 6.3: a message whose end or whose host two readers may see differently is
 * refused. */
static bool read_framing(struct request *req, const char *method, const char *version)
{
	bool lenient = req->server->lenient_lines;
	struct framing f = {.at = lenient ? version + strlen(version) : NULL};

	MHD_get_connection_values_n(req->mhd, MHD_HEADER_KIND, count_framing, &f);
	if (f.bad || (lenient && !head_ends(req, method, &f)) || f.encodings > 1 ||
	    (f.encodings && (f.lengths || !f.chunked)) || f.hosts > 1 ||
	    (!f.hosts && strcmp(version, "HTTP/1.0") != 0))
		return false;
	req->content_length = f.encodings ? BODY_UNKNOWN : (int64_t)f.length;
	return true;
}

/* Finds the endpoint, and the view that it is in: the registry names the view with the repository,
 * the cache in front of its files. */
static void find_route(struct request *req, struct slice path)
{
	struct slice rest = path;

	while (slice_has_prefix(rest, "/"))
		slice_advance(&rest, 1);
	req->view = settings_view(req->settings, rest);
	if (req->view->name_len) {
		/* From the slash behind the name. */
		slice_advance(&rest, req->view->name_len);
		route_find(&req->route, rest);
		if (endpoint_is_server(req->route.endpoint))
			req->route = (struct route){.endpoint = ENDPOINT_NONE};
		return;
	}
	route_find(&req->route, path);
	if (!req->route.name.len)
		return;
	req->view = settings_view(req->settings, req->route.name);
	slice_advance(&req->route.name, strlen(req->view->prefix));
}

/* Splits and decodes the target. The path is NULL for one that cannot be. */
static void read_target(struct request *req)
{
	struct slice path = slice_str(req->target);
	const uint8_t *mark = memchr(path.data, '?', path.len);
	int n;

	if (mark) {
		req->query = slice_make(mark + 1, path.len - (size_t)(mark + 1 - path.data));
		path.len = (size_t)(mark - path.data);
	}
	/* SPEC rfc-9112 3.2.2: the absolute form, as clients of a proxy send it. */
	if (path.len > 7 && strncasecmp((const char *)path.data, "http://", 7) == 0) {
		const uint8_t *slash = memchr(path.data + 7, '/', path.len - 7);

		if (slash)
			slice_advance(&path, (size_t)(slash - path.data));
	}
	req->path = xmalloc(path.len + 1);
	n = uri_decode(req->path, path.len + 1, path);
	if (n < 0 || req->path[0] != '/')
		req->path[0] = 0;
	else
		find_route(req, slice_make(req->path, (size_t)n));
}

static void refuse_method(struct request *req)
{
	char allowed[64];

	handler_allowed(req->route.endpoint, allowed, sizeof(allowed));
	if (!allowed[0]) {
		request_refuse(req, 404, "there is nothing at this address");
		return;
	}
	request_refuse(req, 405, "this address takes %s", allowed);
	respond_header(req, "Allow", "%s", allowed);
}

/* The client's own id, if it is sane, so that its log and ours can be laid beside each other. */
static void name_request(struct request *req)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "._-";
	struct slice given = request_header(req, "X-Request-Id");

	if (given.len && slice_to_text(req->id, sizeof(req->id), given) &&
	    req->id[strspn(req->id, good)] == '\0')
		return;
	snprintf(req->id, sizeof(req->id), "%08x%08llx", req->server->id_salt,
		 (unsigned long long)atomic_fetch_add(&req->server->id_next, 1));
}

/* False: answered. A PUT to the cache waits for its turn: its clients cannot be told to come again
 * (docs/operations.md). */
static bool within_rate(struct request *req)
{
	const struct limit_settings *l = &req->settings->limits;
	unsigned wait_ms = 0;
	enum endpoint e = req->route.endpoint;

	if (!l->client_rate || e == ENDPOINT_HEALTH || e == ENDPOINT_READY || e == ENDPOINT_METRICS)
		return true;
	/* Whose turn has not come by the end would keep the server from it. */
	while (!atomic_load(&req->server->draining) &&
	       !rate_take(req->server->rates, req->connection->client, l->client_rate,
			  l->client_burst, clock_us(), &wait_ms)) {
		struct timespec wait = {wait_ms / 1000, (long)(wait_ms % 1000) * 1000000};

		metrics_count(req->server->metrics, METRIC_LIMITED);
		if (req->method != HTTP_PUT || endpoint_is_oci(e)) {
			request_refuse(req, 429, "too many requests: wait a second");
			respond_header(req, "Retry-After", "%u", wait_ms / 1000 + 1);
			return false;
		}
		nanosleep(&wait, NULL);
	}
	return true;
}

void request_head(struct request *req, const char *method, const char *version)
{
	bool framed = read_framing(req, method, version);

	name_request(req);

	req->method = parse_method(method);
	read_target(req);
	if (!framed) {
		request_refuse(
			req, 400,
			"the headers are malformed, or contradict each other about the body's "
			"length or the host");
		req->close = true;
		return;
	}
	if (strlen(req->target) > REQUEST_TARGET_MAX) {
		request_refuse(req, 414, "the address is longer than %d bytes", REQUEST_TARGET_MAX);
		return;
	}
	if (!req->path[0]) {
		request_refuse(req, 400, "the address is malformed");
		return;
	}
	req->handler =
		req->method == HTTP_OTHER ? NULL : handler_find(req->route.endpoint, req->method);
}

/* A password or a token takes a while to check; an audit log may have to be written, a rate to be
 * waited for, a quota to be looked up. */
bool request_is_prompt(struct request *req)
{
	return req->handler && req->handler->prompt && !request_header(req, "Authorization").data &&
	       !req->settings->audit.file && !req->settings->limits.client_rate &&
	       !store_has_quotas(req->server->store);
}

void request_admit(struct request *req)
{
	req->admitted = true;
	if (!within_rate(req))
		return;
	if (!req->handler) {
		refuse_method(req);
		return;
	}
	/* Whose repository is meant decides what may be done to it. */
	if (!upstream_namespace(req) || !policy_admit(req) || !audit_admit(req->server->audit, req))
		return;
	if (req->handler->begin)
		req->handler->begin(req);
	if (req->response)
		release_state(req);
}

/* Does the client wait for our word before it sends the body? */
static bool expects_word(struct request *req)
{
	return request_has_body(req) &&
	       slice_equal_str(request_header(req, "Expect"), "100-continue");
}

void request_log_json(const struct request *req, bool complete)
{
	char target[1000];
	json_t *line;
	char *text;

	/* Bytes that are no UTF-8 cannot be in JSON. */
	snprintf(target, sizeof(target), "%s", req->target);
	for (char *p = target; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	line = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:I, s:I, s:f}", "level", "info",
			 "id", req->id, "peer", connection_peer(req->connection), "method",
			 req->method_name, "target", target, "endpoint",
			 endpoint_name(req->route.endpoint), "status", (int)req->status, "complete",
			 complete, "received", (json_int_t)req->body_bytes, "sent",
			 (json_int_t)req->response_bytes, "seconds",
			 (double)(clock_us() - req->started_us) / 1e6);
	if (line && req->user)
		json_object_set_new(line, "user", json_string(req->user));
	if (line && req->view->name_len)
		json_object_set_new(line, "view", json_string(req->view->name));
	text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	json_decref(line);
	if (text)
		log_raw(text);
	free(text);
}

void request_log_failure(const struct request *req, const struct err *err)
{
	struct err line = ERR_INIT; /* for its escaping */

	err_set(&line, E_INTERNAL, "%s %.300s", req->method_name, req->target);
	log_error("%s: %s id=%s", line.text, err->text, req->id);
}

bool request_answers_early(struct request *req)
{
	return req->response && (req->close || expects_word(req));
}

/* A password that is not known yet takes a while to check; that anything was refused may have to be written to the
 * audit log. */
static bool may_take_a_while(struct request *req)
{
	struct slice header = request_header(req, "Authorization");

	return header.len &&
	       (req->settings->audit.file ||
		(header.len >= 5 && strncasecmp((const char *)header.data, "Basic", 5) == 0));
}

bool request_recall(struct request *req)
{
	bool has_recall = req->handler && req->handler->recall;
	bool reads = has_recall && req->handler->access == ACCESS_READ;

	if (!req->response && has_recall &&
	    (reads ? !may_take_a_while(req) : request_is_prompt(req))) {
		request_admit(req);
		if (!req->response)
			req->handler->recall(req);
	}
	if (!req->response)
		return false;
	request_ready(req);
	return true;
}

void request_body(struct request *req, const void *data, size_t len)
{
	uint64_t max = req->settings->limits.body_max_bytes;

	req->body_bytes += len;
	if (req->response || !req->handler || !req->handler->body)
		return;
	if (req->body_bytes > max) {
		request_refuse(req, 413, "the body is larger than %llu bytes",
			       (unsigned long long)max);
		return;
	}
	req->handler->body(req, data, len);
	if (req->response)
		release_state(req);
}

void request_end(struct request *req)
{
	if (!req->response && !req->admitted)
		request_admit(req);
	if (!req->response)
		req->handler->end(req);
	if (!req->response)
		request_refuse(req, 500, "the server made no answer");
	release_state(req);
	request_ready(req);
}

void request_ready(struct request *req)
{
	if (endpoint_is_oci(req->route.endpoint))
		respond_header(req, "Docker-Distribution-Api-Version", "registry/2.0");
	respond_header(req, "X-Request-Id", "%s", req->id);
	if (req->oci_namespace)
		respond_header(req, "OCI-Namespace", "%s", req->oci_namespace);
	if (req->close || atomic_load(&req->server->draining))
		respond_header(req, "Connection", "close");
	audit_request(req->server->audit, req);
	webhooks_request(req->server->webhooks, req);
}
