/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removal without recursion and with few descriptors, however deep the tree: a directory that
 * lies too deep is moved up into the top directory, which is read again until it is empty. Mount
 * points are never entered: what is mounted there is not part of the tree. What cannot be removed
 * is passed over, so that all else goes.
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
	unsigned entered;             /* of these */
	struct err first;             /* failure */
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

/* The first failure is the one that is told. */
static void fail_errno(struct removal *rm, const char *what, const char *name)
{
	if (!rm->first.code)
		err_errno(&rm->first, "remove %s: %s \"%s\"", rm->path, what, name);
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

static void enter(struct removal *rm, const char *name)
{
	int fd = open_directory(rm, name);
	struct level *l;

	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0) {
		fail_errno(rm, errno == EXDEV ? "mount point" : "open directory", name);
		return;
	}
	if (!rm->levels[rm->depth])
		rm->levels[rm->depth] = xmalloc(sizeof(*l));
	l = rm->levels[rm->depth++];
	l->fd = fd;
	l->removed = false;
	l->len = l->at = 0;
	memccpy(l->name, name, 0, sizeof(l->name));
	l->name[NODE_NAME_MAX] = '\0';
}

static void moved_name(char *ret, size_t size, unsigned i)
{
	snprintf(ret, size, ".removed-%u", i);
}

/* Too deep for another descriptor: the directory goes up into the top directory. */
static void move_up(struct removal *rm, const char *name)
{
	int from = parent_fd(rm), to = rm->levels[0]->fd;

	for (;;) {
		char unused[32];

		moved_name(unused, sizeof(unused), rm->moved++);
		if (renameat2(from, name, to, unused, RENAME_NOREPLACE) == 0 || errno == ENOENT)
			break;
		if (errno == EACCES && fchmod(to, 0700) == 0 && open_up(rm) &&
		    open_up_child(rm, name) &&
		    renameat2(from, name, to, unused, RENAME_NOREPLACE) == 0)
			break;
		if (errno != EEXIST) {
			fail_errno(rm, "move", name);
			return;
		}
	}
	rm->levels[rm->depth - 1]->removed = true;
}

static void remove_entry(struct removal *rm, const char *name, unsigned type)
{
	struct level *l = rm->levels[rm->depth - 1];

	if (type != DT_DIR) {
		if (unlink_here(rm, name, 0) == 0 || errno == ENOENT) {
			l->removed = true;
			return;
		}
		if (errno != EISDIR) {
			fail_errno(rm, "unlink", name);
			return;
		}
	}
	if (rm->depth < LEVELS)
		enter(rm, name);
	else
		move_up(rm, name);
}

/* The innermost directory has no more entries to show: removes it, or reads it again where some
 * were passed over. What stays in it is tried again only if something else went. */
static void leave(struct removal *rm)
{
	struct level *l = rm->levels[rm->depth - 1];

	rm->depth--; /* its name is in the one above */
	if (unlink_here(rm, l->name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
		if (rm->depth)
			rm->levels[rm->depth - 1]->removed = true;
	} else if ((errno != ENOTEMPTY && errno != EEXIST) || !l->removed) {
		fail_errno(rm, "remove directory", l->name);
	} else if (lseek(l->fd, 0, SEEK_SET) < 0) {
		fail_errno(rm, "rewind", l->name);
	} else {
		l->removed = false;
		rm->depth++; /* back in it */
		return;
	}
	close_fd(&l->fd);
}

static void remove_next(struct removal *rm)
{
	struct level *l = rm->levels[rm->depth - 1];
	const struct dirent64 *de;

	if (l->at == l->len) {
		ssize_t n = getdents64(l->fd, l->block, sizeof(l->block));

		if (n < 0)
			fail_errno(rm, "read directory", l->name);
		l->len = n < 0 ? 0 : (size_t)n;
		l->at = 0;
		if (!l->len && rm->depth == 1 && rm->entered < rm->moved) {
			char name[32];

			/* By name: reading the top again for each would try all that stays there
			 * as often. */
			moved_name(name, sizeof(name), rm->entered++);
			remove_entry(rm, name, DT_UNKNOWN);
			return;
		}
		if (!l->len) {
			leave(rm);
			return;
		}
	}
	de = (const void *)(l->block + l->at);
	l->at += de->d_reclen;
	if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
		remove_entry(rm, de->d_name, de->d_type);
}

int tree_remove(int dirfd, const char *name, struct err *err)
{
	struct removal rm = {.path = name, .first = ERR_INIT};
	struct err top_err = ERR_INIT;
	struct stat st;
	int r = tree_top_open(&rm.top, dirfd, name, &top_err);

	if (r == E_NOTFOUND)
		return 0;
	if (r < 0) {
		*err = top_err;
		return err_wrap(err, "remove");
	}
	if (fstatat(rm.top.dirfd, rm.top.name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			fail_errno(&rm, "stat", rm.top.name);
	} else if (S_ISDIR(st.st_mode)) {
		enter(&rm, rm.top.name);
	} else if (unlinkat(rm.top.dirfd, rm.top.name, 0) < 0 && errno != ENOENT) {
		fail_errno(&rm, "unlink", rm.top.name);
	}
	while (rm.depth)
		remove_next(&rm);
	removal_release(&rm);
	if (rm.first.code)
		*err = rm.first;
	return rm.first.code;
}
