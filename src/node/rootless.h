/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work without privileges: this process becomes root of a user name space of its own. What is
 * different in there: overlayfs keeps its marks in user.overlay.* (trusted.* is root's alone), EROFS
 * cannot be mounted (views are bind mounts), and owners that are not mapped cannot be given to files.
 */
#ifndef NACRE_NODE_ROOTLESS_H
#define NACRE_NODE_ROOTLESS_H

#include <stdbool.h>

#include <nacre/err.h>

/* Enters a user name space and a mount name space. Maps the user to root and, where /etc/subuid and
 * /etc/subgid give it ranges and newuidmap and newgidmap are installed, those above it; root maps
 * everything. The process must have no threads yet. E_DENIED where the system does not let users
 * have name spaces. */
int rootless_enter(struct err *err);

/* Is this process in a user name space other than the machine's first? */
bool rootless_is_inside(void);

#endif
