/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin-client.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <nacre/json.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "net/credentials.h"
#include "net/http.h"
#include "net/url.h"
#include "serve/admin.h"
#include "store/upkeep.h"

enum { LINE_MAX_BYTES = 1 << 20, ANSWER_MAX_BYTES = 65 << 20 };

/* ---- Reading values ---- */

unsigned long long admin_number(const json_t *object, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(object, key));
}

const char *admin_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "?";
}

const char *admin_size(char *ret, const json_t *object, const char *key)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double n = (double)admin_number(object, key);
	size_t i = 0;

	while (n >= 1024 && i + 1 < ARRAY_LEN(units)) {
		n /= 1024;
		i++;
	}
	snprintf(ret, 32, i ? "%.1f %s" : "%.0f %s", n, units[i]);
	return ret;
}

/* ---- Lines ---- */

static int line_take(struct admin_call *call, const json_t *line, struct err *err)
{
	const char *key = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)line));
	json_t *value = json_object_get(line, key ? key : "");
	const char *text = json_string_value(json_object_get(line, "error"));

	if (text) {
		const char *code = json_string_value(json_object_get(line, "code"));

		return err_set(err, code && strcmp(code, "usage") == 0 ? E_USAGE : E_IO, "%s",
			       text);
	}
	if (!key)
		return err_set(err, E_INVALID, "the server answers with something else");
	if (call->json) {
		char *dump = json_dumps(line, JSON_COMPACT);

		printf("%s\n", dump ? dump : "");
		free(dump);
	} else {
		call->print(key, value);
	}
	if (strcmp(key, "result") == 0)
		call->result = json_incref(value);
	return 0;
}

static int ask_server(struct admin_call *call, int fd, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(LINE_MAX_BYTES);
	char *dump = json_dumps(call->request, JSON_COMPACT);
	size_t len = dump ? strlen(dump) : 0;
	FILE *lines = fdopen(dup(fd), "r");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int r = 0;

	if (!dump || !lines || write_full(fd, dump, len) < 0 || write_full(fd, "\n", 1) < 0)
		r = err_errno(err, "ask the server");
	while (r >= 0 && (n = getline(&line, &cap, lines)) > 0) {
		cleanup_json json_t *value = NULL;

		r = json_parse(&value, slice_make(line, (size_t)n), LINE_MAX_BYTES, err);
		if (r >= 0)
			r = line_take(call, value, err);
		fflush(stdout);
	}
	if (lines)
		fclose(lines);
	free(line);
	free(dump);
	if (r >= 0 && !call->result)
		r = err_set(err, E_NET, "the server ended before it was done");
	return r;
}

/* ---- A server elsewhere ---- */

/* Host, and who we are to it. */
static int remote_credentials(char **ret, const struct admin_call *call, const struct url *u,
			      struct err *err)
{
	cleanup_credentials struct credentials c = {0};
	int r;

	if (u->user) {
		c.user = xstrdup(u->user);
		c.password = xstrdup(u->password ? u->password : "");
		return credentials_basic(ret, &c);
	}
	r = credentials_for_cache(&c, call->netrc, u->host, err);
	if (r <= 0)
		return r;
	return credentials_basic(ret, &c) < 0
		       ? err_set(err, E_INVALID, "the user in the netrc file makes no sense")
		       : 0;
}

static int remote_url(char **ret, const struct admin_call *call, const struct url *u,
		      struct err *err)
{
	size_t len = strlen(u->text);
	bool repositories = json_is_true(json_object_get(call->request, "repositories"));

	while (len && u->text[len - 1] == '/')
		len--;
	if (strchr(u->text, '?'))
		return err_set(err, E_USAGE, "--server takes the address of the server alone");
	*ret = xasprintf("%.*s/admin/%s%s", (int)len, u->text, call->command,
			 repositories ? "?repositories=true" : "");
	return 0;
}

static int answer_take(struct admin_call *call, const struct http_response *resp, struct err *err)
{
	struct slice text = buf_slice(&resp->body);
	int r = 0;

	if (resp->status != 200 && resp->body.len && resp->status < 500) {
		while (text.len && text.data[text.len - 1] == '\n')
			text.len--;
		return err_set(err, resp->status == 400 ? E_USAGE : E_DENIED, "%.*s",
			       (int)(text.len < 1000 ? text.len : 1000), (const char *)text.data);
	}
	if (resp->status != 200)
		return http_status_err(resp, call->command, err);
	while (r >= 0 && text.len) {
		const uint8_t *end = memchr(text.data, '\n', text.len);
		size_t n = end ? (size_t)(end - text.data) + 1 : text.len;
		cleanup_json json_t *value = NULL;

		r = json_parse(&value, slice_make(text.data, n), LINE_MAX_BYTES, err);
		if (r >= 0)
			r = line_take(call, value, err);
		slice_advance(&text, n);
	}
	if (r >= 0 && !call->result)
		r = err_set(err, E_NET, "the answer of the server is not whole");
	return r;
}

static int ask_elsewhere(struct admin_call *call, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	CLEANUP(http_free) struct http *http = NULL;
	cleanup_url struct url u = {0};
	cleanup_free char *url = NULL, *authorization = NULL, *body = NULL;
	struct http_slice_source source;
	struct http_request req = {.method = call->remote == REMOTE_POST ? HTTP_POST : HTTP_GET,
				   .max_body = ANSWER_MAX_BYTES};
	int r;

	if (call->data)
		return err_set(err, E_USAGE, "say one of --data and --server");
	if (call->remote == REMOTE_NEVER ||
	    (strcmp(call->command, "gc") == 0 &&
	     !json_is_true(json_object_get(call->request, "dry-run"))))
		return err_set(err, E_USAGE,
			       "this is done on the server's machine only: --data DIR");
	r = http_require(err);
	if (r < 0)
		return r;
	if (url_parse(&u, slice_str(call->server)) < 0)
		return err_set(err, E_USAGE, "'%.200s' is no http or https address", call->server);
	r = remote_credentials(&authorization, call, &u, err);
	if (r >= 0)
		r = remote_url(&url, call, &u, err);
	if (r >= 0)
		r = http_new(&http, &(struct http_options){0}, err);
	if (r < 0)
		return r;
	body = json_dumps(call->request, JSON_COMPACT);
	if (call->remote == REMOTE_POST) {
		http_slice_source_init(&source, slice_str(body ? body : "{}"));
		req.body = &source.source;
	}
	req.url = url;
	req.authorization = authorization;
	r = http_perform(http, &req, &resp, err);
	return r < 0 ? r : answer_take(call, &resp, err);
}

/* ---- Without a server ---- */

struct here {
	struct admin_output out;
	struct admin_call *call;
	struct err err;
	int result;
};

static void here_line(struct admin_output *o, json_t *line)
{
	struct here *h = container_of(o, struct here, out);

	if (h->result >= 0)
		h->result = line_take(h->call, line, &h->err);
}

/* Views whose names are known, whatever the configuration says of them. */
static void view_note(void *arg, const struct store_view_usage *usage)
{
	strv_add(arg, usage->view);
}

static int views_open(struct store *s, struct err *err)
{
	struct store_view_options options = STORE_VIEW_OPTIONS_INIT;
	cleanup_strv struct strv names = {0};
	struct store_view *view;
	int r = store_view_usages(s, view_note, &names, err);

	options.store_dir = NULL;
	for (size_t i = 0; i < names.len && r >= 0; i++)
		r = store_view_open(&view, s, names.items[i], &options, err);
	return r;
}

static int do_here(struct admin_call *call, struct err *err)
{
	struct store_options options = STORE_OPTIONS_INIT;
	struct here h = {.out.line = here_line, .call = call};
	struct store *s;
	int r;

	if (faccessat(AT_FDCWD, call->data, F_OK, 0) < 0)
		return err_errno(err, "%s", call->data);
	options.root.store_dir = NULL;
	r = store_open(&s, call->data, &options, err);
	if (r < 0)
		return r;
	r = views_open(s, err);
	if (r >= 0) {
		admin_execute(s, call->request, &h.out);
		r = h.result;
		if (r < 0)
			*err = h.err;
	}
	store_close(s);
	return r;
}

static int call_it(struct admin_call *call, struct err *err)
{
	cleanup_fd int fd = -1;

	if (call->server)
		return ask_elsewhere(call, err);
	if (!call->data)
		return err_set(err, E_USAGE, "say which data directory: --data DIR");
	json_object_set_new(call->request, "command", json_string(call->command));
	if (call->where != ADMIN_HERE) {
		fd = admin_connect(call->data, err);
		if (fd >= 0)
			return ask_server(call, fd, err);
		if (fd != E_NOTFOUND || call->where == ADMIN_SERVER)
			return fd;
		*err = ERR_INIT;
	}
	return do_here(call, err);
}

/* ---- The command line ---- */

static void take_option(struct admin_call *call, int c)
{
	static const struct {
		int option;
		const char *key;
	} flags[] = {
		{ADMIN_OPT_DRY_RUN, "dry-run"},
		{ADMIN_OPT_REPAIR, "repair"},
		{ADMIN_OPT_COPY, "copy"},
		{ADMIN_OPT_REPOSITORIES, "repositories"},
	};

	if (c == ADMIN_OPT_DATA)
		call->data = optarg;
	else if (c == ADMIN_OPT_SERVER)
		call->server = optarg;
	else if (c == ADMIN_OPT_NETRC)
		call->netrc = optarg;
	else if (c == ADMIN_OPT_JSON)
		call->json = true;
	else if (c == ADMIN_OPT_VIEW)
		json_object_set_new(call->request, "view", json_string(optarg));
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (flags[i].option == c)
			json_object_set_new(call->request, flags[i].key, json_true());
}

void admin_options(struct admin_call *call, const struct admin_subcommand *sub, int argc,
		   char **argv)
{
	int c;

	call->request = json_object();
	while ((c = cli_getopt(argc, argv, "", sub->options, sub->help)) != -1)
		take_option(call, c);
	cli_operands(argc, argv, sub->operands, sub->operands, sub->help);
}

int admin_call_end(struct admin_call *call, int code)
{
	json_decref(call->request);
	json_decref(call->result);
	return code;
}

int admin_call(struct admin_call *call)
{
	struct err err = ERR_INIT;

	return call_it(call, &err) < 0 ? cli_fail(&err) : cli_finish(CLI_OK);
}
