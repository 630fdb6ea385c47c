/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Store paths: parsing and computation (SPEC nacre 1, nix-store-path; Nix source
 * src/libstore/path.cc, store-dir-config.cc).
 *
 * 	<store dir>/<hash>-<name>      hash: 32 characters of nix32; name: 1..211 of
 * [0-9a-zA-Z+._?=-], not "." "..", not beginning with ".-" "..-"
 *
 * The base name is "<hash>-<name>". A `struct store_path` is a plain value without pointers.
 */
#ifndef NACRE_STOREPATH_H
#define NACRE_STOREPATH_H

#include <nacre/buf.h>
#include <nacre/hash.h>

enum {
	STORE_HASH_LEN = 32,
	STORE_NAME_MAX = 211,
	STORE_BASE_MAX = STORE_HASH_LEN + 1 + STORE_NAME_MAX,
	STORE_DIR_MAX = 200, /* bytes of a store dir; our limit */
};

#define STORE_DIR_DEFAULT "/nix/store"

struct store_path {
	char text[STORE_DIR_MAX + 1 + STORE_BASE_MAX + 1]; /* whole path, NUL-terminated */
	uint16_t dir_len; /* text[dir_len] is the '/' before the base name */
};

/* A store dir: absolute, no empty, "." or ".." component, no trailing '/', printable
 * ASCII, 2..STORE_DIR_MAX bytes. */
NACRE_API int store_dir_check(struct slice dir);
NACRE_API int store_base_check(struct slice base);
NACRE_API int store_hash_part_check(struct slice hash);

/* Parses a whole path that must lie directly in `store_dir`. 0 or E_INVALID. */
NACRE_API int store_path_parse(struct store_path *ret, const char *store_dir, struct slice text);
/* Parses a whole path whose store dir is whatever precedes the last '/'. */
NACRE_API int store_path_parse_any(struct store_path *ret, struct slice text);
/* From a store dir and a base name. */
NACRE_API int store_path_make(struct store_path *ret, const char *store_dir, struct slice base);

/* NUL-terminated, borrowed from `p`. */
static inline const char *store_path_base(const struct store_path *p)
{
	return p->text + p->dir_len + 1;
}
static inline const char *store_path_name(const struct store_path *p)
{
	return store_path_base(p) + STORE_HASH_LEN + 1;
}
static inline struct slice store_path_hash_part(const struct store_path *p)
{
	return slice_make(store_path_base(p), STORE_HASH_LEN);
}
static inline struct slice store_path_dir(const struct store_path *p)
{
	return slice_make(p->text, p->dir_len);
}

/* The package name of a store path's name, for grouping (SPEC nacre 4.1): Nix's parseDrvName name,
 * plus the last
 * `-[a-z]+` component of the version where there is one. Writes a NUL-terminated text; `ret` has
 * STORE_NAME_MAX + 1 bytes. */
NACRE_API void store_pname(char *ret, const char *name);

/* Computations (SPEC nix-store-path). `refs` are base names in the same store dir, in any order,
 * without the path itself. */
struct store_refs {
	const struct strv *refs; /* borrowed; may be NULL */
	bool self;
};

/* "text": content is hashed by the caller with sha256. A self reference is E_INVALID. */
NACRE_API int store_path_text(struct store_path *ret, const char *store_dir, const char *name,
			      const struct hash *content, const struct store_refs *refs);
enum ca_method { CA_TEXT, CA_FLAT, CA_NAR, CA_GIT };
/* "fixed": CA_FLAT or CA_GIT (references forbidden, E_INVALID), CA_NAR (sha256: "source" with
 * references; else without). With refs->self the hash is the NAR's hash modulo the path's own hash
 * part. */
NACRE_API int store_path_fixed(struct store_path *ret, const char *store_dir, const char *name,
			       enum ca_method method, const struct hash *content,
			       const struct store_refs *refs);

/* The hash of a NAR modulo one hash part: every occurrence is replaced by NULs; then "|<offset>" is
 * hashed for each match
 * (`positions`: Nix up to 2.16 and from 2.35) or not (2.17 to 2.34). A sink; bounded memory. */
struct modulo_sink {
	struct sink sink;
	struct hasher with; /* with positions */
	struct hasher without;
	char hash_part[STORE_HASH_LEN];
	uint8_t tail[STORE_HASH_LEN]; /* bytes held back that may begin a match */
	size_t tail_len;
	uint64_t offset;      /* of tail[0] in the stream */
	struct buf positions; /* "|offset|offset…" so far; limited */
};
NACRE_API void modulo_sink_init(struct modulo_sink *s, struct slice hash_part);
NACRE_API int modulo_sink_final(struct modulo_sink *s, struct hash *ret_with,
				struct hash *ret_without, struct err *err);
NACRE_API void modulo_sink_release(struct modulo_sink *s);

/* Finds which of many hash parts occur in a stream, as Nix finds references: a sink; one pass
 * whatever their number. */
struct ref_scanner;
NACRE_API struct ref_scanner *ref_scanner_new(const struct strv *base_names);
NACRE_API struct sink *ref_scanner_sink(struct ref_scanner *s);
/* Adds the base names found, in the order of `base_names`. */
NACRE_API void ref_scanner_found(const struct ref_scanner *s, struct strv *ret);
NACRE_API void ref_scanner_free(struct ref_scanner *s);

#endif
