/* SPDX-License-Identifier: Apache-2.0 */
/* Which of an image's hosts are asked for the path infos that refer to it. */
#include "../unit.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "net/registry.h"
#include "node/image-registry.h"

#define DIGEST "sha256:0000000000000000000000000000000000000000000000000000000000000000"
#define EMPTY                                               \
	"{\"schemaVersion\":2,\"mediaType\":\"application/" \
	"vnd.oci.image.index.v1+json\",\"manifests\":[]}"

/* A registry that has nothing: it gives one answer to all requests, and counts those for referrers. */
struct host {
	const char *status, *body;
	int fd;
	unsigned port, n_asked;
	pthread_t thread;
};

static void answer(struct host *h, int fd)
{
	char request[8192] = "";
	size_t len = 0;
	ssize_t n;

	while (!strstr(request, "\r\n\r\n") && len < sizeof(request) - 1 &&
	       (n = read(fd, request + len, sizeof(request) - 1 - len)) > 0)
		len += (size_t)n;
	h->n_asked += strstr(request, "/referrers/sha256:") != NULL;
	dprintf(fd,
		"HTTP/1.1 %s\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\n"
		"Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
		h->status, strlen(h->body), h->body);
}

static void *serve(void *data)
{
	struct host *h = data;
	int fd;

	while ((fd = accept(h->fd, NULL, NULL)) >= 0) {
		answer(h, fd);
		close(fd);
	}
	return NULL;
}

static void start(struct host *h)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(h->fd >= 0);
	assert_int_equal(bind(h->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(h->fd, 16), 0);
	assert_int_equal(getsockname(h->fd, (struct sockaddr *)&a, &len), 0);
	h->port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&h->thread, NULL, serve, h), 0);
}

static void stop(struct host *h)
{
	shutdown(h->fd, SHUT_RDWR);
	pthread_join(h->thread, NULL);
	close(h->fd);
}

static void write_hosts(const char *dir, const struct host *mirror, const struct host *own)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/example.com", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/example.com/hosts.toml", dir);
	f = fopen(path, "we");
	assert_non_null(f);
	fprintf(f,
		"server = \"http://127.0.0.1:%u\"\n[host.\"http://127.0.0.1:%u\"]\n"
		"capabilities = [\"pull\"]\n",
		own->port, mirror->port);
	fclose(f);
}

static int ask(const char *dir, struct referrer_infos *infos, struct err *err)
{
	const struct image_registries registries = {.certs_dir = dir};
	struct annotations labels = {0};
	int r;

	annotations_set(&labels, "containerd.io/snapshot/cri.image-ref", "example.com/a:1");
	annotations_set(&labels, "containerd.io/snapshot/cri.manifest-digest", DIGEST);
	r = image_registry_infos(&registries, &labels, "/nix/store", infos, err);
	annotations_release(&labels);
	return r;
}

/* A mirror holds what was pulled through it, and seldom what refers to that. */
static void test_mirror_without_infos(void **state)
{
	static const struct host mirrors[] = {
		{.status = "404 Not Found", .body = ""},
		{.status = "200 OK", .body = EMPTY},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(mirrors); i++) {
		struct host mirror = mirrors[i], own = {.status = "200 OK", .body = EMPTY};
		cleanup_referrer_infos struct referrer_infos infos = {0};
		struct err err = ERR_INIT;
		char dir[64];
		int fd = unit_tempdir(dir);

		start(&mirror);
		start(&own);
		write_hosts(dir, &mirror, &own);
		assert_int_equal(ask(dir, &infos, &err), 1);
		stop(&mirror);
		stop(&own);
		unit_tempdir_end(fd, dir);
		assert_int_equal(mirror.n_asked, 1);
		assert_int_equal(own.n_asked, 1);
		assert_int_equal(infos.len, 0);
	}
}

/* That nothing refers to the image is known only when all hosts have said so. */
static void test_registry_fails(void **state)
{
	struct host mirror = {.status = "404 Not Found", .body = ""};
	struct host own = {.status = "403 Forbidden", .body = ""};
	cleanup_referrer_infos struct referrer_infos infos = {0};
	struct err err = ERR_INIT;
	char dir[64];
	int fd = unit_tempdir(dir);

	(void)state;
	start(&mirror);
	start(&own);
	write_hosts(dir, &mirror, &own);
	assert_true(ask(dir, &infos, &err) < 0);
	assert_non_null(strstr(err.text, "403"));
	stop(&mirror);
	stop(&own);
	unit_tempdir_end(fd, dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mirror_without_infos),
		cmocka_unit_test(test_registry_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
