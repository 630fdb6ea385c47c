/* SPDX-License-Identifier: Apache-2.0 */
/* auth.json, netrc, helpers, and the order of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "net/credentials.h"

static void same_text(const char *got, const char *want)
{
	assert_int_equal(!got, !want);
	if (got)
		assert_string_equal(got, want);
}

/* "cTpy" is q:r, "dTpwOnc=" is u:p:w */
static const char auths[] = "{\"auths\":{"
			    "\"https://index.docker.io/v1/\":{\"auth\":\"aHViOmh1YnB3\"},"
			    "\"quay.io\":{\"auth\":\"cTpy\"},"
			    "\"quay.io/team\":{\"username\":\"team\",\"password\":\"tp\"},"
			    "\"quay.io/team/app\":{\"auth\":\"dTpwOnc=\"},"
			    "\"localhost:5000\":{\"auth\":\"cTpy\",\"identitytoken\":\"tok\"},"
			    "\"http://plain.example/v2/\":{\"auth\":\"cTpy\"},"
			    "\"empty.example\":{}},"
			    "\"credHelpers\":{\"ecr.example\":\"ecr-login\"}}";

static void test_auth_json(void **state)
{
	static const struct {
		const char *host, *repository;
		int want;
		const char *user, *password, *token;
	} cases[] = {
		{"docker.io", "library/busybox", 1, "hub", "hubpw", NULL},
		{"registry-1.docker.io", "x", 1, "hub", "hubpw", NULL},
		{"quay.io", "", 1, "q", "r", NULL},
		{"quay.io", "teamwork/x", 1, "q", "r", NULL},
		{"quay.io", "team/x", 1, "team", "tp", NULL},
		{"quay.io", "team/app", 1, "u", "p:w", NULL},
		{"quay.io", "team/app/sub", 1, "u", "p:w", NULL},
		{"quay.io", "team/application", 1, "team", "tp", NULL},
		{"quay.io.evil", "team", 0, NULL, NULL, NULL},
		{"localhost:5000", "a", 1, "q", "r", "tok"},
		{"localhost", "a", 0, NULL, NULL, NULL},
		{"plain.example", "a", 1, "q", "r", NULL},
		{"empty.example", "a", 0, NULL, NULL, NULL},
		{"", "", 0, NULL, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_auth_answer struct auth_answer a = {0};
		struct err err = ERR_INIT;

		if (auth_json_find(&a, slice_str(auths), cases[i].host, cases[i].repository,
				   &err) != cases[i].want)
			fail_msg("%s/%s: %s", cases[i].host, cases[i].repository, err.text);
		assert_null(a.helper);
		same_text(a.credentials.user, cases[i].user);
		same_text(a.credentials.password, cases[i].password);
		same_text(a.credentials.identity_token, cases[i].token);
	}
}

static void test_auth_json_helpers(void **state)
{
	static const struct {
		const char *text, *host, *helper, *server;
	} cases[] = {
		{auths, "ecr.example", "ecr-login", "ecr.example"},
		{"{\"credsStore\":\"pass\"}", "h:5", "pass", "h:5"},
		{"{\"credsStore\":\"pass\"}", "docker.io", "pass", "https://index.docker.io/v1/"},
		{"{\"auths\":{\"h\":{}},\"credsStore\":\"pass\"}", "h", "pass", "h"},
		{"{\"credHelpers\":{\"h\":\"x\"},\"credsStore\":\"pass\"}", "h", "x", "h"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_auth_answer struct auth_answer a = {0};
		struct err err = ERR_INIT;

		assert_int_equal(
			auth_json_find(&a, slice_str(cases[i].text), cases[i].host, "r", &err), 1);
		assert_null(a.credentials.user);
		assert_string_equal(a.helper, cases[i].helper);
		assert_string_equal(a.server, cases[i].server);
	}
}

static void test_auth_json_refuses(void **state)
{
	static const char *const cases[] = {
		"[]",
		"{",
		"{\"auths\":[]}",
		"{\"auths\":{\"h\":1}}",
		"{\"auths\":{\"h\":{\"auth\":\"!!!\"}}}",
		"{\"auths\":{\"h\":{\"auth\":\"cQ==\"}}}",
		"{\"auths\":{\"h\":{\"auth\":5}}}",
		"{\"auths\":{\"h\":{\"identitytoken\":{}}}}",
		"{\"credHelpers\":{\"h\":1}}",
		"{\"credsStore\":1}",
		"{\"auths\":{},\"auths\":{}}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_auth_answer struct auth_answer a = {0};
		struct err err = ERR_INIT;

		if (auth_json_find(&a, slice_str(cases[i]), "h", "", &err) >= 0)
			fail_msg("accepted: %s", cases[i]);
		assert_non_null(strchr(err.text, ' '));
		assert_null(a.helper);
		assert_null(a.credentials.user);
	}
}

static void test_netrc(void **state)
{
	static const struct {
		const char *text, *host;
		int want;
		const char *user, *password;
	} cases[] = {
		{"machine h login u password p", "h", 1, "u", "p"},
		{"machine h login u password p", "H", 1, "u", "p"},
		{"machine h login u password p", "i", 0, NULL, NULL},
		{"machine a\n\tlogin x\n\tpassword y\nmachine h\n login u\n password p\n", "h", 1,
		 "u", "p"},
		{"machine h password p", "h", 1, "", "p"},
		{"machine h login u", "h", 0, NULL, NULL},
		{"machine a login x password y default login d password e", "h", 1, "d", "e"},
		{"machine h login u password p default login d password e", "h", 1, "u", "p"},
		{"# machine h login no password no\nmachine h login u password p#q", "h", 1, "u",
		 "p#q"},
		{"machine h login \"u v\" password \"p\\\"q\\\\\"", "h", 1, "u v", "p\"q\\"},
		{"machine h account acc login u password p", "h", 1, "u", "p"},
		{"macdef init\nmachine h\nlogin no\n\nmachine h login u password p", "h", 1, "u",
		 "p"},
		{"machine \"machine\" login u password p", "machine", 1, "u", "p"},
		{"machine h login u password p\nmachine h login v password q", "h", 1, "u", "p"},
		{"", "h", 0, NULL, NULL},
		{" \n\r\n# only a comment", "h", 0, NULL, NULL},
		{"machine", "h", E_INVALID, NULL, NULL},
		{"machine h login", "h", E_INVALID, NULL, NULL},
		{"machine h login u password \"p", "h", E_INVALID, NULL, NULL},
		{"hello world", "h", 0, NULL, NULL},
		{"machine h port 21 login u password p", "h", 1, "u", "p"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_credentials struct credentials c = {0};
		struct err err = ERR_INIT;

		if (netrc_find(&c, slice_str(cases[i].text), cases[i].host, &err) != cases[i].want)
			fail_msg("%s", cases[i].text);
		same_text(c.user, cases[i].user);
		same_text(c.password, cases[i].password);
	}
	{
		struct credentials c = {0};
		struct err err = ERR_INIT;

		assert_int_equal(netrc_find(&c, slice_make("machine \0", 9), "h", &err), E_INVALID);
		assert_int_equal(
			netrc_find(&c, slice_str("machine h\nlogin u\npassword"), "x", &err),
			E_INVALID);
		assert_non_null(strstr(err.text, "line 3"));
	}
}

static void test_basic(void **state)
{
	struct credentials c = {.user = (char *)(uintptr_t) "Aladdin",
				.password = (char *)(uintptr_t) "open sesame"};
	cleanup_free char *value = NULL;
	char *none = NULL;

	(void)state;
	assert_int_equal(credentials_basic(&value, &c), 0);
	assert_string_equal(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	c.user = (char *)(uintptr_t) "a:b";
	assert_int_equal(credentials_basic(&none, &c), E_INVALID);
	c.user = NULL;
	assert_int_equal(credentials_basic(&none, &c), E_INVALID);
}

/* A fresh directory, with helpers on the PATH. */
struct place {
	int fd;
	char dir[32];
};

static void write_in(const struct place *p, const char *name, const char *text, mode_t mode)
{
	cleanup_fd int fd = openat(p->fd, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

static void make_dir_in(const struct place *p, const char *name)
{
	struct err err = ERR_INIT;

	assert_int_equal(make_dirs_at(p->fd, name, &err), 0);
}

static int setup(void **state)
{
	struct place *p = xcalloc(1, sizeof(*p));
	cleanup_free char *path = NULL, *sub = NULL;

	memcpy(p->dir, "/tmp/nacre-cred-XXXXXX", 23);
	if (!mkdtemp(p->dir))
		return -1;
	p->fd = open(p->dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	assert_true(p->fd >= 0);
	path = xasprintf("%s:/usr/bin:/bin", p->dir);
	setenv("PATH", path, 1);
	setenv("HOME", p->dir, 1);
	setenv("NIX_CONF_DIR", p->dir, 1);
	sub = xasprintf("%s/run", p->dir);
	setenv("XDG_RUNTIME_DIR", sub, 1);
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("DOCKER_CONFIG");
	unsetenv("REGISTRY_AUTH_FILE");
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {"docker-credential-good",
					    "docker-credential-token",
					    "docker-credential-none",
					    "docker-credential-bad",
					    "docker-credential-silent",
					    "docker-credential-loud",
					    "run/containers/auth.json",
					    ".config/containers/auth.json",
					    ".docker/config.json",
					    "x.json",
					    "netrc",
					    ".netrc",
					    "asked"};
	static const char *const dirs[] = {"run/containers", "run", ".config/containers", ".config",
					   ".docker"};
	struct place *p = *state;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unlinkat(p->fd, names[i], 0);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		unlinkat(p->fd, dirs[i], AT_REMOVEDIR);
	close(p->fd);
	assert_int_equal(rmdir(p->dir), 0);
	free(p);
	return 0;
}

static void test_helper(void **state)
{
	const struct place *p = *state;
	cleanup_credentials struct credentials c = {0}, t = {0};
	cleanup_buf struct buf asked = {0};
	struct err err = ERR_INIT;

	write_in(p, "docker-credential-good",
		 "#!/bin/sh\ncat > \"$HOME/asked\"; echo \" $1\" >> \"$HOME/asked\"\n"
		 "echo '{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"pw\"}'\n",
		 0755);
	assert_int_equal(credential_helper_get(&c, "good", "reg.example", &err), 1);
	assert_string_equal(c.user, "me");
	assert_string_equal(c.password, "pw");
	assert_int_equal(read_file_at(p->fd, "asked", 100, &asked, &err), 0);
	assert_string_equal((char *)asked.data, "reg.example get\n");
	write_in(p, "docker-credential-token",
		 "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"T\"}'\n", 0755);
	assert_int_equal(credential_helper_get(&t, "token", "reg.example", &err), 1);
	assert_string_equal(t.identity_token, "T");
	assert_null(t.user);
}

static void test_helper_refuses(void **state)
{
	const struct place *p = *state;
	struct credentials c = {0};
	struct err err = ERR_INIT;

	write_in(p, "docker-credential-none",
		 "#!/bin/sh\necho 'credentials not found in native keychain'; exit 1\n", 0755);
	assert_int_equal(credential_helper_get(&c, "none", "h", &err), 0);
	write_in(p, "docker-credential-bad", "#!/bin/sh\necho 'the secret is 123'; exit 1\n", 0755);
	assert_int_equal(credential_helper_get(&c, "bad", "h", &err), E_DENIED);
	assert_null(strstr(err.text, "123"));
	err = ERR_INIT;
	write_in(p, "docker-credential-silent", "#!/bin/sh\nexec <&-; exit 0\n", 0755);
	assert_int_equal(credential_helper_get(&c, "silent", "h", &err), E_INVALID);
	err = ERR_INIT;
	write_in(p, "docker-credential-loud", "#!/bin/sh\nexec head -c 1000000 /dev/zero\n", 0755);
	assert_int_equal(credential_helper_get(&c, "loud", "h", &err), E_LIMIT);
	err = ERR_INIT;
	assert_int_equal(credential_helper_get(&c, "missing", "h", &err), E_NOTFOUND);
	err = ERR_INIT;
	assert_int_equal(credential_helper_get(&c, "../x", "h", &err), E_INVALID);
	err = ERR_INIT;
	assert_int_equal(credential_helper_get(&c, "", "h", &err), E_INVALID);
	assert_null(c.user);
}

static void test_order(void **state)
{
	const struct place *p = *state;
	cleanup_free char *file = xasprintf("%s/x.json", p->dir);
	struct err err = ERR_INIT;

	make_dir_in(p, "run/containers");
	make_dir_in(p, ".config/containers");
	make_dir_in(p, ".docker");
	write_in(p, ".docker/config.json", "{\"auths\":{\"h\":{\"auth\":\"aHViOmh1YnB3\"}}}",
		 0600); /* hub:hubpw */
	write_in(p, ".config/containers/auth.json", "", 0600);
	{
		cleanup_credentials struct credentials c = {0};

		assert_int_equal(credentials_for_registry(&c, NULL, "h", "r", &err), 1);
		assert_string_equal(c.user, "hub");
	}
	write_in(p, "run/containers/auth.json", "{\"auths\":{\"h\":{\"auth\":\"cTpy\"}}}",
		 0600); /* q:r */
	{
		cleanup_credentials struct credentials c = {0};

		assert_int_equal(credentials_for_registry(&c, NULL, "h", "r", &err), 1);
		assert_string_equal(c.user, "q");
	}
	{
		struct credentials c = {0};

		assert_int_equal(credentials_for_registry(&c, file, "h", "r", &err), E_NOTFOUND);
		assert_non_null(strstr(err.text, "x.json"));
		err = ERR_INIT;
		write_in(p, "x.json", "{\"auths\":{}}", 0600);
		assert_int_equal(credentials_for_registry(&c, file, "h", "r", &err), 0);
		setenv("REGISTRY_AUTH_FILE", file, 1);
		assert_int_equal(credentials_for_registry(&c, NULL, "h", "r", &err), 0);
		write_in(p, "x.json", "{\"auths\":{\"h\":{\"auth\":\"AAAA\"}}}", 0600);
		assert_int_equal(credentials_for_registry(&c, NULL, "h", "r", &err), E_INVALID);
		assert_non_null(strstr(err.text, "x.json"));
	}
}

static void test_netrc_order(void **state)
{
	const struct place *p = *state;
	cleanup_free char *file = xasprintf("%s/x.json", p->dir);
	cleanup_credentials struct credentials home = {0}, nix = {0};
	struct credentials none = {0};
	struct err err = ERR_INIT;

	assert_int_equal(credentials_for_cache(&none, NULL, "h", &err), 0);
	write_in(p, ".netrc", "machine h login home password p", 0600);
	assert_int_equal(credentials_for_cache(&home, NULL, "h", &err), 1);
	assert_string_equal(home.user, "home");
	write_in(p, "netrc", "machine h login nix password p", 0600);
	assert_int_equal(credentials_for_cache(&nix, NULL, "h", &err), 1);
	assert_string_equal(nix.user, "nix");
	assert_int_equal(credentials_for_cache(&none, file, "h", &err), E_NOTFOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_auth_json),
		cmocka_unit_test(test_auth_json_helpers),
		cmocka_unit_test(test_auth_json_refuses),
		cmocka_unit_test(test_netrc),
		cmocka_unit_test(test_basic),
		cmocka_unit_test_setup_teardown(test_helper, setup, teardown),
		cmocka_unit_test_setup_teardown(test_helper_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_netrc_order, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
