/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients may not do although they may write: use more than their quota, move tags that stand
 * for good. Private to src/store.
 *
 * Sums are kept by triggers, so inside a transaction they are exact: whoever adds something looks
 * at the sum that it makes, and is refused with everything that he did. Before it receives a body
 * the store looks, too, so that it need not receive it in vain.
 *
 * A quota that is used up is E_LIMIT with sys_errno EDQUOT.
 */
#ifndef NACRE_STORE_QUOTAS_H
#define NACRE_STORE_QUOTAS_H

#include "store/store-internal.h"

/* Bytes that may still be added; E_LIMIT: none. */
int quota_room(struct store_view *v, const char *repository, uint64_t *ret, struct err *err);
int quota_cache_room(struct store_view *v, struct err *err);

/* Sets E_LIMIT for an upload that has so many bytes too many. */
int quota_exceeded(const char *repository, uint64_t bytes, struct err *err);

/* Inside a transaction, behind a change that made it larger. */
int quota_check(struct conn *c, const struct store_view *v, const char *repository,
		struct err *err);
int quota_cache_check(struct conn *c, const struct store_view *v, struct err *err);
/* Inside a transaction, before a path of so many bytes is bound. */
int quota_path_check(struct conn *c, const struct store_view *v, uint64_t bytes, struct err *err);

/* Inside a transaction: may the tag become this manifest? E_CONFLICT. */
int tag_check_move(struct conn *c, const struct store_view *v, const char *repository,
		   const char *tag, int64_t manifest, struct err *err);
/* May it be deleted? E_CONFLICT: a tag that stands for good is it, or needs it: of a manifest, also as the member of an
 * index; of a blob, also in such a member. */
int tag_check_delete(struct conn *c, const struct store_view *v, const char *repository,
		     const char *tag, struct err *err);
int manifest_check_delete(struct conn *c, const struct store_view *v, const char *repository,
			  int64_t manifest, struct err *err);
int blob_check_delete(struct conn *c, const struct store_view *v, const char *repository,
		      int64_t blob, struct err *err);

#endif
