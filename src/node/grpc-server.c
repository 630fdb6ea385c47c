/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/cond.h"
#include "base/mem.h"
#include "node/grpc-session.h"
#include "node/libnghttp2.h"

enum {
	CONNECTIONS_MAX = 64,
	QUEUE_MAX = 1024,
	WORKERS_MAX = 64,
	READ_SIZE = 64 << 10,
	OUTPUT_MAX = 256 << 10, /* held back for a peer that does not read */
	BACKLOG = 16,
};

struct connection {
	int fd; /* owned; -1: none */
	struct grpc_session *session;
	struct buf output; /* what the socket did not take; output_done of it is gone */
	size_t output_done;
};

/* Calls on their way to workers, or back. */
struct queue {
	struct grpc_stream *first, *last;
	size_t len;
};

struct grpc_server {
	struct grpc_server_options options;
	int listen_fd; /* borrowed */
	int wake_fd;   /* owned; eventfd: something is done */
	struct connection connections[CONNECTIONS_MAX];
	pthread_t workers[WORKERS_MAX]; /* made when there is a call and nobody free */
	unsigned n_workers;
	pthread_mutex_t lock; /* of what follows */
	struct cond work;
	struct queue todo, done;
	size_t n_idle; /* workers */
	bool is_stopping;
};

static void queue_put(struct queue *q, struct grpc_stream *t)
{
	t->queue_next = NULL;
	if (q->last)
		q->last->queue_next = t;
	else
		q->first = t;
	q->last = t;
	q->len++;
}

static struct grpc_stream *queue_take(struct queue *q)
{
	struct grpc_stream *t = q->first;

	if (!t)
		return NULL;
	q->first = t->queue_next;
	if (!q->first)
		q->last = NULL;
	q->len--;
	return t;
}

/* ---- the socket ---- */

static int socket_address(struct sockaddr_un *ret, const char *path, struct err *err)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(ret->sun_path))
		return err_set(err, E_USAGE, "the socket's name is longer than %zu bytes: %s",
			       sizeof(ret->sun_path) - 1, path);
	memcpy(ret->sun_path, path, strlen(path));
	return 0;
}

/* What a crash has left is removed, nothing else. */
static int remove_stale(const struct sockaddr_un *address, struct err *err)
{
	cleanup_fd int fd = -1;
	struct stat st;

	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(err, "%s", address->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, E_EXISTS, "%s is there and no socket", address->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, "socket");
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return err_set(err, E_EXISTS, "somebody serves %s already", address->sun_path);
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return err_errno(err, "remove %s", address->sun_path);
	return 0;
}

int grpc_inherited_socket(void)
{
	enum { FIRST_FD = 3 };
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	int is_listening = 0;
	socklen_t len = sizeof(is_listening);

	if (!pid || !n || strtol(pid, NULL, 10) != getpid() || strtol(n, NULL, 10) != 1)
		return -1;
	if (getsockopt(FIRST_FD, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) < 0 ||
	    !is_listening || fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl(FIRST_FD, F_SETFL, O_NONBLOCK) < 0)
		return -1;
	return FIRST_FD;
}

int grpc_listen(const char *path, struct err *err)
{
	cleanup_fd int fd = -1;
	struct sockaddr_un address;
	mode_t mask;
	int r;

	if (socket_address(&address, path, err) < 0 || remove_stale(&address, err) < 0)
		return err->code;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, "socket");
	/* Whoever can connect can do all; no moment in which others can. */
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (r < 0 || listen(fd, BACKLOG) < 0)
		return err_errno(err, "listen at %s", path);
	return take_fd(&fd);
}

/* ---- workers ---- */

static void wake(struct grpc_server *server)
{
	const uint64_t one = 1;

	/* Fails only where the counter is full: then the other side is awake. */
	if (write(server->wake_fd, &one, sizeof(one)) < 0)
		return;
}

static void handle_call(struct grpc_server *server, struct grpc_stream *t)
{
	const struct grpc_server_options *o = &server->options;
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	t->method->handle(o->data, &t->call);
	clock_gettime(CLOCK_MONOTONIC, &to);
	t->spent_us +=
		(int64_t)(to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
	if (o->observe && (!t->call.has_more || t->call.code != GRPC_OK))
		o->observe(o->data, (size_t)(t->method - o->methods), &t->call, t->spent_us);
}

static void *work(void *data)
{
	struct grpc_server *server = data;
	struct grpc_stream *t;

	pthread_mutex_lock(&server->lock);
	for (;;) {
		server->n_idle++;
		while (!(t = queue_take(&server->todo)) && !server->is_stopping)
			cond_wait(&server->work, &server->lock);
		server->n_idle--;
		if (!t)
			break;
		pthread_mutex_unlock(&server->lock);
		if (!atomic_load(&t->call.cancelled))
			handle_call(server, t);
		pthread_mutex_lock(&server->lock);
		queue_put(&server->done, t);
		wake(server);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

static int add_worker(struct grpc_server *server, struct err *err)
{
	errno = pthread_create(&server->workers[server->n_workers], NULL, work, server);
	if (errno)
		return err_errno(err, "start a thread");
	server->n_workers++;
	return 0;
}

/* A worker that cannot be started is one less: the others come to the call. */
static bool start_call(void *data, struct grpc_stream *t)
{
	struct grpc_server *server = data;
	bool has_room, is_short;
	struct err ignored = ERR_INIT;

	pthread_mutex_lock(&server->lock);
	has_room = server->todo.len < QUEUE_MAX;
	if (has_room) {
		queue_put(&server->todo, t);
		cond_wake_one(&server->work);
	}
	is_short = server->todo.len > server->n_idle;
	pthread_mutex_unlock(&server->lock);
	if (is_short && server->n_workers < server->options.n_workers)
		add_worker(server, &ignored);
	return has_room;
}

static void finish_calls(struct grpc_server *server)
{
	struct grpc_stream *t;
	uint64_t ignored;

	if (read(server->wake_fd, &ignored, sizeof(ignored)) < 0 && errno != EAGAIN)
		return;
	for (;;) {
		pthread_mutex_lock(&server->lock);
		t = queue_take(&server->done);
		pthread_mutex_unlock(&server->lock);
		if (!t)
			return;
		grpc_session_finish(t->session, t);
	}
}

/* ---- connections ---- */

static void connection_hang_up(struct connection *c)
{
	if (c->fd < 0)
		return;
	close_fd(&c->fd);
	c->fd = -1;
	grpc_session_hang_up(c->session);
}

/* Once no worker has a call of it. */
static void connection_reap(struct connection *c)
{
	if (c->fd >= 0 || !c->session || grpc_session_calls_out(c->session))
		return;
	grpc_session_free(c->session);
	c->session = NULL;
	buf_release(&c->output);
	c->output_done = 0;
}

/* 1: all is written; 0: the socket takes no more; < 0: it is broken. */
static int flush(struct connection *c)
{
	while (c->output_done < c->output.len) {
		ssize_t n = send(c->fd, c->output.data + c->output_done,
				 c->output.len - c->output_done, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		c->output_done += (size_t)n;
	}
	buf_reset(&c->output);
	c->output_done = 0;
	return 1;
}

static void connection_write(struct connection *c)
{
	const uint8_t *data;
	ssize_t n = 0;
	int r = flush(c);

	while (r > 0) {
		while (c->output.len < OUTPUT_MAX &&
		       (n = grpc_session_output(c->session, &data)) > 0)
			buf_add(&c->output, data, (size_t)n);
		if (n < 0 || !c->output.len)
			break;
		r = flush(c);
	}
	if (r < 0 || n < 0 || (r > 0 && grpc_session_is_over(c->session)))
		connection_hang_up(c);
}

static void connection_read(struct connection *c)
{
	uint8_t data[READ_SIZE];
	ssize_t n = recv(c->fd, data, sizeof(data), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		connection_hang_up(c);
	} else if (grpc_session_receive(c->session, slice_make(data, (size_t)n)) < 0) {
		connection_write(c);
		connection_hang_up(c);
	}
}

static void accept_one(struct grpc_server *server)
{
	const struct grpc_session_events events = {
		.methods = server->options.methods,
		.data = server,
		.start = start_call,
	};
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (size_t i = 0; fd >= 0 && i < CONNECTIONS_MAX; i++) {
		struct connection *c = &server->connections[i];

		if (c->session)
			continue;
		c->fd = take_fd(&fd);
		c->output.max = 2 * OUTPUT_MAX;
		c->session = grpc_session_new(&events);
		connection_write(c);
	}
	close_fd(&fd);
}

/* ---- the loop ---- */

enum { POLL_LISTEN, POLL_WAKE, POLL_STOP, POLL_CONNECTIONS };

static int next_timeout(struct grpc_server *server)
{
	int64_t now_ms = grpc_now_ms(), earliest = 0;

	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *c = &server->connections[i];
		int64_t next = c->fd >= 0 ? grpc_session_expire(c->session, now_ms) : 0;

		if (next && (!earliest || next < earliest))
			earliest = next;
	}
	if (!earliest)
		return -1;
	return earliest - now_ms < 60000 ? (int)(earliest - now_ms) + 1 : 60000;
}

static void handle_connection(struct connection *c, short events)
{
	if (c->fd >= 0 && (events & (POLLIN | POLLHUP | POLLERR)))
		connection_read(c);
	/* Answers may have come whatever happened at the socket. */
	if (c->fd >= 0)
		connection_write(c);
	connection_reap(c);
}

static bool is_idle(struct grpc_server *server)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (server->connections[i].session &&
		    grpc_session_calls_out(server->connections[i].session))
			return false;
	return true;
}

static int serve_once(struct grpc_server *server, int stop_fd, bool *is_stopped, struct err *err)
{
	struct pollfd fds[POLL_CONNECTIONS + CONNECTIONS_MAX] = {
		{.fd = *is_stopped ? -1 : server->listen_fd, .events = POLLIN},
		{.fd = server->wake_fd, .events = POLLIN},
		{.fd = *is_stopped ? -1 : stop_fd, .events = POLLIN},
	};
	int timeout_ms = next_timeout(server);

	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *c = &server->connections[i];

		if (c->fd >= 0)
			connection_write(c);
		fds[POLL_CONNECTIONS + i] = (struct pollfd){
			.fd = c->fd,
			.events = (short)(POLLIN | (c->output.len ? POLLOUT : 0)),
		};
	}
	if (poll(fds, ARRAY_LEN(fds), timeout_ms) < 0)
		return errno == EINTR ? 0 : err_errno(err, "poll");
	finish_calls(server);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		handle_connection(&server->connections[i], fds[POLL_CONNECTIONS + i].revents);
	if (fds[POLL_LISTEN].revents)
		accept_one(server);
	if (fds[POLL_STOP].revents && !*is_stopped) {
		*is_stopped = true;
		for (size_t i = 0; i < CONNECTIONS_MAX; i++)
			if (server->connections[i].fd >= 0)
				grpc_session_goaway(server->connections[i].session);
	}
	return 0;
}

int grpc_server_run(struct grpc_server *server, int stop_fd, struct err *err)
{
	bool is_stopped = false;

	while (!is_stopped || !is_idle(server))
		if (serve_once(server, stop_fd, &is_stopped, err) < 0)
			return err->code;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (server->connections[i].fd >= 0)
			connection_write(&server->connections[i]);
	return 0;
}

int grpc_server_new(struct grpc_server **ret, int listen_fd,
		    const struct grpc_server_options *options, struct err *err)
{
	struct grpc_server *server;

	if (libnghttp2_load(err) < 0)
		return err->code;
	server = xcalloc(1, sizeof(*server));
	server->options = *options;
	if (!options->n_workers || options->n_workers > WORKERS_MAX)
		server->options.n_workers = WORKERS_MAX;
	server->listen_fd = listen_fd;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		server->connections[i].fd = -1;
	pthread_mutex_init(&server->lock, NULL);
	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->wake_fd < 0)
		err_errno(err, "eventfd");
	else
		add_worker(server, err);
	if (err->code < 0) {
		grpc_server_free(server);
		return err->code;
	}
	*ret = server;
	return 0;
}

void grpc_server_free(struct grpc_server *server)
{
	if (!server)
		return;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		connection_hang_up(&server->connections[i]);
	pthread_mutex_lock(&server->lock);
	server->is_stopping = true;
	cond_wake_all(&server->work);
	pthread_mutex_unlock(&server->lock);
	for (unsigned i = 0; i < server->n_workers; i++)
		pthread_join(server->workers[i], NULL);
	if (server->wake_fd >= 0)
		finish_calls(server);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		connection_reap(&server->connections[i]);
	close_fd(&server->wake_fd);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
