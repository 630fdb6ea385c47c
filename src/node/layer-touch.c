/* SPDX-License-Identifier: Apache-2.0 */
#include "node/layer-touch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

/* SPEC linux overlayfs.rst; the one with `user` without privileges */
static bool is_opaque(int dir)
{
	char value;

	return (fgetxattr(dir, "trusted.overlay.opaque", &value, 1) == 1 ||
		fgetxattr(dir, "user.overlay.opaque", &value, 1) == 1) &&
	       value == 'y';
}

static bool is_plain(int dir)
{
	struct stat st;

	return fstat(dir, &st) == 0 && (st.st_mode & 07777) == 0755 && st.st_uid == 0 &&
	       st.st_gid == 0 && !is_opaque(dir);
}

bool layer_touches(int fd, const struct layer_record *record)
{
	cleanup_free char *dirs = xstrdup(record->store_dir);
	char *rest = dirs + 1, *name; /* a store dir has no "." or ".." */
	cleanup_fd int dir = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct stat st;

	if (dir < 0)
		return true;
	while ((name = strsep(&rest, "/"))) {
		int next = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (next < 0)
			return errno != ENOENT; /* a whiteout, a symlink, a file */
		close_fd(&dir);
		dir = next;
		if (!is_plain(dir))
			return true;
	}
	for (size_t i = 0; i < record->len; i++)
		if (fstatat(dir, record->paths[i].base, &st, AT_SYMLINK_NOFOLLOW) == 0)
			return true;
	return false;
}
