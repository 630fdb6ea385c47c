/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/fs.h"

struct dir {
	char path[64];
	int fd;
};

static int setup(void **state)
{
	struct dir *d = calloc(1, sizeof(*d));

	d->fd = unit_tempdir(d->path);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct dir *d = *state;

	unit_tempdir_end(d->fd, d->path);
	free(d);
	return 0;
}

/* Both ways of opening must refuse the same things. */
static void check_safe_openat(struct dir *d)
{
	static const char *const refused[] = {"../x",         "a/../a/f", "/etc/passwd", "link",
					      "a/out/passwd", "a/up/f",   "dirlink/f",   "",
					      "a//f",         "a/./f"};
	int fd = safe_openat(d->fd, "a/f", O_RDONLY, 0);

	assert_true(fd >= 0);
	close(fd);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		bool same = strcmp(refused[i], "a/../a/f") == 0 ||
			    strcmp(refused[i], "a//f") == 0 || strcmp(refused[i], "a/./f") == 0;

		fd = safe_openat(d->fd, refused[i], O_RDONLY, 0);
		/* The kernel resolves odd spellings that stay beneath; the fallback may refuse them. */
		if (fd >= 0 && !same)
			fail_msg("opened %s", refused[i]);
		if (fd >= 0)
			close(fd);
	}
	fd = safe_openat(d->fd, "a/new", O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(unlinkat(d->fd, "a/new", 0), 0);
}

static void test_safe_openat(void **state)
{
	struct dir *d = *state;
	struct err err = ERR_INIT;

	assert_ok(make_dirs_at(d->fd, "a/b//c/", &err), err);
	assert_ok(make_dirs_at(d->fd, "a/b", &err), err);
	assert_ok(write_file_at(d->fd, "a/f", "x", 1, false, &err), err);
	assert_int_equal(symlinkat("a/f", d->fd, "link"), 0);
	assert_int_equal(symlinkat("a", d->fd, "dirlink"), 0);
	assert_int_equal(symlinkat("/etc", d->fd, "a/out"), 0);
	assert_int_equal(symlinkat("..", d->fd, "a/up"), 0);
	check_safe_openat(d);
	safe_openat_force_fallback(true);
	check_safe_openat(d);
	safe_openat_force_fallback(false);
}

static void test_temp_file(void **state)
{
	struct dir *d = *state;
	struct err err = ERR_INIT;
	struct buf b = {0};
	struct temp_file t;

	assert_ok(temp_file_open(&t, d->fd, &err), err);
	assert_int_equal(write_full(t.fd, "one", 3), 0);
	assert_int_equal(faccessat(d->fd, "f", F_OK, 0), -1);
	assert_ok(temp_file_commit(&t, d->fd, "f", false, true, &err), err);
	temp_file_release(&t);
	/* A second one does not replace it unasked. */
	assert_int_equal(write_file_at(d->fd, "f", "two", 3, false, &err), E_EXISTS);
	assert_ok(read_file_at(d->fd, "f", 100, &b, &err), err);
	assert_string_equal((char *)b.data, "one");
	assert_ok(write_file_at(d->fd, "f", "three", 5, true, &err), err);
	buf_reset(&b);
	assert_ok(read_file_at(d->fd, "f", 5, &b, &err), err);
	assert_string_equal((char *)b.data, "three");
	buf_reset(&b);
	assert_int_equal(read_file_at(d->fd, "f", 4, &b, &err), E_LIMIT);
	buf_release(&b);
	/* What was not committed leaves nothing. */
	assert_ok(temp_file_open(&t, d->fd, &err), err);
	temp_file_release(&t);
	assert_int_equal(unlinkat(d->fd, "f", 0), 0);
	assert_int_equal(rmdir(d->path), 0);
	assert_int_equal(mkdir(d->path, 0700), 0);
}

static void test_missing(void **state)
{
	struct dir *d = *state;
	struct err err = ERR_INIT;
	struct buf b = {0};

	assert_int_equal(read_file_at(d->fd, "nothing", 10, &b, &err), E_NOTFOUND);
	assert_string_equal(err.text, "open nothing: No such file or directory");
	assert_null(b.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_safe_openat, setup, teardown),
		cmocka_unit_test_setup_teardown(test_temp_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
