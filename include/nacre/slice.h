/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A borrowed run of bytes. Not NUL-terminated; may hold any byte. Whoever hands one out says until
 * when it is valid.
 */
#ifndef NACRE_SLICE_H
#define NACRE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const uint8_t *data; /* borrowed */
	size_t len;          /* bytes */
};

static inline struct slice slice_make(const void *data, size_t len)
{
	return (struct slice){data, len};
}

/* Borrows a C string without its NUL. */
static inline struct slice slice_str(const char *s)
{
	return slice_make(s, strlen(s));
}

static inline bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_equal_str(struct slice a, const char *s)
{
	return slice_equal(a, slice_str(s));
}

static inline bool slice_has_prefix(struct slice a, const char *prefix)
{
	size_t n = strlen(prefix);

	return a.len >= n && memcmp(a.data, prefix, n) == 0;
}

/* Bytewise order (memcmp, shorter first on a tie): the order of names in a NAR and of store paths
 * in a layer. */
static inline int slice_compare(struct slice a, struct slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.data, b.data, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* Drops the first `n` bytes; n <= s->len. */
static inline void slice_advance(struct slice *s, size_t n)
{
	s->data += n;
	s->len -= n;
}

#endif
