/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files of a directory that is being dumped, read by a thread of their own while those before
 * them are read: in the kernel, opening and closing a file takes longer than everything else here.
 *
 * It only saves time: what it does not give (a file that is large, not what it seemed, or that cannot be
 * read) is to be read again by who dumps, who then says what is wrong. Threads: one that dumps.
 */
#ifndef NACRE_NIX_DUMP_AHEAD_H
#define NACRE_NIX_DUMP_AHEAD_H

#include <stdbool.h>

#include <nacre/slice.h>

enum {
	DUMP_AHEAD_FILES = 64,       /* in a batch */
	DUMP_AHEAD_SMALL = 32 << 10, /* bytes of a small file at most */
	DUMP_AHEAD_BYTES = 512 << 10 /* of a batch's contents; there are two batches */
};

struct ahead_file {
	const char *name; /* borrowed; NULL: nothing to read */
	bool is_read;     /* only then the following holds */
	bool executable;
	struct slice content; /* borrowed; until the batch after the next is begun */
};

struct ahead_batch {
	size_t n;
	struct ahead_file files[DUMP_AHEAD_FILES];
	uint8_t *bytes; /* owned by the dump_ahead */
	size_t used;
};

struct dump_ahead;
/* NULL: there is no second processor, or no thread. */
struct dump_ahead *dump_ahead_new(void);
void dump_ahead_free(struct dump_ahead *a);
/* The batch that can be filled now. Whoever fills it sets `n` and all names. */
struct ahead_batch *dump_ahead_next(struct dump_ahead *a);
/* Reads it; names and descriptor stay until dump_ahead_end() or dump_ahead_free(). One at a time. */
void dump_ahead_begin(struct dump_ahead *a, int dirfd);
/* Waits for it. */
const struct ahead_batch *dump_ahead_end(struct dump_ahead *a);

#endif
