/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/random.h>

#include <nacre/encode.h>

#include "base/fs.h"
#include "base/mem.h"

static void random_name(char *ret, size_t size)
{
	uint8_t bytes[12];
	char text[25];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		abort(); /* cannot happen for so few bytes once the machine is up */
	hex_encode(text, bytes, sizeof(bytes));
	snprintf(ret, size, ".tmp-%s", text);
}

static int open_named(struct temp_file *t, int dirfd, struct err *err)
{
	random_name(t->name, sizeof(t->name));
	t->fd = openat(dirfd, t->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return t->fd < 0 ? err_errno(err, "create a temporary file") : 0;
}

int temp_file_open(struct temp_file *t, int dirfd, struct err *err)
{
	*t = TEMP_FILE_INIT;
	t->dirfd = dirfd;
	t->fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
	if (t->fd >= 0)
		return 0;
	/* Not every file system has O_TMPFILE. */
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL)
		return err_errno(err, "create a temporary file");
	return open_named(t, dirfd, err);
}

/* linkat() of an anonymous file, through /proc because AT_EMPTY_PATH needs a capability. */
static int link_fd(int fd, int dirfd, const char *name)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW);
}

static int give_name(struct temp_file *t, int dirfd, const char *name, bool replace)
{
	if (!t->name[0] && link_fd(t->fd, dirfd, name) == 0)
		return 0;
	if (!t->name[0]) {
		if (errno != EEXIST || !replace)
			return -1;
		/* linkat() never replaces: link under a temporary name, then rename. */
		random_name(t->name, sizeof(t->name));
		t->dirfd = dirfd;
		if (link_fd(t->fd, dirfd, t->name) < 0) {
			t->name[0] = '\0';
			return -1;
		}
	}
	if (renameat2(t->dirfd, t->name, dirfd, name, replace ? 0 : RENAME_NOREPLACE) < 0)
		return -1;
	t->name[0] = '\0';
	return 0;
}

int temp_file_commit(struct temp_file *t, int dirfd, const char *name, bool replace, bool durable,
		     struct err *err)
{
	if (durable && fsync(t->fd) < 0)
		return err_errno(err, "fsync %s", name);
	if (give_name(t, dirfd, name, replace) < 0)
		return err_errno(err, "name %s", name);
	if (durable && fsync(dirfd) < 0)
		return err_errno(err, "fsync the directory of %s", name);
	close_fd(&t->fd);
	return 0;
}

void temp_file_release(struct temp_file *t)
{
	if (t->name[0])
		unlinkat(t->dirfd, t->name, 0);
	t->name[0] = '\0';
	close_fd(&t->fd);
}

int scratch_file(struct err *err)
{
	const char *dir = getenv("TMPDIR");
	cleanup_free char *path = NULL;
	int fd;

	if (!dir || !*dir)
		dir = "/var/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) { /* not every file system has O_TMPFILE */
		path = xasprintf("%s/nacre-XXXXXX", dir);
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
	}
	return fd < 0 ? err_errno(err, "create a temporary file in %s (see TMPDIR)", dir) : fd;
}

int write_file_at(int dirfd, const char *name, const void *data, size_t len, bool replace,
		  struct err *err)
{
	cleanup_temp_file struct temp_file t = TEMP_FILE_INIT;

	if (temp_file_open(&t, dirfd, err) < 0)
		return err_wrap(err, "%s", name);
	if (write_full(t.fd, data, len) < 0)
		return err_errno(err, "write %s", name);
	return temp_file_commit(&t, dirfd, name, replace, true, err);
}
