/* SPDX-License-Identifier: Apache-2.0 */
/* Independent pieces of work on several processors; private to src/store. */
#ifndef NACRE_STORE_PARALLEL_H
#define NACRE_STORE_PARALLEL_H

#include <stddef.h>

#include <nacre/err.h>

typedef int parallel_fn(void *arg, size_t i, struct err *err);

/* Calls fn(arg, i) for all i below n, in any order, on `threads` threads (0: as many as
 * processors), this one included. After a failure no more pieces are begun; the error of the
 * first is set. */
int parallel_run(unsigned threads, size_t n, parallel_fn *fn, void *arg, struct err *err);

#endif
