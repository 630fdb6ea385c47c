/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file systems that stay mounted on the host: `nacre mount`, `nacre bundle`. Each has a record
 * under the node's root, which keeps what it shows from being collected:
 *
 * 	ROOT/mounts/<ID>/target	where it is mounted (one line)
 * 	ROOT/mounts/<ID>/image	the digest of the image's manifest
 * 	ROOT/mounts/<ID>/boot	the kernel's boot ID: after a restart nothing of it is mounted
 * 	ROOT/mounts/<ID>/upper, work, rootfs
 *
 * The ID is the beginning of the sha256 of the target's absolute path, or random where no target was
 * given; then it is mounted on ROOT/mounts/<ID>/rootfs. A record from before a restart of the machine
 * counts for nothing and goes with the next `nacre node gc`.
 */
#ifndef NACRE_NODE_MOUNT_H
#define NACRE_NODE_MOUNT_H

#include "node/node-image.h"
#include "node/view.h"

struct mount_options {
	const char *target; /* borrowed; an existing directory; NULL: one of ours */
	enum view_kind kind;
	bool read_only;
};

/* `ret_target` (owned by the caller) is absolute. E_EXISTS when a view is mounted there already. */
int node_mount(struct node_store *store, const struct node_image *image,
	       const struct mount_options *options, char **ret_target, struct view_mounts *ret,
	       struct err *err);

/* Unmounts what is at `target` and drops what was written there. E_NOTFOUND, E_CONFLICT as
 * view_umount(). After a restart of the machine, it drops the rest alone. */
int node_umount(struct node_store *store, const char *target, struct err *err);

/* Whether the record `id` in `dirfd` (ROOT/mounts) is from before a restart, or incomplete. */
bool node_mount_is_stale(int dirfd, const char *id);

#endif
