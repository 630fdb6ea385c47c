/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A view is put together by a thread in a mount name space of its own: whatever happens there is gone
 * when it ends. It hands out one thing, the descriptor of the whole tree, detached; attaching that is
 * the one step that anybody else sees.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/view-internal.h"

const char *const view_kind_names[] = {"auto", "erofs-file", "erofs-loop", "bind", NULL};

int view_kind_parse(enum view_kind *ret, const char *name)
{
	for (size_t i = 0; view_kind_names[i]; i++)
		if (strcmp(view_kind_names[i], name) == 0) {
			*ret = (enum view_kind)i;
			return 0;
		}
	return E_USAGE;
}

void view_mounts_release(struct view_mounts *m)
{
	free(m->reason);
	free(m->image);
	strv_release(&m->options);
	*m = (struct view_mounts){0};
}

/* What the thread works on. */
struct build {
	const struct view_spec *spec; /* borrowed */
	enum view_kind kind;
	struct view_mounts *mounts; /* borrowed */
	const char *scratch;        /* borrowed; where it may mount things */
	int tree;                   /* out; owned */
	struct err err;
	int result;
};

static int enter_name_space(struct err *err)
{
	if (unshare(CLONE_NEWNS) < 0)
		return err_errno(err, "a mount name space of its own");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_errno(err, "make all mounts private");
	return 0;
}

static int attach(int tree, const char *at, struct err *err)
{
	return move_mount(tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0
		       ? err_errno(err, "mount %s", at)
		       : 0;
}

/* The ordinary layers, and below them one directory or none. overlayfs wants two lower layers where
 * there is no upper one: an empty directory does. */
static int fill_stack(struct view_stack *stack, const struct view_spec *spec, const char *lowest,
		      struct err *err)
{
	size_t n;

	for (size_t i = 0; i < spec->n_layers; i++)
		strv_add(&stack->lowers, spec->layers[i]);
	if (lowest)
		strv_add(&stack->lowers, lowest);
	stack->upper = spec->upper;
	stack->work = spec->work;
	stack->is_volatile = spec->is_volatile;
	n = stack->lowers.len + (stack->data_dirs ? stack->data_dirs->len : 0);
	if (n < (spec->upper ? 1 : 2)) {
		cleanup_free char *empty = xasprintf("%s/empty", spec->cache);
		cleanup_free char *other = xasprintf("%s/empty2", spec->cache);

		if (make_dirs_at(AT_FDCWD, empty, err) < 0 ||
		    make_dirs_at(AT_FDCWD, other, err) < 0)
			return err->code;
		strv_add(&stack->lowers, empty);
		if (n == 0 && !spec->upper)
			strv_add(&stack->lowers, other);
	}
	return 0;
}

static int build_erofs(struct build *b, struct err *err)
{
	cleanup_view_image struct view_image image = VIEW_IMAGE_INIT;
	struct view_stack stack = {0};
	cleanup_fd int metadata = -1;
	int r = view_image_make(&image, b->spec, err);

	if (r >= 0 && b->spec->n_paths) {
		metadata = view_image_mount(&image, b->kind, err);
		r = metadata < 0 ? metadata : attach(metadata, b->scratch, err);
		stack.data_dirs = &image.data_dirs;
	}
	if (r >= 0)
		r = fill_stack(&stack, b->spec, b->spec->n_paths ? b->scratch : NULL, err);
	if (r >= 0)
		r = b->tree = view_overlay_mount(&stack, b->scratch, err);
	strv_release(&stack.lowers);
	if (r < 0)
		return r;
	b->mounts->n_mounts = b->spec->n_paths ? 2 : 1;
	b->mounts->image = take_ptr(image.path);
	return 0;
}

static int build_bind(struct build *b, struct err *err)
{
	cleanup_free char *points = NULL;
	struct view_stack stack = {0};
	cleanup_fd int overlay = -1, root = -1;
	int r;

	if (b->spec->image)
		return err_set(err, E_UNSUPPORTED, "the paths are not known one by one");
	r = view_bind_points(&points, b->spec, err);

	if (r >= 0)
		r = fill_stack(&stack, b->spec, points, err);
	if (r >= 0)
		r = overlay = view_overlay_mount(&stack, b->scratch, err);
	strv_release(&stack.lowers);
	if (r < 0 || attach(overlay, b->scratch, err) < 0)
		return err->code;
	root = open(b->scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_errno(err, "open %s", b->scratch);
	if (view_bind_paths(b->spec, root, err) < 0)
		return err->code;
	b->tree =
		open_tree(AT_FDCWD, b->scratch, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (b->tree < 0)
		return err_errno(err, "copy the mounts of %s", b->scratch);
	b->mounts->n_mounts = 1 + b->spec->n_paths;
	return 0;
}

static void *build_main(void *data)
{
	struct build *b = data;

	b->result = enter_name_space(&b->err);
	if (b->result >= 0)
		b->result = b->kind == VIEW_BIND ? build_bind(b, &b->err) : build_erofs(b, &b->err);
	return NULL;
}

/* The descriptor of the whole tree. */
static int build_tree(const struct view_spec *spec, enum view_kind kind, struct view_mounts *mounts,
		      struct err *err)
{
	cleanup_free char *scratch = xasprintf("%s/mnt", spec->cache);
	struct build b = {.spec = spec, .kind = kind, .mounts = mounts, .scratch = scratch};
	pthread_t thread;

	b.tree = -1;
	if (make_dirs_at(AT_FDCWD, scratch, err) < 0)
		return err->code;
	errno = pthread_create(&thread, NULL, build_main, &b);
	if (errno)
		return err_errno(err, "start a thread");
	pthread_join(thread, NULL);
	if (b.result < 0) {
		*err = b.err;
		return b.result;
	}
	mounts->kind = kind;
	return b.tree;
}

static void add_reason(char **reason, enum view_kind kind, const struct err *why)
{
	char *old = *reason;

	*reason = xasprintf("%s%s%s: %s", old ? old : "", old ? "; " : "", view_kind_names[kind],
			    why->text);
	free(old);
}

int view_build(const struct view_spec *spec, struct view_mounts *mounts, struct err *err)
{
	struct err why = ERR_INIT;

	if (spec->kind != VIEW_AUTO)
		return build_tree(spec, spec->kind, mounts, err);
	for (enum view_kind kind = VIEW_EROFS_FILE; kind <= VIEW_BIND; kind++) {
		int tree;

		why = ERR_INIT;
		tree = build_tree(spec, kind, mounts, &why);
		if (tree >= 0)
			return tree;
		if (kind < VIEW_BIND)
			add_reason(&mounts->reason, kind, &why);
	}
	return err_set(err, (enum err_code)why.code, "%s (%s)", why.text, mounts->reason);
}

int view_mount(const struct view_spec *spec, const char *target, struct view_mounts *ret,
	       struct err *err)
{
	cleanup_view_mounts struct view_mounts mounts = {0};
	cleanup_fd int tree = view_build(spec, &mounts, err);

	if (tree < 0 || attach(tree, target, err) < 0)
		return err_wrap(err, "view at %s", target);
	*ret = mounts;
	mounts = (struct view_mounts){0};
	return 0;
}
