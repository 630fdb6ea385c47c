/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "node/registry-hosts.h"

/* One line a host: its domain and what is said of it. */
static char *describe(const struct registry_hosts *hosts)
{
	cleanup_buf struct buf b = {0};

	buf_add_str(&b, "");
	for (size_t i = 0; i < hosts->len; i++) {
		const struct registry_host *h = &hosts->items[i];

		buf_addf(&b, "%s%s%s%s%s%s%s%s\n", h->domain, h->is_own ? " own" : "",
			 h->is_http ? " http" : "", h->skip_verify ? " skip" : "",
			 h->can_pull ? "" : " no-pull", h->ca_file ? " ca=" : "",
			 h->ca_file ? h->ca_file : "", h->why_not ? " not" : "");
	}
	return b.len ? buf_take_str(&b) : xstrdup("");
}

static void test_good(void **state)
{
	static const struct {
		const char *text, *own, *want;
	} cases[] = {
		{"", "r.example", "r.example own\n"},
		{"", NULL, ""},
		{"# nothing\n\n  ", "r.example", "r.example own\n"},
		{"server = \"https://up.example\"", "r.example", "up.example\n"},
		{"server = 'up.example:5000' # text", NULL, "up.example:5000\n"},
		{"[host.\"http://m.example:80\"]\n", "r.example",
		 "m.example:80 http\nr.example own\n"},
		{"[host.'m.example']\r\ncapabilities = ['resolve']\r\n", NULL,
		 "m.example no-pull\n"},
		{"[host.\"https://m\"]\ncapabilities = [\"push\", # x\n \"pull\",\n]\n", NULL,
		 "m\n"},
		{"[ host . \"m\" ]\nskip_verify=true\nca='a.crt'\n", NULL, "m skip ca=/d/a.crt\n"},
		{"[host.\"m\"]\nca = [\"/x/a.crt\"]\n", NULL, "m ca=/x/a.crt\n"},
		{"[host.\"m\"]\nca = ['a', 'b']\n", NULL, "m ca=/d/a not\n"},
		{"[host.\"https://m/v2\"]\noverride_path = true\n", NULL, "m\n"},
		{"[host.\"https://m/mirror\"]\n", NULL, "m not\n"},
		{"[host.\"m\"]\nclient = 'x.pem'\n", NULL, "m not\n"},
		{"[host.'m']\nclient = [['a', 'b'], # x\n ['c', 'd'],\n]\n[host.'n']\n", "r",
		 "m not\nn\nr own\n"},
		{"[host.'m']\ncapabilities = []\n", NULL, "m\n"},
		{"ca = 'a'\nskip_verify = true\n[host.'m']\n", "r", "m\nr own skip ca=/d/a\n"},
		{"capabilities = ['resolve']\nserver = 'http://s'\n[host.'m']\n", "r",
		 "m\ns http no-pull\n"},
		{"client = 'x.pem'\n", "r", "r own not\n"},
		{"[host.'m']\n[header]\nx = 'v'\n", "r", "m\nr own not\n"},
		{"skip_verify = true\n", NULL, ""},
		{"[host.\"m\"]\n[host.\"m\".header]\nx-key = 'v'\n", NULL, "m not\n"},
		{"[host.\"m\"]\n[host.\"m\".header]\n", NULL, "m\n"},
		{"[host.\"user@m\"]\n", NULL, "user@m not\n"},
		{"[host.\"a\"]\n[host.\"b\"]\n[host.\"a\"]\nskip_verify = true\n", NULL,
		 "a skip\nb\n"},
		{"[plugins.x]\nserver = 1\n[other]\nca = true\n", "r", "r own\n"},
		{"unknown = 12\n[host.\"m\"]\nunknown = [ ]\n", NULL, "m\n"},
		{"[host.\"m\\\\\\\"\"]\n", NULL, "m\\\" not\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_registry_hosts struct registry_hosts hosts = {0};
		cleanup_free char *got = NULL;
		struct err err = ERR_INIT;

		if (registry_hosts_parse(&hosts, slice_str(cases[i].text), "/d", cases[i].own,
					 &err) < 0)
			fail_msg("'%s': %s", cases[i].text, err.text);
		got = describe(&hosts);
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("'%s':\nwant %s\ngot  %s", cases[i].text, cases[i].want, got);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"\n\nserver", "hosts.toml:3: '=' is wanted"},
		{"server = ", "hosts.toml:1: a key, a text"},
		{"server = true", "server wants a text"},
		{"server = 'a' 'b'", "the end of the line"},
		{"server = \"a\n\"", "no end on its line"},
		{"server = \"a", "no end on its line"},
		{"server = \"\\n\"", "only \\\" and \\\\"},
		{"= 1", "a key, a text"},
		{"[host.\"m\"", "']' is wanted"},
		{"[[host]]", "a key, a text"},
		{"[host.]", "a key, a text"},
		{"[a.b.c.d.e.f.g.h.i]", "too many parts"},
		{"[host.'m']\ncapabilities = 'pull'", "capabilities wants a list"},
		{"[host.'m']\ncapabilities = ['pull' 'x']", "',' or ']' is wanted"},
		{"[host.'m']\ncapabilities = ['pull'", "',' or ']' is wanted"},
		{"[host.'m']\nskip_verify = 'true'", "hosts.toml:2: true or false"},
		{"[host.'m']\noverride_path = 1", "true or false"},
		{"[host.'m']\nca = true", "name of a file"},
		{"[host.'m']\nca = []", "name of a file"},
		{"[host.'m']\nca = [['a']]", "name of a file"},
		{"[host.'m']\ncapabilities = [['pull']]", "capabilities wants a list"},
		{"[host.'m']\nclient = [[['a']]]", "a key, a text"},
		{"[host.'m']\nclient = [['a', 'b'", "',' or ']' is wanted"},
		{"[host.'m']\nheader = {a = 'b'}", "a key, a text"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct registry_hosts hosts = {0};
		struct err err = ERR_INIT;

		if (registry_hosts_parse(&hosts, slice_str(cases[i].text), "/d", NULL, &err) !=
			    E_INVALID ||
		    !strstr(err.text, cases[i].want))
			fail_msg("'%s': %d '%s'", cases[i].text, err.code, err.text);
		assert_int_equal(hosts.len, 0);
	}
}

static void put_hosts(const char *dir, const char *name, const char *text)
{
	cleanup_free char *at = xasprintf("%s/%s", dir, name);
	cleanup_free char *path = xasprintf("%s/hosts.toml", at);
	FILE *file;

	assert_int_equal(mkdir(at, 0755), 0);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* Only what is configured is ever found, whatever is asked for. */
static void test_find(void **state)
{
	static const struct {
		const char *domain, *want;
		int code;
	} cases[] = {
		{"r.example", "mirror.example\nr.example own\n", 0},
		{"r.example:5000", "port.example\n", 0},
		{"r.example:6000", "colon.example\n", 0},
		{"allowed.example", "allowed.example own\n", 0},
		{"bad.example", "", E_INVALID},
		{"other.example", "", E_NOTFOUND},
		{"_default", "", E_INVALID},
		{"..", "", E_INVALID},
		{"", "", E_INVALID},
		{"r.example/../r.example", "", E_INVALID},
	};
	cleanup_strv struct strv allowed = {0};
	char dir[64];
	int fd;

	(void)state;
	fd = unit_tempdir(dir);
	strv_add(&allowed, "allowed.example");
	put_hosts(dir, "r.example", "[host.\"https://mirror.example\"]\n");
	put_hosts(dir, "r.example_5000_", "server = \"https://port.example\"\n");
	put_hosts(dir, "r.example:6000", "server = \"https://colon.example\"\n");
	put_hosts(dir, "bad.example", "server\n");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_registry_hosts struct registry_hosts hosts = {0};
		cleanup_free char *got = NULL;
		struct err err = ERR_INIT;
		int r = registry_hosts_find(&hosts, dir, &allowed, cases[i].domain, &err);

		got = describe(&hosts);
		if (r != cases[i].code || strcmp(got, cases[i].want) != 0)
			fail_msg("%s: %d %s %s", cases[i].domain, r, err.text, got);
	}
	put_hosts(dir, "_default", "[host.\"https://for-all.example\"]\n");
	for (int i = 0; i < 2; i++) {
		cleanup_registry_hosts struct registry_hosts hosts = {0};
		cleanup_free char *got = NULL;
		struct err err = ERR_INIT;

		assert_ok(registry_hosts_find(&hosts, dir, &allowed,
					      i ? "allowed.example" : "other.example", &err),
			  err);
		got = describe(&hosts);
		assert_string_equal(got, i ? "for-all.example\nallowed.example own\n"
					   : "for-all.example\n");
	}
	unit_tempdir_end(fd, dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
