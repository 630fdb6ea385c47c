/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps from a view_spec to a mounted tree: metadata image (view-image.c), overlay
 * (view-overlay.c), bind mounts (view-bind.c), put together and attached (view.c). All but view.c
 * run in a mount name space of their own.
 */
#ifndef NACRE_NODE_VIEW_INTERNAL_H
#define NACRE_NODE_VIEW_INTERNAL_H

#include "node/view.h"

/* The source of our overlay mounts, by which view_umount() knows them. */
#define VIEW_SOURCE "nacre"

enum {
	VIEW_LAYERS_MAX = 500, /* OVL_MAX_STACK */
};

/* A metadata image and the directories that hold the contents. */
struct view_image {
	char *path;            /* owned; NULL: it has no name */
	int fd;                /* owned; of an image without a name, else -1 */
	struct strv data_dirs; /* in the order in which overlayfs is to search them */
};
#define VIEW_IMAGE_INIT ((struct view_image){.fd = -1})
void view_image_release(struct view_image *image);
#define cleanup_view_image __attribute__((cleanup(view_image_release)))

/* Finds the image of the paths in the cache, or makes it. E_CONFLICT: contents of the same name in
 * different directories, which no overlay can tell apart. */
int view_image_make(struct view_image *ret, const struct view_spec *spec, struct err *err);
/* Mounts it (detached) and returns the mount's descriptor. `kind` is one of the EROFS ones. */
int view_image_mount(const struct view_image *image, enum view_kind kind, struct err *err);

/* What is stacked. */
struct view_stack {
	struct strv lowers;           /* topmost first */
	const struct strv *data_dirs; /* borrowed; NULL: none */
	const char *upper, *work;     /* borrowed; both NULL: read-only */
	bool is_volatile;
};
/* Mounts an overlay (detached, or by way of `scratch` where the mount API is too old) and returns
 * its descriptor. */
int view_overlay_mount(const struct view_stack *stack, const char *scratch, struct err *err);
/* The same as options for mount(2). */
void view_overlay_options(const struct view_stack *stack, struct strv *ret);

/* Makes (once; in the cache) the directory that holds the mount points of the paths, to be the lowest
 * layer. The path is the caller's. */
int view_bind_points(char **ret, const struct view_spec *spec, struct err *err);
/* Mounts every path on its point in the tree `root`. */
int view_bind_paths(const struct view_spec *spec, int root, struct err *err);

/* Puts a view together without attaching it anywhere: the descriptor of its tree. Tries one kind after
 * another where that is left to us. */
int view_build(const struct view_spec *spec, struct view_mounts *mounts, struct err *err);

/* The paths of the spec sorted and without duplicates: an array for the caller to free. E_CONFLICT
 * for one path with two contents, E_INVALID for one that is not absolute or has "..". */
int view_sort_paths(const struct view_spec *spec, struct view_path **ret, size_t *ret_n,
		    struct err *err);

#endif
