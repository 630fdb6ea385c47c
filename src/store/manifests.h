/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests and tags; private to src/store. */
#ifndef NACRE_STORE_MANIFESTS_H
#define NACRE_STORE_MANIFESTS_H

#include <nacre/manifest.h>

#include "store/claims.h"
#include "store/repositories.h"

/* A tag or a digest, as it stands in a URL. */
struct manifest_ref {
	bool is_digest;
	struct hash digest;
	const char *tag; /* borrowed */
};
int manifest_ref_parse(struct manifest_ref *ret, const char *text, struct err *err);

/* 1 found, 0 there is none. */
int manifest_find(struct conn *c, const struct store_view *v, const char *repository,
		  const struct manifest_ref *ref, int64_t *ret_id, struct err *err);

/* Inside a transaction. `condition` may be NULL; E_EXISTS: it does not hold. */
int manifest_check_condition(struct conn *c, const struct store_view *v, const char *repository,
			     const struct manifest_ref *ref,
			     const struct manifest_condition *condition, struct err *err);

/* A manifest on its way in. */
struct new_manifest {
	struct manifest_parts parts;
	struct hash digest;
	struct slice bytes;
};
/* Inside a transaction: makes it one of the repository, with what it refers to. */
int manifest_record(struct conn *c, struct store_view *v, const struct new_manifest *n,
		    int64_t *ret_id, struct err *err);
struct new_tag {
	const char *repository, *name;
	int64_t manifest;
	bool made; /* by the server, for a store path */
};
int tag_set(struct conn *c, const struct store_view *v, const struct new_tag *tag, struct err *err);

/* Inside a transaction: takes it away, with its tags and its place among the referrers. The only way
 * for a manifest to go, for its id may be that of another one afterwards. */
int manifest_drop(struct conn *c, int64_t id, struct err *err);

/* Reads a manifest by its id. */
int manifest_read(struct conn *c, int64_t id, struct manifest_bytes *ret, struct err *err);

#endif
