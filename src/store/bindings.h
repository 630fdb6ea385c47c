/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bindings (SPEC nacre 1): in a view, a store path stands for one content. Private to src/store.
 */
#ifndef NACRE_STORE_BINDINGS_H
#define NACRE_STORE_BINDINGS_H

#include <nacre/pathinfo.h>

#include "store/nars.h"

/* Who vouches for it. A binding to other content is replaced only by a better one: the last two
 * are better than the others. Other references under the same content replace those of a
 * lesser one. The numbers are in the database, where older versions had 1 for images of any kind. */
enum attestation {
	ATTEST_IMAGE,   /* (c) who may push images, by one that holds the path */
	ATTEST_INFOS,   /* (c) the same, by path infos that refer to one */
	ATTEST_WRITER,  /* (c) a writer of the view, by a narinfo */
	ATTEST_CONTENT, /* (b) its content address */
	ATTEST_SIGNED,  /* (a) a key that the view trusts */
};

enum { SIGNATURES_MAX = 64 }; /* of one path */

/* A binding as it stands. */
struct binding {
	int64_t id;
	int64_t nar;
	enum attestation attested;
	struct path_info info; /* owned */
};
void binding_release(struct binding *b);
#define cleanup_binding __attribute__((cleanup(binding_release)))
/* 1 found, 0 there is none. `hash_part`: 32 characters. */
int binding_find(struct conn *c, const struct store_view *v, const char *store_dir,
		 struct slice hash_part, struct binding *ret, struct err *err);

/* The row of a query with the columns id, nar, attested, base, refs, deriver, signatures, ca,
 * nar_hash, nar_size. Returns 1. */
int binding_load(struct query *q, const char *store_dir, struct binding *ret, struct err *err);

/* That a path be bound to a NAR that is kept and fits `info`. */
struct offer {
	const struct path_info *info;
	const struct nar *nar;
	enum attestation attested;
	bool later;   /* the NAR is to be named uncompressed, until bindings_unplain() */
	bool fetched; /* from an upstream: not for the server to sign, whoever else did */
};
/* Inside a transaction. E_CONFLICT: something else stands; E_NOTFOUND: references that the view
 * lacks, named; E_LIMIT; E_DENIED: the view wants a signature: after these nothing was changed. Equal to what stands, it adds what is
 * new (signatures). */
int binding_put(struct conn *c, struct store_view *v, const struct offer *offer, struct err *err);
/* Inside a transaction: the NAR has frames, and narinfos name them from now on. */
int bindings_unplain(struct conn *c, int64_t nar, struct err *err);
/* Inside a transaction: the NAR has other frames than before, and the narinfos that named those name
 * these. */
int bindings_reframed(struct conn *c, int64_t nar, struct err *err);
/* ATTEST_SIGNED if a key that the view trusts signed it, else `otherwise`. */
enum attestation attestation_of(const struct store_view *v, const struct path_info *info,
				enum attestation otherwise);

#endif
