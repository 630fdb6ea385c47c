/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a container runs as: `user[:group]` of the image's config, looked up in the image's own
 * /etc/passwd and /etc/group (SPEC oci-image config.md User). The files are the image's words:
 * they are read with the root file system as the root of all symlinks, and limited in size.
 */
#ifndef NACRE_NODE_USER_H
#define NACRE_NODE_USER_H

#include <nacre/buf.h>

enum { USER_GROUPS_MAX = 256 };

struct user {
	uint32_t uid, gid;
	uint32_t groups[USER_GROUPS_MAX]; /* supplementary */
	size_t n_groups;
	char home[4096]; /* "/" when the image does not say */
};

/* `spec` NULL or "" is root. A name that the image does not know is E_NOTFOUND; a number needs
 * no entry. */
int user_lookup(int rootfs_fd, const char *spec, struct user *ret, struct err *err);

/* The same over the texts of the two files; for tests and for user_lookup(). */
int user_resolve(const char *spec, struct slice passwd, struct slice group, struct user *ret,
		 struct err *err);

#endif
