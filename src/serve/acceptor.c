/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/acceptor.h"

enum {
	/* At one socket, before the others are looked at. */
	BATCH = 64,
	/* Without descriptors or memory: until somebody will have given some back. */
	SHORTAGE_MS = 50,
};

struct acceptor {
	struct acceptor_socket *sockets; /* owned */
	struct pollfd *waited;           /* owned; those, then stop_fd */
	size_t n;
	acceptor_fn *take;
	int stop_fd; /* owned; eventfd */
	pthread_t thread;
	bool is_running;
	bool is_short; /* the last call failed, as for want of descriptors or memory */
};

/* Once, not at each try: clients wait meanwhile in the queue of the socket. */
static void note_shortage(struct acceptor *a, const char *what)
{
	struct err why = ERR_INIT;

	err_errno(&why, "%s", what);
	if (!a->is_short)
		log_error("%s", why.text);
	a->is_short = true;
}

/* The client went away before it was its turn, or (accept(2)) the network has an error to tell. */
static bool is_of_the_client(int error)
{
	return error == ECONNABORTED || error == EPROTO || error == EPERM || error == ENETDOWN ||
	       error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET ||
	       error == EHOSTUNREACH || error == EOPNOTSUPP || error == ENETUNREACH;
}

/* False: for want of something, or by a fault that asking again at once would not mend. */
static bool accept_some(struct acceptor *a, const struct acceptor_socket *s)
{
	for (int i = 0; i < BATCH; i++) {
		struct sockaddr_storage peer = {0};
		socklen_t len = sizeof(peer);
		int fd = accept4(s->fd, (struct sockaddr *)&peer, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			a->is_short = false;
			a->take(s->ctx, fd, (const struct sockaddr *)&peer, len);
			continue;
		}
		if (errno == EAGAIN)
			return true;
		if (errno == EINTR || is_of_the_client(errno))
			continue;
		note_shortage(a, "accept a connection");
		return false;
	}
	return true;
}

static void *accept_all(void *cls)
{
	struct acceptor *a = cls;
	struct pollfd *stop = &a->waited[a->n];
	const struct timespec pause = {0, SHORTAGE_MS * 1000000};

	for (;;) {
		if (poll(a->waited, a->n + 1, -1) < 0) {
			if (errno == EINTR)
				continue;
			note_shortage(a, "wait for connections");
			nanosleep(&pause, NULL);
			continue;
		}
		if (stop->revents)
			return NULL;
		for (size_t i = 0; i < a->n; i++) {
			if (a->waited[i].revents && !accept_some(a, &a->sockets[i]))
				poll(stop, 1, SHORTAGE_MS);
		}
	}
}

int acceptor_start(struct acceptor **ret, const struct acceptor_socket *sockets, size_t n,
		   acceptor_fn *take, struct err *err)
{
	struct acceptor *a = xcalloc(1, sizeof(*a));

	*a = (struct acceptor){.n = n, .take = take};
	a->sockets = xcalloc(n + 1, sizeof(*a->sockets));
	a->waited = xcalloc(n + 1, sizeof(*a->waited));
	for (size_t i = 0; i < n; i++) {
		a->sockets[i] = sockets[i];
		a->waited[i] = (struct pollfd){.fd = sockets[i].fd, .events = POLLIN};
	}
	a->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->stop_fd < 0) {
		acceptor_stop(a);
		return err_errno(err, "make an eventfd");
	}
	a->waited[n] = (struct pollfd){.fd = a->stop_fd, .events = POLLIN};
	a->is_running = pthread_create(&a->thread, NULL, accept_all, a) == 0;
	if (!a->is_running) {
		acceptor_stop(a);
		return err_set(err, E_NOMEM, "start a thread");
	}
	*ret = a;
	return 0;
}

void acceptor_stop(struct acceptor *a)
{
	const uint64_t one = 1;

	if (!a)
		return;
	if (a->is_running) {
		if (write(a->stop_fd, &one, sizeof(one)) < 0)
			note_shortage(a, "stop accepting connections");
		pthread_join(a->thread, NULL);
	}
	close_fd(&a->stop_fd);
	free(a->sockets);
	free(a->waited);
	free(a);
}
