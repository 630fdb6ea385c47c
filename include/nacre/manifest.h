/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests and image configurations (SPEC image-spec manifest.md, image-index.md, config.md;
 * Docker image manifest version 2, schema 2).
 *
 * One `struct manifest` holds what an image manifest, an index and their Docker twins say. Parsing
 * is strict in what it needs (types, digests, sizes, duplicate keys) and ignores what it does not
 * know, as the specification demands; null counts as absent. The bytes are the identity: a manifest
 * that is to be kept is kept as bytes, never written again from the parsed form.
 */
#ifndef NACRE_MANIFEST_H
#define NACRE_MANIFEST_H

#include <nacre/descriptor.h>

#define MT_OCI_MANIFEST          "application/vnd.oci.image.manifest.v1+json"
#define MT_OCI_INDEX             "application/vnd.oci.image.index.v1+json"
#define MT_OCI_ARTIFACT_MANIFEST "application/vnd.oci.artifact.manifest.v1+json"
#define MT_OCI_CONFIG            "application/vnd.oci.image.config.v1+json"
#define MT_OCI_EMPTY             "application/vnd.oci.empty.v1+json"
#define MT_OCI_LAYER             "application/vnd.oci.image.layer.v1.tar"
#define MT_OCI_LAYER_GZIP        "application/vnd.oci.image.layer.v1.tar+gzip"
#define MT_OCI_LAYER_ZSTD        "application/vnd.oci.image.layer.v1.tar+zstd"
#define MT_OCI_LAYER_ND          "application/vnd.oci.image.layer.nondistributable.v1.tar"
#define MT_OCI_LAYER_ND_GZIP     "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
#define MT_OCI_LAYER_ND_ZSTD     "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
#define MT_DOCKER_MANIFEST       "application/vnd.docker.distribution.manifest.v2+json"
#define MT_DOCKER_LIST           "application/vnd.docker.distribution.manifest.list.v2+json"
#define MT_DOCKER_MANIFEST_1     "application/vnd.docker.distribution.manifest.v1+json"
#define MT_DOCKER_MANIFEST_1_SIG "application/vnd.docker.distribution.manifest.v1+prettyjws"
#define MT_DOCKER_CONFIG         "application/vnd.docker.container.image.v1+json"
#define MT_DOCKER_LAYER          "application/vnd.docker.image.rootfs.diff.tar"
#define MT_DOCKER_LAYER_GZIP     "application/vnd.docker.image.rootfs.diff.tar.gzip"
#define MT_DOCKER_LAYER_ZSTD     "application/vnd.docker.image.rootfs.diff.tar.zstd"
#define MT_DOCKER_FOREIGN_GZIP   "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
#define MT_NIX_PATH_INFOS        "application/vnd.nix.path-infos.v1"
#define MT_NIX_NARINFO           "text/x-nix-narinfo"
#define MT_NIX_PACKAGE           "application/vnd.nix.package.v1"
#define MT_NIX_PACKAGE_CONFIG    "application/vnd.nix.package.config.v1+json"
#define MT_NIX_NAR               "application/vnd.nix.store.path.v1.nar"
#define MT_NIX_NAR_ZSTD          "application/vnd.nix.store.path.v1.nar+zstd"
#define MT_NIX_NAR_GZIP          "application/vnd.nix.store.path.v1.nar+gzip"
#define MT_NIX_NAR_XZ            "application/vnd.nix.store.path.v1.nar+xz"

/* "{}", the content of MT_OCI_EMPTY, and its digest. */
#define OCI_EMPTY_JSON   "{}"
#define OCI_EMPTY_DIGEST "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

enum {
	MANIFEST_BYTES_MAX = 8 << 20,       /* of one manifest; the specification demands 4 MiB */
	MANIFEST_DESCRIPTORS_MAX = 1 << 16, /* layers or manifests in one manifest */
	IMAGE_CONFIG_BYTES_MAX = 16 << 20,
	MEDIA_TYPE_MAX = 255, /* bytes; RFC 6838: 127 + 1 + 127 */
};

enum manifest_kind {
	MANIFEST_IMAGE = 1, /* OCI image manifest, Docker schema 2, OCI artifact manifest */
	MANIFEST_INDEX,     /* OCI index, Docker manifest list */
	MANIFEST_OTHER,     /* of any other media type; so is Docker schema 1 */
};

struct manifest {
	enum manifest_kind kind;
	char *media_type;    /* owned; never NULL */
	char *artifact_type; /* owned as written, or NULL; see manifest_artifact_type() */
	bool has_config;     /* IMAGE; not in an artifact manifest */
	struct descriptor config;
	struct descriptors layers;    /* IMAGE; the `blobs` of an artifact manifest */
	struct descriptors manifests; /* INDEX */
	bool has_subject;
	struct descriptor subject;
	struct annotations annotations;
};

/* `media_type` is what the transport said (Content-Type, descriptor), parameters stripped; NULL if
 * it said nothing. It must agree with the document's mediaType (E_INVALID). Where neither is there,
 * a document with `manifests` is an index, one with `config` an image manifest, one with both or
 * neither E_INVALID. Too large, too deep, too many is E_LIMIT. */
NACRE_API int manifest_parse(struct manifest *ret, const char *media_type, struct slice bytes,
			     struct err *err);
/* For who keeps manifests without having to understand them: like manifest_parse(), but where
 * `media_type` is none whose form is known, anything is a manifest of it (MANIFEST_OTHER) that is not
 * empty, not past MANIFEST_BYTES_MAX, and does not itself say that it is of another type. What its
 * members mean is taken where they can be read (subject, artifactType, annotations), and otherwise
 * it has none. */
NACRE_API int manifest_parse_any(struct manifest *ret, const char *media_type, struct slice bytes,
				 struct err *err);
NACRE_API void manifest_release(struct manifest *m);
#define cleanup_manifest __attribute__((cleanup(manifest_release)))

/* artifactType, or where it is missing the media type of the config (SPEC dist-1.1 listing
 * referrers); "" if there is neither. Borrowed. */
NACRE_API const char *manifest_artifact_type(const struct manifest *m);
/* Best match in an index, or NULL. An entry without a platform matches nothing. */
NACRE_API const struct descriptor *manifest_select(const struct manifest *index,
						   const struct platform *wanted);

/* Appends the canonical JSON of `m` by its media type (MT_OCI_MANIFEST, MT_OCI_INDEX,
 * MT_DOCKER_MANIFEST, MT_DOCKER_LIST). SPEC nacre 4. E_LIMIT past MANIFEST_BYTES_MAX or the
 * buffer's maximum; E_INVALID for text that is not UTF-8 or a size past 2^53 - 1. */
NACRE_API int manifest_build(struct buf *ret, const struct manifest *m);

/* Is it a manifest or an index (something that lives under /manifests/)? */
NACRE_API bool media_type_is_manifest(const char *media_type);
NACRE_API bool media_type_is_index(const char *media_type);
/* Does a registry expect the blob not to be pushed? */
NACRE_API bool media_type_is_nondistributable(const char *media_type);
/* Layer of a file system, in any compression? */
NACRE_API bool media_type_is_layer(const char *media_type);
/* The NAR of a package artifact (SPEC nacre 5), in any compression? */
NACRE_API bool media_type_is_nar(const char *media_type);
/* Type and subtype of a Content-Type header without parameters, checked by RFC 6838. `ret` has
 * MEDIA_TYPE_MAX + 1 bytes. */
NACRE_API int media_type_parse(char *ret, struct slice header);

struct image_history {
	char *created, *created_by, *author, *comment; /* owned, or NULL */
	bool empty_layer;
};

/* Lists that the document lacks and empty ones are the same here, but for `cmd` and `entrypoint`
 * nothing depends on it. */
struct image_config {
	char *architecture, *os; /* owned; never NULL in a parsed one */
	char *variant;           /* owned, or NULL; so all texts below */
	char *os_version;
	char *created; /* RFC 3339, as written */
	char *author;
	char *user;
	char *working_dir;
	char *stop_signal;
	struct strv env, entrypoint, cmd;
	struct strv exposed_ports, volumes; /* sorted, unique */
	struct annotations labels;
	struct hash *diff_ids; /* owned */
	size_t n_diff_ids;
	struct image_history *history; /* owned */
	size_t n_history;
};
/* Strict like manifest_parse(). E_INVALID names the field. */
NACRE_API int image_config_parse(struct image_config *ret, struct slice bytes, struct err *err);
/* Appends the canonical JSON: architecture, os, created, config, history, rootfs, and variant,
 * os.version, author where they are set; a member of config that is empty is left out. SPEC nacre
 * 4.2. Errors as manifest_build(). */
NACRE_API int image_config_build(struct buf *ret, const struct image_config *c);
NACRE_API void image_config_add_diff_id(struct image_config *c, const struct hash *diff_id);
/* Copies the texts; NULL is absent. */
NACRE_API void image_config_add_history(struct image_config *c, const struct image_history *h);
NACRE_API void image_config_platform(struct platform *ret, const struct image_config *c);
NACRE_API void image_config_release(struct image_config *c);
#define cleanup_image_config __attribute__((cleanup(image_config_release)))

#endif
