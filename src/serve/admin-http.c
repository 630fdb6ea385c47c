/* SPDX-License-Identifier: Apache-2.0 */
/* /admin/: what an operator may do from anywhere with the things that the rules give him `admin` on. The
 * answers are lines of JSON, as those of the socket in the data directory. */
#include <nacre/json.h>

#include "serve/oci-error.h"
#include "serve/server-internal.h"

enum {
	ANSWER_MAX = 64 << 20, /* bytes of lines */
	REQUEST_TEXT_MAX = 1024,
};

/* GET for what changes nothing. */
static const struct {
	const char *name;
	enum http_method method;
} commands[] = {
	{"pins", HTTP_GET}, {"stats", HTTP_GET},  {"gc", HTTP_GET},
	{"pin", HTTP_POST}, {"unpin", HTTP_POST}, {"delete", HTTP_POST},
};

struct answer {
	struct admin_output out;
	struct buf text;
	bool full;
};

static void answer_line(struct admin_output *o, json_t *line)
{
	struct answer *a = container_of(o, struct answer, out);
	char *dump = json_dumps(line, JSON_COMPACT);

	if (!dump || buf_add_str(&a->text, dump) < 0 || buf_add_str(&a->text, "\n") < 0) {
		a->full = true;
		atomic_store(&o->cancel, true);
	}
	free(dump);
}

static bool may(void *arg, bool cache, const char *name)
{
	return auth_user_rights(arg, cache ? RESOURCE_CACHE : RESOURCE_REPOSITORY, name) &
	       RIGHT_ADMIN;
}

static void fail(struct request *req, const struct err *err)
{
	static const struct {
		int code;
		unsigned status;
	} rows[] = {
		{E_USAGE, 400}, {E_INVALID, 400},  {E_DENIED, 403},    {E_NOTFOUND, 404},
		{E_LIMIT, 400}, {E_CONFLICT, 409}, {E_CANCELLED, 409},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows) && !err->sys_errno; i++) {
		if (rows[i].code == err->code) {
			respond_plain(req, rows[i].status, "%s", err->text);
			return;
		}
	}
	request_log_failure(req, err);
	respond_plain(req, err_own_status(err), "%s", err_own_text(err));
}

static void answer(struct request *req, const json_t *request)
{
	struct admin_caller caller = {
		.may = may,
		.arg = req,
		.everything = access_admin(&req->settings->access, req->user) == ADMIN_EVERYTHING};
	struct answer a = {.out.line = answer_line, .text = BUF_INIT(ANSWER_MAX)};
	struct err err = ERR_INIT;
	int r = req->server->admin(req->server->store, request, &caller, &a.out, &err);

	if (a.full)
		respond_plain(req, 500, "the answer is larger than %d MiB", ANSWER_MAX >> 20);
	else if (r < 0)
		fail(req, &err);
	else
		respond_buf(req, 200, "application/x-ndjson", &a.text);
	if (!a.full && r >= 0)
		respond_header(req, "Cache-Control", "no-store");
	buf_release(&a.text);
}

/* False: answered. */
static bool command_find(struct request *req)
{
	enum http_method method = req->method == HTTP_HEAD ? HTTP_GET : req->method;

	for (size_t i = 0; req->server->admin && i < ARRAY_LEN(commands); i++) {
		if (!slice_equal_str(req->route.arg, commands[i].name))
			continue;
		if (commands[i].method == method)
			return true;
		respond_plain(req, 405, "this command takes %s",
			      commands[i].method == HTTP_GET ? "GET, HEAD" : "POST");
		respond_header(req, "Allow", commands[i].method == HTTP_GET ? "GET, HEAD" : "POST");
		return false;
	}
	respond_plain(req, 404, "there is no such command");
	return false;
}

static bool is_true(struct request *req, const char *key)
{
	char text[8];

	return query_get(text, sizeof(text), req->query, key, 0) == 1 &&
	       (strcmp(text, "true") == 0 || strcmp(text, "1") == 0);
}

static void get_end(struct request *req)
{
	cleanup_json json_t *request = NULL;
	char name[16];

	if (!command_find(req) || !slice_to_text(name, sizeof(name), req->route.arg))
		return;
	request = json_pack("{s:s, s:b, s:b}", "command", name, "dry-run", strcmp(name, "gc") == 0,
			    "repositories", is_true(req, "repositories"));
	answer(req, request);
}

static void post_begin(struct request *req)
{
	req->body.max = ADMIN_REQUEST_MAX;
	if (command_find(req) && req->content_length > ADMIN_REQUEST_MAX)
		respond_plain(req, 413, "the request is larger than %d bytes", ADMIN_REQUEST_MAX);
}

static void post_body(struct request *req, const void *data, size_t len)
{
	if (buf_add(&req->body, data, len) < 0)
		respond_plain(req, 413, "the request is larger than %d bytes", ADMIN_REQUEST_MAX);
}

/* {"what": …, "view": …} */
static void post_end(struct request *req)
{
	cleanup_json json_t *body = NULL, *request = NULL;
	const char *what = NULL, *view = "";
	struct err err = ERR_INIT;
	char name[16];
	int r = json_parse(&body, buf_slice(&req->body), ADMIN_REQUEST_MAX, &err);

	if (r >= 0)
		r = json_get_text(body, "request", "what", true, &what, &err);
	if (r >= 0)
		r = json_get_text(body, "request", "view", false, &view, &err);
	if (r >= 0 && strlen(what) > REQUEST_TEXT_MAX)
		r = err_set(&err, E_INVALID, "`what` is too long");
	if (r < 0 || !slice_to_text(name, sizeof(name), req->route.arg)) {
		fail(req, &err);
		return;
	}
	/* For the audit log and the webhooks. */
	req->repository = xstrdup(what);
	req->route.name = slice_str(req->repository);
	for (size_t i = 0; i < req->settings->n_views; i++)
		if (strcmp(req->settings->views[i].name, view) == 0)
			req->view = &req->settings->views[i];
	request = json_pack("{s:s, s:s, s:s}", "command", name, "what", what, "view", view);
	answer(req, request);
}

const struct handler admin_get = {.end = get_end};
const struct handler admin_post = {
	.begin = post_begin, .body = post_body, .end = post_end, .access = ACCESS_WRITE};
