/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include <nacre/digest.h>
#include <nacre/encode.h>
#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/mount.h"
#include "node/rootfs.h"

enum { ID_BYTES = 8, BOOT_ID_MAX = 64 };

/* One record. */
struct record {
	char id[2 * ID_BYTES + 1];
	int mounts; /* owned; ROOT/mounts */
	int dir;    /* owned; ROOT/mounts/ID */
	char *path; /* owned; the same, absolute */
};
#define RECORD_INIT ((struct record){.mounts = -1, .dir = -1})

static void record_release(struct record *r)
{
	close_fd(&r->mounts);
	close_fd(&r->dir);
	free(r->path);
}
#define cleanup_record __attribute__((cleanup(record_release)))

/* `target` NULL: a random ID. */
static int record_name(struct record *r, const struct node_store *store, const char *target,
		       struct err *err)
{
	cleanup_free char *mounts = xasprintf("%s/mounts", node_store_root(store));
	struct hash hash;

	if (make_dirs_at(AT_FDCWD, mounts, err) < 0)
		return err->code;
	if (target)
		hash_bytes(&hash, HASH_SHA256, target, strlen(target));
	else if (getrandom(hash.bytes, ID_BYTES, 0) != ID_BYTES)
		return err_errno(err, "random number");
	hex_encode(r->id, hash.bytes, ID_BYTES);
	r->path = xasprintf("%s/%s", mounts, r->id);
	r->mounts = open(mounts, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r->mounts < 0 ? err_errno(err, "open %s", mounts) : 0;
}

static void record_remove(const struct record *r)
{
	struct err ignored = ERR_INIT;

	tree_remove(r->mounts, r->id, &ignored);
}

static bool is_mounted(const char *dir)
{
	cleanup_free char *parent = xasprintf("%s/..", dir);
	struct stat st, up;

	return stat(dir, &st) == 0 && stat(parent, &up) == 0 &&
	       (st.st_dev != up.st_dev || st.st_ino == up.st_ino);
}

/* What is left of a mount that is gone makes room. */
static int record_create(struct record *r, const char *target, struct err *err)
{
	if (mkdirat(r->mounts, r->id, 0700) < 0 && errno == EEXIST) {
		if (target && is_mounted(target))
			return err_set(err, E_EXISTS, "a view is mounted at %s already", target);
		record_remove(r);
		errno = mkdirat(r->mounts, r->id, 0700) < 0 ? errno : 0;
		if (errno)
			return err_errno(err, "create %s", r->path);
	}
	r->dir = openat(r->mounts, r->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r->dir < 0 ? err_errno(err, "open %s", r->path) : 0;
}

/* Empty where the kernel has none. */
static void boot_id(struct buf *ret)
{
	struct err ignored = ERR_INIT;

	buf_reset(ret);
	read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", BOOT_ID_MAX, ret, &ignored);
}

bool node_mount_is_stale(int dirfd, const char *id)
{
	cleanup_free char *name = xasprintf("%s/boot", id);
	cleanup_buf struct buf now = {0}, then = {0};
	struct err err = ERR_INIT;
	int r = read_file_at(dirfd, name, BOOT_ID_MAX, &then, &err);

	boot_id(&now);
	return r == E_NOTFOUND || (r >= 0 && !slice_equal(buf_slice(&now), buf_slice(&then)));
}

static int record_write(const struct record *r, const char *target, const struct hash *digest,
			struct err *err)
{
	cleanup_buf struct buf boot = {0};
	char text[DIGEST_TEXT_MAX];

	digest_format(text, digest);
	boot_id(&boot);
	if (write_file_at(r->dir, "image", text, strlen(text), true, err) < 0 ||
	    write_file_at(r->dir, "target", target, strlen(target), true, err) < 0 ||
	    write_file_at(r->dir, "boot", boot.data, boot.len, true, err) < 0)
		return err->code;
	return 0;
}

int node_mount(struct node_store *store, const struct node_image *image,
	       const struct mount_options *options, char **ret_target, struct view_mounts *ret,
	       struct err *err)
{
	struct rootfs_options rootfs = {.kind = options->kind, .read_only = options->read_only};
	cleanup_record struct record r = RECORD_INIT;
	cleanup_free char *target = options->target ? realpath(options->target, NULL) : NULL;

	if (options->target && !target)
		return err_errno(err, "%s", options->target);
	if (record_name(&r, store, target, err) < 0 || record_create(&r, target, err) < 0)
		return err->code;
	if (!target)
		target = xasprintf("%s/rootfs", r.path);
	rootfs.target = target;
	rootfs.dir = r.path;
	rootfs.dirfd = r.dir;
	if (record_write(&r, target, &image->digest, err) < 0 ||
	    rootfs_mount(store, image, &rootfs, ret, err) < 0) {
		record_remove(&r);
		return err->code;
	}
	*ret_target = take_ptr(target);
	return 0;
}

/* The ID of the record of this target where it is not the target's hash: in ROOT/mounts itself. */
static int find_record(struct record *r, const struct node_store *store, const char *target,
		       struct err *err)
{
	cleanup_free char *mounts = xasprintf("%s/mounts/", node_store_root(store));
	size_t len = strlen(mounts);

	if (record_name(r, store, target, err) < 0)
		return err->code;
	if (strncmp(target, mounts, len) == 0 && strlen(target + len) > sizeof(r->id) &&
	    strcmp(target + len + 2 * ID_BYTES, "/rootfs") == 0)
		memcpy(r->id, target + len, 2 * ID_BYTES);
	return 0;
}

int node_umount(struct node_store *store, const char *target, struct err *err)
{
	cleanup_record struct record r = RECORD_INIT;
	cleanup_free char *absolute = realpath(target, NULL);
	bool has_record;
	int result;

	if (!absolute)
		return err_errno(err, "%s", target);
	if (find_record(&r, store, absolute, err) < 0)
		return err->code;
	has_record = faccessat(r.mounts, r.id, F_OK, 0) == 0;
	result = view_umount(absolute, err);
	if (result < 0 && !(result == E_NOTFOUND && has_record))
		return result;
	record_remove(&r);
	return 0;
}
