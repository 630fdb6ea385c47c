/* SPDX-License-Identifier: Apache-2.0 */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/libmicrohttpd.h"
#include "node/metrics-listener.h"

enum {
	CONNECTIONS_MAX = 16,
	TIMEOUT_S = 10,
	BACKLOG = 16,
	PORT_TEXT_MAX = 5,
	METRICS_MAX = 1 << 20,
};

struct metrics_listener {
	struct metrics_listener_options options;
	struct MHD_Daemon *daemon; /* owned; has the socket */
};

/* ---- the socket ---- */

/* Splits at the last colon; brackets around an address of IPv6 go. */
static int split_address(const char *text, char **ret_host, char **ret_port, struct err *err)
{
	const char *colon = strrchr(text, ':');
	size_t host_len = colon ? (size_t)(colon - text) : 0;
	size_t port_len = colon ? strlen(colon + 1) : 0;
	bool has_brackets = host_len >= 2 && text[0] == '[' && text[host_len - 1] == ']';

	if (!port_len || port_len > PORT_TEXT_MAX || strspn(colon + 1, "0123456789") != port_len ||
	    (!has_brackets && memchr(text, ':', host_len)))
		return err_set(err, E_USAGE, "'%s' is no address: wanted HOST:PORT", text);
	*ret_host = has_brackets ? xstrndup(text + 1, host_len - 2) : xstrndup(text, host_len);
	*ret_port = xstrdup(colon + 1);
	return 0;
}

static int listen_at(const struct addrinfo *at, const char *text, struct err *err)
{
	cleanup_fd int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
	const int on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return err_errno(err, "listen at %s", text);
	return take_fd(&fd);
}

static int open_socket(const char *text, struct err *err)
{
	const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	cleanup_free char *host = NULL, *port = NULL;
	struct addrinfo *list;
	int r, fd;

	if (split_address(text, &host, &port, err) < 0)
		return err->code;
	r = getaddrinfo(*host ? host : NULL, port, &hints, &list);
	if (r != 0)
		return err_set(err, E_USAGE, "'%s': %s", text, gai_strerror(r));
	fd = listen_at(list, text, err);
	freeaddrinfo(list);
	return fd;
}

/* ---- answers ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
			      const struct buf *text)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		text->len, text->len ? (void *)text->data : (void *)(uintptr_t) "",
		MHD_RESPMEM_MUST_COPY);
	enum MHD_Result r;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	r = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return r;
}

/* libmicrohttpd's signature. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *path,
				  const char *method, const char *version, const char *body,
				  size_t *body_len, void **state)
{
	const struct metrics_listener_options *o = &((struct metrics_listener *)data)->options;
	cleanup_buf struct buf text = BUF_INIT(METRICS_MAX);
	struct err err = ERR_INIT;

	(void)version;
	(void)body;
	(void)state;
	/* What somebody sends here is not read. */
	*body_len = 0;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
		buf_add_str(&text, "only GET and HEAD\n");
		return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", &text);
	}
	if (strcmp(path, "/metrics") == 0) {
		o->format(o->data, &text);
		return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
			      &text);
	}
	if (strcmp(path, "/healthz") == 0) {
		if (o->check(o->data, &err) < 0) {
			buf_addf(&text, "%s\n", err.text);
			return answer(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain",
				      &text);
		}
		buf_add_str(&text, "ok\n");
		return answer(connection, MHD_HTTP_OK, "text/plain", &text);
	}
	buf_add_str(&text, "there are /metrics and /healthz\n");
	return answer(connection, MHD_HTTP_NOT_FOUND, "text/plain", &text);
}

int metrics_listener_new(struct metrics_listener **ret,
			 const struct metrics_listener_options *options, struct err *err)
{
	cleanup_fd int fd = -1;
	struct metrics_listener *l;
	int r = libmicrohttpd_load(err);

	if (r < 0)
		return r;
	fd = open_socket(options->address, err);
	if (fd < 0)
		return fd;
	l = xcalloc(1, sizeof(*l));
	l->options = *options;
	l->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC,
				     0, NULL, NULL, on_request, l, MHD_OPTION_LISTEN_SOCKET, fd,
				     MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
				     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S,
				     MHD_OPTION_END);
	if (!l->daemon) {
		free(l);
		return err_set(err, E_IO, "the listener at %s does not start", options->address);
	}
	take_fd(&fd);
	log_info("metrics and health at http://%s", options->address);
	*ret = l;
	return 0;
}

void metrics_listener_free(struct metrics_listener *l)
{
	if (!l)
		return;
	MHD_stop_daemon(l->daemon);
	free(l);
}
