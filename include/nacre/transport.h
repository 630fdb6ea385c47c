/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where images come from and go to: one repository of a registry, a layout directory, an archive.
 * A source or destination is embedded as the first member of the struct that implements it.
 *
 * 	struct image_source *from;
 * 	image_layout_source(&from, "dir", "tag", err);
 * 	image_get_manifest(from, NULL, &m, err);
 *
 * What a source hands out is proven: bytes of a manifest against the digest that was asked for, a
 * blob against its descriptor. A destination proves what it is given, and shows nothing under its
 * name before finish() succeeded or, where it can only add (registry, layout), shows no manifest
 * before everything it names was put. Threads: one at a time.
 */
#ifndef NACRE_TRANSPORT_H
#define NACRE_TRANSPORT_H

#include <nacre/manifest.h>

/* The bytes of a manifest and what they are. */
struct manifest_bytes {
	struct buf bytes;
	char *media_type; /* owned */
	struct hash digest;
	/* Borrowed, or NULL: what the bytes say, from who has parsed or written them. */
	const struct manifest *parsed;
};
NACRE_API void manifest_bytes_release(struct manifest_bytes *m);
#define cleanup_manifest_bytes __attribute__((cleanup(manifest_bytes_release)))
/* What the bytes say: `parsed`, else they are parsed into *own (released by the caller). NULL: *err is set. */
NACRE_API const struct manifest *manifest_bytes_parse(const struct manifest_bytes *m,
						      struct manifest *own, struct err *err);

struct image_source {
	const char *name; /* for messages: "docker://host/repo:tag"; valid as long as the source */
	/* `ref` is a tag or the text of a digest; NULL: what the source was opened for. E_NOTFOUND.
	 * With a digest the bytes have it; at most MANIFEST_BYTES_MAX of them. */
	int (*get_manifest)(struct image_source *self, const char *ref, struct manifest_bytes *ret,
			    struct err *err);
	/* Writes the blob to `out` and finishes it, after the last byte was proven: on
	 * E_MISMATCH `out` was written to but not finished. Uses blob->digest and blob->size,
	 * tries blob->urls where the source does so. E_NOTFOUND. */
	int (*get_blob)(struct image_source *self, const struct descriptor *blob, struct sink *out,
			struct err *err);
	/* Adds the descriptors of the manifests whose subject is `subject`, those of one
	 * artifact type if `artifact_type` is not NULL; none is no error. A registry without the
	 * referrers API is asked for the fallback tag. May be NULL: has none. */
	int (*get_referrers)(struct image_source *self, const struct hash *subject,
			     const char *artifact_type, struct descriptors *ret, struct err *err);
	/* The digest of what the source was opened for, without its bytes, and unproven: what it is
	 * now. May be NULL: only get_manifest says. */
	int (*resolve)(struct image_source *self, struct hash *ret, struct err *err);
	void (*free)(struct image_source *self);
};

/* Who can write a blob: called by put_blob when the destination wants the bytes, perhaps again from
 * the start after a failure of the network. Writes everything to `out` and does not finish it. */
struct blob_producer {
	int (*produce)(struct blob_producer *self, struct sink *out, struct err *err);
};

struct blob_id {
	struct hash digest;
	uint64_t size; /* bytes */
};

struct image_dest {
	const char *name; /* for messages; valid as long as the destination */
	/* docker-archive: images alone. An index must be resolved to a platform; referrers stay
	 * behind; layers are kept uncompressed, so the digest of the manifest changes. */
	bool images_only;
	/* 1: the blob is there and need not be put; 0; < 0 error. A registry may mount it here. */
	int (*has_blob)(struct image_dest *self, const struct descriptor *blob, struct err *err);
	/* Puts what `from` writes. `want` gives the media type; where its digest is known, the
	 * bytes are proven against digest and size (E_MISMATCH); HASH_NONE: not known yet,
	 * sha256 is computed. *ret (may be NULL) is what was put. */
	int (*put_blob)(struct image_dest *self, const struct descriptor *want,
			struct blob_producer *from, struct blob_id *ret, struct err *err);
	/* After everything that it names. `digest` is that of the bytes. `tag`: a tag, or NULL:
	 * none (member of an index, referrer, or the destination's own reference has a digest).
	 * A registry that does not answer OCI-Subject to a manifest with a subject gets the
	 * fallback tag updated here; a layout lists what no other manifest names. */
	int (*put_manifest)(struct image_dest *self, const struct manifest_bytes *manifest,
			    const char *tag, struct err *err);
	/* Makes it all visible and durable; once, on success only. */
	int (*finish)(struct image_dest *self, struct err *err);
	/* Without finish() before: drops what is not visible. */
	void (*free)(struct image_dest *self);
};

static inline int image_get_manifest(struct image_source *s, const char *ref,
				     struct manifest_bytes *ret, struct err *err)
{
	return s->get_manifest(s, ref, ret, err);
}
static inline int image_get_blob(struct image_source *s, const struct descriptor *blob,
				 struct sink *out, struct err *err)
{
	return s->get_blob(s, blob, out, err);
}
/* A blob of at most `max` bytes into memory (config, narinfos). */
NACRE_API int image_get_blob_bytes(struct image_source *s, const struct descriptor *blob,
				   size_t max, struct buf *ret, struct err *err);
static inline int image_get_referrers(struct image_source *s, const struct hash *subject,
				      const char *artifact_type, struct descriptors *ret,
				      struct err *err)
{
	return s->get_referrers ? s->get_referrers(s, subject, artifact_type, ret, err) : 0;
}
static inline int image_has_blob(struct image_dest *d, const struct descriptor *blob,
				 struct err *err)
{
	return d->has_blob(d, blob, err);
}
static inline int image_put_blob(struct image_dest *d, const struct descriptor *want,
				 struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	return d->put_blob(d, want, from, ret, err);
}
/* Bytes in memory; *ret may be NULL. Does nothing where the destination has them. */
NACRE_API int image_put_blob_bytes(struct image_dest *d, const char *media_type, struct slice bytes,
				   struct blob_id *ret, struct err *err);
static inline int image_put_manifest(struct image_dest *d, const struct manifest_bytes *manifest,
				     const char *tag, struct err *err)
{
	return d->put_manifest(d, manifest, tag, err);
}
/* Builds `m` and puts it; *ret_digest may be NULL. */
NACRE_API int image_put_manifest_built(struct image_dest *d, const struct manifest *m,
				       const char *tag, struct blob_id *ret, struct err *err);
static inline int image_dest_finish(struct image_dest *d, struct err *err)
{
	return d->finish(d, err);
}
/* NULL is nothing. */
static inline void image_source_free(struct image_source *s)
{
	if (s)
		s->free(s);
}
static inline void image_dest_free(struct image_dest *d)
{
	if (d)
		d->free(d);
}
static inline void image_source_free_ptr(struct image_source **s)
{
	image_source_free(*s);
}
static inline void image_dest_free_ptr(struct image_dest **d)
{
	image_dest_free(*d);
}
#define cleanup_image_source __attribute__((cleanup(image_source_free_ptr)))
#define cleanup_image_dest   __attribute__((cleanup(image_dest_free_ptr)))

/* The image layout directory (SPEC image-spec image-layout.md). `tag` NULL: the only image there
 * (source; E_USAGE naming the tags if there are several), or no tag (destination). A destination is
 * created where it does not exist; several images share one. */
NACRE_API int image_layout_source(struct image_source **ret, const char *dir, const char *tag,
				  struct err *err);
NACRE_API int image_layout_dest(struct image_dest **ret, const char *dir, struct err *err);

/* oci-archive: the same as one tar, perhaps compressed; must be a regular file to be read. A
 * destination replaces the file, and only when it is complete; deterministic. */
NACRE_API int image_archive_source(struct image_source **ret, const char *file, const char *tag,
				   struct err *err);
NACRE_API int image_archive_dest(struct image_dest **ret, const char *file, struct err *err);

/* docker-archive: what `docker save` writes and `docker load` reads. `name` is a repository tag
 * ("busybox:latest") or "@<n>", the n-th image; NULL: the only one (source), or untagged
 * (destination). A source offers it as an OCI manifest over its uncompressed layers. A destination
 * takes one image; the tag given to put_manifest() means nothing. Both unpack layers. */
NACRE_API int image_docker_archive_source(struct image_source **ret, const char *file,
					  const char *name, struct err *err);
NACRE_API int image_docker_archive_dest(struct image_dest **ret, const char *file, const char *name,
					struct err *err);

#endif
