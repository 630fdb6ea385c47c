/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "base/mem.h"
#include "nix/tree-path.h"

static int open_parent(int dirfd, const char *path, size_t len, struct err *err)
{
	cleanup_free char *parent = xstrndup(path, len);
	int fd = openat(dirfd, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_errno(err, "open directory %s", parent) : fd;
}

int tree_top_open(struct tree_top *ret, int dirfd, const char *path, struct err *err)
{
	struct tree_top top = {.dirfd = dirfd, .owned = -1};
	size_t end = strlen(path), start;
	struct slice name;

	while (end > 1 && path[end - 1] == '/')
		end--;
	for (start = end; start > 0 && path[start - 1] != '/'; start--)
		;
	name = slice_make(path + start, end - start);
	if (name.len == 0 || slice_equal_str(name, ".") || slice_equal_str(name, ".."))
		return err_set(err, E_INVALID,
			       "\"%s\" does not end in the name of a file or directory", path);
	if (name.len > NODE_NAME_MAX)
		return err_set(err, E_LIMIT, "the last component of %s has more than %d bytes",
			       path, NODE_NAME_MAX);
	if (start) {
		top.owned = open_parent(dirfd, path, start, err);
		if (top.owned < 0)
			return err->code;
		top.dirfd = top.owned;
	}
	memcpy(top.name, name.data, name.len);
	top.name[name.len] = '\0';
	*ret = top;
	return 0;
}

void tree_top_release(struct tree_top *t)
{
	close_fd(&t->owned);
}
