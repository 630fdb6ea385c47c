/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/conn.h"
#include "serve/request.h"
#include "serve/settings.h"

enum {
	WATCH_PERIOD_MS = 1000,
	PROGRESS_BYTES_PER_S = 1 << 10,
	HANDSHAKE_MS = 10000,
	STATE_CLOSE_WAIT = 8, /* of <netinet/tcp.h>, which has another tcp_info */
	LONG_WORK_S = 300, /* told to the log: as long as nothing that a client waits for takes */
};

int64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static bool is_loopback4(const struct in_addr *a)
{
	return ntohl(a->s_addr) >> 24 == 127;
}

/* Writes the peer's address and finds whether it is this machine. */
static void describe_peer(struct connection *c, const struct sockaddr *addr)
{
	char host[INET6_ADDRSTRLEN];

	if (addr && addr->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, addr, sizeof(in));
		inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
		snprintf(c->peer, sizeof(c->peer), "%s:%u", host, ntohs(in.sin_port));
		c->client = in.sin_addr.s_addr;
		c->local = is_loopback4(&in.sin_addr);
	} else if (addr && addr->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		struct in_addr v4;

		memcpy(&in6, addr, sizeof(in6));
		memcpy(&v4, in6.sin6_addr.s6_addr + 12, sizeof(v4));
		inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
		snprintf(c->peer, sizeof(c->peer), "[%s]:%u", host, ntohs(in6.sin6_port));
		if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr))
			c->client = v4.s_addr;
		else
			memcpy(&c->client, in6.sin6_addr.s6_addr, sizeof(c->client));
		c->local = IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr) ||
			   (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) && is_loopback4(&v4));
	} else {
		snprintf(c->peer, sizeof(c->peer), "unix");
		c->local = true;
	}
}

struct connection *connection_new(struct connection_set *set, int fd, bool tls,
				  const struct sockaddr *addr)
{
	struct connection *c = xcalloc(1, sizeof(*c));

	c->set = set;
	c->fd = fd;
	c->tls = tls;
	describe_peer(c, addr);
	atomic_init(&c->phase, PHASE_IDLE);
	atomic_init(&c->since_us, clock_us());
	pthread_mutex_lock(&set->lock);
	c->next = set->head;
	if (c->next)
		c->next->prev = c;
	set->head = c;
	pthread_mutex_unlock(&set->lock);
	return c;
}

void connection_free(struct connection *c)
{
	struct connection_set *set = c->set;

	connection_phase(c, PHASE_IDLE);
	pthread_mutex_lock(&set->lock);
	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		set->head = c->next;
	pthread_mutex_unlock(&set->lock);
	free(c);
}

void connection_phase(struct connection *c, enum phase phase)
{
	int was = atomic_exchange(&c->phase, (int)phase);

	if (was == (int)phase)
		return;
	atomic_store(&c->since_us, clock_us());
	if (was == PHASE_IDLE)
		atomic_fetch_add(&c->set->busy, 1);
	else if (phase == PHASE_IDLE)
		atomic_fetch_sub(&c->set->busy, 1);
}

bool connection_is_local(const struct connection *c)
{
	return c->local;
}

const char *connection_peer(const struct connection *c)
{
	return c->peer;
}

/* Bytes that the peer sent and that it acknowledged, and whether it has sent its end. False where the kernel does not tell
 * (unix sockets; they are local). */
static bool look(int fd, uint64_t *ret_moved, bool *ret_has_ended)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(uint64_t))
		return false;
	*ret_moved = info.tcpi_bytes_acked + info.tcpi_bytes_received;
	*ret_has_ended = info.tcpi_state == STATE_CLOSE_WAIT;
	return true;
}

static bool is_read_up(int fd)
{
	int unread = 0;

	return ioctl(fd, SIOCINQ, &unread) == 0 && unread == 0;
}

/* Begins anew with each phase. */
static void mark(struct connection *c, uint64_t bytes, int64_t now_us)
{
	int64_t since_us = atomic_load(&c->since_us);

	if (c->mark_since_us != since_us) {
		c->mark_since_us = since_us;
		c->moved_us = c->mark_us = now_us;
		c->moved_bytes = c->mark_bytes = bytes;
	} else if (c->moved_bytes != bytes) {
		c->moved_us = now_us;
		c->moved_bytes = bytes;
	}
}

/* Has a transfer been too slow for a whole period? The next one begins. */
static bool is_slow(const struct connection_set *set, struct connection *c, int64_t now_us)
{
	uint64_t moved = c->moved_bytes - c->mark_bytes;

	if (now_us - c->mark_us < (int64_t)set->progress_ms * 1000)
		return false;
	c->mark_us = now_us;
	c->mark_bytes = c->moved_bytes;
	return moved < set->progress_bytes;
}

/*
 * Why a connection is to end on which we wait for the client, or NULL.
 *
 * libmicrohttpd takes a read that does not fill its buffer for all that there is, and epoll tells of changes only: of an end
 * that came along with the last bytes it has not heard. A period later what came before it has long been looked at.
 */
static const char *why_waiting(const struct connection_set *set, struct connection *c,
			       enum phase phase, int64_t now_us)
{
	int64_t still_us;
	bool has_ended;
	uint64_t bytes;

	if (!look(c->fd, &bytes, &has_ended))
		return NULL;
	mark(c, bytes, now_us);
	still_us = now_us - c->moved_us;
	if (has_ended && phase != PHASE_SENDING && still_us > 0 && is_read_up(c->fd))
		return "the client is gone";
	if (phase == PHASE_IDLE)
		return NULL;
	if (still_us >= (int64_t)set->stall_ms * 1000)
		return "nothing moves";
	return is_slow(set, c, now_us) ? "too slow" : NULL;
}

static const char *why_idle(const struct connection_set *set, const struct connection *c,
			    int64_t now_us)
{
	int64_t idle_us = now_us - atomic_load(&c->since_us);

	if (idle_us > (int64_t)set->idle_ms * 1000)
		return "no request came";
	if (c->tls && idle_us > HANDSHAKE_MS * 1000 && !atomic_load(&c->looked_at))
		return "no TLS handshake and request came";
	return NULL;
}

/* A request that is never answered is a fault of ours, and would be hard to find. */
static void note_long_work(struct connection *c, int64_t now_us)
{
	int64_t since_us = atomic_load(&c->since_us);

	if (now_us - since_us < (int64_t)LONG_WORK_S * 1000000 || c->mark_since_us == since_us)
		return;
	c->mark_since_us = since_us;
	log_info("%s: a request has been worked on for %d s", c->peer, LONG_WORK_S);
}

/* Why a connection is to end, or NULL. */
static const char *why_end(const struct connection_set *set, struct connection *c, int64_t now_us)
{
	enum phase phase = (enum phase)atomic_load(&c->phase);
	const char *why = phase == PHASE_IDLE ? why_idle(set, c, now_us) : NULL;

	if (phase == PHASE_WORKING)
		note_long_work(c, now_us);
	else if (!why)
		why = why_waiting(set, c, phase, now_us);
	return why;
}

/* The connection's thread sees the end of its socket and cleans up. */
static void end_connection(struct connection *c, const char *why)
{
	const struct linger drop = {.l_onoff = 1};

	log_debug("%s: connection ended: %s", c->peer, why);
	/* The kernel need not keep what a slow client did not fetch. */
	if (atomic_load(&c->phase) == PHASE_SENDING)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &drop, sizeof(drop));
	shutdown(c->fd, SHUT_RDWR);
	atomic_store(&c->since_us, clock_us());
}

static void *watch(void *arg)
{
	struct connection_set *set = arg;

	pthread_mutex_lock(&set->lock);
	while (!set->stopping) {
		int64_t now_us = clock_us();

		for (struct connection *c = set->head; c; c = c->next) {
			const char *why = why_end(set, c, now_us);

			if (why)
				end_connection(c, why);
		}
		cond_wait_until(&set->wake, &set->lock, now_us + (int64_t)WATCH_PERIOD_MS * 1000);
	}
	pthread_mutex_unlock(&set->lock);
	return NULL;
}

void connection_set_limits(struct connection_set *set, const struct limit_settings *limits)
{
	atomic_store(&set->idle_ms, limits->idle_timeout_s * 1000);
	atomic_store(&set->stall_ms, limits->stall_timeout_s * 1000);
	atomic_store(&set->progress_ms, limits->slow_timeout_s * 1000);
	atomic_store(&set->progress_bytes, (uint64_t)limits->slow_timeout_s * PROGRESS_BYTES_PER_S);
}

int connection_set_start(struct connection_set *set)
{
	pthread_mutex_init(&set->lock, NULL);
	set->watching = pthread_create(&set->watcher, NULL, watch, set) == 0;
	return set->watching ? 0 : E_NOMEM;
}

void connection_set_stop(struct connection_set *set)
{
	pthread_mutex_lock(&set->lock);
	set->stopping = true;
	cond_wake_one(&set->wake);
	pthread_mutex_unlock(&set->lock);
	if (set->watching)
		pthread_join(set->watcher, NULL);
	pthread_mutex_destroy(&set->lock);
}

void connection_set_close_idle(struct connection_set *set)
{
	pthread_mutex_lock(&set->lock);
	for (struct connection *c = set->head; c; c = c->next)
		if (atomic_load(&c->phase) == PHASE_IDLE)
			end_connection(c, "the server stops");
	pthread_mutex_unlock(&set->lock);
}
