/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test includes: cmocka with what it needs before it, and a fresh directory a case. */
#ifndef NACRE_TESTS_UNIT_H
#define NACRE_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <nacre/err.h>

static int unit_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)ftw, (void)type;
	return remove(path);
}

/* Removes a tree that a test made. */
__attribute__((unused)) static void unit_remove_tree(const char *path)
{
	nftw(path, unit_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* A fresh directory; returns its descriptor. `path` has 64 bytes. Pair with unit_tempdir_end(). */
__attribute__((unused)) static int unit_tempdir(char *path)
{
	const char *base = getenv("TMPDIR");

	snprintf(path, 64, "%s/nacre-unit-XXXXXX", base && strlen(base) < 30 ? base : "/tmp");
	assert_non_null(mkdtemp(path));
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

__attribute__((unused)) static void unit_tempdir_end(int fd, const char *path)
{
	close(fd);
	unit_remove_tree(path);
}

/* Fails with the text of the error. */
#define assert_ok(call, err)                                                \
	do {                                                                \
		int unit_r_ = (call);                                       \
		if (unit_r_ < 0)                                            \
			fail_msg("%s: %d: %s", #call, unit_r_, (err).text); \
	} while (0)

#endif
