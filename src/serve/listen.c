/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <nacre/encode.h>

#include "base/mem.h"
#include "serve/listen.h"

enum { BACKLOG = 1024 };

static int bad_address(struct slice text, struct err *err)
{
	return err_set(err, E_USAGE,
		       "'%.*s' is no address to listen on: say HOST:PORT, [IPv6]:PORT, :PORT or "
		       "unix:PATH",
		       (int)(text.len < 200 ? text.len : 200), (const char *)text.data);
}

static bool copy_text(char *ret, size_t size, struct slice s)
{
	if (s.len >= size || memchr(s.data, 0, s.len))
		return false;
	memcpy(ret, s.data, s.len);
	ret[s.len] = 0;
	return true;
}

int listen_parse(struct listen_address *ret, struct slice text, struct err *err)
{
	struct listen_address a = {.host = ""};
	struct slice host = text, port;
	size_t colon;
	uint64_t number;

	if (slice_has_prefix(text, "unix:")) {
		slice_advance(&host, 5);
		if (!host.len || !copy_text(a.path, sizeof(a.path), host))
			return bad_address(text, err);
		*ret = a;
		return 0;
	}
	if (slice_has_prefix(text, "http://")) {
		a.scheme = LISTEN_HTTP;
		slice_advance(&text, 7);
	} else if (slice_has_prefix(text, "https://")) {
		a.scheme = LISTEN_HTTPS;
		slice_advance(&text, 8);
	}
	host = text;
	colon = text.len;
	while (colon && text.data[colon - 1] != ':')
		colon--;
	if (!colon)
		return bad_address(text, err);
	host.len = colon - 1;
	port = slice_make(text.data + colon, text.len - colon);
	if (parse_u64(&number, port) < 0 || number > 65535)
		return bad_address(text, err);
	snprintf(a.port, sizeof(a.port), "%u", (unsigned)number);
	if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
		host = slice_make(host.data + 1, host.len - 2);
	else if (host.len && memchr(host.data, ':', host.len))
		return bad_address(text, err); /* an IPv6 address without brackets */
	if (host.len && !copy_text(a.host, sizeof(a.host), host))
		return bad_address(text, err);
	*ret = a;
	return 0;
}

/* Removes a socket that a process left behind. */
static int remove_stale(const struct sockaddr_un *un, struct err *err)
{
	cleanup_fd int fd = -1;
	struct stat st;

	if (lstat(un->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(err, "look at %s", un->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, E_EXISTS, "%s exists and is not a socket", un->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, "make a socket");
	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0)
		return err_set(err, E_CONFLICT, "another process listens on %s", un->sun_path);
	if (errno != ECONNREFUSED)
		return err_errno(err, "connect to %s", un->sun_path);
	if (unlink(un->sun_path) < 0)
		return err_errno(err, "remove the stale socket %s", un->sun_path);
	return 0;
}

static int open_unix(const char *path, char **ret_name, struct err *err)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	cleanup_fd int fd = -1;
	int r;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	r = remove_stale(&un, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, "make a socket");
	if (bind(fd, (const struct sockaddr *)&un, sizeof(un)) < 0)
		return err_errno(err, "bind to unix:%s", path);
	if (listen(fd, BACKLOG) < 0)
		return err_errno(err, "listen on unix:%s", path);
	*ret_name = xasprintf("unix:%s", path);
	return take_fd(&fd);
}

/* Where a socket really is, as a URL. */
static char *describe(int fd, bool tls)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);
	char host[INET6_ADDRSTRLEN] = "", port[8] = "";

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return xstrdup("?");
	return xasprintf(ss.ss_family == AF_INET6 ? "%s://[%s]:%s" : "%s://%s:%s",
			 tls ? "https" : "http", host, port);
}

static int open_inet(const struct addrinfo *ai, struct err *err)
{
	cleanup_fd int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int yes = 1, no = 0;

	if (fd < 0)
		return err_errno(err, "make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	/* "[::]" means IPv4 as well, whatever the system's default. */
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0)
		return err_errno(err, "bind");
	if (listen(fd, BACKLOG) < 0)
		return err_errno(err, "listen");
	return take_fd(&fd);
}

/* A connection comes with the first bytes of its handshake, or after this long: see conn.h for what one without
 * costs. Harmless where it cannot be had. */
static void defer_accepting(int fd)
{
	const int seconds = 5;

	setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds));
}

int listen_open(const struct listen_address *address, bool tls, char **ret_name, struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *list = NULL;
	struct err first = ERR_INIT;
	int fd = E_IO, r;

	if (address->path[0])
		return open_unix(address->path, ret_name, err);
	/* No host: the IPv6 wildcard, which takes IPv4 in; IPv4 alone where there is no IPv6. */
	r = getaddrinfo(address->host[0] ? address->host : "::", address->port, &hints, &list);
	if (r != 0)
		return err_set(err, E_USAGE, "cannot resolve '%s': %s", address->host,
			       gai_strerror(r));
	for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = open_inet(ai, first.code ? &(struct err){0} : &first);
	freeaddrinfo(list);
	if (fd < 0 && !address->host[0]) {
		struct sockaddr_in any = {.sin_family = AF_INET};
		struct addrinfo v4 = {.ai_family = AF_INET,
				      .ai_addr = (struct sockaddr *)&any,
				      .ai_addrlen = sizeof(any)};
		uint64_t port = 0;

		parse_u64(&port, slice_str(address->port));
		any.sin_port = htons((uint16_t)port);
		fd = open_inet(&v4, &(struct err){0});
	}
	if (fd < 0) {
		*err = first;
		return err_wrap(err, "listen on %s:%s", address->host, address->port);
	}
	if (tls)
		defer_accepting(fd);
	*ret_name = describe(fd, tls);
	return fd;
}

/* ---- Sockets of systemd ---- */

enum { INHERITED_FIRST = 3, INHERITED_MAX = 64 };

static char *inherited_names; /* "a:b:c"; owned; set before there are threads */

unsigned listen_inherited(void)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	uint64_t number = 0, wanted = 0;

	if (!pid || !n || parse_u64(&wanted, slice_str(pid)) < 0 || wanted != (uint64_t)getpid() ||
	    parse_u64(&number, slice_str(n)) < 0 || number > INHERITED_MAX)
		number = 0;
	free(inherited_names);
	inherited_names = number && names ? xstrdup(names) : NULL;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return (unsigned)number;
}

static bool is_called(unsigned i, const char *name)
{
	const char *p = inherited_names;

	for (; p && i; i--) {
		p = strchr(p, ':');
		p = p ? p + 1 : NULL;
	}
	return p && strcspn(p, ":") == strlen(name) && strncmp(p, name, strlen(name)) == 0;
}

int listen_inherit(unsigned i, bool *ret_tls, char **ret_name, struct err *err)
{
	int fd = INHERITED_FIRST + (int)i, listens = 0;
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(listens), size = sizeof(ss);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 || !listens ||
	    getsockname(fd, (struct sockaddr *)&ss, &size) < 0)
		return err_set(err, E_INVALID, "descriptor %d is not a socket that listens", fd);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	/* Who accepts from it takes what is there and then waits for all sockets. */
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return err_errno(err, "set up descriptor %d", fd);
	*ret_tls = is_called(i, "https");
	if (*ret_tls)
		defer_accepting(fd);
	*ret_name = ss.ss_family == AF_UNIX ? xstrdup("unix:inherited") : describe(fd, *ret_tls);
	return fd;
}
