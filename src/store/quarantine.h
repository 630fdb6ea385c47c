/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damaged objects; private to src/store. Their bytes are moved aside, and whatever needs them is
 * answered as if it were not there, so that clients send it again: the same bytes, recorded
 * again, make the object whole (incoming_record()).
 */
#ifndef NACRE_STORE_QUARANTINE_H
#define NACRE_STORE_QUARANTINE_H

#include "store/store-internal.h"

/* Is there any damaged object at all? Nobody has to look closer if not. */
static inline bool quarantine_any(const struct store *s)
{
	return atomic_load(&s->damaged) > 0;
}
/* Counts them. */
int quarantine_count(struct store *s, struct err *err);

/* Moves an object aside. */
int quarantine_object(struct store *s, int64_t object, struct err *err);

/* 1: something that it is made of is damaged. */
int blob_is_damaged(struct conn *c, int64_t blob, struct err *err);
int nar_is_damaged(struct conn *c, int64_t nar, struct err *err);
/* Of a blob that was found: 1; 0: it is damaged, and as if it were not there, so that it is sent again, which mends it. */
int blob_is_whole(const struct store *s, struct conn *c, int64_t blob, struct err *err);

/* Inside a transaction: a damaged blob was received again, whole, and is `object` now. */
int blob_heal(struct conn *c, int64_t blob, int64_t object, struct err *err);

/* Tries to get every damaged object back. What cannot be is told to the check's report. */
int quarantine_repair(struct store *s, const struct store_check_options *o,
		      struct store_check_result *result, struct err *err);

#endif
