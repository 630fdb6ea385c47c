/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/loop.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/erofs.h"
#include "node/view-internal.h"
#include "node/view-listing.h"

enum {
	LISTING_BYTES_MAX = 1 << 30,
	LISTING_NODES_MIN = 64, /* smaller trees are walked as fast as a file is read */
	FS_STRING_MAX = 255,    /* of fsconfig() */
	LOOP_TRIES = 64,
};

void view_image_release(struct view_image *image)
{
	free(image->path);
	close_fd(&image->fd);
	strv_release(&image->data_dirs);
	*image = VIEW_IMAGE_INIT;
}

static int compare_paths(const void *a, const void *b)
{
	const struct view_path *x = a, *y = b;

	return strcmp(x->path, y->path);
}

/* Absolute, without "." and "..", not the root. */
static bool path_is_plain(const char *path)
{
	if (path[0] != '/')
		return false;
	while (*path) {
		size_t len = strcspn(++path, "/");

		if (len == 0 || len > NODE_NAME_MAX || (len == 1 && path[0] == '.') ||
		    (len == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		path += len;
	}
	return true;
}

int view_sort_paths(const struct view_spec *spec, struct view_path **ret, size_t *ret_n,
		    struct err *err)
{
	cleanup_free struct view_path *paths = xcalloc(spec->n_paths + 1, sizeof(*paths));
	size_t n = 0;

	for (size_t i = 0; i < spec->n_paths; i++) {
		paths[i] = spec->paths[i];
		if (!path_is_plain(paths[i].path) || !path_is_plain(paths[i].content))
			return err_set(err, E_INVALID, "'%s' at '%s' is no place for a path",
				       paths[i].content, paths[i].path);
	}
	qsort(paths, spec->n_paths, sizeof(*paths), compare_paths);
	for (size_t i = 0; i < spec->n_paths; i++) {
		if (n == 0 || strcmp(paths[n - 1].path, paths[i].path) != 0)
			paths[n++] = paths[i];
		else if (strcmp(paths[n - 1].content, paths[i].content) != 0)
			return err_set(err, E_CONFLICT, "%s has two contents: %s and %s",
				       paths[i].path, paths[n - 1].content, paths[i].content);
	}
	*ret = take_ptr(paths);
	*ret_n = n;
	return 0;
}

static const char *base_name(const char *path)
{
	return strrchr(path, '/') + 1;
}

/* The image of these paths has this name: 64 hex digits. False: nothing is kept. */
static bool cache_key(const struct view_path *paths, size_t n, char *ret)
{
	static const char what[] = "nacre view 1";
	cleanup_hasher struct hasher hasher;
	struct hash key;

	hasher_init(&hasher, HASH_SHA256);
	hasher_update(&hasher, what, sizeof(what));
	for (size_t i = 0; i < n; i++) {
		const char *base = base_name(paths[i].content);

		if (paths[i].nar_hash.algo != HASH_SHA256)
			return false;
		hasher_update(&hasher, paths[i].path, strlen(paths[i].path) + 1);
		hasher_update(&hasher, base, strlen(base) + 1);
		hasher_update(&hasher, paths[i].nar_hash.bytes, hash_size(HASH_SHA256));
	}
	hasher_final(&hasher, &key);
	hash_format_bare(ret, &key, HASH_HEX);
	return true;
}

/* The directory of a path's content; added to the list when it is new. */
static int add_data_dir(struct strv *dirs, const char *content, struct err *err)
{
	const char *base = base_name(content);
	size_t len = (size_t)(base - content) - 1;
	size_t i;

	if (len == 0 || !*base)
		return err_set(err, E_INVALID, "%s cannot be the content of a path", content);
	for (i = 0; i < dirs->len; i++) {
		cleanup_free char *other = NULL;

		if (strlen(dirs->items[i]) == len && memcmp(dirs->items[i], content, len) == 0)
			return 0;
		other = xasprintf("%s/%s", dirs->items[i], base);
		if (faccessat(AT_FDCWD, other, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return err_set(err, E_CONFLICT, "%s and %s have the same name", other,
				       content);
	}
	strv_take(dirs, xstrndup(content, len));
	return 0;
}

static int walk_content(const struct view_path *path, struct node_sink *out, int cache,
			const char *name, struct err *err)
{
	struct listing_sink listing;
	struct err ignored = ERR_INIT;
	size_t n_nodes = 0;
	int r;

	if (!*name)
		return listing_walk(AT_FDCWD, path->content, out, &n_nodes, err);
	listing_sink_init(&listing);
	r = listing_walk(AT_FDCWD, path->content, &listing.node_sink, &n_nodes, err);
	if (r >= 0)
		r = listing_read(buf_slice(&listing.text), out, err);
	/* Not brought to the disk: one that a crash damages is made again. */
	if (r >= 0 && n_nodes >= LISTING_NODES_MIN) {
		cleanup_temp_file struct temp_file t = TEMP_FILE_INIT;

		if (temp_file_open(&t, cache, &ignored) >= 0 &&
		    write_full(t.fd, listing.text.data, listing.text.len) >= 0)
			temp_file_commit(&t, cache, name, true, false, &ignored);
	}
	buf_release(&listing.text);
	return r;
}

/* The tree of one path, from the cache or by walking. */
static int add_path(struct erofs_writer *w, const struct view_path *path, int cache,
		    struct err *err)
{
	char name[HASH_TEXT_MAX + sizeof(".list")] = "";
	cleanup_buf struct buf text = {0};
	struct err local = ERR_INIT;

	if (erofs_writer_path(w, path->path, base_name(path->content), err) < 0)
		return err->code;
	if (path->nar_hash.algo == HASH_SHA256) {
		hash_format_bare(name, &path->nar_hash, HASH_NIX32);
		memcpy(name + strlen(name), ".list", sizeof(".list"));
		if (read_file_at(cache, name, LISTING_BYTES_MAX, &text, &local) >= 0) {
			if (listing_read(buf_slice(&text), erofs_writer_node_sink(w), err) >= 0)
				return 0;
			/* Damaged before anything was sent: walk as if it were not there. */
			if (err->code != E_INVALID)
				return err->code;
			*err = ERR_INIT;
			unlinkat(cache, name, 0);
		}
	}
	return walk_content(path, erofs_writer_node_sink(w), cache, name, err);
}

static int write_image(int fd, const struct view_path *paths, size_t n, int cache, struct err *err)
{
	struct erofs_writer *w = erofs_writer_new(fd);
	uint64_t size;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++)
		r = add_path(w, &paths[i], cache, err);
	if (r >= 0)
		r = erofs_writer_finish(w, &size, err);
	erofs_writer_free(w);
	return r;
}

static int make_image(struct view_image *ret, const struct view_spec *spec,
		      const struct view_path *paths, size_t n, struct err *err)
{
	cleanup_temp_file struct temp_file t = TEMP_FILE_INIT;
	char key[HASH_TEXT_MAX + sizeof(".erofs")];
	bool keep = cache_key(paths, n, key);
	cleanup_fd int cache = open_made_dir(spec->cache, err);

	if (cache < 0)
		return cache;
	if (keep) {
		memcpy(key + strlen(key), ".erofs", sizeof(".erofs"));
		ret->path = xasprintf("%s/%s", spec->cache, key);
		if (utimensat(cache, key, NULL, 0) == 0) /* used now */
			return 0;
	}
	if (temp_file_open(&t, cache, err) < 0 || write_image(t.fd, paths, n, cache, err) < 0)
		return err->code;
	if (keep)
		return temp_file_commit(&t, cache, key, true, true, err);
	if (t.name[0])
		unlinkat(cache, t.name, 0);
	t.name[0] = '\0';
	ret->fd = take_fd(&t.fd);
	return 0;
}

int view_image_make(struct view_image *ret, const struct view_spec *spec, struct err *err)
{
	cleanup_view_image struct view_image image = VIEW_IMAGE_INIT;
	cleanup_free struct view_path *paths = NULL;
	size_t n;

	if (spec->image) {
		if (utimensat(AT_FDCWD, spec->image, NULL, 0) < 0) /* used now */
			return err_errno(err, "metadata image %s", spec->image);
		ret->path = xstrdup(spec->image);
		strv_add(&ret->data_dirs, spec->data_dir);
		return 0;
	}
	if (view_sort_paths(spec, &paths, &n, err) < 0)
		return err->code;
	for (size_t i = 0; i < n; i++)
		if (add_data_dir(&image.data_dirs, paths[i].content, err) < 0)
			return err->code;
	if (n && make_image(&image, spec, paths, n, err) < 0)
		return err_wrap(err, "metadata image");
	*ret = image;
	image = VIEW_IMAGE_INIT;
	return 0;
}

static int mount_source(const char *source, struct err *err)
{
	cleanup_fd int fs = fsopen("erofs", FSOPEN_CLOEXEC);
	int mnt;

	if (fs < 0)
		return err_set(err, E_UNSUPPORTED, "this kernel has no EROFS");
	if (fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
		if (errno == ENOTBLK)
			return err_set(err, E_UNSUPPORTED,
				       "EROFS cannot be mounted from a file here (Linux 6.12, and "
				       "a file system other than tmpfs)");
		return err_errno(err, "EROFS from %s", source);
	}
	mnt = fsmount(fs, FSMOUNT_CLOEXEC,
		      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
	return mnt < 0 ? err_errno(err, "EROFS from %s", source) : mnt;
}

/* Attaches the file to a free loop device, which frees itself when its last user is gone. */
static int attach_loop(int fd, char ret_name[32], struct err *err)
{
	struct loop_config config = {
		.fd = (uint32_t)fd,
		.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
	};
	cleanup_fd int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control < 0)
		return err_set(err, E_UNSUPPORTED, "there are no loop devices (/dev/loop-control)");
	for (int i = 0; i < LOOP_TRIES; i++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		cleanup_fd int loop = -1;

		if (number < 0)
			return err_errno(err, "a free loop device");
		snprintf(ret_name, 32, "/dev/loop%d", number);
		loop = open(ret_name, O_RDONLY | O_CLOEXEC);
		if (loop < 0)
			return err_errno(err, "open %s", ret_name);
		if (ioctl(loop, LOOP_CONFIGURE, &config) == 0)
			return take_fd(&loop);
		if (errno != EBUSY) /* else somebody else took it */
			return err_errno(err, "set up %s", ret_name);
	}
	return err_set(err, E_IO, "all loop devices are taken");
}

int view_image_mount(const struct view_image *image, enum view_kind kind, struct err *err)
{
	cleanup_fd int file = -1, loop = -1;
	char source[64];

	if (kind == VIEW_EROFS_FILE && image->path && strlen(image->path) <= FS_STRING_MAX)
		return mount_source(image->path, err);
	file = image->path ? open(image->path, O_RDONLY | O_CLOEXEC) : dup(image->fd);
	if (file < 0)
		return err_errno(err, "open %s", image->path ? image->path : "a metadata image");
	if (kind == VIEW_EROFS_FILE) {
		snprintf(source, sizeof(source), "/proc/self/fd/%d", file);
		return mount_source(source, err);
	}
	loop = attach_loop(file, source, err);
	return loop < 0 ? loop : mount_source(source, err);
}
