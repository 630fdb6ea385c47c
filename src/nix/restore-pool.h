/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files of a tree that is being restored, made by several threads: in the kernel a file takes
 * longer than everything else here. They are gathered in batches. A batch that finds all threads busy
 * is made by who brings it, so memory is bounded and nobody waits before the end; a tree with less
 * than a batch costs no thread.
 *
 * A directory stays open until the last of its files was made, and then gets its final mode: at most
 * RESTORE_BATCH_DIRS for each batch. Threads: one that restores; the others are the pool's own.
 */
#ifndef NACRE_NIX_RESTORE_POOL_H
#define NACRE_NIX_RESTORE_POOL_H

#include <stdbool.h>

#include <time.h>

#include <nacre/err.h>
#include <nacre/slice.h>

enum {
	RESTORE_SMALL_MAX = 64 << 10, /* bytes of a small file: fewer than this */
	RESTORE_BATCH_BYTES = 256 << 10,
	RESTORE_BATCH_FILES = 128,
	RESTORE_BATCH_DIRS = 16, /* changes of directory within a batch */
};

struct restore_pool;
struct restore_pool *restore_pool_new(bool canonical);
/* Returns when no thread works any more. What was not made by then is not made. */
void restore_pool_free(struct restore_pool *p);
/* The same, but the pool can still be asked: nothing is made from now on. */
void restore_pool_stop(struct restore_pool *p);
/* Makes what is left, and waits for all of it. The first failure of any file or directory. */
int restore_pool_finish(struct restore_pool *p, struct err *err);

/* An open directory in which files are made. */
struct restore_dir;
/* Takes over `fd`. `parent` is only asked for its path, NULL: `name` is the whole path. Released by
 * restore_dir_end(). */
struct restore_dir *restore_dir_new(const struct restore_dir *parent, const char *name, int fd);
int restore_dir_fd(const struct restore_dir *d);
/* Nothing more comes into the directory. A failure is that of restore_pool_finish(). */
void restore_dir_end(struct restore_pool *p, struct restore_dir *d);

/* A file, and then its contents, `size` bytes in all. Name and contents are copied. A failure is that of
 * a file before. */
int restore_pool_begin(struct restore_pool *p, struct restore_dir *dir, const char *name,
		       size_t size, bool executable, struct err *err);
void restore_pool_content(struct restore_pool *p, struct slice data);

/* What both ways of making a file do first and last. SPEC nix-store: mode 0444 or 0555, mtime 1; not
 * canonical: an executable stays one under a umask that takes x away, as `nix-store --restore` does it.
 * A descriptor, 0; -1: errno. */
int restore_create_file(int dirfd, const char *name, bool executable, bool canonical);
int restore_finish_file(int fd, bool executable, bool canonical);
/* SPEC nix-store: mtime 1, for futimens() and the like. */
extern const struct timespec restore_canonical_times[2];

#endif
