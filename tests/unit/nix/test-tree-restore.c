/* SPDX-License-Identifier: Apache-2.0 */
#include "tree-fixture.h"

static const struct tree_restore_options plain = {0}, canonical = {.canonical = true},
					 durable = {.canonical = true, .durable = true};

static int restore(const char *spec, int fd, const char *name,
		   const struct tree_restore_options *options, struct err *err)
{
	cleanup_buf struct buf nar = {0};
	uint64_t mark;

	spec_build(&nar, spec, &mark);
	return restore_nar(buf_slice(&nar), nar.len, fd, name, options, err);
}

#define EVERYTHING                                                                        \
	NIX_HEAD "directory "                                                             \
		 "entry ( name %hex:0aff node ( type regular contents odd ) ) "           \
		 "entry ( name .wh.x node ( type directory ) ) "                          \
		 "entry ( name %200:b node ( type regular contents %100000:b ) ) "        \
		 "entry ( name d node ( type directory "                                  \
		 "entry ( name e node ( type regular executable %empty contents run ) ) " \
		 "entry ( name f node ( type symlink target %1000:l ) ) ) ) "             \
		 "entry ( name empty node ( type regular contents %empty ) ) "            \
		 "entry ( name up node ( type symlink target ../../.. ) ) )"

/* What was restored is dumped as it was, whatever the pieces it came in. */
static void test_identity(void **state)
{
	static const char *const specs[] = {
		EVERYTHING,
		NIX_HEAD "regular contents hello )",
		NIX_HEAD "regular executable %empty contents %empty )",
		NIX_HEAD "symlink target /etc/passwd )",
		NIX_HEAD "directory )",
		NIX_HEAD "directory %deep:63 %close:63 )",
	};
	static const size_t steps[] = {1, 7, 4096, 1 << 20};
	const struct tree_restore_options *options[] = {&plain, &canonical, &durable};
	struct dir *d = *state;

	for (size_t i = 0; i < ARRAY_LEN(specs); i++)
		for (size_t k = 0; k < ARRAY_LEN(steps) * 3; k++) {
			cleanup_buf struct buf nar = {0}, again = {0};
			struct err err = ERR_INIT;
			int before = count_fds();
			uint64_t mark;

			spec_build(&nar, specs[i], &mark);
			assert_ok(restore_nar(buf_slice(&nar), steps[k / 3], d->fd, "t",
					      options[k % 3], &err),
				  err);
			assert_ok(dump_nar(d->fd, "t", &again, &err), err);
			assert_int_equal(again.len, nar.len);
			assert_memory_equal(again.data, nar.data, nar.len);
			assert_ok(tree_remove(d->fd, "t", &err), err);
			assert_int_equal(count_fds(), before);
		}
}

static void assert_stat(int fd, const char *path, mode_t mode, bool store_time)
{
	struct stat st;

	assert_int_equal(fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_mode, mode);
	if (store_time)
		assert_true(st.st_mtim.tv_sec == 1 && st.st_mtim.tv_nsec == 0);
	else
		assert_true(st.st_mtim.tv_sec > 1000000);
}

static void test_modes(void **state)
{
	struct dir *d = *state;
	struct err err = ERR_INIT;
	mode_t old = umask(022);

	assert_ok(restore(EVERYTHING, d->fd, "t", &canonical, &err), err);
	assert_stat(d->fd, "t", S_IFDIR | 0555, true);
	assert_stat(d->fd, "t/d", S_IFDIR | 0555, true);
	assert_stat(d->fd, "t/d/e", S_IFREG | 0555, true);
	assert_stat(d->fd, "t/d/f", S_IFLNK | 0777, true);
	assert_stat(d->fd, "t/empty", S_IFREG | 0444, true);
	assert_ok(restore(EVERYTHING, d->fd, "u", &plain, &err), err);
	assert_stat(d->fd, "u", S_IFDIR | 0755, false);
	assert_stat(d->fd, "u/d/e", S_IFREG | 0755, false);
	assert_stat(d->fd, "u/d/f", S_IFLNK | 0777, false);
	assert_stat(d->fd, "u/empty", S_IFREG | 0644, false);
	/* Store modes whatever the umask; else x stays x. */
	umask(077);
	assert_ok(restore(EVERYTHING, d->fd, "v", &canonical, &err), err);
	assert_stat(d->fd, "v/d", S_IFDIR | 0555, true);
	assert_stat(d->fd, "v/d/e", S_IFREG | 0555, true);
	assert_stat(d->fd, "v/empty", S_IFREG | 0444, true);
	assert_ok(restore(EVERYTHING, d->fd, "w", &plain, &err), err);
	assert_stat(d->fd, "w/d", S_IFDIR | 0700, false);
	assert_stat(d->fd, "w/d/e", S_IFREG | 0711, false);
	assert_stat(d->fd, "w/empty", S_IFREG | 0600, false);
	umask(0177);
	assert_ok(restore(NIX_HEAD "regular executable %empty contents x )", d->fd, "x", &plain,
			  &err),
		  err);
	assert_stat(d->fd, "x", S_IFREG | 0711, false);
	umask(old);
}

/* Nothing that is there is replaced, followed or changed, whatever it is. */
static void test_exists(void **state)
{
	static const char *const specs[] = {
		NIX_HEAD "regular contents new )",
		NIX_HEAD "symlink target new )",
		NIX_HEAD "directory entry ( name a node ( type regular contents new ) ) )",
	};
	static const char *const names[] = {"file", "dir", "link", "dangling"};
	struct dir *d = *state;
	struct record before = RECORD_INIT;
	struct err err = ERR_INIT;

	put_dir(d->fd, "t");
	put_text(d->fd, "t/file", "old");
	put_dir(d->fd, "t/dir");
	put_link(d->fd, "t/link", "dir");
	put_link(d->fd, "t/dangling", "target");
	assert_ok(tree_dump(d->fd, "t", &before.sink, &err), err);
	for (size_t i = 0; i < ARRAY_LEN(specs) * ARRAY_LEN(names); i++) {
		struct record after = RECORD_INIT;
		struct err refused = ERR_INIT;
		char name[32];

		snprintf(name, sizeof(name), "t/%s", names[i / ARRAY_LEN(specs)]);
		assert_int_equal(
			restore(specs[i % ARRAY_LEN(specs)], d->fd, name, &canonical, &refused),
			E_EXISTS);
		assert_ok(tree_dump(d->fd, "t", &after.sink, &err), err);
		assert_string_equal(record_text(&before), record_text(&after));
		record_release(&after);
	}
	record_release(&before);
}

/* The caller's path: what its last component is counts. */
static void test_paths(void **state)
{
	static const struct {
		const char *path;
		int code;
	} cases[] = {
		{"a", 0},          {"a", E_EXISTS},     {"b//", 0},       {"d/c", 0},
		{"d//e/", 0},      {"link/f", 0},       {"", E_INVALID},  {".", E_INVALID},
		{"..", E_INVALID}, {"d/..", E_INVALID}, {"/", E_INVALID}, {"missing/a", E_NOTFOUND},
		{"a/x", E_IO},
	};
	struct dir *d = *state;
	char text[300];

	put_dir(d->fd, "d");
	put_link(d->fd, "link", "d");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = ERR_INIT;
		int r = restore(NIX_HEAD "regular contents x )", d->fd, cases[i].path, &plain,
				&err);

		if (r != cases[i].code)
			fail_msg("\"%s\": got %d %s", cases[i].path, r, err.text);
	}
	assert_int_equal(faccessat(d->fd, "d/f", F_OK, 0), 0);
	memset(text, 'n', sizeof(text));
	text[256] = '\0';
	{
		struct err err = ERR_INIT;

		assert_int_equal(restore(NIX_HEAD "directory )", d->fd, text, &plain, &err),
				 E_LIMIT);
	}
}

/* A malformed or truncated NAR says so, and what is there by then can be removed. */
static void test_malformed(void **state)
{
	static const struct {
		const char *spec;
		int code;
	} cases[] = {
		{NIX_HEAD "directory entry ( name .. node", E_INVALID},
		{NIX_HEAD
		 "directory entry ( name a node ( type regular contents x ) ) entry ( name a node",
		 E_INVALID},
		{NIX_HEAD "directory entry ( name a node ( type regular contents %len:100 %raw:00",
		 E_TRUNCATED},
		{NIX_HEAD "regular contents %len:9223372036854775807 %raw:00", E_TRUNCATED},
		{NIX_HEAD "directory %deep:64", E_LIMIT},
	};
	struct dir *d = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = ERR_INIT;
		int before = count_fds();

		assert_int_equal(restore(cases[i].spec, d->fd, "t", &canonical, &err),
				 cases[i].code);
		assert_int_equal(count_fds(), before);
		err = ERR_INIT;
		assert_ok(tree_remove(d->fd, "t", &err), err);
		assert_int_equal(faccessat(d->fd, "t", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	}
}

/* What may be removed after a failure: only what the writer has made. */
static void test_created(void **state)
{
	static const struct node_event events[] = {
		{.type = NODE_DIRECTORY},
		{.type = NODE_SYMLINK, .data = {(const uint8_t *)"t", 1}},
		{.type = NODE_REGULAR},
	};
	struct dir *d = *state;

	for (size_t i = 0; i < ARRAY_LEN(events); i++) {
		struct err err = ERR_INIT;

		for (int again = 0; again < 2; again++) {
			struct tree_writer *w = tree_writer_new(d->fd, "t", &plain);

			assert_false(tree_writer_created(w));
			assert_int_equal(
				node_sink_event(tree_writer_node_sink(w), &events[i], &err),
				again ? E_EXISTS : 0);
			assert_int_equal(tree_writer_created(w), !again);
			tree_writer_free(w);
		}
		err = ERR_INIT;
		assert_ok(tree_remove(d->fd, "t", &err), err);
	}
}

/* Events that no reader would give are refused before anything is made of them. */
static void test_hostile_events(void **state)
{
	static const struct node_event events[] = {
		{.type = NODE_DIRECTORY, .depth = 1, .name = {(const uint8_t *)"../evil", 7}},
		{.type = NODE_SYMLINK,
		 .depth = 1,
		 .name = {(const uint8_t *)"/evil", 5},
		 .data = {(const uint8_t *)"x", 1}},
		{.type = NODE_REGULAR, .depth = 1, .name = {(const uint8_t *)"..", 2}},
		{.type = NODE_REGULAR, .depth = 5, .name = {(const uint8_t *)"a", 1}},
		{.type = NODE_CONTENT, .data = {(const uint8_t *)"x", 1}},
	};
	struct dir *d = *state;

	for (size_t i = 0; i < ARRAY_LEN(events); i++) {
		struct tree_writer *w = tree_writer_new(d->fd, "t", &plain);
		struct node_event root = {.type = NODE_DIRECTORY};
		struct err err = ERR_INIT;

		assert_ok(node_sink_event(tree_writer_node_sink(w), &root, &err), err);
		assert_int_equal(node_sink_event(tree_writer_node_sink(w), &events[i], &err),
				 E_INVALID);
		tree_writer_free(w);
		err = ERR_INIT;
		assert_int_equal(unlinkat(d->fd, "t", AT_REMOVEDIR), 0); /* it is empty */
	}
}

/* Somebody swaps the directory for a symlink while it is filled: what follows still goes into
 * the directory. */
static void test_swapped(void **state)
{
	struct dir *d = *state;
	struct tree_writer *w = tree_writer_new(d->fd, "t", &plain);
	struct node_event root = {.type = NODE_DIRECTORY}, link = {.type = NODE_SYMLINK,
								   .depth = 1,
								   .name = slice_str("a"),
								   .data = slice_str("x")};
	struct err err = ERR_INIT;

	put_dir(d->fd, "elsewhere");
	assert_ok(node_sink_event(tree_writer_node_sink(w), &root, &err), err);
	assert_int_equal(renameat(d->fd, "t", d->fd, "moved"), 0);
	put_link(d->fd, "t", "elsewhere");
	assert_ok(node_sink_event(tree_writer_node_sink(w), &link, &err), err);
	assert_int_equal(faccessat(d->fd, "moved/a", F_OK, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(faccessat(d->fd, "elsewhere/a", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	tree_writer_free(w);
}

/* The path without openat2(). */
static void test_fallback(void **state)
{
	safe_openat_force_fallback(true);
	test_identity(state);
	test_exists(state);
	safe_openat_force_fallback(false);
}

static void put_pattern(uint8_t *data, size_t size, unsigned seed)
{
	/* Runs of zeros and of other bytes, from one byte to 300 KiB, some aligned. */
	for (size_t at = 0, n; at < size; at += n) {
		seed = seed * 1103515245 + 12345;
		n = (seed >> 8) % (1U << (seed >> 16) % 19) + 1;
		if (seed & 1 << 30)
			n = (n + 4095) & ~(size_t)4095;
		if (n > size - at)
			n = size - at;
		memset(data + at, seed & 1 << 29 ? 0 : (int)(seed >> 4 & 0xff), n);
	}
}

/* Holes do not change contents, wherever zeros and pieces begin and end. */
static void test_hole_contents(void **state)
{
	enum { SIZE = 1500001 };
	static const size_t steps[] = {1000, 4096, 65536, 65537, 262144, SIZE + 200};
	struct dir *d = *state;
	cleanup_free uint8_t *data = xmalloc(SIZE);

	for (unsigned seed = 0; seed < 60; seed++) {
		cleanup_buf struct buf nar = BUF_INIT(4 << 20), again = {0};
		struct err err = ERR_INIT;

		put_pattern(data, SIZE, seed);
		put_file(d->fd, "f", data, SIZE, 0644);
		assert_ok(dump_nar(d->fd, "f", &nar, &err), err);
		assert_ok(restore_nar(buf_slice(&nar), steps[seed % ARRAY_LEN(steps)], d->fd, "t",
				      &plain, &err),
			  err);
		assert_ok(dump_nar(d->fd, "t", &again, &err), err);
		assert_int_equal(again.len, nar.len);
		assert_memory_equal(again.data, nar.data, nar.len);
		assert_int_equal(unlinkat(d->fd, "f", 0) | unlinkat(d->fd, "t", 0), 0);
	}
}

/* 5 GiB of zeros but for a few bytes take no room. */
static void test_holes(void **state)
{
	struct dir *d = *state;
	struct tree_writer *w = tree_writer_new(d->fd, "t", &plain);
	cleanup_fd int fd = openat(d->fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct err err = ERR_INIT;
	struct stat st;
	char c = 0;

	assert_int_equal(ftruncate(fd, 5LL << 30), 0);
	assert_int_equal(pwrite(fd, "x", 1, 3LL << 30), 1);
	assert_ok(tree_dump(d->fd, "f", tree_writer_node_sink(w), &err), err);
	tree_writer_free(w);
	assert_int_equal(fstatat(d->fd, "t", &st, 0), 0);
	assert_int_equal(st.st_size, 5LL << 30);
	assert_in_range(st.st_blocks, 1, 2048); /* 1 MiB */
	close(fd);
	fd = openat(d->fd, "t", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, &c, 1, 3LL << 30), 1);
	assert_int_equal(c, 'x');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tree_test(test_identity),  tree_test(test_modes),
		tree_test(test_exists),    tree_test(test_paths),
		tree_test(test_malformed), tree_test(test_hostile_events),
		tree_test(test_created),   tree_test(test_swapped),
		tree_test(test_fallback),  tree_test(test_hole_contents),
		tree_test(test_holes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
