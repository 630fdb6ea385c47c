/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Path info: what Nix knows of a valid store path, its text form `narinfo`, its fingerprint, and
 * Ed25519 keys and signatures (SPEC nix-narinfo, nix-signature; Nix source
 * src/libstore/nar-info.cc, path-info.cc, src/libutil/signature/local-keys.cc).
 */
#ifndef NACRE_PATHINFO_H
#define NACRE_PATHINFO_H

#include <nacre/storepath.h>

struct path_info {
	struct store_path path;
	struct hash nar_hash; /* sha256 */
	uint64_t nar_size;    /* bytes, > 0 */
	struct strv
		references; /* base names, sorted bytewise, unique; may contain the path itself */
	char *deriver;      /* owned base name, or NULL */
	struct strv signatures;    /* "<key name>:<base64>", sorted, unique, each well formed */
	char *ca;                  /* owned content address as Nix spells it, or NULL */
	bool ultimate;             /* built here; local databases only */
	int64_t registration_time; /* seconds since the epoch; 0 unknown */
};
NACRE_API void path_info_release(struct path_info *info);
NACRE_API void path_info_copy(struct path_info *ret, const struct path_info *from);
#define cleanup_path_info __attribute__((cleanup(path_info_release)))

/* A set of path infos, owned, sorted by store path. All-zero is empty. */
struct path_infos {
	struct path_info *items; /* owned */
	size_t len, cap;
};
/* Takes over the content of `info` (which is empty afterwards), keeping the order; a second one for
 * the same path replaces the first. */
NACRE_API void path_infos_take(struct path_infos *set, struct path_info *info);
/* By base name; NULL if there is none. Borrowed. */
NACRE_API const struct path_info *path_infos_find(const struct path_infos *set, const char *base);
NACRE_API void path_infos_release(struct path_infos *set);
#define cleanup_path_infos __attribute__((cleanup(path_infos_release)))

struct narinfo {
	struct path_info info;
	char *url;             /* owned; required, not empty */
	char *compression;     /* owned; "none", "xz", … ; absent in the text means "bzip2" */
	struct hash file_hash; /* algo HASH_NONE: absent */
	uint64_t file_size;    /* 0: absent */
};
NACRE_API void narinfo_release(struct narinfo *n);
#define cleanup_narinfo __attribute__((cleanup(narinfo_release)))

enum { NARINFO_MAX = 4 << 20 }; /* bytes of one text */

/* Parses one narinfo, strictly: what some Nix version refuses is refused (CRLF, missing final LF,
 * malformed Sig, second References, second CA, unknown CA, unknown compression, bad hash, NarSize
 * 0); what all accept is accepted (unknown keys, all hash notations, any order, duplicates of
 * single keys: last wins). E_INVALID with the line number and key in `err`. */
NACRE_API int narinfo_parse(struct narinfo *ret, const char *store_dir, struct slice text,
			    struct err *err);
/* Appends the text as Nix writes it, in Nix's order. Absent fields are left out. E_LIMIT past the
 * buffer's maximum. */
NACRE_API int narinfo_format(struct buf *ret, const struct narinfo *n);

/* Appends "1;<path>;sha256:<nix32>;<size>;<ref>,<ref>…". */
NACRE_API int path_info_fingerprint(struct buf *ret, const struct path_info *info);

/* A content address: "text:sha256:…", "fixed:[r:|git:]<algo>:…". */
struct content_address {
	enum ca_method method;
	struct hash hash;
};
NACRE_API int content_address_parse(struct content_address *ret, struct slice text);
/* Does `info`'s own content address give its store path? 1 yes, 0 no or no content address, < 0
 * malformed. This checks the name against the claimed hash; whether the content has that hash is
 * checked by ca_verifier. */
NACRE_API int path_info_ca_matches(const struct path_info *info);

/* Checks a content address against content, while the NAR passes: a sink of NAR bytes. Accepts
 * either historical variant of self-referential hashing. */
struct ca_verifier;
/* NULL when the content address is one that cannot be checked (git). */
NACRE_API struct ca_verifier *ca_verifier_new(const struct path_info *info,
					      const struct content_address *ca);
NACRE_API struct sink *ca_verifier_sink(struct ca_verifier *v);
/* 1 the content has the hash, 0 it does not, < 0 error (NAR malformed or not of the needed shape).
 * Call once. */
NACRE_API int ca_verifier_result(struct ca_verifier *v, struct err *err);
NACRE_API void ca_verifier_free(struct ca_verifier *v);

enum { KEY_NAME_MAX = 255, KEY_SECRET_SIZE = 64, KEY_PUBLIC_SIZE = 32, SIGNATURE_SIZE = 64 };

struct secret_key {
	char name[KEY_NAME_MAX + 1];
	uint8_t bytes[KEY_SECRET_SIZE]; /* seed, then public key */
};
struct public_key {
	char name[KEY_NAME_MAX + 1];
	uint8_t bytes[KEY_PUBLIC_SIZE];
};
NACRE_API int secret_key_generate(struct secret_key *ret, const char *name, struct err *err);
/* "name:base64"; trailing blanks and newlines are ignored. */
NACRE_API int secret_key_parse(struct secret_key *ret, struct slice text);
NACRE_API int public_key_parse(struct public_key *ret, struct slice text);
/* Appends "name:base64" without a newline. */
NACRE_API void secret_key_format(struct buf *ret, const struct secret_key *key);
NACRE_API void public_key_format(struct buf *ret, const struct public_key *key);
NACRE_API void secret_key_public(struct public_key *ret, const struct secret_key *key);
/* Overwrites the secret. */
NACRE_API void secret_key_release(struct secret_key *key);

/* Ed25519 over any bytes. 0, or E_INTERNAL. */
NACRE_API int secret_key_sign(uint8_t ret[SIGNATURE_SIZE], const struct secret_key *key,
			      struct slice text);
NACRE_API bool public_key_verify(const struct public_key *key,
				 const uint8_t signature[SIGNATURE_SIZE], struct slice text);

/* "<key name>:<base64 of 64 bytes>". 0 or E_INVALID. */
NACRE_API int signature_check(struct slice text);
/* Signs the fingerprint and adds the signature to info->signatures. */
NACRE_API int path_info_sign(struct path_info *info, const struct secret_key *key, struct err *err);
/* Number of keys with a valid signature on `info`. */
NACRE_API size_t path_info_verify(const struct path_info *info, const struct public_key *keys,
				  size_t n_keys);

#endif
