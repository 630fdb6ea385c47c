/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nobody needs any more; private to src/store. A row that lost its last use is found where
 * the use is lost, so collecting takes time in proportion to the garbage. Objects go in two
 * steps: first they are listed, and only when every content that was open then is closed, row and
 * file are removed - unless they came into use again.
 */
#ifndef NACRE_STORE_GARBAGE_H
#define NACRE_STORE_GARBAGE_H

#include "store/store-internal.h"

/* All inside a transaction; each does nothing while there is a use. */
int garbage_object(struct conn *c, int64_t object, struct err *err);
int garbage_nar(struct conn *c, int64_t nar, struct err *err);

/* Inside a transaction: takes away what makes layers of a NAR, which can be made again. */
int garbage_bodies(struct conn *c, int64_t nar, struct err *err);

/* Rows. */
struct id_list {
	int64_t *items; /* owned */
	size_t len, cap;
};
/* Adds the first column of what a query about the row `id` gives. */
int id_list_read(struct conn *c, const char *sql, int64_t id, struct id_list *ret, struct err *err);
void id_list_release(struct id_list *l);
#define cleanup_id_list __attribute__((cleanup(id_list_release)))

/* What a blob consists of. */
struct blob_parts {
	struct id_list objects, nars;
};
/* Inside a transaction: takes its parts from a blob, that is about to be deleted, or to consist of
 * something else; then garbage_blob_parts() looks which of them nobody needs. */
int blob_parts_take(struct conn *c, int64_t blob, struct blob_parts *ret, struct err *err);
int garbage_blob_parts(struct conn *c, const struct blob_parts *parts, struct err *err);
void blob_parts_release(struct blob_parts *parts);
#define cleanup_blob_parts __attribute__((cleanup(blob_parts_release)))

/* Names of NARs that wait for a narinfo for longer than the grace period, and objects that are
 * listed: a batch of each at the least, and on until time_is_up(). What was removed is added to
 * `result`. Returns 1 if there is more. One thread at a time. */
int garbage_collect(struct store *s, struct store_gc_result *result, uint64_t deadline_ms,
		    struct err *err);

/* After content_new(): nothing that is listed is removed while that content is open. By itself it does
 * not keep what was listed, and found without readers, before it began. Waits for a removal that is
 * under way. */
void garbage_unmark(struct store *s);

#endif
