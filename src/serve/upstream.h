/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pull-through: what a view does not have is asked for at its upstreams, in the order of their
 * priorities, sent on while it comes, and kept (docs/upstreams.md). Private to src/serve. Includes
 * neither the HTTP server nor the HTTP client.
 *
 * A cache upstream's narinfo counts if a key that the operator named signed it. It is worded anew:
 * the NAR is nar/<NarHash>.nar?hash=<hash part>, so that the address alone says what to fetch and
 * what it must be, today and after a restart. Its NAR goes to the first client while it is decoded,
 * verified and stored; then the path is bound, as soon as its references are.
 *
 * A registry upstream's tags are asked for again after a while; what it does not answer, or denies,
 * is answered from the store.
 *
 * Threads: any.
 */
#ifndef NACRE_SERVE_UPSTREAM_H
#define NACRE_SERVE_UPSTREAM_H

#include <nacre/buf.h>
#include <nacre/hash.h>

#include "serve/settings.h"
#include "serve/upstream-flight.h"

struct upstreams;

/* Who asks. All borrowed. */
struct upstream_ask {
	struct upstreams *upstreams;
	struct settings *settings; /* of which what goes on takes a reference */
	const struct view_settings *view;
	/* A closure is being fetched: what this path refers to is asked for by who asks for it. */
	bool in_closure;
};

struct upstreams *upstreams_new(void);
/* The configuration is another one: forgets what was learnt under the old one. */
void upstreams_forget(struct upstreams *u);
/* What is under way ends soon, and nothing else begins. */
void upstreams_cancel(struct upstreams *u);
/* The same, waits for the end of it, and frees. NULL is nothing. */
void upstreams_stop(struct upstreams *u);

/* Appends what the upstreams of all views were asked, in the text format of Prometheus. */
void upstreams_metrics(struct upstreams *u, const struct settings *settings, struct buf *b);

/* ---- Nix caches (upstream-cache.c) ---- */

/* The text of a narinfo as we serve it. E_NOTFOUND: no upstream has it (the text says why those
 * that have it are not believed); E_NET: one could not be asked. */
int upstream_narinfo(const struct upstream_ask *ask, const char *hash_part, struct buf *ret,
		     struct err *err);
/* The NAR of a path, whose hash must be this; with a reference. E_EXISTS: the store has it by now;
 * E_NOTFOUND; E_NET. Its flight may end with these as well. */
int upstream_nar(const struct upstream_ask *ask, const char *hash_part, const struct hash *nar_hash,
		 struct flight **ret, struct err *err);
/* Its size. */
int upstream_nar_size(const struct upstream_ask *ask, const char *hash_part,
		      const struct hash *nar_hash, uint64_t *ret, struct err *err);
/* Fetches what is missing of the closure of a path, and binds it. E_NOTFOUND names what no
 * upstream has. */
int upstream_closure(const struct upstream_ask *ask, const char *hash_part, struct err *err);

/* Fetches a log, debug info, realisation or build trace into the store. E_NOTFOUND; E_NET. */
int upstream_document(const struct upstream_ask *ask, enum store_tree tree, const char *name,
		      struct err *err);

/* ---- Registries (upstream-registry.c) ---- */

/* Has the view a registry upstream for this repository? For any? */
bool upstream_covers(const struct view_settings *view, const char *repository);
bool upstream_has_registry(const struct view_settings *view);
/* The upstream that is this host, and the name in the view of its `repository`; `ret` has
 * REPOSITORY_MAX + 1 bytes. NULL: there is none, or it is not asked for that. SPEC dist-1.1 ns */
const struct upstream_settings *upstream_of_host(const struct view_settings *view, const char *host,
						 const char *repository, char *ret);
/* Sees to it that a tag is not older than the upstream's `tag-ttl`. A digest is never old. */
int upstream_tag(const struct upstream_ask *ask, const char *repository, const char *tag,
		 struct err *err);
/* Fetches a manifest into the store, without what it names. */
int upstream_manifest(const struct upstream_ask *ask, const char *repository, const char *reference,
		      struct err *err);
/* Fetches what refers to a manifest, unless that was done within `tag-ttl`. */
int upstream_referrers(const struct upstream_ask *ask, const char *repository,
		       const struct hash *subject, struct err *err);
int upstream_blob_size(const struct upstream_ask *ask, const char *repository,
		       const struct hash *digest, uint64_t *ret, struct err *err);
/* As upstream_nar(). */
int upstream_blob(const struct upstream_ask *ask, const char *repository, const struct hash *digest,
		  struct flight **ret, struct err *err);

#endif
