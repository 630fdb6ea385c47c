/* SPDX-License-Identifier: Apache-2.0 */
/* Trees of so many small files that a second thread reads some of them ahead: the same NAR as without. */
#include "tree-fixture.h"

#include <pthread.h>

#include "base/sinks.h"
#include "nix/dump-ahead.h"

enum { SIZE_MAX_PUT = DUMP_AHEAD_SMALL + 1000 };

static void put_sized(int fd, const char *name, size_t size, bool executable)
{
	cleanup_free uint8_t *data = xmalloc(SIZE_MAX_PUT);

	memset(data, name[strlen(name) - 1], size);
	put_file(fd, name, data, size, executable ? 0755 : 0644);
}

/* `n` files and symlinks, of sizes from `size` on, below a directory that is made. */
static void put_many(int fd, const char *dir, unsigned n, size_t size, size_t step)
{
	char name[128];

	put_dir(fd, dir);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/f%03u", dir, i);
		if (i % 7 == 3)
			put_link(fd, name, "f000");
		else
			put_sized(fd, name, (size + i * step) % SIZE_MAX_PUT, i % 5 == 0);
	}
}

static void hash_of_events(int fd, const char *name, struct hash *ret)
{
	struct hash_sink hash;
	struct nar_writer *w;
	struct err err = ERR_INIT;

	hash_sink_init(&hash, HASH_SHA256, NULL);
	w = nar_writer_new(&hash.sink);
	assert_ok(tree_dump(fd, name, nar_writer_node_sink(w), &err), err);
	hash_sink_final(&hash, ret);
	nar_writer_free(w);
	hash_sink_release(&hash);
}

struct stream {
	int fd;
	struct hash hash;
};

static void *hash_stream(void *arg)
{
	struct stream *s = arg;
	uint8_t data[4096];
	struct hasher h;
	ssize_t n;

	hasher_init(&h, HASH_SHA256);
	while ((n = read(s->fd, data, sizeof(data))) > 0)
		hasher_update(&h, data, (size_t)n);
	hasher_final(&h, &s->hash);
	hasher_release(&h);
	return NULL;
}

static void hash_of_pipe(int fd, const char *name, struct hash *ret)
{
	struct err err = ERR_INIT;
	struct stream s;
	pthread_t thread;
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	s.fd = ends[0];
	assert_int_equal(pthread_create(&thread, NULL, hash_stream, &s), 0);
	assert_ok(tree_dump_nar(fd, name, ends[1], &err), err);
	close(ends[1]);
	pthread_join(thread, NULL);
	close(ends[0]);
	*ret = s.hash;
}

static void hash_of_file(const struct dir *d, const char *name, struct hash *ret)
{
	cleanup_fd int file = openat(d->fd, "nar", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stream s = {.fd = file};
	struct err err = ERR_INIT;

	assert_ok(tree_dump_nar(d->fd, name, file, &err), err);
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	hash_stream(&s);
	*ret = s.hash;
}

static void assert_same(const struct dir *d, const char *name)
{
	struct hash want, got;
	struct err err = ERR_INIT;
	int before = count_fds();
	uint64_t size;

	hash_of_events(d->fd, name, &want);
	assert_ok(tree_hash(d->fd, name, HASH_SHA256, &got, &size, &err), err);
	assert_true(hash_equal(&got, &want));
	hash_of_pipe(d->fd, name, &got);
	assert_true(hash_equal(&got, &want));
	hash_of_file(d, name, &got);
	assert_true(hash_equal(&got, &want));
	assert_int_equal(count_fds(), before);
}

static void put_trees(const struct dir *d)
{
	char name[100];

	put_dir(d->fd, "t");
	/* So many that a thread is worth it. */
	put_many(d->fd, "t/a", 3000, 0, 0);
	/* Around the lengths of runs and batches. */
	for (unsigned n = 0; n < 40; n++) {
		snprintf(name, sizeof(name), "t/n%02u", n);
		put_many(d->fd, name, n, n, 1);
	}
	for (unsigned n = 2 * DUMP_AHEAD_FILES - 2; n <= 2 * DUMP_AHEAD_FILES + 2; n++) {
		snprintf(name, sizeof(name), "t/b%03u", n);
		put_many(d->fd, name, n, 0, 1);
	}
	put_many(d->fd, "t/long", 1000, 1, 13);
	put_many(d->fd, "t/large", 300, DUMP_AHEAD_SMALL - 20, 1);
	/* Directories between files, with as many files in them. */
	put_many(d->fd, "t/mixed", 200, 5, 3);
	for (unsigned i = 0; i < 200; i += 25) {
		snprintf(name, sizeof(name), "t/mixed/f%03u-", i);
		put_many(d->fd, name, 70, i, 2);
	}
}

static void test_same(void **state)
{
	struct dir *d = *state;

	put_trees(d);
	for (int i = 0; i < 3; i++)
		assert_same(d, "t");
}

static void test_one_processor(void **state)
{
	struct dir *d = *state;
	cpu_set_t all;

	put_trees(d);
	all = use_one_processor();
	assert_same(d, "t");
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

/* What a thread could not read is told by who dumps, in order; and an end while it reads lets all go. */
static void test_failures(void **state)
{
	struct dir *d = *state;
	int before = count_fds();

	put_many(d->fd, "t", 3000, 1, 0);
	assert_int_equal(mkfifoat(d->fd, "t/f2998-", 0600), 0);
	for (int i = 0; i < 20; i++) {
		struct err err = ERR_INIT;
		struct hash hash;
		uint64_t size;

		assert_int_equal(tree_hash(d->fd, "t", HASH_SHA256, &hash, &size, &err),
				 E_UNSUPPORTED);
		assert_non_null(strstr(err.text, "t/f2998- is a fifo"));
		assert_int_equal(count_fds(), before);
		/* Files that have contents but no size. */
		err = ERR_INIT;
		assert_int_equal(
			tree_hash(AT_FDCWD, "/proc/sys/vm", HASH_SHA256, &hash, &size, &err),
			E_CONFLICT);
		assert_non_null(strstr(err.text, "changed while it was read"));
		assert_int_equal(count_fds(), before);
	}
}

/* A batch by itself: what is given, and what is left to who dumps. */
static void test_batch(void **state)
{
	static const char *const names[] = {"empty", "full",    NULL,     "more", "link",
					    "fifo",  "missing", "script", "dir"};
	struct dir *d = *state;
	struct dump_ahead *a = dump_ahead_new();
	const struct ahead_batch *got;
	struct ahead_batch *batch;

	if (!a) /* one processor */
		skip();
	put_sized(d->fd, "empty", 0, false);
	put_sized(d->fd, "full", DUMP_AHEAD_SMALL, false);
	put_sized(d->fd, "more", DUMP_AHEAD_SMALL + 1, false);
	put_sized(d->fd, "script", 7, true);
	put_link(d->fd, "link", "full");
	put_dir(d->fd, "dir");
	assert_int_equal(mkfifoat(d->fd, "fifo", 0600), 0);
	for (int i = 0; i < 4; i++) {
		batch = dump_ahead_next(a);
		batch->n = ARRAY_LEN(names);
		for (size_t k = 0; k < ARRAY_LEN(names); k++)
			batch->files[k].name = names[k];
		dump_ahead_begin(a, d->fd);
		got = dump_ahead_end(a);
		assert_ptr_equal(got, batch);
		for (size_t k = 0; k < ARRAY_LEN(names); k++)
			assert_int_equal(got->files[k].is_read, k == 0 || k == 1 || k == 7);
		assert_int_equal(got->files[0].content.len, 0);
		assert_int_equal(got->files[1].content.len, DUMP_AHEAD_SMALL);
		assert_false(got->files[1].executable);
		assert_true(got->files[7].executable);
		assert_memory_equal(got->files[7].content.data, "ttttttt", 7);
	}
	dump_ahead_free(a);
	dump_ahead_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tree_test(test_same),
		tree_test(test_one_processor),
		tree_test(test_failures),
		tree_test(test_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
