/* SPDX-License-Identifier: Apache-2.0 */
/* The operator's socket. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <nacre/json.h>

#include "base/cond.h"
#include "base/fs.h"
#include "serve/server-internal.h"

enum { TIMEOUT_S = 30, WATCH_MS = 500, SHORTAGE_MS = 50 };

struct session {
	struct session *next; /* under the server's lock */
	struct admin_server *server;
	struct admin_output out;
	int fd; /* owned */
};

struct admin_server {
	struct store *store;    /* borrowed */
	int dirfd, fd, stop_fd; /* owned */
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	struct cond idle;
	struct session *sessions; /* under lock */
	size_t n_sessions;        /* under lock */
};

/* The path of a socket is short, that of a data directory need not be: so by its descriptor. */
static void address_make(struct sockaddr_un *ret, int dirfd)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/" ADMIN_SOCKET, dirfd);
}

int admin_connect(const char *data, struct err *err)
{
	cleanup_fd int dirfd = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int fd = -1;
	struct sockaddr_un address;

	if (dirfd < 0)
		return err_errno(err, "open %s", data);
	address_make(&address, dirfd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, "make a socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return take_fd(&fd);
	if (errno == ENOENT || errno == ECONNREFUSED)
		return err_set(err, E_NOTFOUND, "no server runs on %s", data);
	return err_errno(err, "connect to %s/" ADMIN_SOCKET, data);
}

/* ---- One connection ---- */

/* A client that is gone cancels. */
static void line_send(struct admin_output *o, json_t *line)
{
	struct session *s = container_of(o, struct session, out);
	char *dump = json_dumps(line, JSON_COMPACT);
	size_t len = dump ? strlen(dump) : 0, sent = 0;

	if (dump)
		dump[len++] = '\n'; /* in place of its end */
	while (sent < len && !atomic_load(&o->cancel)) {
		ssize_t n = send(s->fd, dump + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			atomic_store(&o->cancel, true);
		else
			sent += (size_t)n;
	}
	free(dump);
}

static bool is_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static int request_read(int fd, json_t **ret, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(ADMIN_REQUEST_MAX);
	const uint8_t *end = NULL;

	while (!end) {
		char piece[4096];
		ssize_t n = recv(fd, piece, sizeof(piece), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "read the request");
		if (n == 0)
			return err_set(err, E_TRUNCATED, "the request has no end");
		if (buf_add(&text, piece, (size_t)n) < 0)
			return err_set(err, E_LIMIT, "the request is larger than %d bytes",
				       ADMIN_REQUEST_MAX);
		end = memchr(text.data, '\n', text.len);
	}
	return json_parse(ret, slice_make(text.data, (size_t)(end - text.data)), ADMIN_REQUEST_MAX,
			  err);
}

/* Ends the work of a client that hung up without a line being sent to him. */
static void *hangup_watch(void *arg)
{
	struct session *s = arg;
	struct pollfd watch = {.fd = s->fd, .events = POLLRDHUP};

	while (!atomic_load(&s->out.cancel))
		if (poll(&watch, 1, WATCH_MS) > 0)
			break;
	atomic_store(&s->out.cancel, true);
	return NULL;
}

static void session_run(struct session *s)
{
	cleanup_json json_t *request = NULL, *failure = NULL;
	struct err err = ERR_INIT;
	pthread_t watch;
	bool watched;

	if (request_read(s->fd, &request, &err) < 0) {
		failure =
			json_pack("{s:s,s:s}", "error", err.text, "code", err_code_name(err.code));
		line_send(&s->out, failure);
		return;
	}
	watched = pthread_create(&watch, NULL, hangup_watch, s) == 0;
	admin_execute(s->server->store, request, &s->out);
	atomic_store(&s->out.cancel, true);
	if (watched)
		pthread_join(watch, NULL);
}

static void *session_main(void *arg)
{
	struct session *s = arg, **at;
	struct admin_server *a = s->server;

	session_run(s);
	pthread_mutex_lock(&a->lock);
	for (at = &a->sessions; *at != s; at = &(*at)->next)
		;
	*at = s->next;
	a->n_sessions--;
	close_fd(&s->fd);
	free(s);
	cond_wake_one(&a->idle);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

static void session_begin(struct admin_server *a, int fd)
{
	const struct timeval timeout = {TIMEOUT_S, 0};
	struct session *s = xcalloc(1, sizeof(*s));
	pthread_attr_t detached;
	pthread_t thread;
	bool begun = false;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	*s = (struct session){.server = a, .out.line = line_send, .fd = fd};
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	pthread_mutex_lock(&a->lock);
	if (a->n_sessions < ADMIN_CONNECTIONS_MAX && is_allowed(fd))
		begun = pthread_create(&thread, &detached, session_main, s) == 0;
	if (begun) {
		s->next = a->sessions;
		a->sessions = s;
		a->n_sessions++;
	}
	pthread_mutex_unlock(&a->lock);
	pthread_attr_destroy(&detached);
	if (!begun) {
		close_fd(&s->fd);
		free(s);
	}
}

/* ---- The server ---- */

static void *accept_all(void *arg)
{
	struct admin_server *a = arg;
	struct pollfd watch[2] = {{.fd = a->fd, .events = POLLIN},
				  {.fd = a->stop_fd, .events = POLLIN}};

	while (!watch[1].revents) {
		int fd = -1;

		if (poll(watch, 2, -1) > 0 && watch[0].revents)
			fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			session_begin(a, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			poll(&watch[1], 1, SHORTAGE_MS); /* who waits keeps the other ready */
	}
	return NULL;
}

void admin_http_enable(struct server *server)
{
	server->admin = admin_answer;
}

/* Nobody but us has this directory open as a store, so a socket in it is a leftover. */
static int listen_here(struct admin_server *a, struct err *err)
{
	struct sockaddr_un address;
	mode_t mask;
	int r;

	address_make(&address, a->dirfd);
	unlinkat(a->dirfd, ADMIN_SOCKET, 0);
	a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->fd < 0)
		return err_errno(err, "make a socket");
	mask = umask(0177);
	r = bind(a->fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (r < 0 || listen(a->fd, ADMIN_CONNECTIONS_MAX) < 0)
		return err_errno(err, "listen on " ADMIN_SOCKET);
	return 0;
}

int admin_server_start(struct admin_server **ret, struct store *s, const char *data,
		       struct err *err)
{
	struct admin_server *a = xcalloc(1, sizeof(*a));
	int r = 0;

	*a = (struct admin_server){.store = s, .fd = -1};
	pthread_mutex_init(&a->lock, NULL);
	a->dirfd = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	a->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (a->dirfd < 0 || a->stop_fd < 0)
		r = err_errno(err, "open %s", data);
	if (r >= 0)
		r = listen_here(a, err);
	if (r >= 0) {
		a->started = pthread_create(&a->thread, NULL, accept_all, a) == 0;
		if (!a->started)
			r = err_set(err, E_NOMEM, "no thread for " ADMIN_SOCKET);
	}
	if (r < 0) {
		admin_server_stop(a);
		return r;
	}
	*ret = a;
	return 0;
}

void admin_server_stop(struct admin_server *a)
{
	const uint64_t one = 1;

	if (!a)
		return;
	if (a->started && write(a->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
		pthread_join(a->thread, NULL);
	pthread_mutex_lock(&a->lock);
	for (struct session *s = a->sessions; s; s = s->next) {
		atomic_store(&s->out.cancel, true);
		shutdown(s->fd, SHUT_RDWR);
	}
	while (a->n_sessions)
		cond_wait(&a->idle, &a->lock);
	pthread_mutex_unlock(&a->lock);
	if (a->started)
		unlinkat(a->dirfd, ADMIN_SOCKET, 0);
	close_fd(&a->fd);
	close_fd(&a->stop_fd);
	close_fd(&a->dirfd);
	pthread_mutex_destroy(&a->lock);
	free(a);
}
