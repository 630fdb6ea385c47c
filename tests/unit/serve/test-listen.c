/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "serve/listen.h"

static void test_parse_good(void **state)
{
	static const struct {
		const char *text, *host, *port, *path;
		enum listen_scheme scheme;
	} cases[] = {
		{"127.0.0.1:8080", "127.0.0.1", "8080", ""},
		{"http://127.0.0.1:8080", "127.0.0.1", "8080", "", LISTEN_HTTP},
		{"https://[::1]:443", "::1", "443", "", LISTEN_HTTPS},
		{"localhost:0", "localhost", "0", ""},
		{":5000", "", "5000", ""},
		{"[::1]:65535", "::1", "65535", ""},
		{"[::]:80", "::", "80", ""},
		{"unix:/run/a b.sock", "", "", "/run/a b.sock"},
		{"unix:x:1", "", "", "x:1"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct listen_address a;
		struct err err = ERR_INIT;

		assert_ok(listen_parse(&a, slice_str(cases[i].text), &err), err);
		assert_string_equal(a.host, cases[i].host);
		assert_string_equal(a.port, cases[i].port);
		assert_string_equal(a.path, cases[i].path);
		assert_int_equal((int)a.scheme, (int)cases[i].scheme);
	}
}

static void test_parse_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"http://",
		"https://localhost",
		"http://unix:/x",
		"8080",
		"localhost",
		"localhost:",
		"localhost:x",
		"localhost:65536",
		"::1:80",
		"a:b:80",
		"localhost:-1",
		"unix:",
		"[::1]",
		"[::1]:",
		":+1",
		"localhost:1 ",
		"unix:/123456789012345678901234567890123456789012345678901234567890123456789012345"
		"6789012345678901234567890123456789",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct listen_address a;
		struct err err = ERR_INIT;

		if (listen_parse(&a, slice_str(bad[i]), &err) != E_USAGE)
			fail_msg("'%s' is taken", bad[i]);
		assert_non_null(strstr(err.text, "HOST:PORT"));
	}
}

static void test_open_inet(void **state)
{
	struct listen_address a;
	struct err err = ERR_INIT;
	char *name = NULL, *other = NULL;
	int fd, second;

	assert_ok(listen_parse(&a, slice_str("127.0.0.1:0"), &err), err);
	fd = listen_open(&a, false, &name, &err);
	assert_ok(fd, err);
	assert_int_equal(strncmp(name, "http://127.0.0.1:", 17), 0);
	/* A port in use is an error that names the address. */
	assert_ok(listen_parse(&a, slice_str(name + 7), &err), err);
	second = listen_open(&a, false, &other, &err);
	assert_int_equal(second, E_IO);
	assert_non_null(strstr(err.text, name + 7));
	assert_null(other);
	close(fd);
	free(name);
}

static void test_open_unix(void **state)
{
	struct listen_address a = {.host = ""};
	struct err err = ERR_INIT;
	char dir[64], *name = NULL, *other = NULL;
	int dirfd = unit_tempdir(dir), fd;

	snprintf(a.path, sizeof(a.path), "%s/sock", dir);
	fd = listen_open(&a, false, &name, &err);
	assert_ok(fd, err);
	assert_int_equal(listen_open(&a, false, &other, &err), E_CONFLICT);
	close(fd);
	/* Nobody listens any more: taken over. */
	fd = listen_open(&a, false, &other, &err);
	assert_ok(fd, err);
	assert_string_equal(name, other);
	close(fd);
	assert_int_equal(unlinkat(dirfd, "sock", 0), 0);
	/* A file that is no socket stays. */
	close(openat(dirfd, "sock", O_CREAT | O_WRONLY, 0600));
	free(other);
	other = NULL;
	assert_int_equal(listen_open(&a, false, &other, &err), E_EXISTS);
	assert_int_equal(faccessat(dirfd, "sock", F_OK, 0), 0);
	free(name);
	unit_tempdir_end(dirfd, dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_good),
		cmocka_unit_test(test_parse_bad),
		cmocka_unit_test(test_open_inet),
		cmocka_unit_test(test_open_unix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
