/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <string.h>

#include "node/user.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "# comment\n"
			     "bad:x:notanumber:0::/:/bin/sh\n"
			     "short:x\n"
			     "app:x:1000:100:,,,:/home/app:/bin/sh\n"
			     "4242:x:77:78::/num:/bin/sh\n"
			     "last:x:5:5::/last"; /* no newline, no shell */

static const char group[] = "root:x:0:\n"
			    "users:x:100:app\n"
			    "wheel:x:10:root,app,\n"
			    "docker:x:999:application,app\n"
			    "no:x:3:appx\n"
			    "broken:x\n";

static void test_good(void **state)
{
	static const struct {
		const char *spec;
		uint32_t uid, gid;
		size_t n_groups;
		const char *home;
	} cases[] = {
		{NULL, 0, 0, 1, "/root"}, /* wheel */
		{"", 0, 0, 1, "/root"},
		{"app", 1000, 100, 2, "/home/app"},
		{"1000", 1000, 100, 2, "/home/app"},
		{"app:wheel", 1000, 10, 0, "/home/app"},
		{"app:55", 1000, 55, 0, "/home/app"},
		{"77", 77, 78, 0, "/num"},
		{"4242", 77, 78, 0, "/num"}, /* a name that is a number is a name */
		{"12345", 12345, 0, 0, "/"},
		{"12345:docker", 12345, 999, 0, "/"},
		{":wheel", 0, 10, 0, "/root"},
		{"last", 5, 5, 0, "/last"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = ERR_INIT;
		struct user user;

		assert_ok(user_resolve(cases[i].spec, slice_str(passwd), slice_str(group), &user,
				       &err),
			  err);
		assert_int_equal(user.uid, cases[i].uid);
		assert_int_equal(user.gid, cases[i].gid);
		assert_int_equal(user.n_groups, cases[i].n_groups);
		assert_string_equal(user.home, cases[i].home);
	}
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"nobody",      "bad",         "short", "-1",         "4294967295",
		"99999999999", "app:nogroup", "app:",  "app:broken", "a b"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = ERR_INIT;
		struct user user;
		int r = user_resolve(bad[i], slice_str(passwd), slice_str(group), &user, &err);

		if (r != E_NOTFOUND)
			fail_msg("%s: %d", bad[i], r);
		assert_non_null(strstr(err.text, "the image has no"));
	}
}

static void test_no_files(void **state)
{
	struct err err = ERR_INIT;
	struct user user;

	assert_ok(user_resolve("7:8", slice_str(""), slice_str(""), &user, &err), err);
	assert_int_equal(user.uid, 7);
	assert_int_equal(user.gid, 8);
	assert_ok(user_resolve(NULL, slice_str(""), slice_str(""), &user, &err), err);
	assert_int_equal(user.uid, 0);
	assert_string_equal(user.home, "/");
}

/* The image's etc may be a symlink to anywhere: it must not show the host's files. */
static void test_symlinks_stay_inside(void **state)
{
	char path[64];
	int fd = unit_tempdir(path);
	struct err err = ERR_INIT;
	struct user user;

	assert_int_equal(symlinkat("/etc", fd, "etc"), 0);
	assert_ok(user_lookup(fd, NULL, &user, &err), err);
	assert_string_equal(user.home, "/"); /* the host's root has /root */
	unit_tempdir_end(fd, path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_symlinks_stay_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
