/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growable byte buffer with a maximum, and a list of owned strings. All-zero is a valid empty
 * value of either (a zero `max` means BUF_MAX_DEFAULT). Growing past the maximum gives E_LIMIT and
 * leaves the buffer as it was.
 */
#ifndef NACRE_BUF_H
#define NACRE_BUF_H

#include <nacre/sink.h>

enum { BUF_MAX_DEFAULT = 16 << 20 };

struct buf {
	uint8_t *data; /* owned; always NUL-terminated behind len once anything was added */
	size_t len;    /* bytes in use */
	size_t cap;    /* bytes allocated */
	size_t max;    /* limit of len; 0: BUF_MAX_DEFAULT */
};

#define BUF_INIT(maximum) ((struct buf){.max = (maximum)})

NACRE_API int buf_add(struct buf *b, const void *data, size_t len);
NACRE_API int buf_add_str(struct buf *b, const char *s);
NACRE_API int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Makes room for `len` more bytes behind b->len without changing len. */
NACRE_API int buf_reserve(struct buf *b, size_t len);
/* Forgets the content, keeps the memory. */
NACRE_API void buf_reset(struct buf *b);
NACRE_API void buf_release(struct buf *b);
/* Gives the memory away as a NUL-terminated string (owned by the caller, for free()); the buffer is
 * empty then. */
NACRE_API char *buf_take_str(struct buf *b);
static inline struct slice buf_slice(const struct buf *b)
{
	return slice_make(b->data, b->len);
}

/* A sink that appends to a buffer. `buf` is borrowed. */
struct buf_sink {
	struct sink sink;
	struct buf *buf;
};
NACRE_API void buf_sink_init(struct buf_sink *s, struct buf *buf);

/* A list of owned strings. */
struct strv {
	char **items; /* owned, each item owned; items[len] is NULL once anything was added */
	size_t len;
	size_t cap;
};

NACRE_API void strv_add(struct strv *v, const char *s);
NACRE_API void strv_add_slice(struct strv *v, struct slice s);
NACRE_API void strv_addf(struct strv *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Takes ownership of `s`. */
NACRE_API void strv_take(struct strv *v, char *s);
/* Sorts bytewise and removes duplicates. */
NACRE_API void strv_sort_unique(struct strv *v);
/* For qsort() and bsearch() over items: strcmp of two `char *`. */
NACRE_API int strv_compare_items(const void *a, const void *b);
NACRE_API bool strv_contains(const struct strv *v, const char *s);
NACRE_API void strv_copy(struct strv *ret, const struct strv *from);
NACRE_API void strv_release(struct strv *v);

#define cleanup_buf  __attribute__((cleanup(buf_release)))
#define cleanup_strv __attribute__((cleanup(strv_release)))

#endif
