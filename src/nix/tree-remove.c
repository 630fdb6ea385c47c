/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removal without recursion and with few descriptors, however deep the tree: a directory that
 * lies too deep is moved up into the top directory, which is read again until it is empty. Mount
 * points are never entered: what is mounted there is not part of the tree.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "nix/tree-path.h"

enum {
	LEVELS = 32,
	BLOCK = 8 << 10,
};

struct level {
	int fd;         /* owned */
	bool removed;   /* something was removed since its entries were read from the start */
	size_t len, at; /* in block: bytes read, bytes done */
	char name[NODE_NAME_MAX + 1]; /* in the level above */
	_Alignas(struct dirent64) uint8_t block[BLOCK];
};

struct removal {
	const char *path; /* borrowed; for messages */
	struct tree_top top;
	unsigned depth;               /* number of open directories */
	unsigned moved;               /* directories moved up so far */
	struct level *levels[LEVELS]; /* each owned; NULL before it was needed */
};

static void removal_release(struct removal *rm)
{
	while (rm->depth)
		close_fd(&rm->levels[--rm->depth]->fd);
	for (unsigned i = 0; i < LEVELS; i++)
		free(rm->levels[i]);
	tree_top_release(&rm->top);
}

static int parent_fd(const struct removal *rm)
{
	return rm->depth ? rm->levels[rm->depth - 1]->fd : rm->top.dirfd;
}

static int fail_errno(const struct removal *rm, const char *what, const char *name, struct err *err)
{
	return err_errno(err, "remove %s: %s \"%s\"", rm->path, what, name);
}

/* Like safe_openat(), and not across a mount point (EXDEV) where the kernel can tell. */
static int open_here(int dirfd, const char *name, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	int fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof(how));

	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		return safe_openat(dirfd, name, flags, 0);
	return fd;
}

/* chmod u+rwx of the directory that holds what is removed next; not of the one above the tree,
 * which is not ours. */
static bool open_up(const struct removal *rm)
{
	return rm->depth && fchmod(parent_fd(rm), 0700) == 0;
}

/* The same for a directory in it, without following a symlink and without being able to read it. */
static bool open_up_child(const struct removal *rm, const char *name)
{
	const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	cleanup_fd int fd = open_here(parent_fd(rm), name, flags);
	char path[40];

	if (fd < 0 && errno == EACCES && open_up(rm))
		fd = open_here(parent_fd(rm), name, flags);
	if (fd < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return chmod(path, 0700) == 0;
}

static int open_directory(const struct removal *rm, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	int fd = open_here(parent_fd(rm), name, flags);

	if (fd < 0 && errno == EACCES && open_up_child(rm, name))
		fd = open_here(parent_fd(rm), name, flags);
	return fd;
}

/* unlinkat(), making the directory writable where that is what is missing. */
static int unlink_here(const struct removal *rm, const char *name, int flags)
{
	int r = unlinkat(parent_fd(rm), name, flags);

	if (r < 0 && errno == EACCES && open_up(rm))
		r = unlinkat(parent_fd(rm), name, flags);
	return r;
}

static int enter(struct removal *rm, const char *name, struct err *err)
{
	int fd = open_directory(rm, name);
	struct level *l;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return fail_errno(rm, errno == EXDEV ? "mount point" : "open directory", name, err);
	if (!rm->levels[rm->depth])
		rm->levels[rm->depth] = xmalloc(sizeof(*l));
	l = rm->levels[rm->depth++];
	l->fd = fd;
	l->removed = false;
	l->len = l->at = 0;
	memccpy(l->name, name, 0, sizeof(l->name));
	l->name[NODE_NAME_MAX] = '\0';
	return 0;
}

/* Too deep for another descriptor: the directory goes up into the top directory. */
static int move_up(struct removal *rm, const char *name, struct err *err)
{
	int from = parent_fd(rm), to = rm->levels[0]->fd;

	for (;;) {
		char unused[32];

		snprintf(unused, sizeof(unused), ".removed-%u", rm->moved++);
		if (renameat2(from, name, to, unused, RENAME_NOREPLACE) == 0 || errno == ENOENT)
			break;
		if (errno == EACCES && fchmod(to, 0700) == 0 && open_up(rm) &&
		    open_up_child(rm, name) &&
		    renameat2(from, name, to, unused, RENAME_NOREPLACE) == 0)
			break;
		if (errno != EEXIST)
			return fail_errno(rm, "move", name, err);
	}
	rm->levels[rm->depth - 1]->removed = true;
	return 0;
}

static int remove_entry(struct removal *rm, const char *name, unsigned type, struct err *err)
{
	struct level *l = rm->levels[rm->depth - 1];

	if (type != DT_DIR) {
		if (unlink_here(rm, name, 0) == 0 || errno == ENOENT) {
			l->removed = true;
			return 0;
		}
		if (errno != EISDIR)
			return fail_errno(rm, "unlink", name, err);
	}
	return rm->depth < LEVELS ? enter(rm, name, err) : move_up(rm, name, err);
}

/* The innermost directory has no more entries to show: removes it, or reads it again where some
 * were passed over. */
static int leave(struct removal *rm, struct err *err)
{
	struct level *l = rm->levels[--rm->depth];

	if (unlink_here(rm, l->name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
		close_fd(&l->fd);
		if (rm->depth)
			rm->levels[rm->depth - 1]->removed = true;
		return 0;
	}
	rm->depth++; /* back in it */
	if ((errno != ENOTEMPTY && errno != EEXIST) || !l->removed)
		return fail_errno(rm, "remove directory", l->name, err);
	l->removed = false;
	return lseek(l->fd, 0, SEEK_SET) < 0 ? fail_errno(rm, "rewind", l->name, err) : 0;
}

static int remove_next(struct removal *rm, struct err *err)
{
	struct level *l = rm->levels[rm->depth - 1];
	const struct dirent64 *de;

	if (l->at == l->len) {
		ssize_t n = getdents64(l->fd, l->block, sizeof(l->block));

		if (n < 0)
			return fail_errno(rm, "read directory", l->name, err);
		l->len = (size_t)n;
		l->at = 0;
		if (n == 0)
			return leave(rm, err);
	}
	de = (const void *)(l->block + l->at);
	l->at += de->d_reclen;
	if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
		return 0;
	return remove_entry(rm, de->d_name, de->d_type, err);
}

int tree_remove(int dirfd, const char *name, struct err *err)
{
	struct removal rm = {.path = name};
	struct err top_err = ERR_INIT;
	struct stat st;
	int r = tree_top_open(&rm.top, dirfd, name, &top_err);

	if (r == E_NOTFOUND)
		return 0;
	if (r < 0) {
		*err = top_err;
		return err_wrap(err, "remove");
	}
	if (fstatat(rm.top.dirfd, rm.top.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = errno == ENOENT ? 0 : fail_errno(&rm, "stat", rm.top.name, err);
	else if (S_ISDIR(st.st_mode))
		r = enter(&rm, rm.top.name, err);
	else if (unlinkat(rm.top.dirfd, rm.top.name, 0) < 0 && errno != ENOENT)
		r = fail_errno(&rm, "unlink", rm.top.name, err);
	while (r >= 0 && rm.depth)
		r = remove_next(&rm, err);
	removal_release(&rm);
	return r;
}
