/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a node gets store paths from before it asks the registry for whole layers: the Nix store of
 * this machine, where its database says that the path is valid under the same NarHash (used in place,
 * nothing copied, kept by a GC root), then caches (nacre servers, Nix binary caches, registries with package
 * artifacts: SPEC nacre 5) in their order. What comes from a cache is proven against its NarHash. No source that an image names is
 * ever asked: only those that are configured.
 *
 * Threads: any, at the same time; fetching uses threads of its own.
 */
#ifndef NACRE_NODE_NODE_SOURCES_H
#define NACRE_NODE_NODE_SOURCES_H

#include "node/node-store.h"
#include "node/referrer-infos.h"

struct node_sources_options {
	const char *host;          /* borrowed; root of this machine's Nix store, "/"; NULL: none */
	const char *const *caches; /* borrowed; URLs */
	size_t n_caches;
	const char *auth_file; /* borrowed; for registries; NULL: where podman and docker keep it */
	bool insecure;         /* registries: plain HTTP, or unverified TLS */
	const struct public_key *trusted; /* borrowed */
	size_t n_trusted;
	bool require_signatures; /* of every store path of an image */
	unsigned n_jobs;         /* fetched at a time; 0: 4 */
};

struct node_sources;
/* Keeps copies of what the options borrow. A host without a Nix store is one without paths. */
struct node_sources *node_sources_new(const struct node_sources_options *options);
void node_sources_free(struct node_sources *s);

struct sources_stats {
	size_t from_host, from_caches, from_registries;
	uint64_t bytes; /* of what was fetched: NARs, layers */
};

/* Brings those paths of the record here that are not here and can be had. What cannot be had is no
 * error: the caller sees it by node_store_has_path(), and the text says why ("" or one reason;
 * ERR_TEXT_MAX bytes). Negative when the node's own store fails. */
int node_sources_provide(struct node_sources *s, struct node_store *store,
			 const struct layer_record *record, struct sources_stats *stats,
			 char *ret_why, struct err *err);

/* The NarHashes of paths that are known by name alone, `bases` (sorted), into a record of all of
 * them. E_NOTFOUND names one that neither this machine's store nor a cache has; `ret_why` as above. */
int node_sources_find(struct node_sources *s, const char *store_dir, const struct strv *bases,
		      struct layer_record *ret, char *ret_why, struct err *err);

/* With require_signatures: every path of the record must be signed by a trusted key, over the NarHash
 * that the record has, as `said` (what refers to the image; or NULL) or a cache says. E_DENIED names the
 * first that is not. Paths that this machine's own store has valid need none. What was found signed is
 * remembered in the store under the layer's diffID, which must be proven, for the keys that are
 * trusted now. */
int node_sources_check(struct node_sources *s, struct node_store *store, const struct hash *diff_id,
		       const struct layer_record *record, const struct referrer_infos *said,
		       struct err *err);
/* Is nothing left to check: are no signatures wanted, or were they found before? */
bool node_sources_is_settled(const struct node_sources *s, const struct node_store *store,
			     const struct hash *diff_id);
bool node_sources_require_signatures(const struct node_sources *s);

#endif
