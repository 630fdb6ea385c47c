/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Composes a root file system: one writable overlay over the ordinary layers; the upper
 * directory holds the mount points of the store paths (and those that are symlinks, themselves).
 * The bind mounts are the runtime's: rootfs_add_path_mounts() enters them into the bundle.
 */
#ifndef NACRE_NODE_ROOTFS_H
#define NACRE_NODE_ROOTFS_H

#include "node/bundle.h"
#include "node/node-image.h"

/* Creates DIR/upper, DIR/work, DIR/rootfs (`dirfd` is DIR) and mounts the overlay on DIR/rootfs. */
int rootfs_mount(const struct node_store *store, const struct node_image *image, int dirfd,
		 const char *dir, struct err *err);
void rootfs_add_path_mounts(const struct node_store *store, const struct node_image *image,
			    struct bundle *bundle);

#endif
