/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes as Nix and OCI use them: value, running computation, and Nix's four notations.
 * Notations (SPEC nix-hash; Nix source src/libutil/hash.cc): "<algo>:<nix32>", "<algo>:<hex>",
 * "<algo>:<base64>", and SRI "<algo>-<base64>"; for a known algorithm, the first three also bare.
 * Nix accepts each by its length alone.
 */
#ifndef NACRE_HASH_H
#define NACRE_HASH_H

#include <nacre/sink.h>

enum hash_algo { HASH_NONE = 0, HASH_MD5, HASH_SHA1, HASH_SHA256, HASH_SHA512 };

enum {
	HASH_SIZE_MAX = 64,
	HASH_TEXT_MAX = 7 + 1 + 128 + 1, /* longest spelling with its NUL: sha512:<hex> */
};

struct hash {
	enum hash_algo algo;
	uint8_t bytes[HASH_SIZE_MAX]; /* hash_size(algo) of them count, the rest is zero */
};

enum hash_notation { HASH_NIX32, HASH_HEX, HASH_BASE64, HASH_SRI };

/* 16, 20, 32, 64; 0 for HASH_NONE. */
NACRE_API size_t hash_size(enum hash_algo algo);
NACRE_API const char *hash_algo_name(enum hash_algo algo);
/* HASH_NONE for an unknown name. */
NACRE_API enum hash_algo hash_algo_parse(struct slice name);
NACRE_API bool hash_equal(const struct hash *a, const struct hash *b);

/* Parses any notation. With algo == HASH_NONE the text must name its algorithm; otherwise a bare
 * text is taken as `algo` and a text that names another one is refused. 0 or E_INVALID. */
NACRE_API int hash_parse(struct hash *ret, enum hash_algo algo, struct slice text);
/* Writes "<algo>:…" (SRI: "<algo>-…") and a NUL; `ret` has HASH_TEXT_MAX bytes. */
NACRE_API void hash_format(char *ret, const struct hash *h, enum hash_notation notation);
/* The same without the algorithm's name. */
NACRE_API void hash_format_bare(char *ret, const struct hash *h, enum hash_notation notation);

/* A running computation. Embedded; release it in any case. Uses OpenSSL's EVP (SHA-NI where the
 * machine has it). */
struct hasher {
	void *ctx; /* owned */
	enum hash_algo algo;
};
NACRE_API void hasher_init(struct hasher *h, enum hash_algo algo);
NACRE_API void hasher_update(struct hasher *h, const void *data, size_t len);
/* Ends the computation; `h` can be initialised again after release. */
NACRE_API void hasher_final(struct hasher *h, struct hash *ret);
NACRE_API void hasher_release(struct hasher *h);
#define cleanup_hasher __attribute__((cleanup(hasher_release)))

/* One call over bytes in memory. */
NACRE_API void hash_bytes(struct hash *ret, enum hash_algo algo, const void *data, size_t len);

/* A sink that hashes and counts what passes and hands it on to `next` (borrowed; may be NULL). */
struct hash_sink {
	struct sink sink;
	struct sink *next;
	struct hasher hasher;
	uint64_t bytes; /* passed so far */
};
NACRE_API void hash_sink_init(struct hash_sink *s, enum hash_algo algo, struct sink *next);
NACRE_API void hash_sink_final(struct hash_sink *s, struct hash *ret);
NACRE_API void hash_sink_release(struct hash_sink *s);

#endif
