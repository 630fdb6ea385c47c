/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image layout (SPEC image-spec image-layout.md) apart from where its files are: a directory
 * (layout-dir.c) or a tar (archive.c).
 */
#ifndef NACRE_OCI_LAYOUT_INTERNAL_H
#define NACRE_OCI_LAYOUT_INTERNAL_H

#include <nacre/json.h>
#include <nacre/transport.h>

enum {
	LAYOUT_INDEX_MAX =
		64 << 20,      /* bytes of an index.json; it grows with the number of images */
	LAYOUT_PATH_MAX = 160, /* "blobs/sha512/" and 128 hex digits, with the NUL */
};

#define LAYOUT_FILE_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"

/* Checks the text of the file `oci-layout`. */
int layout_file_check(struct slice text, struct err *err);
/* "blobs/<algo>/<hex>"; `ret` has LAYOUT_PATH_MAX bytes. */
void layout_blob_path(char *ret, const struct hash *digest);

/* index.json, read. */
struct layout_index {
	json_t *doc; /* owned; as it was read, with what we do not know */
	struct descriptors entries;
};
int layout_index_parse(struct layout_index *ret, struct slice text, struct err *err);
void layout_index_release(struct layout_index *x);
#define cleanup_layout_index __attribute__((cleanup(layout_index_release)))

/* The entry of a tag; with NULL the only image. E_NOTFOUND, E_USAGE: several. Both name the tags.
 * Borrowed from `x`. */
int layout_index_find(const struct layout_index *x, const char *tag, const struct descriptor **ret,
		      struct err *err);

/* The files of a layout, to read. Embedded first. */
struct layout_files {
	/* Writes the file to `out` without finishing it: E_NOTFOUND; E_LIMIT if it has more than
	 * `max` bytes, before anything is written. `path` is relative and has no "..". */
	int (*read)(struct layout_files *self, const char *path, uint64_t max, struct sink *out,
		    struct err *err);
	void (*free)(struct layout_files *self);
};
/* A source over files, which it takes over even on failure. `name` and `tag` are copied. */
int layout_source_new(struct image_source **ret, const char *name, const char *tag,
		      struct layout_files *files, struct err *err);

/* The manifests that are put through one destination. All-zero is empty. */
struct layout_session {
	struct descriptors manifests; /* with artifactType and annotations if they have a subject */
	struct strv tags;             /* of each; "" for none */
	struct hash *named;           /* owned; what these manifests name as theirs */
	size_t n_named, cap_named;
};
int layout_session_add(struct layout_session *s, const struct manifest_bytes *m, const char *tag,
		       struct err *err);
/* Appends the new index.json: `old` with what was put. A tag moves from what had it; a manifest
 * without a tag is listed if nothing that was put names it. `old` may be NULL. */
int layout_session_write(const struct layout_session *s, const struct layout_index *old,
			 struct buf *ret, struct err *err);
void layout_session_release(struct layout_session *s);

#endif
