/* SPDX-License-Identifier: Apache-2.0 */
/* Trees of so many small files that several threads make them. */
#include "tree-fixture.h"

#include <fts.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "nix/restore-pool.h"

enum { DIRS = 40, FILES = 60 };

static const struct tree_restore_options plain = {0}, canonical = {.canonical = true};

/* Directories beside and in each other, files of all sizes around that of a small one. */
static void put_source(const struct dir *d)
{
	cleanup_free uint8_t *data = xcalloc(1, RESTORE_SMALL_MAX + 1000);
	char name[200] = "src";

	memset(data, 'x', RESTORE_SMALL_MAX + 1000);
	put_dir(d->fd, name);
	for (int i = 0; i < DIRS; i++) {
		/* Every fourth stays open while others come below it. */
		snprintf(name + (i % 4 ? strcspn(name + 4, "/") + 4 : 3), 100, "/d%02d", i);
		put_dir(d->fd, name);
		for (int k = 0; k < FILES; k++) {
			char file[256];
			size_t size =
				k < 50 ? (size_t)(i * k) : RESTORE_SMALL_MAX - 5U + (size_t)k - 50;

			snprintf(file, sizeof(file), "%s/f%02d", name, k);
			put_file(d->fd, file, data, size, k % 3 ? 0644 : 0755);
		}
	}
}

static int copy(const struct dir *d, const char *to, const struct tree_restore_options *options,
		struct err *err)
{
	struct tree_writer *w = tree_writer_new(d->fd, to, options);
	int r = tree_dump(d->fd, "src", tree_writer_node_sink(w), err);

	tree_writer_free(w);
	return r;
}

static void assert_same_tree(const struct dir *d, const char *a, const char *b)
{
	struct hash x, y;
	struct err err = ERR_INIT;
	uint64_t size;

	assert_ok(tree_hash(d->fd, a, HASH_SHA256, &x, &size, &err), err);
	assert_ok(tree_hash(d->fd, b, HASH_SHA256, &y, &size, &err), err);
	assert_true(hash_equal(&x, &y));
}

/* How many nodes there are; each has a store's mode and time if `canonical`. */
static unsigned count_nodes(const struct dir *d, const char *name, bool is_canonical)
{
	cleanup_free char *path = xasprintf("%s/%s", d->path, name);
	char *const roots[] = {path, NULL};
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	unsigned n = 0;
	FTSENT *e;

	while ((e = fts_read(fts))) {
		n += e->fts_info != FTS_DP;
		if (!is_canonical)
			continue;
		assert_int_equal(e->fts_statp->st_mode & 07777 & ~0111, 0444);
		assert_int_equal(e->fts_statp->st_mtim.tv_sec, 1);
		assert_int_equal(e->fts_statp->st_mtim.tv_nsec, 0);
		if (e->fts_info == FTS_D)
			assert_int_equal(e->fts_statp->st_mode & 0777, 0555);
	}
	fts_close(fts);
	return n;
}

static void test_many(void **state)
{
	struct dir *d = *state;
	int before = count_fds();
	struct err err = ERR_INIT;

	put_source(d);
	assert_int_equal(count_nodes(d, "src", false), 1 + DIRS * (1 + FILES));
	for (int i = 0; i < 6; i++) {
		assert_ok(copy(d, "t", i % 2 ? &canonical : &plain, &err), err);
		assert_same_tree(d, "src", "t");
		assert_int_equal(count_nodes(d, "t", i % 2), 1 + DIRS * (1 + FILES));
		assert_int_equal(count_fds(), before);
		assert_ok(tree_remove(d->fd, "t", &err), err);
	}
}

/* Nobody but who restores, where there is one processor. */
static void test_alone(void **state)
{
	struct dir *d = *state;
	cpu_set_t all;
	struct err err = ERR_INIT;

	put_source(d);
	all = use_one_processor();
	assert_ok(copy(d, "t", &canonical, &err), err);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	assert_same_tree(d, "src", "t");
	assert_int_equal(count_nodes(d, "t", true), 1 + DIRS * (1 + FILES));
}

/* A file that cannot be written, whoever makes it: the first is told, by its name, and all is let go. */
static void test_failure(void **state)
{
	struct dir *d = *state;
	struct rlimit old, little = {.rlim_cur = 1500};
	int before = count_fds();

	put_source(d);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	little.rlim_max = old.rlim_max;
	for (int i = 0; i < 4; i++) {
		struct err err = ERR_INIT;
		int r;

		assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
		r = copy(d, "t", &canonical, &err);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		assert_true(r < 0);
		assert_non_null(strstr(err.text, "write t/d"));
		assert_non_null(strstr(err.text, "File too large"));
		assert_int_equal(count_fds(), before);
		err = ERR_INIT;
		assert_ok(tree_remove(d->fd, "t", &err), err);
	}
	signal(SIGXFSZ, SIG_DFL);
}

/* Ends in the middle: nothing comes into being once tree_writer_created() was asked. */
static void test_stopped(void **state)
{
	static const uint8_t text[] = "contents";
	struct dir *d = *state;
	int before = count_fds();

	for (int i = 0; i < 8; i++) {
		struct tree_writer *w = tree_writer_new(d->fd, "t", i % 2 ? &canonical : &plain);
		struct node_event ev = {.type = NODE_DIRECTORY};
		struct err err = ERR_INIT;
		unsigned n;

		assert_ok(node_sink_event(tree_writer_node_sink(w), &ev, &err), err);
		for (int k = 0; k < 300 * i; k++) {
			char name[16];

			snprintf(name, sizeof(name), "f%05d", k);
			ev = (struct node_event){.type = NODE_REGULAR,
						 .depth = 1,
						 .name = slice_str(name),
						 .size = sizeof(text)};
			assert_ok(node_sink_event(tree_writer_node_sink(w), &ev, &err), err);
			ev.type = NODE_CONTENT;
			ev.data = slice_make(text, k % 7 ? sizeof(text) : 3);
			assert_ok(node_sink_event(tree_writer_node_sink(w), &ev, &err), err);
			if (k % 7 == 0) {
				ev.data = slice_make(text + 3, sizeof(text) - 3);
				assert_ok(node_sink_event(tree_writer_node_sink(w), &ev, &err),
					  err);
			}
			ev.type = NODE_REGULAR_END;
			assert_ok(node_sink_event(tree_writer_node_sink(w), &ev, &err), err);
		}
		assert_true(tree_writer_created(w));
		n = count_nodes(d, "t", false);
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
		assert_int_equal(count_nodes(d, "t", false), n);
		assert_ok(tree_remove(d->fd, "t", &err), err);
		tree_writer_free(w);
		assert_int_equal(count_fds(), before);
		assert_int_equal(faccessat(d->fd, "t", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tree_test(test_many),
		tree_test(test_alone),
		tree_test(test_failure),
		tree_test(test_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
