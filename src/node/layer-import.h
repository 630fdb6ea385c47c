/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Store layers on a node: a layer's tar becomes store paths, and store paths prove a layer. Used by
 * node-image.c.
 */
#ifndef NACRE_NODE_LAYER_IMPORT_H
#define NACRE_NODE_LAYER_IMPORT_H

#include <nacre/descriptor.h>

#include "node/node-store.h"

/* Reads a layer (in any compression) from `blob_fd`. 1: it is canonical throughout and has the
 * diffID; its paths are published, its record is kept and `ret` is that; names are on the disk after
 * the next node_store_sync(). 0: it is an ordinary layer; nothing was kept. E_MISMATCH: it does not
 * have the diffID (NULL: any will do, the paths are proven by themselves, and there is no record); other
 * errors: reading or writing failed. */
int layer_import(struct node_store *store, int blob_fd, const struct hash *diff_id,
		 struct layer_record *ret, size_t *paths_added, struct err *err);

/* What the annotations of a layer's descriptor claim. E_INVALID when they name no paths or are
 * malformed: then they count for nothing. */
int layer_record_from_annotations(struct layer_record *ret, const struct annotations *annotations);

/* The diffID of the layer that holds exactly these paths, computed from the node's copies. */
int layer_record_diff_id(const struct node_store *store, const struct layer_record *record,
			 struct hash *ret, struct err *err);

#endif
