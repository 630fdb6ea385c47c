/* SPDX-License-Identifier: Apache-2.0 */
#include "tree-fixture.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

static bool exists(int fd, const char *path)
{
	return faccessat(fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_kinds(void **state)
{
	struct dir *d = *state;
	static const char *const names[] = {"file", "link", "dangling", "fifo",
					    "dir",  "none", "a/b/"};
	struct err err = ERR_INIT;
	int before = count_fds();

	put_dir(d->fd, "outside");
	put_text(d->fd, "outside/kept", "x");
	put_text(d->fd, "file", "x");
	put_link(d->fd, "link", "outside");
	put_link(d->fd, "dangling", "nowhere");
	assert_int_equal(mkfifoat(d->fd, "fifo", 0600), 0);
	put_dir(d->fd, "dir");
	put_dir(d->fd, "dir/sub");
	put_text(d->fd, "dir/sub/\n", "x");
	put_link(d->fd, "dir/sub/link", "../../outside");
	assert_int_equal(mkfifoat(d->fd, "dir/sub/fifo", 0), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_ok(tree_remove(d->fd, names[i], &err), err);
		assert_false(exists(d->fd, names[i]));
	}
	assert_true(exists(d->fd, "outside/kept"));
	assert_int_equal(count_fds(), before);
	assert_int_equal(err.code, 0); /* untouched */
}

static void test_refuses(void **state)
{
	static const char *const names[] = {"", ".", "..", "/", "a/.."};
	struct dir *d = *state;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct err err = ERR_INIT;

		assert_int_equal(tree_remove(d->fd, names[i], &err), E_INVALID);
	}
}

static void test_many_entries(void **state)
{
	struct dir *d = *state;
	struct err err = ERR_INIT;
	cleanup_fd int fd = -1;

	put_dir(d->fd, "t");
	fd = openat(d->fd, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 5000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "entry-%d", i);
		if (i % 10)
			put_link(fd, name, "t");
		else
			put_dir(fd, name);
	}
	assert_ok(tree_remove(d->fd, "t", &err), err);
	assert_false(exists(d->fd, "t"));
}

/* Far deeper than there are descriptors or than a path may be long. */
static void test_deep(void **state)
{
	struct dir *d = *state;
	struct err err = ERR_INIT;
	int before = count_fds();

	put_deep(d->fd, "t", 3000);
	put_text(d->fd, "t/d/.removed-0", "in the way"); /* of the names it uses */
	put_text(d->fd, "t/.removed-0", "in the way");
	put_dir(d->fd, "t/.removed-1");
	assert_ok(tree_remove(d->fd, "t", &err), err);
	assert_false(exists(d->fd, "t"));
	assert_int_equal(count_fds(), before);
}

/* Runs `child` in a process of its own, so that it may change what the process is. Returns its
 * status. */
static int in_child(int (*child)(int fd), int fd)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(child(fd));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int remove_as_nobody(int fd)
{
	struct err err = ERR_INIT;

	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return 2;
	if (tree_remove(fd, "t", &err) < 0) {
		print_error("%s\n", err.text);
		return 1;
	}
	return 0;
}

/* Store modes: nothing is writable, something not even readable. */
static void test_read_only(void **state)
{
	static const char *const paths[] = {"t/a/b/c", "t/a/b", "t/a", "t"};
	static const mode_t modes[] = {0, 0111, 0444, 0555};
	struct dir *d = *state;

	put_deep(d->fd, "t", 40); /* some of it must be moved */
	put_dir(d->fd, "t/a");
	put_dir(d->fd, "t/a/b");
	put_dir(d->fd, "t/a/b/c");
	put_text(d->fd, "t/a/b/c/file", "x");
	{
		cleanup_fd int at = openat(d->fd, "t/d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		for (int i = 0; i < 39; i++) {
			int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

			if (geteuid() == 0)
				assert_int_equal(fchown(next, 65534, 65534), 0);
			assert_int_equal(fchmod(at, 0555), 0);
			close(at);
			at = next;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		assert_int_equal(fchmodat(d->fd, paths[i], modes[i], 0), 0);
		if (geteuid() == 0)
			assert_int_equal(fchownat(d->fd, paths[i], 65534, 65534, 0), 0);
	}
	if (geteuid() == 0)
		assert_int_equal(fchownat(d->fd, "t/d", 65534, 65534, 0), 0);
	assert_int_equal(fchmod(d->fd, 0777), 0);
	assert_int_equal(in_child(remove_as_nobody, d->fd), 0);
	assert_false(exists(d->fd, "t"));
}

static int denied_as_nobody(int fd)
{
	struct err err = ERR_INIT;

	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return 2;
	return tree_remove(fd, "t", &err) == E_DENIED ? 0 : 1;
}

/* The directory above the tree is not made writable. */
static void test_parent_is_left_alone(void **state)
{
	struct dir *d = *state;
	cleanup_fd int parent = -1;
	struct stat st;

	put_dir(d->fd, "p");
	put_dir(d->fd, "p/t");
	parent = openat(d->fd, "p", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (geteuid() == 0)
		assert_int_equal(fchown(parent, 65534, 65534), 0);
	assert_int_equal(fchmod(d->fd, 0755), 0);
	assert_int_equal(fchmod(parent, 0555), 0);
	assert_int_equal(in_child(denied_as_nobody, parent), 0);
	assert_int_equal(fstat(parent, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0555);
	assert_int_equal(fchmod(parent, 0755), 0);
}

/* 0: as it should be; 77: this machine lets nobody mount. */
static int remove_around_mounts(int fd)
{
	static const char *const tops[] = {"t", "m"};
	struct err err = ERR_INIT;

	if (fchdir(fd) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("precious", "t/mnt", NULL, MS_BIND, NULL) < 0 ||
	    mount("precious", "m", NULL, MS_BIND, NULL) < 0)
		return 77;
	for (size_t i = 0; i < ARRAY_LEN(tops); i++)
		if (tree_remove(AT_FDCWD, tops[i], &err) != E_IO || !exists(fd, "precious/file"))
			return 1;
	return strstr(err.text, "mount point") ? 0 : 2;
}

/* What is mounted in the tree, even from the same file system, is another's. */
static void test_mount(void **state)
{
	struct dir *d = *state;
	int r;

	put_dir(d->fd, "precious");
	put_text(d->fd, "precious/file", "x");
	put_dir(d->fd, "t");
	put_dir(d->fd, "t/mnt");
	put_dir(d->fd, "m");
	r = in_child(remove_around_mounts, d->fd);
	if (r == 77)
		skip();
	assert_int_equal(r, 0);
	assert_true(exists(d->fd, "precious/file"));
}

/* What is in another's directory cannot be removed; all else is, also what lies too deep, and the
 * first failure is told. */
static void test_goes_on(void **state)
{
	static const char *const kept[] = {"t/m/kept", "t/dir/kept", "t/dir/sub/kept"};
	struct dir *d = *state;
	char path[64];

	if (geteuid() != 0)
		skip();
	put_deep(d->fd, "t", 100);
	put_dir(d->fd, "t/dir");
	put_dir(d->fd, "t/dir/sub");
	put_dir(d->fd, "t/m");
	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "t/dir/%d", i);
		put_text(d->fd, path, "x");
		snprintf(path, sizeof(path), "t/dir/sub/%d", i);
		put_dir(d->fd, path);
	}
	assert_int_equal(fchownat(d->fd, "t", 65534, 65534, 0), 0);
	assert_int_equal(fchownat(d->fd, "t/dir", 65534, 65534, 0), 0);
	assert_int_equal(fchownat(d->fd, "t/dir/sub", 65534, 65534, 0), 0);
	for (int at = openat(d->fd, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC), next; at >= 0;
	     at = next) {
		next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (next >= 0)
			assert_int_equal(fchown(next, 65534, 65534), 0);
		close(at);
	}
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		put_dir(d->fd, kept[i]); /* root's */
		snprintf(path, sizeof(path), "%s/file", kept[i]);
		put_text(d->fd, path, "x");
	}
	assert_int_equal(fchmod(d->fd, 0755), 0);
	assert_int_equal(in_child(denied_as_nobody, d->fd), 0);
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		snprintf(path, sizeof(path), "%s/file", kept[i]);
		assert_true(exists(d->fd, path));
	}
	assert_false(exists(d->fd, "t/d"));
	assert_false(exists(d->fd, "t/.removed-0"));
	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "t/dir/%d", i);
		assert_false(exists(d->fd, path));
		snprintf(path, sizeof(path), "t/dir/sub/%d", i);
		assert_false(exists(d->fd, path));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tree_test(test_kinds),        tree_test(test_refuses),
		tree_test(test_many_entries), tree_test(test_deep),
		tree_test(test_read_only),    tree_test(test_parent_is_left_alone),
		tree_test(test_mount),        tree_test(test_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
