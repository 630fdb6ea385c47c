/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Store paths of this machine's own Nix store, used in place.
 *
 * 	ROOT/host/<NarHash>		a symlink to the path where it is
 * 	ROOT/host/<NarHash>.root	a symlink to its store path (what Nix takes for a root)
 * 	<state dir>/gcroots/auto/<…>	a symlink to that: Nix's own form of an indirect root
 *
 * With the link in ROOT/host the root ends: Nix forgets an indirect root that leads nowhere.
 */
#ifndef NACRE_NODE_NODE_HOST_H
#define NACRE_NODE_NODE_HOST_H

#include <nacre/closure.h>

#include "node/node-store.h"

/* Whether the database says that the path is valid under this NarHash. */
bool node_host_has(struct nix_store *host, const char *store_dir, const struct layer_path *path);
/* 1: it is, and will stay; 0: it is not valid under this NarHash, or a collection of Nix's is under way, which may take
 * it; < 0: it could not be made to stay. */
int node_host_adopt(struct node_store *store, struct nix_store *host, const char *host_root,
		    const char *store_dir, const struct layer_path *path, struct err *err);

#endif
