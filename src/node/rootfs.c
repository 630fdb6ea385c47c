/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/rootfs.h"

/* Creates the mount point of one store path in the upper directory: a directory or a file to mount
 * over, or the symlink itself. */
static int make_mount_point(const struct node_store *store, const struct layer_path *path,
			    int store_dirfd, struct err *err)
{
	struct stat st;
	int r;

	if (node_store_stat_path(store, &path->nar_hash, &st, err) < 0)
		return err_wrap(err, "%s", path->base);
	if (S_ISLNK(st.st_mode)) {
		cleanup_free char *file = node_store_path_file(store, &path->nar_hash);
		char target[4096];
		ssize_t n = readlink(file, target, sizeof(target) - 1);

		if (n < 0)
			return err_errno(err, "read %s", file);
		target[n] = '\0';
		r = symlinkat(target, store_dirfd, path->base);
	} else if (S_ISDIR(st.st_mode)) {
		r = mkdirat(store_dirfd, path->base, 0755);
	} else {
		r = openat(store_dirfd, path->base, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
		if (r >= 0)
			close(r);
	}
	/* A path that two layers hold is one path. */
	return r < 0 && errno != EEXIST ? err_errno(err, "mount point of %s", path->base) : 0;
}

static int make_mount_points(const struct node_store *store, const struct layer_record *record,
			     int upper, struct err *err)
{
	cleanup_fd int dir = -1;

	/* A store dir is absolute and has neither "." nor ".." in it: store_dir_check() saw to
	 * that. */
	if (make_dirs_at(upper, record->store_dir + 1, err) < 0)
		return err->code;
	dir = openat(upper, record->store_dir + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_errno(err, "open %s", record->store_dir);
	for (size_t i = 0; i < record->len; i++)
		if (make_mount_point(store, &record->paths[i], dir, err) < 0)
			return err->code;
	return 0;
}

static int open_new_dir(int dirfd, const char *name, struct err *err)
{
	int fd;

	if (mkdirat(dirfd, name, 0755) < 0 && errno != EEXIST)
		return err_errno(err, "create %s", name);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_errno(err, "open %s", name) : fd;
}

/* The lower directories, uppermost first, as overlayfs counts them. */
static void lower_dirs(const struct node_store *store, const struct node_image *image,
		       const char *empty, struct strv *ret)
{
	for (size_t i = image->n_layers; i-- > 0;)
		if (!image->layers[i].is_store)
			strv_take(ret, node_store_layer_dir(store, &image->layers[i].diff_id));
	if (ret->len == 0) /* overlayfs wants one */
		strv_add(ret, empty);
}

/* The new mount API has no limit of one page for all options together. */
static int mount_overlay(const struct strv *lowers, const char *dir, struct err *err)
{
	cleanup_free char *upper = xasprintf("%s/upper", dir);
	cleanup_free char *work = xasprintf("%s/work", dir);
	cleanup_free char *target = xasprintf("%s/rootfs", dir);
	cleanup_fd int fs = fsopen("overlay", FSOPEN_CLOEXEC);
	cleanup_fd int mnt = -1;
	const char *key = "lowerdir+"; /* Linux 6.7 */
	cleanup_buf struct buf joined = {0};

	if (fs < 0)
		return err_errno(err, "overlayfs");
	for (size_t i = 0; i < lowers->len; i++) {
		if (fsconfig(fs, FSCONFIG_SET_STRING, key, lowers->items[i], 0) == 0)
			continue;
		if (i > 0 || errno != EINVAL)
			return err_errno(err, "overlay of %s", lowers->items[i]);
		key = NULL;
		break;
	}
	for (size_t i = 0; !key && i < lowers->len; i++)
		if (buf_addf(&joined, "%s%s", i ? ":" : "", lowers->items[i]) < 0)
			return err_set(err, E_LIMIT, "the image has too many layers");
	if (!key && fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", (char *)joined.data, 0) < 0)
		return err_errno(err, "overlay of %zu layers", lowers->len);
	if (fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", upper, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "workdir", work, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_errno(err,
				 "create an overlay in %s (is it on an overlay itself? try "
				 "another --root)",
				 dir);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (mnt < 0 || move_mount(mnt, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_errno(err, "mount %s", target);
	return 0;
}

int rootfs_mount(const struct node_store *store, const struct node_image *image, int dirfd,
		 const char *dir, struct err *err)
{
	cleanup_fd int upper = open_new_dir(dirfd, "upper", err);
	cleanup_fd int work = upper < 0 ? -1 : open_new_dir(dirfd, "work", err);
	cleanup_fd int rootfs = work < 0 ? -1 : open_new_dir(dirfd, "rootfs", err);
	cleanup_fd int empty = rootfs < 0 ? -1 : open_new_dir(dirfd, "empty", err);
	cleanup_free char *empty_path = xasprintf("%s/empty", dir);
	cleanup_strv struct strv lowers = {0};

	if (empty < 0)
		return err->code;
	for (size_t i = 0; i < image->n_layers; i++)
		if (image->layers[i].is_store &&
		    make_mount_points(store, &image->layers[i].record, upper, err) < 0)
			return err->code;
	lower_dirs(store, image, empty_path, &lowers);
	return mount_overlay(&lowers, dir, err);
}

void rootfs_add_path_mounts(const struct node_store *store, const struct node_image *image,
			    struct bundle *bundle)
{
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct layer_record *record = &image->layers[i].record;

		for (size_t j = 0; image->layers[i].is_store && j < record->len; j++) {
			struct err ignored = ERR_INIT;
			cleanup_free char *file = NULL, *destination = NULL;
			struct stat st;

			if (node_store_stat_path(store, &record->paths[j].nar_hash, &st, &ignored) <
				    0 ||
			    S_ISLNK(st.st_mode))
				continue; /* a symlink stands in the upper directory */
			file = node_store_path_file(store, &record->paths[j].nar_hash);
			destination = xasprintf("%s/%s", record->store_dir, record->paths[j].base);
			bundle_add_mount(bundle, file, destination, true, false);
		}
	}
}
