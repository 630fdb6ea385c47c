/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mount.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/rootless.h"
#include "node/view-internal.h"

enum {
	FS_STRING_MAX = 255,   /* of fsconfig() */
	MOUNT_PAGE_MAX = 4095, /* of mount(2)'s options */
	KERNEL_TEXT_MAX = 300,
};

/* Set by tests alone, before they mount. */
static atomic_bool force_old_options;

void view_force_old_options(bool on)
{
	atomic_store(&force_old_options, on);
}

/* What the kernel says about a mount that failed: lines "e overlay: …". Empty when it says
 * nothing. */
static void kernel_text(int fs, char ret[KERNEL_TEXT_MAX])
{
	char line[KERNEL_TEXT_MAX];
	ssize_t n;

	ret[0] = '\0';
	while ((n = read(fs, line, sizeof(line) - 1)) > 2) {
		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		snprintf(ret, KERNEL_TEXT_MAX, " (%.*s)", KERNEL_TEXT_MAX - 8, line + 2);
	}
}

static int overlay_failed(int fs, const char *what, struct err *err)
{
	char text[KERNEL_TEXT_MAX];
	int saved = errno;

	kernel_text(fs, text);
	errno = saved;
	return err_errno(err, "overlay: %s%s", what, text);
}

/* A name for `path` that is short enough for the kernel: itself, or that of a descriptor, which
 * `fds` (of `n` used) keeps open. */
struct short_names {
	int *fds; /* owned, each */
	size_t n, cap;
};

static void short_names_release(struct short_names *s)
{
	for (size_t i = 0; i < s->n; i++)
		close(s->fds[i]);
	free(s->fds);
}

static int short_name(struct short_names *s, const char *path, char **ret, struct err *err)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "open %s", path);
	array_grow(s->fds, s->cap, s->n + 1);
	s->fds[s->n++] = fd;
	*ret = xasprintf("/proc/self/fd/%d", fd);
	return 0;
}

static int set_path(int fs, const char *key, const char *path, struct short_names *names,
		    struct err *err)
{
	cleanup_free char *other = NULL;

	if (strlen(path) > FS_STRING_MAX) {
		if (short_name(names, path, &other, err) < 0)
			return err->code;
		path = other;
	}
	if (fsconfig(fs, FSCONFIG_SET_STRING, key, path, 0) < 0)
		return overlay_failed(fs, path, err);
	return 0;
}

static int set_layers(int fs, const struct view_stack *stack, struct short_names *names,
		      struct err *err)
{
	for (size_t i = 0; i < stack->lowers.len; i++)
		if (set_path(fs, "lowerdir+", stack->lowers.items[i], names, err) < 0)
			return err->code;
	for (size_t i = 0; stack->data_dirs && i < stack->data_dirs->len; i++)
		if (set_path(fs, "datadir+", stack->data_dirs->items[i], names, err) < 0)
			return err->code;
	if (stack->upper && (set_path(fs, "upperdir", stack->upper, names, err) < 0 ||
			     set_path(fs, "workdir", stack->work, names, err) < 0))
		return err->code;
	if (stack->data_dirs && (fsconfig(fs, FSCONFIG_SET_STRING, "redirect_dir", "on", 0) < 0 ||
				 fsconfig(fs, FSCONFIG_SET_STRING, "metacopy", "on", 0) < 0))
		return overlay_failed(fs, "metacopy", err);
	if (rootless_is_inside() && fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0)
		return overlay_failed(fs, "userxattr (Linux 5.11)", err);
	if (stack->is_volatile && stack->upper)
		fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0); /* 5.10; else durable */
	return 0;
}

static int mount_by_layers(const struct view_stack *stack, struct err *err)
{
	struct short_names names = {0};
	cleanup_fd int fs = fsopen("overlay", FSOPEN_CLOEXEC);
	int r, mnt;

	if (fs < 0)
		return err_set(err, E_UNSUPPORTED, "this kernel has no overlayfs");
	fsconfig(fs, FSCONFIG_SET_STRING, "source", VIEW_SOURCE, 0);
	r = set_layers(fs, stack, &names, err);
	if (r >= 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		r = overlay_failed(fs, stack->upper ? stack->upper : "create", err);
	short_names_release(&names);
	if (r < 0)
		return r;
	/* Device nodes of an image, or made by a container, are not the host's devices: programs get
	 * theirs in /dev, a file system of its own. */
	mnt = fsmount(fs, FSMOUNT_CLOEXEC,
		      MOUNT_ATTR_NODEV | (stack->upper ? 0 : MOUNT_ATTR_RDONLY));
	return mnt < 0 ? err_errno(err, "overlay") : mnt;
}

/* SPEC linux overlayfs.rst: ',' ends an option, ':' a layer; both and '\' are escaped by '\'. */
static void add_escaped(struct buf *b, const char *path)
{
	for (; *path; path++) {
		if (strchr(",:\\", *path))
			buf_add(b, "\\", 1);
		buf_add(b, path, 1);
	}
}

static void add_path_option(struct strv *ret, const char *key, const char *path)
{
	struct buf b = {0};

	buf_addf(&b, "%s=", key);
	add_escaped(&b, path);
	strv_take(ret, buf_take_str(&b));
}

void view_overlay_options(const struct view_stack *stack, struct strv *ret)
{
	struct buf b = {0};

	buf_add_str(&b, "lowerdir=");
	for (size_t i = 0; i < stack->lowers.len; i++) {
		buf_add_str(&b, i ? ":" : "");
		add_escaped(&b, stack->lowers.items[i]);
	}
	for (size_t i = 0; stack->data_dirs && i < stack->data_dirs->len; i++) {
		buf_add_str(&b, "::");
		add_escaped(&b, stack->data_dirs->items[i]);
	}
	strv_take(ret, buf_take_str(&b));
	if (stack->upper) {
		add_path_option(ret, "upperdir", stack->upper);
		add_path_option(ret, "workdir", stack->work);
	}
	if (stack->data_dirs) {
		strv_add(ret, "redirect_dir=on");
		strv_add(ret, "metacopy=on");
	}
	if (rootless_is_inside())
		strv_add(ret, "userxattr");
	if (stack->is_volatile && stack->upper)
		strv_add(ret, "volatile");
}

static int shorten_all(const struct strv *paths, struct short_names *names, struct strv *ret,
		       struct err *err)
{
	for (size_t i = 0; i < paths->len; i++) {
		char *name;

		if (short_name(names, paths->items[i], &name, err) < 0)
			return err->code;
		strv_take(ret, name);
	}
	return 0;
}

static char *join(const struct strv *options)
{
	struct buf b = {0};

	for (size_t i = 0; i < options->len; i++)
		buf_addf(&b, "%s%s", i ? "," : "", options->items[i]);
	return buf_take_str(&b);
}

/* One page for all options: names of descriptors, where those of the layers are too long. */
static int old_options(const struct view_stack *stack, struct short_names *names, char **ret,
		       struct err *err)
{
	struct view_stack shorter = *stack;
	cleanup_strv struct strv lowers = {0}, data_dirs = {0}, options = {0};
	cleanup_free char *text = NULL;

	view_overlay_options(stack, &options);
	text = join(&options);
	if (strlen(text) > MOUNT_PAGE_MAX) {
		if (shorten_all(&stack->lowers, names, &lowers, err) < 0 ||
		    (stack->data_dirs && shorten_all(stack->data_dirs, names, &data_dirs, err) < 0))
			return err->code;
		shorter.lowers = lowers;
		shorter.data_dirs = stack->data_dirs ? &data_dirs : NULL;
		strv_release(&options);
		view_overlay_options(&shorter, &options);
		free(take_ptr(text));
		text = join(&options);
	}
	if (strlen(text) > MOUNT_PAGE_MAX)
		return err_set(err, E_LIMIT, "too many layers for this kernel: %zu",
			       stack->lowers.len);
	*ret = take_ptr(text);
	return 0;
}

static int mount_by_string(const struct view_stack *stack, const char *scratch, struct err *err)
{
	struct short_names names = {0};
	cleanup_free char *options = NULL;
	int r = old_options(stack, &names, &options, err);

	if (r >= 0 && mount(VIEW_SOURCE, scratch, "overlay",
			    MS_NODEV | (stack->upper ? 0 : MS_RDONLY), options) < 0)
		r = err_errno(err, "overlay with %s", options);
	short_names_release(&names);
	if (r < 0)
		return r;
	r = open_tree(AT_FDCWD, scratch, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (r < 0)
		err_errno(err, "overlay at %s", scratch);
	umount2(scratch, MNT_DETACH);
	return r < 0 ? err->code : r;
}

/* Linux 6.7 */
static bool has_layer_options(void)
{
	cleanup_fd int fs = fsopen("overlay", FSOPEN_CLOEXEC);

	if (atomic_load(&force_old_options))
		return false;
	/* An unknown option is EINVAL, one that misses its directory ENOENT. */
	return fs < 0 ||
	       fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", "/proc/self/fd/-", 0) == 0 ||
	       errno != EINVAL;
}

int view_overlay_mount(const struct view_stack *stack, const char *scratch, struct err *err)
{
	size_t n = stack->lowers.len + (stack->data_dirs ? stack->data_dirs->len : 0);

	if (n > VIEW_LAYERS_MAX)
		return err_set(err, E_LIMIT, "%zu layers: overlayfs takes at most %d", n,
			       VIEW_LAYERS_MAX);
	return has_layer_options() ? mount_by_layers(stack, err)
				   : mount_by_string(stack, scratch, err);
}
