/* SPDX-License-Identifier: Apache-2.0 */
/* A cache by file://. Names come from narinfos, so they never leave the directory and no symlink
 * in it is followed. */
#include <errno.h>

#include "base/fs.h"
#include "net/cache-internal.h"

/* A relative path without empty, "." or ".." components? */
static bool is_inside(const char *name)
{
	const char *at = name;

	for (;;) {
		size_t len = strcspn(at, "/");

		if (len == 0 || (len == 1 && at[0] == '.') ||
		    (len == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		if (!at[len])
			return true;
		at += len + 1;
	}
}

static int open_regular(const struct cache *c, const char *name, struct err *err)
{
	cleanup_fd int fd = -1;
	struct stat st;

	if (!is_inside(name))
		return err_set(err, E_INVALID, "%s: the file name %s leads out of the cache",
			       c->name, name);
	/* O_NONBLOCK: a fifo must not make us wait for its writer. */
	fd = safe_openat(c->dirfd, name, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, "open %s/%s", c->name, name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, E_INVALID, "%s/%s is not a regular file", c->name, name);
	return take_fd(&fd);
}

int cache_file_get(struct cache *c, const char *name, size_t max, struct buf *ret, struct err *err)
{
	cleanup_fd int fd = open_regular(c, name, err);

	if (fd < 0)
		return fd;
	return read_fd(fd, max, ret, err) < 0 ? err_wrap(err, "%s/%s", c->name, name) : 0;
}

int cache_file_stream(struct cache *c, const char *url, struct sink *out, struct err *err)
{
	cleanup_fd int fd = -1;

	if (strstr(url, "://"))
		return err_set(err, E_UNSUPPORTED,
			       "%s: a NAR elsewhere, at %s, is not followed from a file:// cache",
			       c->name, url);
	fd = open_regular(c, url, err);
	return fd < 0 ? fd : copy_fd_to_sink(fd, url, out, err);
}

int cache_file_has(struct cache *c, const char *name, struct err *err)
{
	struct err why = ERR_INIT;
	cleanup_fd int fd = open_regular(c, name, &why);

	if (fd >= 0)
		return 1;
	if (fd == E_NOTFOUND)
		return 0;
	*err = why;
	return fd;
}

int cache_file_put(struct cache *c, const char *name, struct slice bytes, struct err *err)
{
	return write_file_at(c->dirfd, name, bytes.data, bytes.len, true, err) < 0
		       ? err_wrap(err, "%s/%s", c->name, name)
		       : 0;
}
