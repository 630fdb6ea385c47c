/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry client (SPEC dist-1.1, docker token protocol): one registry host, any of its
 * repositories. What comes is proven: manifests and blobs against their digests. Repository
 * names, tags and digests are checked before they become part of an address.
 *
 * 	CLEANUP(registry_free) struct registry *reg = NULL;
 * 	r = registry_open(&reg, ref.domain, &options, err);
 * 	r = registry_get_manifest(reg, ref.repository, "latest", &manifest, err);
 *
 * Authentication is found out by itself: nothing is sent until the registry asks, then a token
 * for the repository and the action is fetched (or the password sent, if it asks for Basic) and
 * kept while it is valid. Errors: E_DENIED where credentials are missing, wrong or not enough;
 * E_NOTFOUND; E_MISMATCH for bytes that don't have their digest; E_NET; E_LIMIT.
 *
 * Threads: one at a time; different clients are independent. A sink or producer that is given to
 * a client must not use the same client.
 */
#ifndef NACRE_NET_REGISTRY_H
#define NACRE_NET_REGISTRY_H

#include <nacre/reference.h>
#include <nacre/transport.h>

#include "net/credentials.h"
#include "net/http.h"

struct registry;

/* Plain HTTP is spoken to localhost, 127.0.0.1 and [::1]; elsewhere only if `insecure`, and then
 * only where HTTPS gets no answer. */
enum registry_scheme { REGISTRY_AUTO = 0, REGISTRY_HTTP, REGISTRY_HTTPS };

/* All-zero: the defaults. */
struct registry_options {
	enum registry_scheme scheme;
	bool insecure; /* any certificate, or none */
	const char *
		auth_file; /* see credentials.h; borrowed until registry_open() returns, as all here */
	const struct credentials *credentials; /* instead of any file */
	/* Of a mirror of several registries: which one is meant, as containerd says it ("?ns="). NULL:
	 * the host is the registry itself. */
	const char *mirror_of;
	struct http_options http; /* `insecure` is taken from above */
};

/* `domain` as in a reference ("docker.io", "localhost:5000"). Sends nothing. E_USAGE. */
int registry_open(struct registry **ret, const char *domain, const struct registry_options *options,
		  struct err *err);
void registry_free(struct registry *r);
CLEANUP_FUNC(struct registry, registry_free)

/* Is it there, and are the credentials good? SPEC dist-1.1 end-1 */
int registry_ping(struct registry *r, struct err *err);

/* `ref` is a tag or the text of a digest, everywhere. At most MANIFEST_BYTES_MAX bytes. `ret` is
 * released by the caller. */
int registry_get_manifest(struct registry *r, const char *repository, const char *ref,
			  struct manifest_bytes *ret, struct err *err);
/* Media type, digest and size. */
int registry_head_manifest(struct registry *r, const char *repository, const char *ref,
			   struct descriptor *ret, struct err *err);
/* *ret_subject (may be NULL): the registry said that it lists the manifest as a referrer of its
 * subject. */
int registry_put_manifest(struct registry *r, const char *repository, const char *ref,
			  const struct manifest_bytes *manifest, bool *ret_subject,
			  struct err *err);
int registry_delete_manifest(struct registry *r, const char *repository, const char *ref,
			     struct err *err);

/* Writes the blob to `out` and finishes it after the last byte was proven. `size` is
 * DIGEST_SIZE_UNKNOWN or the bytes expected. */
int registry_get_blob(struct registry *r, const char *repository, const struct hash *digest,
		      int64_t size, struct sink *out, struct err *err);
/* 1 there (*ret_size, may be NULL, is its size), 0 not, < 0. */
int registry_has_blob(struct registry *r, const char *repository, const struct hash *digest,
		      uint64_t *ret_size, struct err *err);
/* Makes the blob of `from_repository` one of `repository` too: 1 done, 0 the registry would
 * rather have it uploaded. */
int registry_mount_blob(struct registry *r, const char *repository, const struct hash *digest,
			const char *from_repository, struct err *err);
/* Uploads from a source, in one piece, without asking whether it is there. */
int registry_put_blob(struct registry *r, const char *repository, const struct hash *digest,
		      struct http_source *body, struct err *err);
/* Uploads what a producer writes. With want->digest known the bytes must have it and
 * `want->size` (E_MISMATCH); with HASH_NONE the digest is computed. The producer may be called
 * up to three times. */
int registry_push_blob(struct registry *r, const char *repository, const struct descriptor *want,
		       struct blob_producer *from, struct blob_id *ret, struct err *err);

/* Adds all tags, in the registry's order. */
int registry_tags(struct registry *r, const char *repository, struct strv *ret, struct err *err);
/* Adds the descriptors of what refers to `subject`; of one artifact type if that is not NULL. By
 * the referrers API, and where there is none by the fallback tag. SPEC dist-1.1 end-12 */
int registry_referrers(struct registry *r, const char *repository, const struct hash *subject,
		       const char *artifact_type, struct descriptors *ret, struct err *err);
/* Adds `referrer` to the fallback tag of `subject`, unless it is there. Not atomic: the registry
 * offers nothing for that. */
int registry_add_fallback_referrer(struct registry *r, const char *repository,
				   const struct hash *subject, const struct descriptor *referrer,
				   struct err *err);

/* One repository as a source or destination of images; takes over `r` on success. ref->tag and
 * ref->digest name what is read or written by default ("latest" without either). `mount_from`
 * (may be NULL, copied): repositories of the same registry that probably have the blobs. */
int registry_image_source(struct image_source **ret, struct registry *r,
			  const struct reference *ref, struct err *err);
int registry_image_dest(struct image_dest **ret, struct registry *r, const struct reference *ref,
			const struct strv *mount_from, struct err *err);

#endif
