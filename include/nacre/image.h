/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of store paths, and their parts (SPEC nacre 4, 4.2, 5): annotations both ways, config,
 * manifest, the referrer that carries path infos, package artifacts, the root layer.
 */
#ifndef NACRE_IMAGE_H
#define NACRE_IMAGE_H

#include <nacre/absorb.h>
#include <nacre/group.h>
#include <nacre/manifest.h>

#define ANNOTATION_PATH_PREFIX       "containerd.io/snapshot/nacre.path."
#define ANNOTATION_REFERENCES_PREFIX "dev.nacre.references."

/* ---- Annotations of a store layer
 * -------------------------------------------------------------- */

/* Adds the annotations of the paths `indices` of `set`; with_references decides about the second
 * kind. */
NACRE_API void image_annotate_layer(struct annotations *a, const struct path_infos *set,
				    const size_t *indices, size_t n, bool with_references);

/* What the annotations of a layer claim: path, NarHash, NarSize, and references where they are
 * there (has_references). Hints: the caller compares with the content. E_NOTFOUND: names no
 * path; E_INVALID: malformed, not numbered 0, 1, …, a path twice, not sorted, another store dir. */
NACRE_API int image_layer_claims(struct path_infos *ret, bool *ret_has_references,
				 const struct annotations *a);

/* ---- Image config and manifest
 * ----------------------------------------------------------------- */

enum image_compression { IMAGE_ZSTD, IMAGE_NONE, IMAGE_GZIP };
NACRE_API const char *image_layer_media_type(enum image_compression c);

/* One layer of an image, lowest first; a layer without paths is the root layer. */
struct image_layer {
	struct named_bytes blob; /* as it is named in the manifest */
	struct hash diff_id;
	const size_t *paths; /* borrowed: indices into the set */
	size_t n_paths;
};
/* What an image consists of, beside its config; all borrowed. */
struct image_parts {
	const struct path_infos *set;
	const struct image_layer *layers;
	size_t n_layers;
	enum image_compression compression;
};
/* Fills the config's rootfs and history from the layers (the rest is the caller's) and builds
 * config and manifest. References are annotated for all paths or, where the manifest would pass
 * 4 MiB with them, for none. *ret_config, *ret_bytes: canonical JSON; *ret: what the manifest says
 * (owned by the caller). */
NACRE_API int image_assemble(struct buf *ret_config, struct buf *ret_bytes, struct manifest *ret,
			     struct image_config *config, const struct image_parts *parts,
			     struct err *err);

#define IMAGE_CREATED_DEFAULT "1970-01-01T00:00:01Z"
/* RFC 3339 text of SOURCE_DATE_EPOCH where it is set, else the default. Owned by the caller. E_USAGE:
 * it is set to something else than seconds. */
NACRE_API int image_created(char **ret, struct err *err);

/* ---- Path infos with an image
 * ------------------------------------------------------------------ */

/* Appends the narinfos of a set as they travel with an image: sorted, URL nar/<NarHash>.nar,
 * Compression none. */
NACRE_API int path_infos_format(struct buf *ret, const struct path_infos *set);
/* The reverse: narinfos one after another, each beginning with StorePath. E_INVALID also for other than sorted ones. */
NACRE_API int path_infos_parse(struct path_infos *ret, const char *store_dir, struct slice text,
			       struct err *err);
/* Builds the referrer's manifest over such a text (`layer` names it). */
NACRE_API int path_infos_manifest(struct buf *ret, const struct descriptor *subject,
				  const struct named_bytes *layer);

/* ---- Package artifacts
 * ------------------------------------------------------------------------- */

NACRE_API int package_config(struct buf *ret, const struct path_info *info);
/* The artifact's manifest; `layer` is the store layer of exactly this path. */
NACRE_API int package_manifest(struct buf *ret, const struct path_info *info,
			       const struct named_bytes *config, const char *layer_media_type,
			       const struct named_bytes *layer);
/* Parses a package config: path, NarHash, NarSize, references. */
NACRE_API int package_config_parse(struct path_info *ret, struct slice json, struct err *err);

/* ---- The root layer
 * ---------------------------------------------------------------------------- */

/* What is not a store path: directories, files, symlinks with their modes. Entries may be added in
 * any order; parents are added with mode 0755. The first entry of a name wins. */
struct root_layer;
NACRE_API struct root_layer *root_layer_new(void);
NACRE_API void root_layer_add_dir(struct root_layer *r, const char *path, unsigned mode);
NACRE_API void root_layer_add_file(struct root_layer *r, const char *path, unsigned mode,
				   const char *content);
NACRE_API void root_layer_add_symlink(struct root_layer *r, const char *path, const char *target);
NACRE_API bool root_layer_empty(const struct root_layer *r);
/* The directories and files of SPEC nacre 4.2 (not the links in bin/). */
NACRE_API void root_layer_add_defaults(struct root_layer *r);
NACRE_API void root_layer_free(struct root_layer *r);

/* ---- What an image needs to know of its paths
 * ---------------------------------------------------- */

/* Looks at a path while its events pass: what is in some of its directories, and the ELF machine of
 * its files. */
struct path_survey {
	struct node_sink node_sink;
	struct strv dirs;     /* "bin", "share/man": the directories to look into */
	struct strv programs; /* names in bin/ of executable files and symlinks */
	struct strv
		links; /* of the other directories: "share/man/man1", in the order of the path */
	/* Of the first ELF file, 0: none. A number for elf_architecture() alone: e_machine with class
	 * and byte order. */
	uint16_t elf_machine;
	bool elf_mixed; /* files of more than one machine */
	/* Where the walk is. */
	struct buf path;
	bool at_start;
	uint8_t head[20];
	size_t head_len;
};
/* Looks into bin/. */
NACRE_API void path_survey_init(struct path_survey *s);
/* One more directory, without slashes around it. */
NACRE_API void path_survey_add_dir(struct path_survey *s, const char *dir);
NACRE_API void path_survey_release(struct path_survey *s);
/* Go's name of an architecture ("amd64") or NULL; *ret_variant may be set ("v7"). Constants. */
NACRE_API const char *elf_architecture(uint16_t elf_machine, const char **ret_variant);
/* SPEC nacre 4.2: the main program of a path: the only one, else bin/<pname>, else NULL.
 * Borrowed. */
NACRE_API const char *path_survey_main_program(const struct path_survey *s, const char *name);

/* A path that the image is made for; all borrowed. */
struct image_root {
	const struct store_path *path;
	const struct strv *programs; /* names in bin/ */
	const struct strv *links;    /* more entries to link, may be NULL */
	uint16_t elf_machine;
	bool elf_mixed;
};

/* SPEC nacre 4.2: what an image of these roots looks like unless somebody says otherwise. Sets
 * created, os, architecture and variant (unless they are set), env and cmd in `config`, and adds
 * the directories, files and links to `root`. `closure_machine` is that of all paths, 0 where
 * they have none or disagree. E_USAGE when the architecture is not set and cannot be known. */
NACRE_API int image_defaults(struct image_config *config, struct root_layer *root,
			     const struct image_root *roots, size_t n_roots,
			     uint16_t closure_machine, struct err *err);

/* ---- Writing a layer
 * ----------------------------------------------------------------------------- */

/* Writes the layer of any number of paths to a sink in one pass, in the compression wanted. `pool` is
 * borrowed; NULL: all in the calling thread. */
struct layer_writer;
NACRE_API int layer_writer_new(struct layer_writer **ret, struct sink *out, const char *store_dir,
			       enum image_compression compression, struct frame_pool *pool,
			       struct err *err);
/* Begins a path, in increasing order; its events then go to the node sink. */
NACRE_API int layer_writer_path(struct layer_writer *w, const char *base, struct err *err);
NACRE_API struct node_sink *layer_writer_node_sink(struct layer_writer *w);
/* Writes the end, and gives the diffID. `out` is not finished. */
NACRE_API int layer_writer_end(struct layer_writer *w, struct hash *ret_diff_id, struct err *err);
NACRE_API void layer_writer_free(struct layer_writer *w);
/* The same for a root layer: sorted, in the canonical tar's form but with its own modes. */
NACRE_API int root_layer_encode(const struct root_layer *r, enum image_compression compression,
				struct sink *out, struct hash *ret_diff_id, struct err *err);

#endif
