/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast one client may ask: a bucket of tokens for each address (IPv6: for each /64). The table
 * has a fixed size: where more clients ask than it has room for, those that ask least are forgotten. Private to src/serve.
 */
#ifndef NACRE_SERVE_RATE_H
#define NACRE_SERVE_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct rate_table;

struct rate_table *rate_table_new(void);
void rate_table_free(struct rate_table *t); /* NULL is nothing */
/* Takes one token of a bucket that fills with `per_second` and holds `burst`. False: there is none;
 * *ret_wait_ms says when there is. */
bool rate_take(struct rate_table *t, uint64_t client, unsigned per_second, unsigned burst,
	       int64_t now_us, unsigned *ret_wait_ms);

#endif
