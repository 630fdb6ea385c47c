/* SPDX-License-Identifier: Apache-2.0 */
#include "tree-fixture.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/sinks.h"

static void assert_dump(int fd, const char *name, const char *events)
{
	struct record rec = RECORD_INIT;
	struct err err = ERR_INIT;
	int before = count_fds();

	assert_ok(tree_dump(fd, name, &rec.sink, &err), err);
	assert_string_equal(record_text(&rec), events);
	assert_int_equal(count_fds(), before);
	record_release(&rec);
}

static void assert_dump_fails(int fd, const char *name, int code, const char *text)
{
	struct record rec = RECORD_INIT;
	struct err err = ERR_INIT;
	int before = count_fds();

	assert_int_equal(tree_dump(fd, name, &rec.sink, &err), code);
	assert_string_equal(err.text, text);
	assert_int_equal(count_fds(), before);
	record_release(&rec);
}

static void test_kinds(void **state)
{
	struct dir *d = *state;
	char path[100];

	put_dir(d->fd, "t");
	put_text(d->fd, "t/file", "hello");
	put_text(d->fd, "t/empty", "");
	put_file(d->fd, "t/x-user", "1", 1, 0744);
	put_file(d->fd, "t/x-group", "2", 1, 0674); /* only the owner's bit counts */
	put_link(d->fd, "t/link", "nowhere/at/all");
	put_dir(d->fd, "t/dir");
	put_text(d->fd, "t/dir/a", "a");
	assert_dump(d->fd, "t",
		    "dir 0 <>\ndir 1 <dir>\nfile 2 <a> 1 @0\na\nend-file 2 1\nend-dir 1\n"
		    "file 1 <empty> 0 @0\nend-file 1 0\nfile 1 <file> 5 @0\nhello\nend-file 1 5\n"
		    "link 1 <link> -> nowhere/at/all\nfile 1 <x-group> 1 @0\n2\nend-file 1 1\n"
		    "file 1 <x-user> x 1 @0\n1\nend-file 1 x 1\nend-dir 0\nend\n");
	assert_dump(d->fd, "t/x-user", "file 0 <> x 1 @0\n1\nend-file 0 x 1\nend\n");
	assert_dump(d->fd, "t/link", "link 0 <> -> nowhere/at/all\nend\n");
	snprintf(path, sizeof(path), "%s/t/dir", d->path);
	assert_dump(AT_FDCWD, path, "dir 0 <>\nfile 1 <a> 1 @0\na\nend-file 1 1\nend-dir 0\nend\n");
	put_dir(d->fd, "nothing");
	assert_dump(d->fd, "nothing", "dir 0 <>\nend-dir 0\nend\n");
}

/* Bytewise order, whatever the bytes; names that differ late; many in one directory. */
static void test_order(void **state)
{
	struct dir *d = *state;

	put_dir(d->fd, "t");
	put_link(d->fd, "t/a-", "1");
	put_link(d->fd, "t/a", "2");
	put_link(d->fd, "t/B", "3");
	put_link(d->fd, "t/\xff", "4");
	put_link(d->fd, "t/\n", "5");
	put_link(d->fd, "t/longer-than-8-b", "6");
	put_link(d->fd, "t/longer-than-8-a", "7");
	put_link(d->fd, "t/longer-t", "8");
	put_link(d->fd, "t/...", "9");
	put_link(d->fd, "t/.wh.x", "10");
	assert_dump(d->fd, "t",
		    "dir 0 <>\nlink 1 <\n> -> 5\nlink 1 <...> -> 9\nlink 1 <.wh.x> -> 10\n"
		    "link 1 <B> -> 3\nlink 1 <a> -> 2\nlink 1 <a-> -> 1\nlink 1 <longer-t> -> 8\n"
		    "link 1 <longer-than-8-a> -> 7\nlink 1 <longer-than-8-b> -> 6\n"
		    "link 1 <\xff> -> 4\nend-dir 0\nend\n");
}

static void test_many_entries(void **state)
{
	enum { N = 20000 };
	struct dir *d = *state;
	cleanup_buf struct buf nar = {0};
	struct err err = ERR_INIT;
	cleanup_fd int fd = -1;

	put_dir(d->fd, "t");
	fd = openat(d->fd, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < N; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%08x", i * 2654435761U); /* no order */
		put_link(fd, name, "t");
	}
	assert_ok(dump_nar(d->fd, "t", &nar, &err), err); /* the writer checks the order */
	assert_int_equal(nar.len, 96 + N * (16UL * 3 + 16 + 16 * 3 + 16 * 2 + 16 + 32));
}

static void test_names_of_255(void **state)
{
	struct dir *d = *state;
	cleanup_buf struct buf want = BUF_INIT(1000);
	char path[300] = "t/";

	memset(path + 2, 'n', 255);
	put_dir(d->fd, "t");
	put_link(d->fd, path, "x");
	buf_addf(&want, "dir 0 <>\nlink 1 <%s> -> x\nend-dir 0\nend\n", path + 2);
	assert_dump(d->fd, "t", (const char *)want.data);
}

static void test_depth(void **state)
{
	struct dir *d = *state;
	cleanup_buf struct buf want = BUF_INIT(1000);
	cleanup_buf struct buf nar = {0};
	struct err err = ERR_INIT;

	put_deep(d->fd, "t", 63);
	assert_ok(dump_nar(d->fd, "t", &nar, &err), err);
	put_deep(d->fd, "u", 64);
	buf_add_str(&want, "u");
	for (int i = 0; i < 64; i++)
		buf_add_str(&want, "/d");
	buf_add_str(&want, " is nested too deep: a store path has at most 63 levels");
	assert_dump_fails(d->fd, "u", E_LIMIT, (const char *)want.data);
}

static void put_socket(const struct dir *d, const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", d->path, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

#define ONLY ": only files, directories and symlinks can be in a store path"

/* A fifo must not hang the dump, as a root or as an entry. */
static void test_unsupported(void **state)
{
	struct dir *d = *state;

	put_dir(d->fd, "t");
	put_text(d->fd, "t/a", "");
	assert_int_equal(mkfifoat(d->fd, "t/b", 0600), 0);
	assert_dump_fails(d->fd, "t", E_UNSUPPORTED, "t/b is a fifo" ONLY);
	assert_dump_fails(d->fd, "t/b", E_UNSUPPORTED, "t/b is a fifo" ONLY);
	put_socket(d, "s");
	assert_dump_fails(d->fd, "s", E_UNSUPPORTED, "s is a socket" ONLY);
	assert_dump_fails(AT_FDCWD, "/dev/null", E_UNSUPPORTED,
			  "/dev/null is a character device" ONLY);
	assert_dump_fails(d->fd, "missing", E_NOTFOUND, "stat missing: No such file or directory");
	assert_dump_fails(d->fd, "t/a/b", E_IO, "stat t/a/b: Not a directory");
}

/* Contents, but no size. */
static void test_proc(void **state)
{
	assert_dump_fails(AT_FDCWD, "/proc/self/status", E_CONFLICT,
			  "/proc/self/status changed while it was read");
}

/* Does something to the tree when the n-th event comes. */
struct meddler {
	struct record record;
	size_t at;
	void (*act)(int fd);
	int fd;
};

static int meddle(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct record *rec = container_of(self, struct record, sink);
	struct meddler *m = container_of(rec, struct meddler, record);

	record_event(rec, ev);
	if (++rec->events == m->at)
		m->act(m->fd);
	return 0;
}

static int truncate_at(int fd, const char *path, off_t size)
{
	cleanup_fd int file = openat(fd, path, O_WRONLY | O_CLOEXEC);

	return ftruncate(file, size);
}

static void grow(int fd)
{
	cleanup_fd int file = openat(fd, "t/b", O_WRONLY | O_APPEND | O_CLOEXEC);

	assert_int_equal(write_full(file, "more", 4), 0);
}

static void shrink(int fd)
{
	cleanup_fd int file = openat(fd, "t/b", O_WRONLY | O_CLOEXEC);

	assert_int_equal(ftruncate(file, 3), 0);
}

static void remove_b(int fd)
{
	assert_int_equal(unlinkat(fd, "t/b", 0), 0);
}

static void link_b(int fd)
{
	remove_b(fd);
	put_link(fd, "t/b", "/etc/passwd");
}

static void fifo_b(int fd)
{
	remove_b(fd);
	assert_int_equal(mkfifoat(fd, "t/b", 0600), 0);
}

static void dir_b(int fd)
{
	remove_b(fd);
	put_dir(fd, "t/b");
}

static void file_c(int fd)
{
	assert_int_equal(unlinkat(fd, "t/c", AT_REMOVEDIR), 0);
	put_text(fd, "t/c", "");
}

static void link_c(int fd)
{
	assert_int_equal(unlinkat(fd, "t/c", AT_REMOVEDIR), 0);
	put_link(fd, "t/c", "/etc");
}

static void file_d(int fd)
{
	assert_int_equal(unlinkat(fd, "t/d", 0), 0);
	put_text(fd, "t/d", "");
}

static const struct {
	const char *what;
	size_t at; /* event: 1 the root, 2 file a, 3 its end, 4 file b */
	void (*act)(int fd);
	int code;
	const char *text;
} changes[] = {
	{"grows", 4, grow, E_CONFLICT, "t/b changed while it was read"},
	{"shrinks", 4, shrink, E_CONFLICT, "t/b changed while it was read"},
	{"is removed", 2, remove_b, E_CONFLICT, "t/b changed while it was read"},
	{"becomes a symlink", 2, link_b, E_CONFLICT, "t/b changed while it was read"},
	{"becomes a fifo", 2, fifo_b, E_UNSUPPORTED, "t/b is a fifo" ONLY},
	{"becomes a directory", 2, dir_b, E_CONFLICT, "t/b changed while it was read"},
	{"directory becomes a file", 2, file_c, E_CONFLICT, "t/c changed while it was read"},
	{"directory becomes a symlink", 2, link_c, E_CONFLICT, "t/c changed while it was read"},
	{"symlink becomes a file", 2, file_d, E_CONFLICT, "t/d changed while it was read"},
};

/* Small, at the size of the buffer and around it, large. */
static const size_t sizes[] = {5, 262143, 262144, 262145, 524288, 3000000};

static void test_changes(void **state)
{
	struct dir *d = *state;

	for (size_t i = 0; i < ARRAY_LEN(changes); i++)
		for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
			struct meddler m = {.record = {.sink = {meddle}},
					    .at = changes[i].at,
					    .act = changes[i].act,
					    .fd = d->fd};
			cleanup_free char *data = xcalloc(1, sizes[k]);
			struct err err = ERR_INIT;
			int before = count_fds(), r;

			memset(data, 'b', sizes[k]);
			put_dir(d->fd, "t");
			put_text(d->fd, "t/a", "");
			put_file(d->fd, "t/b", data, sizes[k], 0644);
			put_dir(d->fd, "t/c");
			put_link(d->fd, "t/d", "x");
			r = tree_dump(d->fd, "t", &m.record.sink, &err);
			if (r != changes[i].code || strcmp(err.text, changes[i].text) != 0)
				fail_msg("%s, %zu: got %d %s", changes[i].what, sizes[k], r,
					 err.text);
			assert_int_equal(count_fds(), before);
			record_release(&m.record);
			assert_ok(tree_remove(d->fd, "t", &err), err);
		}
}

/* The same sizes unchanged, by their contents. */
static void test_sizes(void **state)
{
	struct dir *d = *state;

	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		cleanup_buf struct buf nar = {0};
		cleanup_free uint8_t *data = xmalloc(sizes[k]);
		struct err err = ERR_INIT;

		for (size_t i = 0; i < sizes[k]; i++)
			data[i] = (uint8_t)(i * 2654435761U >> 13);
		put_file(d->fd, "f", data, sizes[k], 0644);
		assert_ok(dump_nar(d->fd, "f", &nar, &err), err);
		assert_int_equal(nar.len, 96 + (sizes[k] + 7) / 8 * 8 + 16);
		assert_memory_equal(nar.data + 96, data, sizes[k]);
		assert_int_equal(unlinkat(d->fd, "f", 0), 0);
	}
}

/* Adds up what it gets, and looks whether it is zero. */
struct summer {
	struct node_sink sink;
	uint64_t bytes, ones;
};

static int sum_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct summer *s = container_of(self, struct summer, sink);

	if (ev->type != NODE_CONTENT)
		return 0;
	s->bytes += ev->data.len;
	for (size_t i = 0; i < ev->data.len; i += 4096)
		s->ones += ev->data.data[i] == 1;
	return 0;
}

/* 5 GiB with data at the start, in the middle, at the end or nowhere; holes are not read, or
 * this took long. */
static void test_sparse(void **state)
{
	static const off_t offsets[][3] = {{-1},
					   {0, -1},
					   {2LL << 30, -1},
					   {(5LL << 30) - 4096, -1},
					   {0, 1 << 20, (5LL << 30) - 4096}};
	struct dir *d = *state;
	uint8_t ones[4096];

	memset(ones, 1, sizeof(ones));
	for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
		struct summer s = {.sink = {sum_event}};
		struct err err = ERR_INIT;
		cleanup_fd int fd =
			openat(d->fd, "f", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		uint64_t n = 0;

		assert_int_equal(ftruncate(fd, 5LL << 30), 0);
		for (; n < 3 && offsets[i][n] >= 0; n++)
			assert_int_equal(pwrite(fd, ones, 4096, offsets[i][n]), 4096);
		assert_ok(tree_dump(d->fd, "f", &s.sink, &err), err);
		assert_int_equal(s.bytes, 5ULL << 30);
		assert_int_equal(s.ones, n);
	}
}

static void shrink_sparse(int fd)
{
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
}

static void grow_sparse(int fd)
{
	assert_int_equal(ftruncate(fd, 8 << 20), 0);
}

static void test_sparse_changes(void **state)
{
	struct dir *d = *state;
	void (*acts[])(int) = {shrink_sparse, grow_sparse};

	for (size_t i = 0; i < ARRAY_LEN(acts); i++)
		for (size_t at = 1; at < 4; at++) {
			cleanup_fd int fd =
				openat(d->fd, "f", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
			struct meddler m = {
				.record = {.sink = {meddle}}, .at = at, .act = acts[i], .fd = fd};
			struct err err = ERR_INIT;

			assert_int_equal(ftruncate(fd, 4 << 20), 0);
			assert_int_equal(pwrite(fd, "x", 1, 2 << 20), 1);
			assert_int_equal(tree_dump(d->fd, "f", &m.record.sink, &err), E_CONFLICT);
			record_release(&m.record);
		}
}

/* Straight to a descriptor, the bytes are the same: to a file, to one that only appends, behind other
 * bytes; and those that are hashed. */
static void test_dump_nar(void **state)
{
	static const int flags[] = {0, O_APPEND};
	struct dir *d = *state;
	cleanup_buf struct buf want = {0};
	cleanup_free uint8_t *data = xmalloc(3000000);
	struct hash hash, want_hash;
	struct err err = ERR_INIT;
	uint64_t size;

	for (size_t i = 0; i < 3000000; i++)
		data[i] = (uint8_t)(i * 2654435761U >> 13);
	put_dir(d->fd, "t");
	put_link(d->fd, "t/link", "x");
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		char name[32];

		snprintf(name, sizeof(name), "t/%zu", sizes[k]);
		put_file(d->fd, name, data, sizes[k], k % 2 ? 0755 : 0644);
	}
	put_text(d->fd, "t/sparse", "begin");
	assert_int_equal(truncate_at(d->fd, "t/sparse", 10 << 20), 0);
	assert_ok(dump_nar(d->fd, "t", &want, &err), err);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		cleanup_fd int fd =
			openat(d->fd, "out", O_RDWR | O_CREAT | O_TRUNC | flags[i], 0600);
		cleanup_buf struct buf got = {0};

		assert_int_equal(write_full(fd, "before", 6), 0);
		assert_ok(tree_dump_nar(d->fd, "t", fd, &err), err);
		assert_int_equal(lseek(fd, 6, SEEK_SET), 6);
		assert_ok(read_fd(fd, 32 << 20, &got, &err), err);
		assert_int_equal(got.len, want.len);
		assert_memory_equal(got.data, want.data, want.len);
	}
	hash_bytes(&want_hash, HASH_SHA256, want.data, want.len);
	assert_ok(tree_hash(d->fd, "t", HASH_SHA256, &hash, &size, &err), err);
	assert_true(hash_equal(&hash, &want_hash));
	assert_true(size == want.len);
	assert_int_equal(tree_hash(d->fd, "missing", HASH_SHA256, &hash, &size, &err), E_NOTFOUND);
	assert_true(hash_equal(&hash, &want_hash) && size == want.len);
}

/* A dump to a pipe in a thread of its own, stopped by the pipe being full. */
struct dumper {
	pthread_t thread;
	int fd; /* of the directory */
	int pipe_fds[2];
	int code;
	struct err err;
};

static void *run_dumper(void *arg)
{
	struct dumper *p = arg;

	p->code = tree_dump_nar(p->fd, "t/b", p->pipe_fds[1], &p->err);
	close(p->pipe_fds[1]);
	return NULL;
}

static void start_dumper(struct dumper *p)
{
	int waiting = 0;

	assert_int_equal(pipe2(p->pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&p->thread, NULL, run_dumper, p), 0);
	while (waiting < 32768) { /* some contents have come */
		assert_int_equal(ioctl(p->pipe_fds[0], FIONREAD, &waiting), 0);
		usleep(1000);
	}
}

static void drain_dumper(struct dumper *p)
{
	cleanup_buf struct buf got = {0};
	struct err err = ERR_INIT;

	assert_ok(read_fd(p->pipe_fds[0], 32 << 20, &got, &err), err);
	assert_int_equal(pthread_join(p->thread, NULL), 0);
	close(p->pipe_fds[0]);
}

static void test_dump_nar_changes(void **state)
{
	void (*acts[])(int) = {grow, shrink};
	struct dir *d = *state;
	cleanup_free char *data = xcalloc(1, 3000000);

	memset(data, 'b', 3000000);
	for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
		struct dumper p = {.fd = d->fd};
		struct err err = ERR_INIT;

		put_dir(d->fd, "t");
		put_file(d->fd, "t/b", data, 3000000, 0644);
		start_dumper(&p);
		acts[i](d->fd);
		drain_dumper(&p);
		assert_int_equal(p.code, E_CONFLICT);
		assert_string_equal(p.err.text, "t/b changed while it was read");
		assert_ok(tree_remove(d->fd, "t", &err), err);
	}
}

static void test_dump_nar_fails(void **state)
{
	struct dir *d = *state;
	cleanup_fd int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	cleanup_free char *data = xcalloc(1, 3000000);
	struct err err = ERR_INIT;

	put_file(d->fd, "f", data, 3000000, 0644);
	assert_int_equal(tree_dump_nar(d->fd, "f", full, &err), E_IO);
	assert_int_equal(err.sys_errno, ENOSPC);
	put_link(d->fd, "link", "f");
	assert_int_equal(tree_dump_nar(d->fd, "link", full, &err), E_IO);
	assert_int_equal(tree_dump_nar(d->fd, "missing", full, &err), E_NOTFOUND);
}

/* A slash at the end of the path follows nothing. */
static void test_trailing_slash(void **state)
{
	struct dir *d = *state;

	put_dir(d->fd, "t");
	put_link(d->fd, "l", "t");
	assert_dump(d->fd, "l/", "link 0 <> -> t\nend\n");
	assert_dump(d->fd, "t//", "dir 0 <>\nend-dir 0\nend\n");
}

/* The sink's failure ends it, wherever. */
static void test_sink_fails(void **state)
{
	struct dir *d = *state;

	put_dir(d->fd, "t");
	put_dir(d->fd, "t/a");
	put_text(d->fd, "t/a/b", "x");
	put_link(d->fd, "t/a/c", "x");
	for (size_t n = 1; n <= 9; n++) {
		struct record rec = RECORD_INIT;
		struct err err = ERR_INIT;
		int before = count_fds();

		rec.fail_after = n;
		assert_int_equal(tree_dump(d->fd, "t", &rec.sink, &err), E_CANCELLED);
		assert_int_equal(rec.events, n);
		assert_int_equal(count_fds(), before);
		record_release(&rec);
	}
}

/* Out of descriptors half way down. */
static void test_few_descriptors(void **state)
{
	struct dir *d = *state;
	struct rlimit old, few = {.rlim_cur = 30};
	struct err err = ERR_INIT;
	int before = count_fds(), r;

	put_deep(d->fd, "t", 60);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	{
		struct record rec = RECORD_INIT;

		r = tree_dump(d->fd, "t", &rec.sink, &err);
		record_release(&rec);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r, E_IO);
	assert_int_equal(err.sys_errno, EMFILE);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tree_test(test_kinds),
		tree_test(test_order),
		tree_test(test_many_entries),
		tree_test(test_names_of_255),
		tree_test(test_depth),
		tree_test(test_unsupported),
		tree_test(test_proc),
		tree_test(test_changes),
		tree_test(test_sizes),
		tree_test(test_sparse),
		tree_test(test_sparse_changes),
		tree_test(test_sink_fails),
		tree_test(test_few_descriptors),
		tree_test(test_dump_nar),
		tree_test(test_dump_nar_changes),
		tree_test(test_dump_nar_fails),
		tree_test(test_trailing_slash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
