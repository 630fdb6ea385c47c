/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which paths share a layer (SPEC nacre 4.1, grouping g1), and in which order layers stand. A
 * function of names, sizes and the reference graph alone.
 */
#ifndef NACRE_GROUP_H
#define NACRE_GROUP_H

#include <nacre/pathinfo.h>

enum { GROUP_MAX_LAYERS_DEFAULT = 100, GROUP_SMALL = 256 << 10 };

/* The paths of each layer are sorted; each is an index into the set. */
struct layer_group {
	size_t *paths; /* owned */
	size_t len, cap;
};
struct grouping {
	struct layer_group *layers; /* owned; the root layer is not among them */
	size_t len;
};
/* `max_layers` 0: one path a layer, without limit. `has_root`: one of the layers is the root layer.
 * E_USAGE when max_layers < 1 + has_root; E_INVALID for a cycle. */
NACRE_API int grouping_make(struct grouping *ret, const struct path_infos *set, size_t max_layers,
			    bool has_root, struct err *err);
NACRE_API void grouping_release(struct grouping *g);
#define cleanup_grouping __attribute__((cleanup(grouping_release)))

#endif
