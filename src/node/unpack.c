/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/rootless.h"
#include "node/unpack.h"
#include "oci/libarchive.h"

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

enum { BLOCK = 256 << 10, PATH_LIMIT = 4096, NAME_LEN_MAX = 255 };

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

/* A directory that no entry speaks of. */
static int make_implied(int parent, const char *name)
{
	struct stat st;

	if (fstat(parent, &st) < 0 || (mkdirat(parent, name, 0755) < 0 && errno != EEXIST))
		return -1;
	return utimensat(parent, ".", (struct timespec[2]){st.st_atim, st.st_mtim}, 0);
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

			if (make_implied(above, name ? name + 1 : prefix) < 0)
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
			if (used + len + 2 > PATH_LIMIT || len > NAME_LEN_MAX)
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

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

/* What was in the place of a new object. */
enum old { OLD_NONE, OLD_DIRECTORY, OLD_WHITEOUT };

/* Makes room for a new object: a later entry replaces an earlier one, with all that is in it, but a
 * directory stays where another one comes. Returns an enum old or an error. */
static int remove_old(int parent, const char *name, bool keep_directory, struct err *err)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? OLD_NONE : err_errno(err, "replace %s", name);
	if (S_ISDIR(st.st_mode) && keep_directory)
		return OLD_DIRECTORY;
	if (S_ISDIR(st.st_mode))
		return tree_remove(parent, name, err) < 0 ? err_wrap(err, "replace %s", name)
							  : OLD_NONE;
	if (unlinkat(parent, name, 0) < 0)
		return err_errno(err, "replace %s", name);
	return is_whiteout(&st) ? OLD_WHITEOUT : OLD_NONE;
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

/* Of any kind of file: there is no call for a name in a directory that does not open it. */
static int set_xattrs(struct archive_entry *e, int parent, const char *name, struct err *err)
{
	mode_t type = archive_entry_filetype(e);
	char proc[32 + NAME_LEN_MAX];
	const char *attr;
	const void *value;
	size_t len;

	if (archive_entry_xattr_reset(e) == 0)
		return 0;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", parent, name);
	while (archive_entry_xattr_next(e, &attr, &value, &len) == ARCHIVE_OK) {
		/* What steers overlayfs is not for a layer to say. */
		if (strncmp(attr, "trusted.overlay.", 16) == 0 ||
		    strncmp(attr, "user.overlay.", 13) == 0)
			continue;
		if (lsetxattr(proc, attr, value, len, 0) == 0 || errno == EOPNOTSUPP)
			continue;
		/* Symlinks and devices have no "user." ones; some are not for who is without privileges. */
		if (errno == EPERM &&
		    ((type != AE_IFREG && type != AE_IFDIR) || rootless_is_inside()))
			continue;
		return err_errno(err, "%s: set %s", name, attr);
	}
	return 0;
}

/* Attributes after the owner: chown takes away what a file is capable of, and the set-id bits. */
static int set_attributes(struct archive_entry *e, int parent, const char *name, struct err *err)
{
	struct timespec times[2] = {
		{.tv_sec = archive_entry_mtime(e), .tv_nsec = archive_entry_mtime_nsec(e)},
		{.tv_sec = archive_entry_mtime(e), .tv_nsec = archive_entry_mtime_nsec(e)},
	};

	/* Without privileges an owner that has no place in the user name space is ours. */
	if (fchownat(parent, name, (uid_t)archive_entry_uid(e), (gid_t)archive_entry_gid(e),
		     AT_SYMLINK_NOFOLLOW) < 0 &&
	    !((errno == EINVAL || errno == EPERM) && rootless_is_inside()))
		return err_errno(err, "owner of %s", name);
	if (set_xattrs(e, parent, name, err) < 0)
		return err->code;
	if (archive_entry_filetype(e) != AE_IFLNK &&
	    fchmodat(parent, name, archive_entry_perm(e), 0) < 0)
		return err_errno(err, "mode of %s", name);
	if (utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, "time of %s", name);
	return 0;
}

static int make_regular(struct unpacker *u, struct archive_entry *e, int parent, const char *name,
			struct err *err)
{
	cleanup_fd int fd =
		openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(err, "create %s", name);
	if (write_content(u, fd, name, err) < 0)
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

static int make_opaque(int dir, struct err *err)
{
	const char *name = rootless_is_inside() ? "user.overlay.opaque" : "trusted.overlay.opaque";
	cleanup_fd int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsetxattr(fd, name, "y", 1, 0) < 0)
		return err_errno(err, "opaque directory");
	return 0;
}

static int make_opaque_at(int parent, const char *name, struct err *err)
{
	cleanup_fd int dir = safe_openat(parent, name, O_PATH | O_DIRECTORY, 0);

	return dir < 0 ? err_errno(err, "open %s", name) : make_opaque(dir, err);
}

static int make_directory(int parent, const char *name, enum old old, struct err *err)
{
	if (old == OLD_DIRECTORY)
		return 0;
	if (mkdirat(parent, name, 0700) < 0)
		return err_errno(err, "create %s", name);
	/* The whiteout hid what is below, and goes on doing so. */
	return old == OLD_WHITEOUT ? make_opaque_at(parent, name, err) : 0;
}

/* Devices that every container may use. Another one would be the host's own, for whoever comes by: runtimes without a
 * control group to say it in let a container open whatever lies in its root. */
static bool is_harmless(mode_t type, unsigned major, unsigned minor)
{
	return type == AE_IFCHR && ((major == 1 && (minor == 3 || minor == 5 || minor == 7 ||
						    minor == 8 || minor == 9)) ||
				    (major == 5 && (minor == 0 || minor == 2)));
}

/* 1: it is left out. A container has the devices that it needs from its runtime; without privileges none can be
 * made, as under podman. */
static int make_device(struct archive_entry *e, int parent, const char *name, struct err *err)
{
	mode_t type = archive_entry_filetype(e);
	unsigned major = (unsigned)archive_entry_rdevmajor(e),
		 minor = (unsigned)archive_entry_rdevminor(e);

	if (!is_harmless(type, major, minor))
		return 1;
	if (mknodat(parent, name, type | 0600, makedev(major, minor)) == 0)
		return 0;
	return errno == EPERM && rootless_is_inside() ? 1 : err_errno(err, "create %s", name);
}

static int make_special(struct archive_entry *e, int parent, const char *name, struct err *err)
{
	mode_t type = archive_entry_filetype(e);
	int r = type == AE_IFLNK ? symlinkat(archive_entry_symlink(e), parent, name)
				 : mknodat(parent, name, type | 0600, 0);

	return r < 0 ? err_errno(err, "create %s", name) : 0;
}

static int make_object(struct unpacker *u, struct archive_entry *e, int parent, const char *name,
		       struct err *err)
{
	mode_t type = archive_entry_filetype(e);
	int r = remove_old(parent, name, type == AE_IFDIR && !archive_entry_hardlink(e), err);

	if (r < 0)
		return r;
	if (archive_entry_hardlink(e))
		return make_hardlink(u, archive_entry_hardlink(e), parent, name, err);
	switch (type) {
	case AE_IFREG:
		r = make_regular(u, e, parent, name, err);
		break;
	case AE_IFDIR:
		r = make_directory(parent, name, (enum old)r, err);
		break;
	case AE_IFLNK:
	case AE_IFIFO:
		r = make_special(e, parent, name, err);
		break;
	case AE_IFCHR:
	case AE_IFBLK:
		r = make_device(e, parent, name, err);
		break;
	default:
		return err_set(err, E_UNSUPPORTED, "%s: a kind of file that is not supported",
			       name);
	}
	return r != 0 ? r : set_attributes(e, parent, name, err);
}

/* SPEC oci-image layer.md Whiteouts, as overlayfs wants them. They hide what is in lower layers, and nothing of
 * this one: of a directory that is here its contents below, of anything else nothing more than it does
 * itself. */
static int make_whiteout(int parent, const char *name, struct err *err)
{
	struct stat st;

	name += strlen(WHITEOUT_PREFIX);
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_set(err, E_INVALID, "a whiteout without a name");
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISDIR(st.st_mode) ? make_opaque_at(parent, name, err) : 0;
	if (errno != ENOENT || mknodat(parent, name, S_IFCHR, makedev(0, 0)) < 0)
		return err_errno(err, "whiteout of %s", name);
	return 0;
}

/* An entry in a directory leaves the directory's own time as it is, whatever came first. */
static int unpack_into(struct unpacker *u, struct archive_entry *e, int parent, const char *name,
		       struct err *err)
{
	struct stat st;
	int r;

	if (fstat(parent, &st) < 0)
		return err_errno(err, "directory of %s", name);
	if (strcmp(name, WHITEOUT_OPAQUE) == 0)
		r = make_opaque(parent, err);
	else if (strncmp(name, WHITEOUT_PREFIX, strlen(WHITEOUT_PREFIX)) == 0)
		r = make_whiteout(parent, name, err);
	else
		r = make_object(u, e, parent, name, err);
	if (r >= 0 && utimensat(parent, ".", (struct timespec[2]){st.st_atim, st.st_mtim}, 0) < 0)
		return err_errno(err, "time of the directory of %s", name);
	return r;
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
		return set_attributes(e, u->root, ".", err);
	name = strrchr(path, '/');
	if (name)
		*name++ = '\0';
	else
		name = path;
	parent = open_parent(u->root, name == path ? "" : path, err);
	if (parent < 0)
		return err->code;
	return unpack_into(u, e, parent, name, err);
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
