/* SPDX-License-Identifier: Apache-2.0 */
/* A directory for a case, and small steps to fill it. A failure to prepare fails the case. */
#ifndef NACRE_TESTS_TREE_FIXTURE_H
#define NACRE_TESTS_TREE_FIXTURE_H

#include "nar-spec.h"

#include <errno.h>
#include <sched.h>
#include <sys/stat.h>

#include <nacre/tree.h>

#include "base/fs.h"

struct dir {
	char path[64];
	int fd;
};

static inline int dir_setup(void **state)
{
	struct dir *d = xcalloc(1, sizeof(*d));

	d->fd = unit_tempdir(d->path);
	*state = d;
	return d->fd < 0;
}

static inline int dir_teardown(void **state)
{
	struct dir *d = *state;
	struct err err = ERR_INIT;

	/* Deeper than nftw() likes; its own test would have found it wrong. */
	close(d->fd);
	if (tree_remove(AT_FDCWD, d->path, &err) < 0)
		print_error("%s\n", err.text);
	free(d);
	return err.code;
}

/* Leaves this process one processor; gives back which it had. */
static inline cpu_set_t use_one_processor(void)
{
	cpu_set_t all, one;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	return all;
}

#define tree_test(function) cmocka_unit_test_setup_teardown(function, dir_setup, dir_teardown)

static inline void put_file(int fd, const char *path, const void *data, size_t len, mode_t mode)
{
	cleanup_fd int file = openat(fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(file >= 0);
	assert_int_equal(write_full(file, data, len), 0);
	assert_int_equal(fchmod(file, mode), 0);
}

static inline void put_text(int fd, const char *path, const char *text)
{
	put_file(fd, path, text, strlen(text), 0644);
}

static inline void put_dir(int fd, const char *path)
{
	assert_int_equal(mkdirat(fd, path, 0755), 0);
}

static inline void put_link(int fd, const char *path, const char *target)
{
	assert_int_equal(symlinkat(target, fd, path), 0);
}

/* `levels` directories "d", each in the one above, below a directory `path` that is made. */
static inline void put_deep(int fd, const char *path, unsigned levels)
{
	cleanup_fd int at = -1;

	put_dir(fd, path);
	at = openat(fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (; levels; levels--) {
		int next;

		put_dir(at, "d");
		next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
}

/* The NAR of a tree. */
static inline int dump_nar(int fd, const char *name, struct buf *ret, struct err *err)
{
	struct buf_sink out;
	struct nar_writer *w;
	int r;

	ret->max = 256 << 20;
	buf_sink_init(&out, ret);
	w = nar_writer_new(&out.sink);
	r = tree_dump(fd, name, nar_writer_node_sink(w), err);
	nar_writer_free(w);
	return r;
}

static inline int restore_nar(struct slice nar, size_t step, int fd, const char *name,
			      const struct tree_restore_options *options, struct err *err)
{
	struct tree_writer *w = tree_writer_new(fd, name, options);
	struct nar_decoder d;
	int r = 0;

	nar_decoder_init(&d, tree_writer_node_sink(w));
	for (size_t n; r == 0 && nar.len; slice_advance(&nar, n)) {
		n = nar.len < step ? nar.len : step;
		r = sink_write(&d.sink, nar.data, n, err);
	}
	if (r == 0)
		r = sink_finish(&d.sink, err);
	nar_decoder_release(&d);
	tree_writer_free(w);
	return r;
}

/* Descriptors that are open: a leak shows. */
static inline int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

#endif
