/* SPDX-License-Identifier: Apache-2.0 */
#include "nar-spec.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/fs.h"

static int nar_fd(const char *spec)
{
	cleanup_buf struct buf nar = {0};
	int fd = memfd_create("nar", MFD_CLOEXEC);
	uint64_t mark;

	assert_true(fd >= 0);
	spec_build(&nar, spec, &mark);
	assert_int_equal(write_full(fd, nar.data, nar.len), 0);
	return fd;
}

#define TREE                                                                                    \
	NIX_HEAD "directory "                                                                   \
		 "entry ( name bin node ( type directory "                                      \
		 "entry ( name big node ( type regular contents %200000:b ) ) "                 \
		 "entry ( name sh node ( type symlink target bash ) ) ) ) "                     \
		 "entry ( name bin-x node ( type regular executable %empty contents xyz ) ) "   \
		 "entry ( name lib node ( type directory entry ( name a node ( type directory " \
		 "entry ( name b node ( type regular contents deep ) ) ) ) ) ) "                \
		 "entry ( name z node ( type regular contents %empty ) ) )"

static const struct {
	const char *path;
	enum node_event_type type;
	bool executable;
	uint64_t size;
	const char *text; /* contents or target */
} found[] = {
	{"", NODE_DIRECTORY, false, 0, ""},
	{"/", NODE_DIRECTORY, false, 0, ""},
	{"bin", NODE_DIRECTORY, false, 0, ""},
	{"/bin/", NODE_DIRECTORY, false, 0, ""},
	{"bin/big", NODE_REGULAR, false, 200000, NULL},
	{"bin/sh", NODE_SYMLINK, false, 0, "bash"},
	{"bin-x", NODE_REGULAR, true, 3, "xyz"},
	{"lib/a", NODE_DIRECTORY, false, 0, ""},
	{"//lib//a/b", NODE_REGULAR, false, 4, "deep"},
	{"z", NODE_REGULAR, false, 0, ""},
};

static void test_found(void **state)
{
	cleanup_fd int fd = nar_fd(TREE);

	for (size_t i = 0; i < ARRAY_LEN(found); i++) {
		struct nar_member m = {0};
		struct err err = ERR_INIT;
		char text[16] = "";

		assert_ok(nar_find(fd, found[i].path, &m, &err), err);
		assert_int_equal(m.type, found[i].type);
		assert_int_equal(m.executable, found[i].executable);
		assert_int_equal(m.size, found[i].size);
		if (m.type == NODE_SYMLINK)
			assert_string_equal(m.target, found[i].text);
		if (m.type != NODE_REGULAR || !found[i].text)
			continue;
		assert_int_equal(pread_full(fd, text, m.size, m.offset), m.size);
		assert_string_equal(text, found[i].text);
	}
}

static const struct {
	const char *path;
	int code;
} missing[] = {
	{"a", E_NOTFOUND},         {"zz", E_NOTFOUND},    {"bin/", 0},
	{"bin/a", E_NOTFOUND},     {"bin/t", E_NOTFOUND}, {"bin/big/x", E_NOTFOUND},
	{"bin/sh/x", E_NOTFOUND},  {"bi", E_NOTFOUND},    {"binn", E_NOTFOUND},
	{"bin/bash", E_NOTFOUND},  {"lib/b", E_NOTFOUND}, {"lib/a/c", E_NOTFOUND},
	{"lib/a/b/c", E_NOTFOUND}, {"z/y", E_NOTFOUND},   {"bin-x/z", E_NOTFOUND},
	{".", E_INVALID},          {"bin/..", E_INVALID}, {"../bin", E_INVALID},
	{"bin/./sh", E_INVALID},
};

static void test_missing(void **state)
{
	cleanup_fd int fd = nar_fd(TREE);

	for (size_t i = 0; i < ARRAY_LEN(missing); i++) {
		struct nar_member m = {.size = 77};
		struct err err = ERR_INIT;
		int r = nar_find(fd, missing[i].path, &m, &err);

		if (r != missing[i].code)
			fail_msg("%s: got %d (%s)", missing[i].path, r, err.text);
		if (r < 0)
			assert_int_equal(m.size, 77); /* as it was */
		assert_int_equal(err.code, r);
	}
}

static void test_root_file(void **state)
{
	cleanup_fd int fd = nar_fd(NIX_HEAD "regular contents hello )");
	cleanup_fd int link = nar_fd(NIX_HEAD "symlink target %4095:t )");
	struct err err = ERR_INIT;
	struct nar_member m;

	assert_ok(nar_find(fd, "", &m, &err), err);
	assert_int_equal(m.type, NODE_REGULAR);
	assert_int_equal(m.offset, 96);
	assert_int_equal(nar_find(fd, "a", &m, &err), E_NOTFOUND);
	assert_ok(nar_find(link, "/", &m, &err), err);
	assert_int_equal(strlen(m.target), 4095);
}

/* A member behind 4 EiB of another file is found without reading those. */
static void test_huge(void **state)
{
	cleanup_buf struct buf head = {0}, tail = {0};
	cleanup_fd int fd = memfd_create("nar", MFD_CLOEXEC);
	const uint64_t size = (uint64_t)1 << 42;
	struct err err = ERR_INIT;
	struct nar_member m;
	uint64_t mark;

	spec_build(&head,
		   NIX_HEAD
		   "directory entry ( name a node ( type regular contents %len:4398046511104",
		   &mark);
	spec_build(&tail, ") ) entry ( name b node ( type regular contents found ) ) )", &mark);
	assert_int_equal(write_full(fd, head.data, head.len), 0);
	if (pwrite(fd, tail.data, tail.len, (off_t)(head.len + size)) < 0)
		fail_msg("pwrite: %d", errno);
	assert_ok(nar_find(fd, "b", &m, &err), err);
	assert_int_equal(m.size, 5);
	assert_int_equal(m.offset, head.len + size + 2 * 16 + 7 * 16 + 2 * 16 + 8);
}

static const struct {
	const char *spec, *path;
	int code;
} bad[] = {
	{"", "", E_TRUNCATED},
	{"garbage", "", E_INVALID},
	{NIX_HEAD "regular contents %len:5", "", E_TRUNCATED},
	{NIX_HEAD "regular contents %len:9223372036854775807", "", E_TRUNCATED},
	{NIX_HEAD "regular contents %len:9223372036854775808", "", E_LIMIT},
	{NIX_HEAD "directory", "a", E_TRUNCATED},
	{NIX_HEAD "directory entry ( name a node ( type regular contents %len:9223372036854775807",
	 "b", E_TRUNCATED},
	{NIX_HEAD "directory entry ( name a node ( type regular contents %len:9223372036854770000",
	 "b", E_TRUNCATED},
	{NIX_HEAD
	 "directory entry ( name a node ( type regular contents %len:1 %raw:7800000000000001",
	 "b", E_INVALID},
	{NIX_HEAD "directory entry ( name b node ( type directory ) ) entry ( name a", "c",
	 E_INVALID},
};

static void test_bad(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		cleanup_fd int fd = nar_fd(bad[i].spec);
		struct err err = ERR_INIT;
		struct nar_member m;
		int r = nar_find(fd, bad[i].path, &m, &err);

		if (r != bad[i].code)
			fail_msg("%s: got %d (%s)", bad[i].spec, r, err.text);
	}
}

/* All events but contents, however far one must skip for them. */
static void test_scan(void **state)
{
	cleanup_fd int fd = nar_fd(TREE);
	struct record rec = RECORD_INIT;
	struct err err = ERR_INIT;

	assert_ok(nar_scan(fd, &rec.sink, &err), err);
	assert_string_equal(record_text(&rec),
			    "dir 0 <>\ndir 1 <bin>\nfile 2 <big> 200000 @368\n"
			    "end-file 2 200000\nlink 2 <sh> -> bash\nend-dir 1\n"
			    "file 1 <bin-x> x 3 @200808\nend-file 1 x 3\ndir 1 <lib>\n"
			    "dir 2 <a>\nfile 3 <b> 4 @201272\nend-file 3 4\nend-dir 2\nend-dir 1\n"
			    "file 1 <z> 0 @201528\nend-file 1 0\nend-dir 0\nend\n");
	record_release(&rec);
}

static const struct {
	const char *spec, *text;
	int code;
} bad_scans[] = {
	{NIX_HEAD "directory ) %raw:00", "trailing bytes behind the end of the NAR at offset 96",
	 E_INVALID},
	{NIX_HEAD "directory entry", "truncated NAR: it ends at offset 96, expected \"(\"",
	 E_TRUNCATED},
	{NIX_HEAD "regular contents %len:100000 %raw:00",
	 "truncated NAR: it ends at offset 97, expected contents", E_TRUNCATED},
	{NIX_HEAD "regular contents %70001:x x", "malformed NAR at offset 70104: expected \")\"",
	 E_INVALID},
};

static void test_bad_scan(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(bad_scans); i++) {
		cleanup_fd int fd = nar_fd(bad_scans[i].spec);
		struct record rec = RECORD_INIT;
		struct err err = ERR_INIT;

		assert_int_equal(nar_scan(fd, &rec.sink, &err), bad_scans[i].code);
		assert_string_equal(err.text, bad_scans[i].text);
		record_release(&rec);
	}
}

/* A listing needs no contents. */
static void test_scan_to_listing(void **state)
{
	cleanup_fd int fd = nar_fd(NIX_HEAD "regular contents %70001:x )");
	struct nar_lister *l = nar_lister_new(0);
	struct err err = ERR_INIT;

	assert_ok(nar_scan(fd, nar_lister_node_sink(l), &err), err);
	assert_true(slice_equal_str(nar_lister_json(l),
				    "{\"version\":1,\"root\":{\"type\":\"regular\",\"size\":70001,"
				    "\"narOffset\":96}}"));
	nar_lister_free(l);
}

static void test_unreadable(void **state)
{
	struct err err = ERR_INIT;
	struct nar_member m;
	int pipe_fds[2];

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(nar_find(pipe_fds[0], "a", &m, &err), E_IO);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_root_file),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_bad_scan),
		cmocka_unit_test(test_scan_to_listing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
