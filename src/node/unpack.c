/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/rootless.h"
#include "node/unpack.h"
#include "oci/libarchive.h"

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

enum { BLOCK = 256 << 10, PATH_LIMIT = 4096 };

struct unpacker {
	struct archive *raw;  /* owned: takes the compression off */
	struct archive *tar;  /* owned: reads what `raw` gives */
	struct hasher hasher; /* over the uncompressed bytes */
	uint8_t *block;       /* owned; borrowed by `tar` between reads */
	bool empty;           /* there is not one byte */
	int root;             /* borrowed: where to unpack */
};

/* The read callback of `tar`: the next uncompressed bytes, hashed as they pass. */
static la_ssize_t read_raw(struct archive *a, void *data, const void **ret)
{
	struct unpacker *u = data;
	la_ssize_t n = u->empty ? 0 : archive_read_data(u->raw, u->block, BLOCK);

	if (n < 0) {
		archive_set_error(a, EIO, "%s", archive_error_string(u->raw));
		return -1;
	}
	hasher_update(&u->hasher, u->block, (size_t)n);
	*ret = u->block;
	return n;
}

static int open_archives(struct unpacker *u, int blob_fd, struct err *err)
{
	struct archive_entry *entry;
	int r;

	u->raw = archive_read_new();
	u->tar = archive_read_new();
	u->block = xmalloc(BLOCK);
	hasher_init(&u->hasher, HASH_SHA256);
	archive_read_support_filter_all(u->raw);
	archive_read_support_format_raw(u->raw);
	archive_read_support_format_empty(u->raw);
	r = archive_read_open_fd(u->raw, blob_fd, BLOCK);
	if (r == ARCHIVE_OK)
		r = archive_read_next_header(u->raw, &entry);
	if (r < ARCHIVE_WARN)
		return err_set(err, E_INVALID, "layer: %s", archive_error_string(u->raw));
	u->empty = r == ARCHIVE_EOF;
	archive_read_support_format_tar(u->tar);
	archive_read_support_format_empty(u->tar);
	archive_read_set_options(u->tar, "read_concatenated_archives");
	if (archive_read_open(u->tar, u, NULL, read_raw, NULL) != ARCHIVE_OK)
		return err_set(err, E_INVALID, "layer: %s", archive_error_string(u->tar));
	return 0;
}

/* Opens `path` as if the layer's directory were the root: symlinks are followed, but stay
 * inside. */
static int open_inside(int root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

/* Creates the directories of `path` that are missing, each within the one before. */
static int open_parent(int root, const char *path, struct err *err)
{
	int fd = open_inside(root, *path ? path : ".", O_PATH | O_DIRECTORY);
	const char *slash = strrchr(path, '/');
	cleanup_fd int above = -1;

	if (fd >= 0 || errno != ENOENT || !*path)
		return fd >= 0 ? fd : err_errno(err, "%s", path);
	/* The recursion of mkdir -p, as a loop: find the nearest ancestor, then go down. */
	above = open_inside(root, ".", O_PATH | O_DIRECTORY);
	for (const char *p = path; above >= 0 && p; p = slash) {
		cleanup_free char *prefix = NULL;
		int next;

		slash = strchr(p, '/');
		prefix = xstrndup(path, slash ? (size_t)(slash - path) : strlen(path));
		slash = slash ? slash + 1 : NULL;
		next = open_inside(root, prefix, O_PATH | O_DIRECTORY);
		if (next < 0 && errno == ENOENT) {
			const char *name = strrchr(prefix, '/');

			if (mkdirat(above, name ? name + 1 : prefix, 0755) < 0 && errno != EEXIST)
				return err_errno(err, "create %s", prefix);
			next = open_inside(root, prefix, O_PATH | O_DIRECTORY);
		}
		if (next < 0)
			return err_errno(err, "%s", prefix);
		close_fd(&above);
		above = next;
	}
	return above < 0 ? err_errno(err, "%s", path) : take_fd(&above);
}

/* Brings a name of a tar into the form "a/b/c": no leading "/" or "./", no empty or "."
 * component. ".." is refused. */
static int clean_path(const char *name, char *ret, struct err *err)
{
	size_t used = 0;

	ret[0] = '\0';
	while (*name) {
		size_t len = strcspn(name, "/");

		if (len == 2 && memcmp(name, "..", 2) == 0)
			return err_set(err, E_INVALID, "the layer has a name with '..'");
		if (len && !(len == 1 && *name == '.')) {
			if (used + len + 2 > PATH_LIMIT || len > 255)
				return err_set(err, E_LIMIT,
					       "the layer has a name that is too long");
			if (used)
				ret[used++] = '/';
			memcpy(ret + used, name, len);
			used += len;
			ret[used] = '\0';
		}
		name += len;
		name += strspn(name, "/");
	}
	return 0;
}

/* Makes room for a new object: a later entry replaces an earlier one, but a directory stays. */
static int remove_old(int parent, const char *name, bool keep_directory)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -1;
	if (S_ISDIR(st.st_mode))
		return keep_directory ? 1 : unlinkat(parent, name, AT_REMOVEDIR);
	return unlinkat(parent, name, 0);
}

static int write_content(struct unpacker *u, int fd, const char *path, struct err *err)
{
	for (;;) {
		const void *data;
		size_t len;
		la_int64_t offset;
		int r = archive_read_data_block(u->tar, &data, &len, &offset);

		if (r == ARCHIVE_EOF)
			return 0;
		if (r < ARCHIVE_WARN)
			return err_set(err, E_INVALID, "%s: %s", path,
				       archive_error_string(u->tar));
		/* Sparse entries come with gaps. */
		if (lseek(fd, offset, SEEK_SET) < 0 || write_full(fd, data, len) < 0)
			return err_errno(err, "write %s", path);
	}
}

static int set_xattrs(struct archive_entry *e, int fd, const char *path, struct err *err)
{
	const char *name;
	const void *value;
	size_t len;

	archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK) {
		/* What steers overlayfs is not for a layer to say. */
		if (strncmp(name, "trusted.overlay.", 16) == 0 ||
		    strncmp(name, "user.overlay.", 13) == 0)
			continue;
		if (fsetxattr(fd, name, value, len, 0) < 0 && errno != EOPNOTSUPP)
			return err_errno(err, "%s: set %s", path, name);
	}
	return 0;
}

static int set_owner_and_times(struct archive_entry *e, int parent, const char *name, bool symlink)
{
	struct timespec times[2] = {
		{.tv_sec = archive_entry_mtime(e), .tv_nsec = archive_entry_mtime_nsec(e)},
		{.tv_sec = archive_entry_mtime(e), .tv_nsec = archive_entry_mtime_nsec(e)},
	};

	/* Without privileges an owner that has no place in the user name space is ours. */
	if (fchownat(parent, name, (uid_t)archive_entry_uid(e), (gid_t)archive_entry_gid(e),
		     AT_SYMLINK_NOFOLLOW) < 0 &&
	    !((errno == EINVAL || errno == EPERM) && rootless_is_inside()))
		return -1;
	/* After chown, which drops the set-id bits. */
	if (!symlink && fchmodat(parent, name, archive_entry_perm(e), 0) < 0)
		return -1;
	return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW);
}

static int make_regular(struct unpacker *u, struct archive_entry *e, int parent, const char *name,
			struct err *err)
{
	cleanup_fd int fd =
		openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(err, "create %s", name);
	if (write_content(u, fd, name, err) < 0 || set_xattrs(e, fd, name, err) < 0)
		return err->code;
	if (archive_entry_size(e) > 0 && ftruncate(fd, archive_entry_size(e)) < 0)
		return err_errno(err, "size of %s", name);
	return 0;
}

static int make_hardlink(struct unpacker *u, const char *target, int parent, const char *name,
			 struct err *err)
{
	char path[PATH_LIMIT];
	cleanup_fd int fd = -1;
	char proc[40];

	if (clean_path(target, path, err) < 0)
		return err->code;
	fd = open_inside(u->root, path, O_PATH | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(err, "hard link %s to %s", name, path);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, proc, parent, name, AT_SYMLINK_FOLLOW) < 0)
		return err_errno(err, "hard link %s to %s", name, path);
	return 0;
}

static int make_object(struct unpacker *u, struct archive_entry *e, int parent, const char *name,
		       struct err *err)
{
	mode_t type = archive_entry_filetype(e);
	int old = remove_old(parent, name, type == AE_IFDIR && !archive_entry_hardlink(e));
	int r = 0;

	if (old < 0)
		return err_errno(err, "replace %s", name);
	if (archive_entry_hardlink(e))
		return make_hardlink(u, archive_entry_hardlink(e), parent, name, err);
	switch (type) {
	case AE_IFREG:
		if (make_regular(u, e, parent, name, err) < 0)
			return err->code;
		break;
	case AE_IFDIR:
		r = old == 1 ? 0 : mkdirat(parent, name, 0700);
		break;
	case AE_IFLNK:
		r = symlinkat(archive_entry_symlink(e), parent, name);
		break;
	case AE_IFIFO:
	case AE_IFCHR:
	case AE_IFBLK:
		r = mknodat(parent, name, type | 0600,
			    makedev((unsigned)archive_entry_rdevmajor(e),
				    (unsigned)archive_entry_rdevminor(e)));
		break;
	default:
		return err_set(err, E_UNSUPPORTED, "%s: a kind of file that is not supported",
			       name);
	}
	if (r < 0 || set_owner_and_times(e, parent, name, type == AE_IFLNK) < 0)
		return err_errno(err, "create %s", name);
	return 0;
}

/* SPEC oci-image layer.md Whiteouts, as overlayfs wants them. */
static int make_whiteout(int parent, const char *name, struct err *err)
{
	name += strlen(WHITEOUT_PREFIX);
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_set(err, E_INVALID, "a whiteout without a name");
	if (remove_old(parent, name, false) < 0 && errno != ENOTEMPTY)
		return err_errno(err, "whiteout of %s", name);
	if (mknodat(parent, name, S_IFCHR, makedev(0, 0)) < 0 && errno != EEXIST)
		return err_errno(err, "whiteout of %s", name);
	return 0;
}

static int make_opaque(int parent, const char *path, struct err *err)
{
	cleanup_fd int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	const char *name = rootless_is_inside() ? "user.overlay.opaque" : "trusted.overlay.opaque";

	if (fd < 0 || fsetxattr(fd, name, "y", 1, 0) < 0)
		return err_errno(err, "opaque directory %s", path);
	return 0;
}

static int unpack_entry(struct unpacker *u, struct archive_entry *e, struct err *err)
{
	const char *raw = archive_entry_pathname(e);
	cleanup_fd int parent = -1;
	char path[PATH_LIMIT], *name;

	if (!raw)
		return err_set(err, E_INVALID, "the layer has a name that cannot be read");
	if (clean_path(raw, path, err) < 0)
		return err->code;
	if (!*path) /* the root itself: its owner and mode count */
		return set_owner_and_times(e, u->root, ".", false) < 0 ? err_errno(err, "/") : 0;
	name = strrchr(path, '/');
	if (name)
		*name++ = '\0';
	else
		name = path;
	parent = open_parent(u->root, name == path ? "" : path, err);
	if (parent < 0)
		return err->code;
	if (strcmp(name, WHITEOUT_OPAQUE) == 0)
		return make_opaque(parent, path, err);
	if (strncmp(name, WHITEOUT_PREFIX, strlen(WHITEOUT_PREFIX)) == 0)
		return make_whiteout(parent, name, err);
	return make_object(u, e, parent, name, err);
}

static int unpack_all(struct unpacker *u, struct err *err)
{
	for (;;) {
		struct archive_entry *e;
		int r = archive_read_next_header(u->tar, &e);

		if (r == ARCHIVE_EOF)
			return 0;
		if (r < ARCHIVE_WARN)
			return err_set(err, E_INVALID, "layer: %s", archive_error_string(u->tar));
		if (unpack_entry(u, e, err) < 0)
			return err_wrap(err, "layer");
	}
}

/* Reads what stands behind the tar's end: it belongs to the diffID. */
static int drain(struct unpacker *u, struct err *err)
{
	const void *data;
	la_ssize_t n;

	while ((n = read_raw(u->tar, u, &data)) > 0)
		;
	return n < 0 ? err_set(err, E_INVALID, "layer: %s", archive_error_string(u->raw)) : 0;
}

int layer_unpack(int blob_fd, int dirfd, struct hash *ret_diff_id, struct err *err)
{
	struct unpacker u = {.root = dirfd};
	int r = libarchive_load(err);

	if (r < 0)
		return r;
	r = open_archives(&u, blob_fd, err);
	if (r >= 0)
		r = unpack_all(&u, err);
	if (r >= 0)
		r = drain(&u, err);
	if (r >= 0)
		hasher_final(&u.hasher, ret_diff_id);
	archive_read_free(u.tar);
	archive_read_free(u.raw);
	hasher_release(&u.hasher);
	free(u.block);
	return r;
}
