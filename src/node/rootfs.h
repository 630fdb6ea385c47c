/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root file system of an image that the node has, as a view (view.h): its store paths as they
 * are kept, its ordinary layers above them.
 */
#ifndef NACRE_NODE_ROOTFS_H
#define NACRE_NODE_ROOTFS_H

#include "node/node-image.h"
#include "node/view.h"

/* The view of an image, with what its spec borrows. */
struct image_view {
	struct view_spec spec;   /* upper, work and kind are the caller's to set */
	struct view_path *paths; /* owned */
	struct strv strings;     /* owned; of the paths */
	struct strv layers;      /* owned; topmost first */
	char *cache;             /* owned */
	struct node_stamp stamp; /* from before the paths were looked at */
};
/* E_NOTFOUND when a path's content is not there. */
int image_view_init(struct image_view *ret, const struct node_store *store,
		    const struct node_image *image, struct err *err);
void image_view_release(struct image_view *v);
#define cleanup_image_view __attribute__((cleanup(image_view_release)))

struct rootfs_options {
	const char *dir; /* borrowed; the container's or mount's own, and the same open */
	int dirfd;
	enum view_kind kind;
	bool read_only;     /* no upper directory */
	bool is_volatile;   /* what is written need not survive a crash of the machine */
	const char *target; /* borrowed; NULL: DIR/rootfs */
};

/* Creates DIR/upper, DIR/work, DIR/rootfs and mounts the view. */
int rootfs_mount(struct node_store *store, const struct node_image *image,
		 const struct rootfs_options *options, struct view_mounts *ret, struct err *err);

#endif
