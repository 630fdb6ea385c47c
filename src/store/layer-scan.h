/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking what a layer holds without keeping any of it; private to src/store. Its NARs then lie in the
 * blob (settle.h).
 */
#ifndef NACRE_STORE_LAYER_SCAN_H
#define NACRE_STORE_LAYER_SCAN_H

#include "store/ingest.h"

struct layer_scan {
	int64_t blob;
	enum layer_kind kind;     /* LAYER_UNKNOWN: nothing to record */
	struct layer_paths paths; /* without ids of NARs */
};
void layer_scan_release(struct layer_scan *l);

/* Reads a blob that nobody looked at yet; what is no store layer is taken in at once. All-zero `ret`
 * before. What cannot be read is ordinary, and no error. */
int layer_scan(struct store_view *v, int64_t blob, struct layer_scan *ret, struct err *err);
/* Inside a transaction. What was recorded by others meanwhile stays. */
int layer_scan_record(struct conn *c, const struct layer_scan *l, struct err *err);

#endif
