/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three spellings of bytes: lower-case hex, base64 (RFC 4648, padded), and Nix's base 32 (SPEC
 * nix-base32: alphabet 0123456789abcdfghijklmnpqrsvwxyz, little-endian bit order, last character
 * first; Nix source src/libutil/base-nix-32.cc). Leaf code: decoders return the number of bytes
 * written, or E_INVALID for a foreign character, a wrong length or spare bits that are not zero,
 * and then have written nothing that may be used. Encoders write a NUL behind the text.
 */
#ifndef NACRE_ENCODE_H
#define NACRE_ENCODE_H

#include <nacre/err.h>
#include <nacre/slice.h>

/* Lengths of the encoded text without NUL. */
static inline size_t nix32_len(size_t bytes)
{
	return (bytes * 8 + 4) / 5;
}
static inline size_t hex_len(size_t bytes)
{
	return bytes * 2;
}
static inline size_t base64_len(size_t bytes)
{
	return (bytes + 2) / 3 * 4;
}

NACRE_API void nix32_encode(char *ret, const void *data, size_t len);
/* `text` must be exactly nix32_len(len) characters for the `len` bytes wanted. */
NACRE_API int nix32_decode(void *ret, size_t len, struct slice text);
NACRE_API bool nix32_is_char(char c);

NACRE_API void hex_encode(char *ret, const void *data, size_t len);
/* Lower case only: digests and hashes have one spelling. */
NACRE_API int hex_decode(void *ret, size_t len, struct slice text);

NACRE_API void base64_encode(char *ret, const void *data, size_t len);
/* Writes at most `max` bytes; strict padding. Returns the number of bytes. */
NACRE_API int base64_decode(void *ret, size_t max, struct slice text);

/* Decimal digits only (no sign, no blanks, no overflow; at least one digit). Returns 0 or
 * E_INVALID. */
NACRE_API int parse_u64(uint64_t *ret, struct slice text);

#endif
