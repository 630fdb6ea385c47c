/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <nacre/encode.h>
#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/view-internal.h"

enum { TARGET_MAX = 4096, TEMP_TRIES = 16 };

/* What stands at a path before something is mounted there. */
struct point {
	const char *path; /* borrowed */
	mode_t type;
	char target[TARGET_MAX]; /* of a symlink: it stands there itself */
};

static int read_point(const struct view_path *path, struct point *ret, struct err *err)
{
	struct stat st;
	ssize_t n = 0;

	if (lstat(path->content, &st) < 0)
		return err_errno(err, "%s", path->content);
	ret->path = path->path;
	ret->type = st.st_mode & S_IFMT;
	if (S_ISLNK(ret->type)) {
		n = readlink(path->content, ret->target, sizeof(ret->target) - 1);
		if (n < 0)
			return err_errno(err, "read %s", path->content);
	}
	ret->target[n] = '\0';
	return 0;
}

static int make_point(int root, const struct point *p, struct err *err)
{
	const char *slash = strrchr(p->path, '/');
	cleanup_free char *parent = xstrndup(p->path + 1, (size_t)(slash - p->path));
	cleanup_fd int dir = -1;
	int r;

	if (slash == p->path)
		dir = dup(root);
	else if (make_dirs_at(root, parent, err) < 0)
		return err->code;
	else
		dir = openat(root, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_errno(err, "open %s", parent);
	if (S_ISLNK(p->type)) {
		r = symlinkat(p->target, dir, slash + 1);
	} else if (S_ISDIR(p->type)) {
		r = mkdirat(dir, slash + 1, 0755);
	} else {
		r = openat(dir, slash + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
		if (r >= 0)
			close(r);
	}
	return r < 0 ? err_errno(err, "mount point for %s", p->path) : 0;
}

/* The directory's name: it is a function of the points alone. */
static int points_key(const struct view_path *paths, size_t n, char ret[HASH_TEXT_MAX],
		      struct err *err)
{
	cleanup_hasher struct hasher hasher;
	struct hash key;

	hasher_init(&hasher, HASH_SHA256);
	for (size_t i = 0; i < n; i++) {
		struct point p;

		if (read_point(&paths[i], &p, err) < 0)
			return err->code;
		hasher_update(&hasher, p.path, strlen(p.path) + 1);
		hasher_update(&hasher, &p.type, sizeof(p.type));
		hasher_update(&hasher, p.target, strlen(p.target) + 1);
	}
	hasher_final(&hasher, &key);
	hash_format_bare(ret, &key, HASH_HEX);
	return 0;
}

static int make_points(int cache, const char *temp, const struct view_path *paths, size_t n,
		       struct err *err)
{
	cleanup_fd int root = -1;

	if (mkdirat(cache, temp, 0755) < 0)
		return err_errno(err, "create %s", temp);
	root = openat(cache, temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_errno(err, "open %s", temp);
	for (size_t i = 0; i < n; i++) {
		struct point p;

		if (read_point(&paths[i], &p, err) < 0 || make_point(root, &p, err) < 0)
			return err->code;
	}
	return 0;
}

int view_bind_points(char **ret, const struct view_spec *spec, struct err *err)
{
	cleanup_free struct view_path *paths = NULL;
	cleanup_free char *temp = NULL, *name = NULL;
	char key[HASH_TEXT_MAX];
	struct err ignored = ERR_INIT;
	cleanup_fd int cache = -1;
	size_t n;
	int r;

	if (view_sort_paths(spec, &paths, &n, err) < 0 || points_key(paths, n, key, err) < 0)
		return err->code;
	cache = open_made_dir(spec->cache, err);
	if (cache < 0)
		return cache;
	name = xasprintf("%s.points", key);
	if (faccessat(cache, name, F_OK, 0) < 0) {
		temp = xasprintf(".points-%d-%ld", getpid(), syscall(SYS_gettid));
		r = make_points(cache, temp, paths, n, err);
		if (r >= 0 && renameat2(cache, temp, cache, name, RENAME_NOREPLACE) < 0 &&
		    errno != EEXIST)
			r = err_errno(err, "rename %s", temp);
		tree_remove(cache, temp, &ignored); /* gone already where it was renamed */
		if (r < 0)
			return r;
	}
	*ret = xasprintf("%s/%s", spec->cache, name);
	return 0;
}

static int bind_path(const struct view_path *path, int root, struct err *err)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
	};
	cleanup_fd int tree = -1, point = -1;
	struct stat st;

	tree = open_tree(AT_FDCWD, path->content,
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (tree < 0 || fstat(tree, &st) < 0)
		return err_errno(err, "%s", path->content);
	if (S_ISLNK(st.st_mode)) /* it stands there itself */
		return 0;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_errno(err, "mount %s read-only", path->content);
	/* The image's own symlinks lead nowhere. */
	point = safe_openat(root, path->path + 1, O_PATH, 0);
	if (point < 0)
		return err_errno(err, "mount point for %s", path->path);
	if (move_mount(tree, "", point, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_errno(err, "mount %s", path->path);
	return 0;
}

int view_bind_paths(const struct view_spec *spec, int root, struct err *err)
{
	cleanup_free struct view_path *paths = NULL;
	size_t n;

	if (view_sort_paths(spec, &paths, &n, err) < 0)
		return err->code;
	for (size_t i = 0; i < n; i++)
		if (bind_path(&paths[i], root, err) < 0)
			return err->code;
	return 0;
}
