/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests (SPEC image-spec descriptor.md): "<algorithm>:<encoded>". A digest is a `struct hash` of
 * HASH_SHA256 or HASH_SHA512; its one spelling is lower-case hex.
 *
 * A registry answers differently to a text that is no digest and to one whose algorithm it does not
 * know, so the parser keeps the two apart.
 */
#ifndef NACRE_DIGEST_H
#define NACRE_DIGEST_H

#include <nacre/hash.h>

enum {
	DIGEST_TEXT_MAX = HASH_TEXT_MAX, /* longest text with its NUL: sha512:<128 hex> */
};

/* 0; E_INVALID: breaks the grammar, or is not 64/128 lower-case hex digits for sha256/sha512;
 * E_UNSUPPORTED: grammatical, of an algorithm other than these two. */
NACRE_API int digest_parse(struct hash *ret, struct slice text);
/* Writes the text and a NUL into DIGEST_TEXT_MAX bytes; `h` is sha256 or sha512. */
NACRE_API void digest_format(char *ret, const struct hash *h);
/* The two errors of digest_parse() as a text for people. */
NACRE_API int digest_parse_err(struct hash *ret, struct slice text, struct err *err);

enum { DIGEST_SIZE_UNKNOWN = -1 };

/* A sink that proves what passes against a digest and a size and hands it on to `next`
 * (borrowed; may be NULL). With a digest of HASH_NONE it computes sha256: `digest` has it after
 * finish(). A byte too many is E_MISMATCH at once; finish() gives E_MISMATCH for too few bytes
 * or another digest and, if all is right, finishes `next`. Whatever `next` made of the bytes
 * must not be used before finish() succeeded. */
struct verify_sink {
	struct sink sink;
	struct sink *next;
	struct hasher hasher;
	struct hash digest;
	bool known;     /* the digest was promised */
	int64_t size;   /* bytes; DIGEST_SIZE_UNKNOWN: any */
	uint64_t bytes; /* passed so far */
};
NACRE_API void verify_sink_init(struct verify_sink *s, const struct hash *digest, int64_t size,
				struct sink *next);
NACRE_API void verify_sink_release(struct verify_sink *s);
#define cleanup_verify_sink __attribute__((cleanup(verify_sink_release)))

#endif
