/* SPDX-License-Identifier: Apache-2.0 */
/* The command line tools read what we write and we read what they write. A tool that is not installed is skipped. */
#include "codec-helper.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/fs.h"

struct tool {
	enum codec codec;
	const char *compress[5], *decompress[5];
};

static const struct tool tools[] = {
	{CODEC_GZIP, {"gzip", "-c"}, {"gzip", "-dc"}},
	{CODEC_ZSTD, {"zstd", "-cq"}, {"zstd", "-dcq"}},
	{CODEC_ZSTD, {"zstd", "-cq", "--long=27", "-19"}, {"zstd", "-dcq"}},
	{CODEC_ZSTD, {"zstd", "-cq", "-T2", "--check"}, {"zstd", "-dcq"}},
	{CODEC_XZ, {"xz", "-c"}, {"xz", "-dc"}},
	{CODEC_XZ, {"xz", "-c9", "--block-size=65536", "--check=sha256"}, {"xz", "-dc"}},
	{CODEC_BZIP2, {"bzip2", "-c"}, {"bzip2", "-dc"}},
	{CODEC_BROTLI, {"brotli", "-c"}, {"brotli", "-dc"}},
	{CODEC_BROTLI, {"brotli", "-c", "--lgwin=24"}, {"brotli", "-dc"}},
	{CODEC_LZ4, {"lz4", "-cq"}, {"lz4", "-dcq"}},
	{CODEC_LZ4, {"lz4", "-cq9", "-BD", "--content-size"}, {"lz4", "-dcq"}},
	{CODEC_LZIP, {"lzip", "-c"}, {"lzip", "-dc"}},
};

/* An unnamed file with this content, at its beginning. */
static int file_with(struct slice content)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, content.data, content.len), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* Runs a filter; false when it is not installed. */
static bool run_filter(const char *const *argv, struct slice in, struct buf *ret)
{
	cleanup_fd int in_fd = file_with(in), out_fd = file_with(slice_str(""));
	posix_spawn_file_actions_t actions;
	struct err err = ERR_INIT;
	int r, status;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in_fd, 0);
	posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
	r = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r == ENOENT)
		return false;
	assert_int_equal(r, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(lseek(out_fd, 0, SEEK_SET), 0);
	ret->max = TEST_BUF_MAX;
	assert_int_equal(read_fd(out_fd, TEST_BUF_MAX, ret, &err), 0);
	return true;
}

static bool check_tool(const struct tool *t, struct slice plain)
{
	cleanup_buf struct buf theirs = {0}, ours = {0}, got = {0}, back = {0};
	struct err err;

	if (!run_filter(t->compress, plain, &theirs)) {
		print_message("skipped: %s is not installed\n", t->compress[0]);
		return false;
	}
	if (decode_pieces(t->codec, buf_slice(&theirs), 5000, NULL, &got, &err) < 0)
		fail_msg("%s %s: %s", t->compress[0], t->compress[1], err.text);
	assert_true(slice_equal(buf_slice(&got), plain));
	make_member(t->codec, plain, &ours);
	assert_true(run_filter(t->decompress, buf_slice(&ours), &back));
	assert_true(slice_equal(buf_slice(&back), plain));
	/* Theirs and ours, one behind the other. */
	if (t->codec != CODEC_BROTLI) {
		assert_int_equal(buf_add(&theirs, ours.data, ours.len), 0);
		assert_int_equal(
			decode_pieces(t->codec, buf_slice(&theirs), 5000, NULL, &got, &err), 0);
		assert_int_equal(got.len, 2 * plain.len);
	}
	return true;
}

static void test_tools(void **state)
{
	cleanup_buf struct buf plain = {0};

	(void)state;
	make_payload(&plain, 900000);
	for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
		if (check_tool(&tools[i], buf_slice(&plain)))
			check_tool(&tools[i], slice_str(""));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_tools)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
