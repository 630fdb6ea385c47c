/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few large blocks of memory that are used again and again; private to src/serve. Who gets none
 * does without. Threads: any.
 */
#ifndef NACRE_SERVE_BLOCK_POOL_H
#define NACRE_SERVE_BLOCK_POOL_H

#include <stddef.h>

enum { POOL_BLOCK = 1 << 20, POOL_BLOCKS = 12 }; /* bytes; at most so many blocks */

struct block_pool;

struct block_pool *block_pool_new(void);
/* All blocks are back. NULL is nothing. */
void block_pool_free(struct block_pool *p);

/* POOL_BLOCK bytes, or NULL: all are in use. Goes back by block_give(). */
void *block_take(struct block_pool *p);
void block_give(void *block);

#endif
