/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory and cleanup. Small allocations of a size that we choose abort on failure (x…); anything
 * whose size comes from input, disk or network goes through try_malloc() with an explicit limit, or
 * through `struct buf` with a maximum.
 */
#ifndef NACRE_BASE_MEM_H
#define NACRE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xreallocarray(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t max); /* as strndup(): reads no further than the end */
void *xmemdup(const void *p, size_t len);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* NULL when `size` is over `limit` or memory is out. */
void *try_malloc(size_t size, size_t limit);

/* Grows an owned array so that it has room for `need` items (doubling). */
#define array_grow(items, cap, need)                                                  \
	do {                                                                          \
		if ((need) > (cap)) {                                                 \
			size_t grow_to_ = (cap) ? (cap) : 8;                          \
			while (grow_to_ < (need))                                     \
				grow_to_ *= 2;                                        \
			(items) = xreallocarray((items), grow_to_, sizeof(*(items))); \
			(cap) = grow_to_;                                             \
		}                                                                     \
	} while (0)

/* 0, or -1 on overflow. */
#define add_checked(ret, a, b) (__builtin_add_overflow((a), (b), (ret)) ? -1 : 0)
#define mul_checked(ret, a, b) (__builtin_mul_overflow((a), (b), (ret)) ? -1 : 0)

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void free_ptr(void *p)
{
	free(*(void **)p);
}
/* Closes, keeping errno; -1 is nothing. */
void close_fd(int *fd);

#define cleanup_free __attribute__((cleanup(free_ptr)))
#define cleanup_fd   __attribute__((cleanup(close_fd)))

/* Defines `name_ptr_free(T **)` for a cleanup attribute: CLEANUP_FUNC(struct nar_reader,
 * nar_reader_free). Use as `CLEANUP(nar_reader_free) struct nar_reader *r = nar_reader_new();`. */
#define CLEANUP_FUNC(type, func)                \
	static inline void func##_ptr(type **p) \
	{                                       \
		if (*p)                         \
			func(*p);               \
	}
#define CLEANUP(func) __attribute__((cleanup(func##_ptr)))

/* Gives a pointer or descriptor away: returns it and leaves NULL or -1. */
#define take_ptr(p)                         \
	({                                  \
		__typeof__(p) taken_ = (p); \
		(p) = NULL;                 \
		taken_;                     \
	})
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#endif
