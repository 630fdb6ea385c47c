/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include "base/fs.h"
#include "base/mem.h"

static bool force_fallback; /* set by tests only */

void safe_openat_force_fallback(bool on)
{
	force_fallback = on;
}

/* Walks component by component; each is opened with O_NOFOLLOW, "." and ".." are refused. */
static int open_by_steps(int dirfd, const char *path, int flags, mode_t mode)
{
	cleanup_fd int owned = -1;
	int at = dirfd;

	for (;;) {
		const char *slash = strchrnul(path, '/');
		size_t len = (size_t)(slash - path);
		char name[256];
		int fd;

		if (len == 0 || len >= sizeof(name) || (len <= 2 && memcmp(path, "..", len) == 0)) {
			errno = len >= sizeof(name) ? ENAMETOOLONG : EXDEV;
			return -1;
		}
		memcpy(name, path, len);
		name[len] = '\0';
		if (!*slash)
			return openat(at, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
		fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -1;
		close_fd(&owned);
		owned = at = fd;
		path = slash + 1;
	}
}

int safe_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
		.mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	if (force_fallback)
		return open_by_steps(dirfd, path, flags, mode);
	do {
		fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	if (fd < 0 && (errno == ENOSYS || errno == EPERM)) /* old kernel, or a seccomp filter */
		return open_by_steps(dirfd, path, flags, mode);
	return fd;
}

int write_full(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t read_full(int fd, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (uint8_t *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t pread_full(int fd, void *data, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (uint8_t *)data + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int read_fd(int fd, size_t max, struct buf *ret, struct err *err)
{
	ret->max = max;
	for (;;) {
		uint8_t block[16384];
		ssize_t n = read_full(fd, block, sizeof(block));
		int r;

		if (n < 0)
			return err_errno(err, "read");
		if (n == 0)
			return buf_add(ret, "", 0) < 0 ? err_set(err, E_NOMEM, "out of memory") : 0;
		r = buf_add(ret, block, (size_t)n);
		if (r == E_LIMIT)
			return err_set(err, r, "more than %zu bytes", max);
		if (r < 0)
			return err_set(err, r, "out of memory");
	}
}

int read_file_at(int dirfd, const char *path, size_t max, struct buf *ret, struct err *err)
{
	cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "open %s", path);
	if (read_fd(fd, max, ret, err) < 0)
		return err_wrap(err, "%s", path);
	return 0;
}

int make_dirs_at(int dirfd, const char *path, struct err *err)
{
	cleanup_free char *copy = xstrdup(path);

	for (char *p = copy; *p;) {
		char *slash;

		p += strspn(p, "/");
		slash = strchrnul(p, '/');
		bool last = *slash == '\0';

		*slash = '\0';
		if (*p && mkdirat(dirfd, copy, 0777) < 0 && errno != EEXIST)
			return err_errno(err, "create directory %s", copy);
		if (last)
			break;
		*slash = '/';
		p = slash + 1;
	}
	return 0;
}

int open_made_dir(const char *path, struct err *err)
{
	int fd;

	if (make_dirs_at(AT_FDCWD, path, err) < 0)
		return err->code;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_errno(err, "open %s", path) : fd;
}

static int fd_sink_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct fd_sink *s = container_of(self, struct fd_sink, sink);

	return write_full(s->fd, data, len) < 0 ? err_errno(err, "write %s", s->what) : 0;
}

void fd_sink_init(struct fd_sink *s, int fd, const char *what)
{
	*s = (struct fd_sink){.sink = {.write = fd_sink_write}, .fd = fd, .what = what};
}

int copy_fd_to_sink(int fd, const char *what, struct sink *out, struct err *err)
{
	enum { BLOCK = 256 << 10 };
	cleanup_free uint8_t *block = xmalloc(BLOCK);

	for (;;) {
		ssize_t n = read(fd, block, BLOCK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "read %s", what);
		if (n == 0)
			return 0;
		if (sink_write(out, block, (size_t)n, err) < 0)
			return err->code;
	}
}
