/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives src/net from net.py: one function a command, words in, lines out.
 *
 *	net-driver COMMAND WORD… [name=value]…
 *
 * Exit status 0, or 1 with "error <code> <text>" on standard output.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include <nacre/encode.h>

#include "base/fs.h"
#include "base/mem.h"
#include "net-driver.h"
#include "net/http.h"

const char *option(const struct words *w, const char *name)
{
	size_t len = strlen(name);

	for (int i = 0; i < w->n_options; i++) {
		if (strncmp(w->options[i], name, len) == 0 && w->options[i][len] == '=')
			return w->options[i] + len + 1;
	}
	return NULL;
}

uint64_t number_option(const struct words *w, const char *name)
{
	const char *text = option(w, name);
	uint64_t n = 0;

	if (text && parse_u64(&n, slice_str(text)) < 0)
		n = 0;
	return n;
}

void http_options_of(const struct words *w, struct http_options *ret)
{
	*ret = (struct http_options){
		.ca_file = option(w, "ca"),
		.insecure = option(w, "insecure"),
		.attempts = (unsigned)number_option(w, "attempts"),
		.parallel = (unsigned)number_option(w, "parallel"),
		.retry_delay_ms = option(w, "delay") ? (unsigned)number_option(w, "delay") : 20,
		.stall_timeout_s = (unsigned)number_option(w, "stall"),
	};
}

int open_output(const char *file, struct fd_sink *ret, struct err *err)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0)
		return err_errno(err, "open %s", file);
	fd_sink_init(ret, fd, file);
	return fd;
}

static void print_response(const struct http_response *resp)
{
	printf("status %d\nurl %s\nbytes %" PRIu64 "\n", resp->status, resp->url, resp->sink_bytes);
	if (resp->body.len)
		printf("body %.*s\n", (int)resp->body.len, (const char *)resp->body.data);
	for (size_t i = 0; i < resp->headers.len; i++)
		printf("header %s\n", resp->headers.items[i]);
}

static void fill_request(const struct words *w, struct strv *headers, struct http_request *ret)
{
	if (option(w, "header"))
		strv_add(headers, option(w, "header"));
	ret->headers = headers;
	ret->authorization = option(w, "auth");
	ret->max_body = number_option(w, "max");
	ret->accept_encoded = option(w, "encoded");
}

/* http-get URL [FILE] */
static int http_get(const struct words *w, struct http *http, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	cleanup_strv struct strv headers = {0};
	struct http_request req = {.method = HTTP_GET, .url = w->words[0]};
	struct fd_sink out;
	cleanup_fd int fd = -1;
	int r;

	fill_request(w, &headers, &req);
	if (w->n_words > 1) {
		fd = open_output(w->words[1], &out, err);
		if (fd < 0)
			return err->code;
		req.sink = &out.sink;
	}
	if (option(w, "method") && strcmp(option(w, "method"), "HEAD") == 0)
		req.method = HTTP_HEAD;
	if (option(w, "method") && strcmp(option(w, "method"), "DELETE") == 0)
		req.method = HTTP_DELETE;
	r = http_perform(http, &req, &resp, err);
	if (r == 0)
		print_response(&resp);
	if (r == 0 && option(w, "strict") && resp.status != 200)
		r = http_status_err(&resp, "get it", err);
	return r;
}

/* http-put URL FILE [method=POST|PATCH] */
static int http_put(const struct words *w, struct http *http, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	cleanup_strv struct strv headers = {0};
	struct http_request req = {.method = HTTP_PUT, .url = w->words[0]};
	cleanup_fd int fd = open(w->words[1], O_RDONLY | O_CLOEXEC);
	const char *method = option(w, "method");
	struct http_fd_source body;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, "open %s", w->words[1]);
	fill_request(w, &headers, &req);
	if (method)
		req.method = strcmp(method, "POST") == 0 ? HTTP_POST : HTTP_PATCH;
	http_fd_source_init(&body, fd, 0, (uint64_t)st.st_size, w->words[1]);
	req.body = &body.source;
	r = http_perform(http, &req, &resp, err);
	if (r == 0)
		print_response(&resp);
	return r;
}

/* http-stream URL FILE [chunked=1] [piece=BYTES] */
static int http_stream(const struct words *w, struct http *http, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	CLEANUP(http_upload_free) struct http_upload *up = NULL;
	struct http_request req = {.method = HTTP_PUT, .url = w->words[0]};
	cleanup_buf struct buf content = BUF_INIT(1 << 30);
	size_t piece = number_option(w, "piece") ? (size_t)number_option(w, "piece") : 100000;
	cleanup_strv struct strv headers = {0};
	struct slice left;
	int r;

	fill_request(w, &headers, &req);
	r = read_file_at(AT_FDCWD, w->words[1], 1 << 30, &content, err);
	left = buf_slice(&content);
	if (r == 0)
		r = http_upload_new(&up, http, &req,
				    option(w, "chunked") ? UINT64_MAX : content.len, err);
	while (r == 0 && left.len) {
		size_t n = left.len < piece ? left.len : piece;

		r = sink_write(http_upload_sink(up), left.data, n, err);
		slice_advance(&left, n);
	}
	if (r == E_CANCELLED) {
		printf("early\n");
		*err = ERR_INIT;
		r = 0;
	}
	if (r == 0)
		r = http_upload_response(up, &resp, err);
	if (r == 0)
		print_response(&resp);
	return r;
}

struct many {
	struct http *http;
	unsigned done, failed;
	unsigned more; /* to submit from the callback */
	const char *url;
};

static int many_done(void *arg, struct http_response *resp, const struct err *failure,
		     struct err *err)
{
	struct many *m = arg;
	struct http_request req = {.method = HTTP_GET, .url = m->url, .done = many_done, .arg = m};

	m->done++;
	if (failure || resp->status != 200)
		m->failed++;
	if (failure && failure->code == E_LIMIT)
		return err_set(err, E_LIMIT, "given up");
	if (!m->more)
		return 0;
	m->more--;
	return http_submit(m->http, &req, err);
}

/* http-many URL COUNT [more=COUNT] */
static int http_many(const struct words *w, struct http *http, struct err *err)
{
	struct many m = {
		.http = http, .url = w->words[0], .more = (unsigned)number_option(w, "more")};
	struct http_request req = {
		.method = HTTP_GET, .url = w->words[0], .done = many_done, .arg = &m};
	uint64_t count = 0;
	int r = 0;

	req.max_body = number_option(w, "max");
	if (parse_u64(&count, slice_str(w->words[1])) < 0)
		return err_set(err, E_USAGE, "count");
	while (r == 0 && count--)
		r = http_submit(http, &req, err);
	if (r == 0)
		r = http_run(http, err);
	printf("done %u\nfailed %u\n", m.done, m.failed);
	return r;
}

static int with_http(const struct words *w,
		     int (*command)(const struct words *, struct http *, struct err *),
		     struct err *err)
{
	CLEANUP(http_free) struct http *http = NULL;
	struct http_options options;
	int r;

	http_options_of(w, &options);
	r = http_new(&http, &options, err);
	return r < 0 ? r : command(w, http, err);
}

static const struct {
	const char *name;
	int words; /* at least */
	int (*run)(const struct words *w, struct http *http, struct err *err);
} commands[] = {
	{"http-get", 1, http_get},
	{"http-put", 2, http_put},
	{"http-stream", 2, http_stream},
	{"http-many", 2, http_many},
};

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct words w = {0};
	int r = E_USAGE;

	for (int i = 2; i < argc; i++) {
		/* An address has its '=' behind a '/'. */
		bool is_option =
			strchr(argv[i], '=') && strcspn(argv[i], "/:") > strcspn(argv[i], "=");

		if (is_option && w.n_options < WORDS_MAX)
			w.options[w.n_options++] = argv[i];
		else if (!is_option && w.n_words < WORDS_MAX)
			w.words[w.n_words++] = argv[i];
	}
	if (argc > 1 && strncmp(argv[1], "registry-", 9) == 0)
		r = registry_command(&w, argv[1] + 9, &err);
	else if (argc > 1 && strncmp(argv[1], "cache-", 6) == 0)
		r = cache_command(&w, argv[1] + 6, &err);
	else
		err_set(&err, E_USAGE, "no such command");
	for (size_t i = 0; argc > 1 && i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[1], commands[i].name) != 0 || w.n_words < commands[i].words)
			continue;
		err = ERR_INIT;
		r = with_http(&w, commands[i].run, &err);
	}
	if (r < 0)
		printf("error %s %s\n", err_code_name(r), err.text);
	return r < 0;
}
