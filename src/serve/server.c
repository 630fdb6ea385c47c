/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "base/processors.h"
#include "serve/acceptor.h"
#include "serve/answers.h"
#include "serve/audit.h"
#include "serve/exchange.h"
#include "serve/listen.h"
#include "serve/server-internal.h"
#include "serve/upstream.h"

enum {
	/* One connection's memory in libmicrohttpd: the head of a request has to fit, and a body is
	 * received in pieces of up to this. It is cleared for each request, so more costs time
	 * (docs/performance.md). */
	CONNECTION_MEMORY = 32 << 10,
	/* Of an event loop, whose deepest are SQLite and zstd; sanitizers need more. Untouched
	 * pages cost nothing. */
	THREAD_STACK = 2 << 20,
	LOOPS_MAX = 16,
	WORKER_IDLE_MS = 10000,
	DRAIN_STEP_MS = 20,
};

/* Target and length of a line of the access log, escaped by log_line's caller. */
static void log_request(const struct request *req, bool complete)
{
	struct err line = ERR_INIT, user = ERR_INIT; /* for their escaping */

	if (!req->settings->access_log)
		return;
	if (req->settings->log_json) {
		request_log_json(req, complete);
		return;
	}
	err_set(&line, E_INVALID, "%s %s %s", connection_peer(req->connection), req->method_name,
		req->target);
	if (req->user)
		err_set(&user, E_INVALID, "%s", req->user);
	log_info("%s %u%s in=%llu out=%llu %.1fms id=%s%s%s", line.text, req->status,
		 complete ? "" : " aborted", (unsigned long long)req->body_bytes,
		 (unsigned long long)req->response_bytes,
		 (double)(clock_us() - req->started_us) / 1000, req->id, req->user ? " user=" : "",
		 user.text);
}

static void *on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
	return request_new(cls, target, mhd);
}

/* Once a connection: the handshake is over when its first request comes. */
static void connection_secure(struct connection *c, struct MHD_Connection *mhd)
{
	if (c->looked_at)
		return;
	c->looked_at = true;
	if (c->tls)
		tls_peer_name(mhd, c->certificate_name, sizeof(c->certificate_name));
}

/* libmicrohttpd's signature. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *data_len, void **state)
{
	struct request *req = *state;

	(void)cls, (void)url;
	if (!req->begun) {
		const union MHD_ConnectionInfo *info =
			MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

		req->begun = true;
		req->connection = info->socket_context;
		connection_secure(req->connection, mhd);
	}
	return exchange_step(req, &(struct exchange_call){method, version, data, data_len});
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **state,
			 enum MHD_RequestTerminationCode toe)
{
	struct request *req = *state;

	(void)cls, (void)mhd;
	if (!req)
		return;
	exchange_end(req);
	if (req->begun) {
		bool complete = toe == MHD_REQUEST_TERMINATED_COMPLETED_OK;

		metrics_request(req->server->metrics, req, complete);
		log_request(req, complete);
		connection_phase(req->connection, PHASE_IDLE);
	}
	request_free(req);
	*state = NULL;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct listener *l = cls;
	struct server *server = l->server;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *fd =
			MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
		int socket = fd->connect_fd;
		const union MHD_ConnectionInfo *addr =
			MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

		metrics_count(server->metrics, METRIC_CONNECTIONS);
		*context = connection_new(&server->connections, socket, l->tls, addr->client_addr);
	} else if (*context) {
		connection_free(*context);
		*context = NULL;
		atomic_fetch_sub(&l->connections, 1);
	}
}

static void on_log(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_log(void *cls, const char *fmt, va_list ap)
{
	struct err text = ERR_INIT; /* for its escaping */

	(void)cls;
	err_vset(&text, E_NET, fmt, ap);
	log_debug("http: %s", text.text);
}

/* Does this address speak TLS? */
static int wants_tls(const struct settings *settings, const struct listen_address *a, bool *ret,
		     struct err *err)
{
	*ret = settings->tls.certificate && !a->path[0] && a->scheme != LISTEN_HTTP;
	if (a->scheme == LISTEN_HTTPS && !settings->tls.certificate)
		return err_set(err, E_USAGE, "https:// needs tls.certificate and tls.key");
	return 0;
}

/* One a processor: two on one would make each other's clients wait for a time slice. 0 is
 * libmicrohttpd's word for one. */
static unsigned count_loops(void)
{
	unsigned n = processors_usable();

	return n < 2 ? 0 : n > LOOPS_MAX ? LOOPS_MAX : n;
}

/* The library's, which knows no difference between a client that sends nothing more and one that asks
 * nothing more. The watch over the connections does; this is for unix sockets, which do not tell it. */
static unsigned library_timeout_s(const struct limit_settings *o)
{
	return o->idle_timeout_s > o->stall_timeout_s ? o->idle_timeout_s : o->stall_timeout_s;
}

static struct MHD_Daemon *start_daemon(struct listener *l)
{
	struct server *server = l->server;
	const struct limit_settings *o = &server->settings->limits;
	unsigned loops = count_loops();
	struct MHD_OptionItem secure[] = {
		{MHD_OPTION_HTTPS_CERT_CALLBACK, 0, tls_callback()},
		{MHD_OPTION_HTTPS_PRIORITIES, 0,
		 (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
		{server->settings->tls.client_ca ? MHD_OPTION_HTTPS_MEM_TRUST : MHD_OPTION_END, 0,
		 server->settings->tls.client_ca},
		{MHD_OPTION_END, 0, NULL},
	};
	struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
	/* SPEC rfc-9112 2.2, 3, 5.2: what two readers may see differently is refused: line feeds alone,
	 * folded lines, blanks in the address. Older libraries have nothing of the kind. */
	struct MHD_OptionItem strict[] = {
#if MHD_VERSION >= 0x00097701
		{MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1, NULL},
#endif
		{MHD_OPTION_END, 0, NULL},
	};

	return MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME |
			MHD_USE_ITC | MHD_USE_TURBO | MHD_USE_ERROR_LOG | MHD_USE_NO_LISTEN_SOCKET |
			(l->tls ? MHD_USE_TLS : 0),
		0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, server,
		MHD_OPTION_URI_LOG_CALLBACK, on_target, server, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, server, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l,
		MHD_OPTION_CONNECTION_LIMIT, o->connections_max * (loops ? loops : 1),
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, o->client_connections_max,
		MHD_OPTION_CONNECTION_TIMEOUT, library_timeout_s(o),
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK, MHD_OPTION_THREAD_POOL_SIZE,
		loops, MHD_OPTION_ARRAY, strict, MHD_OPTION_ARRAY, l->tls ? secure : plain,
		MHD_OPTION_END);
}

static int start_listener(struct server *server, struct listener *l, const char *text,
			  struct err *err)
{
	struct listen_address address;
	int r = listen_parse(&address, slice_str(text), err);

	if (r == 0)
		r = wants_tls(server->settings, &address, &l->tls, err);
	if (r < 0)
		return r;
	l->fd = listen_open(&address, l->tls, &l->name, err);
	if (l->fd < 0) {
		r = l->fd;
		l->fd = -1;
		return r;
	}
	if (address.path[0])
		l->unix_path = xstrdup(address.path);
	l->daemon = start_daemon(l);
	if (!l->daemon) {
		close_fd(&l->fd);
		return err_set(err, E_IO, "start the HTTP server on %s failed", text);
	}
	return 0;
}

/* Each connection needs a descriptor for itself and some for what it serves. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

struct settings *server_settings(struct server *server)
{
	struct settings *s;

	pthread_rwlock_rdlock(&server->settings_lock);
	s = settings_ref(server->settings);
	pthread_rwlock_unlock(&server->settings_lock);
	return s;
}

/* Up to 0.9.76, which is asked of the library that runs: others have the same name. */
static bool has_lenient_lines(void)
{
	const char *version = MHD_get_version();
	char *end;

	return strncmp(version, "0.9.", 4) == 0 && strtoul(version + 4, &end, 10) < 77;
}

static void settings_put(struct server *server, struct settings *settings)
{
	struct settings *old;

	pthread_rwlock_wrlock(&server->settings_lock);
	old = server->settings;
	server->settings = settings_ref(settings);
	pthread_rwlock_unlock(&server->settings_lock);
	settings_unref(old);
}

int server_reload(struct server *server, struct settings *settings, struct err *err)
{
	cleanup_fd int audit_fd = -1;
	/* What may fail comes first, and the views last: with them the rules of what is kept are in force. */
	int r = audit_open_file(&settings->audit, &audit_fd, err);

	/* Nobody looks at it before settings say that there are users. */
	if (r >= 0 && settings->auth.configured && !server->auth)
		r = auth_open(&server->auth, settings->data, err);
	if (r >= 0)
		r = settings_open_views(settings, server->store, err);
	if (r < 0)
		return r;
	audit_use(server->audit, &settings->audit, take_fd(&audit_fd));
	connection_set_limits(&server->connections, &settings->limits);
	tls_use(&settings->tls);
	settings_put(server, settings);
	upstreams_forget(server->upstreams);
	return 0;
}

static int start_inherited(struct server *server, struct listener *l, unsigned i, struct err *err)
{
	int r = listen_inherit(i, &l->tls, &l->name, err);

	if (r < 0)
		return r;
	if (l->tls && !server->settings->tls.certificate)
		return err_set(err, E_USAGE,
			       "a socket called https needs tls.certificate and tls.key");
	l->fd = r;
	l->daemon = start_daemon(l);
	return l->daemon ? 0 : err_set(err, E_IO, "start the HTTP server on %s failed", l->name);
}

/* An acceptor_fn. The limit is ours: of libmicrohttpd's each loop has its part, and which loop gets a connection is
 * up to its descriptor's number. What the library does not take (a client has too many), it closes. */
static void take_connection(void *ctx, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	struct listener *l = ctx;
	bool is_over = atomic_fetch_add(&l->connections, 1) >= l->connections_max;

	if (is_over)
		close_fd(&fd);
	if (is_over || MHD_add_connection(l->daemon, fd, peer, peer_len) != MHD_YES)
		atomic_fetch_sub(&l->connections, 1);
}

static int start_accepting(struct server *server, struct err *err)
{
	size_t n = server->n_listeners;
	cleanup_free struct acceptor_socket *sockets = xcalloc(n + 1, sizeof(*sockets));

	for (size_t i = 0; i < n; i++)
		sockets[i] =
			(struct acceptor_socket){server->listeners[i].fd, &server->listeners[i]};
	return acceptor_start(&server->acceptor, sockets, n, take_connection, err);
}

static void listener_init(struct server *server, struct listener *l)
{
	l->server = server;
	l->connections_max = server->settings->limits.connections_max;
	l->fd = -1;
}

static int start(struct server *server, const struct settings *settings, struct err *err)
{
	unsigned inherited = listen_inherited();
	int audit_fd, r = 0;

	/* Each connection has at most one thing done at a time. */
	server->workers =
		workers_new(settings->limits.connections_max *
				    (unsigned)(inherited ? inherited : settings->n_listen),
			    WORKER_IDLE_MS);
	if (connection_set_start(&server->connections) < 0)
		return err_set(err, E_NOMEM, "start a thread");
	if (settings->auth.configured)
		r = auth_open(&server->auth, settings->data, err);
	if (r >= 0)
		r = audit_open_file(&settings->audit, &audit_fd, err);
	if (r >= 0)
		audit_use(server->audit, &settings->audit, audit_fd);
	server->listeners = xcalloc(settings->n_listen + inherited + 1, sizeof(*server->listeners));
	for (unsigned i = 0; i < inherited && r >= 0; i++, server->n_listeners++) {
		listener_init(server, &server->listeners[i]);
		r = start_inherited(server, &server->listeners[i], i, err);
	}
	for (size_t i = 0; i < settings->n_listen && !inherited && r >= 0;
	     i++, server->n_listeners++) {
		listener_init(server, &server->listeners[i]);
		r = start_listener(server, &server->listeners[i], settings->listen[i], err);
	}
	return r < 0 ? r : start_accepting(server, err);
}

int server_start(struct server **ret, struct store *store, struct settings *settings,
		 struct err *err)
{
	struct server *server;
	int r = libmicrohttpd_load(err);

	if (r == 0)
		r = settings_open_views(settings, store, err);
	if (r < 0)
		return r;
	server = xcalloc(1, sizeof(*server));
	server->store = store;
	server->settings = settings_ref(settings);
	connection_set_limits(&server->connections, &settings->limits);
	tls_use(&settings->tls);
	pthread_rwlock_init(&server->settings_lock, NULL);
	pthread_mutex_init(&server->ready_lock, NULL);
	server->ready_checked_us = INT64_MIN / 2;
	server->lenient_lines = has_lenient_lines();
	server->metrics = metrics_new();
	server->answers = answers_new();
	server->blocks = block_pool_new();
	server->rates = rate_table_new();
	server->audit = audit_new();
	server->webhooks = webhooks_new();
	if (getrandom(&server->id_salt, sizeof(server->id_salt), 0) < 0)
		server->id_salt = (uint32_t)getpid();
	server->upstreams = upstreams_new();
	raise_descriptor_limit();
	r = start(server, settings, err);
	if (r < 0) {
		server_stop(server, 0);
		return r;
	}
	*ret = server;
	return 0;
}

const char *server_address(const struct server *server, size_t i)
{
	return i < server->n_listeners ? server->listeners[i].name : NULL;
}

static void stop_listener(struct listener *l)
{
	if (l->daemon)
		MHD_stop_daemon(l->daemon);
	close_fd(&l->fd);
	free(l->unix_path);
	free(l->name);
}

/* Waits until no request is in progress, at most `ms`. */
static void drain(struct server *server, unsigned ms)
{
	int64_t until_us = clock_us() + (int64_t)ms * 1000;
	const struct timespec step = {0, DRAIN_STEP_MS * 1000000};

	while (atomic_load(&server->connections.busy) && clock_us() < until_us) {
		/* Connections that fell idle meanwhile end, too. */
		connection_set_close_idle(&server->connections);
		nanosleep(&step, NULL);
	}
}

void server_stop(struct server *server, unsigned drain_ms)
{
	atomic_store(&server->draining, true);
	acceptor_stop(server->acceptor);
	for (size_t i = 0; i < server->n_listeners; i++) {
		struct listener *l = &server->listeners[i];

		if (l->unix_path)
			unlink(l->unix_path);
		close_fd(&l->fd);
	}
	drain(server, drain_ms);
	atomic_store(&server->ending, true);
	/* A request that waits for an upstream must end. */
	upstreams_cancel(server->upstreams);
	/* No connection is suspended when its daemon stops. */
	workers_stop(server->workers);
	for (size_t i = 0; i < server->n_listeners; i++)
		stop_listener(&server->listeners[i]);
	connection_set_stop(&server->connections);
	upstreams_stop(server->upstreams);
	pthread_rwlock_destroy(&server->settings_lock);
	auth_free(server->auth);
	audit_free(server->audit);
	webhooks_free(server->webhooks);
	workers_free(server->workers);
	answers_free(server->answers);
	block_pool_free(server->blocks);
	metrics_free(server->metrics);
	rate_table_free(server->rates);
	pthread_mutex_destroy(&server->ready_lock);
	settings_unref(server->settings);
	free(server->listeners);
	free(server);
}
