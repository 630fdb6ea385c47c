/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's own (trusted) path to the top of a tree, taken apart once; below it only single
 * components are used. */
#ifndef NACRE_NIX_TREE_PATH_H
#define NACRE_NIX_TREE_PATH_H

#include <nacre/event.h>

struct tree_top {
	int dirfd; /* borrowed, or the same as `owned` */
	int owned; /* owned; -1: none */
	char name[NODE_NAME_MAX + 1];
};

/* Finds the directory that holds the last component of `path` (slashes at the end do not count).
 * E_INVALID for a path whose last component is empty, "." or "..". On failure there is nothing
 * to release. */
int tree_top_open(struct tree_top *ret, int dirfd, const char *path, struct err *err);
void tree_top_release(struct tree_top *t);

#endif
