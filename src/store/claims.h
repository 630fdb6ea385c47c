/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a manifest that was pushed says of store paths, against what its layers hold (SPEC nacre
 * 4, 5); private to src/store. Content decides; annotations are hints, and a layer whose
 * annotations contradict it is an ordinary one.
 */
#ifndef NACRE_STORE_CLAIMS_H
#define NACRE_STORE_CLAIMS_H

#include <nacre/manifest.h>

#include "store/bindings.h"
#include "store/repositories.h"

/* Paths to be bound. `infos` is sorted by path, `nars` in the same order. */
struct claims {
	struct path_info *infos;    /* owned */
	int64_t *nars;              /* owned */
	enum attestation *attested; /* owned */
	size_t len;
	bool fetched;               /* from an upstream */
	size_t refused;             /* paths that are not among them */
	char refusal[ERR_TEXT_MAX]; /* why the first one is not */
	bool to_settle;             /* there may be something to do behind it (settle.h) */
};
void claims_release(struct claims *c);
#define cleanup_claims __attribute__((cleanup(claims_release)))

/* A manifest with the ids of the blobs that it names. */
struct manifest_parts {
	const char *repository;
	const struct manifest *m;
	int64_t config_blob;               /* 0: none */
	const int64_t *layer_blobs;        /* by position in m->layers; 0: may be missing, and is */
	const struct store_trust *fetched; /* borrowed; NULL: a writer of the view put it */
};
/* Can a manifest like this say anything of store paths in this view? If not, claims_collect() does nothing. */
bool claims_possible(struct store_view *v, const struct manifest *m);
/* Looks at the layers of an image or package artifact, or at path infos that refer to one. Takes
 * layers in that were never looked at. */
int claims_collect(struct store_view *v, const struct manifest_parts *parts, struct claims *ret,
		   struct err *err);
/* Inside a transaction: binds what can be bound; what cannot is counted. < 0 only for a failure
 * that is not a path's. */
int claims_bind(struct conn *c, struct store_view *v, struct claims *claims, size_t *ret_bound,
		struct err *err);

#endif
