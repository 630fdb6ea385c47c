/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <sys/stat.h>

#include "node/snapshot-internal.h"

static int64_t blocks_of(int dirfd, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return (int64_t)st.st_blocks * 512;
}

static void write_bytes(int dirfd, const char *name, size_t n)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	char bytes[4096] = {1};

	assert_true(fd >= 0);
	for (; n; n -= sizeof(bytes))
		assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	assert_int_equal(fsync(fd), 0); /* its blocks are known */
	close(fd);
}

static void test_names(void **state)
{
	char dir[64];
	int dirfd = unit_tempdir(dir);
	int64_t bytes, inodes;
	struct err err = ERR_INIT;

	(void)state;
	write_bytes(dirfd, "a", 4096 * 5);
	assert_int_equal(mkdirat(dirfd, "d", 0755), 0);
	assert_int_equal(linkat(dirfd, "a", dirfd, "b", 0), 0);
	assert_int_equal(linkat(dirfd, "a", dirfd, "d/c", 0), 0);
	write_bytes(dirfd, "single", 4096);
	assert_int_equal(symlinkat("a", dirfd, "link"), 0);
	assert_int_equal(linkat(dirfd, "link", dirfd, "link2", 0), 0);
	assert_ok(snapshot_measure(dir, &bytes, &inodes, &err), err);
	assert_int_equal(inodes, 5); /* ".", d, a, single, link */
	assert_int_equal(bytes, blocks_of(dirfd, ".") + blocks_of(dirfd, "d") +
					blocks_of(dirfd, "a") + blocks_of(dirfd, "single") +
					blocks_of(dirfd, "link"));
	unit_tempdir_end(dirfd, dir);
}

/* What is remembered grows; a name whose other one lies outside counts too. */
static void test_many(void **state)
{
	enum { N = 1000 };
	char dir[64];
	int dirfd = unit_tempdir(dir);
	int64_t bytes, inodes;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(mkdirat(dirfd, "in", 0755), 0);
	for (int i = 0; i < N; i++) {
		char from[32], to[32];

		snprintf(from, sizeof(from), "in/%d", i);
		snprintf(to, sizeof(to), i % 2 ? "in/%d-again" : "%d", i);
		write_bytes(dirfd, from, 0);
		assert_int_equal(linkat(dirfd, from, dirfd, to, 0), 0);
	}
	snprintf(dir + strlen(dir), 4, "/in");
	assert_ok(snapshot_measure(dir, &bytes, &inodes, &err), err);
	assert_int_equal(inodes, N + 1);
	dir[strlen(dir) - 3] = '\0';
	unit_tempdir_end(dirfd, dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
