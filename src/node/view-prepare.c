/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/statfs.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/view-internal.h"

#ifndef EROFS_SUPER_MAGIC_V1
#define EROFS_SUPER_MAGIC_V1 0xE0F5E1E2
#endif

enum { MOUNTINFO_MAX = 64 << 20, FIELDS = 5 };

static bool is_erofs(const char *dir)
{
	struct statfs st;

	return statfs(dir, &st) == 0 && st.f_type == EROFS_SUPER_MAGIC_V1;
}

static int mount_image_at(const struct view_image *image, enum view_kind kind, const char *dir,
			  struct err *err)
{
	cleanup_fd int mnt = view_image_mount(image, kind, err);

	if (mnt < 0)
		return mnt;
	return move_mount(mnt, "", AT_FDCWD, dir, MOVE_MOUNT_F_EMPTY_PATH) < 0
		       ? err_errno(err, "mount %s", dir)
		       : 0;
}

/* From a file, else on a loop device. */
static int prepare_image(const struct view_image *image, const struct view_spec *spec,
			 const char *dir, struct view_mounts *mounts, struct err *err)
{
	struct err why = ERR_INIT;

	mounts->kind = spec->kind == VIEW_AUTO ? VIEW_EROFS_FILE : spec->kind;
	if (is_erofs(dir))
		return 0;
	if (mount_image_at(image, mounts->kind, dir, &why) >= 0)
		return 0;
	if (spec->kind == VIEW_AUTO) {
		mounts->reason = xasprintf("%s: %s", view_kind_names[VIEW_EROFS_FILE], why.text);
		mounts->kind = VIEW_EROFS_LOOP;
		if (mount_image_at(image, VIEW_EROFS_LOOP, dir, err) >= 0)
			return 0;
		return err_wrap(err, "%s", mounts->reason);
	}
	*err = why;
	return err->code;
}

int view_prepare(const struct view_spec *spec, const char *erofs_dir, struct view_mounts *ret,
		 struct err *err)
{
	cleanup_view_image struct view_image image = VIEW_IMAGE_INIT;
	cleanup_view_mounts struct view_mounts mounts = {0};
	struct view_stack stack = {.upper = spec->upper, .work = spec->work};

	if (spec->kind == VIEW_BIND)
		return err_set(err, E_UNSUPPORTED, "bind mounts are not one overlay");
	if (view_image_make(&image, spec, err) < 0)
		return err->code;
	for (size_t i = 0; i < spec->n_layers; i++)
		strv_add(&stack.lowers, spec->layers[i]);
	if (spec->n_paths) {
		strv_add(&stack.lowers, erofs_dir);
		stack.data_dirs = &image.data_dirs;
	}
	stack.is_volatile = spec->is_volatile;
	view_overlay_options(&stack, &mounts.options);
	strv_release(&stack.lowers);
	if (spec->n_paths && prepare_image(&image, spec, erofs_dir, &mounts, err) < 0)
		return err->code;
	mounts.n_mounts = spec->n_paths ? 2 : 1;
	mounts.image = take_ptr(image.path);
	*ret = mounts;
	mounts = (struct view_mounts){0};
	return 0;
}

/* What is mounted at one place, and below it. */
struct found {
	bool is_there, is_ours, has_more;
};

/* Octal escapes of mountinfo (\040 and the like), in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* SPEC linux proc.rst mountinfo: id parent major:minor root mount-point options … - type source … */
static void look_at_line(char *line, const char *target, struct found *ret)
{
	size_t len = strlen(target);
	char *rest = line, *point = NULL, *tail, *type, *source;

	for (int i = 0; i < FIELDS; i++)
		point = strsep(&rest, " ");
	tail = rest ? strstr(rest, " - ") : NULL;
	if (!point || !tail)
		return;
	unescape(point);
	if (strncmp(point, target, len) != 0 || (point[len] != '\0' && point[len] != '/'))
		return;
	if (point[len] == '/') {
		ret->has_more = true;
		return;
	}
	tail += 3;
	type = strsep(&tail, " ");
	source = strsep(&tail, " ");
	/* The last one stands above the others. */
	ret->is_there = true;
	ret->is_ours =
		source && ((strcmp(type, "overlay") == 0 && strcmp(source, VIEW_SOURCE) == 0) ||
			   strcmp(type, "erofs") == 0);
}

static int find_mount(const char *target, struct found *ret, struct err *err)
{
	cleanup_buf struct buf text = {0};
	char *rest, *line;

	if (read_file_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, err) < 0)
		return err->code;
	rest = (char *)text.data;
	while (rest && (line = strsep(&rest, "\n")))
		look_at_line(line, target, ret);
	return 0;
}

int view_umount(const char *target, struct err *err)
{
	cleanup_free char *absolute = realpath(target, NULL);
	struct found found = {0};

	if (!absolute)
		return err_errno(err, "%s", target);
	if (find_mount(absolute, &found, err) < 0)
		return err->code;
	if (!found.is_there)
		return err_set(err, E_NOTFOUND, "nothing is mounted at %s", target);
	if (!found.is_ours)
		return err_set(err, E_CONFLICT, "what is mounted at %s is not a view of nacre's",
			       target);
	/* Thousands of bind mounts go at once with the tree that holds them. */
	if (umount2(absolute, UMOUNT_NOFOLLOW | (found.has_more ? MNT_DETACH : 0)) == 0)
		return 0;
	return errno == EBUSY ? err_set(err, E_CONFLICT, "%s is in use", target)
			      : err_errno(err, "unmount %s", target);
}
