/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When things were used last; private to src/store.
 *
 * Reads note their use in memory, and maintenance writes that down now and then, to an hour: a
 * read costs no write. Who collects asks here before he takes something away, and either the use
 * was first (then it stays) or the taking (then the use finds nothing): no client is told that
 * something is there which is on its way out. A crash loses the uses of some minutes.
 */
#ifndef NACRE_STORE_USES_H
#define NACRE_STORE_USES_H

#include "store/store-internal.h"

enum use_kind {
	USE_NONE,
	USE_PATH,     /* a: binding */
	USE_MANIFEST, /* a: manifest */
	USE_LINK,     /* a: repository, b: blob */
	USE_PENDING,  /* a: view, b: NAR */
};
struct use_key {
	enum use_kind kind;
	int64_t a, b;
};

struct uses;
struct uses *uses_new(void);
void uses_free(struct uses *u);

/* False: it is going at this moment; answer as if it were gone. What was looked up before may be
 * gone all the same if use_epoch() is not what it was before that: look again.
 *
 * 	do {
 * 		epoch = use_epoch(s);
 * 		found = … && use_note(s, key);
 * 	} while (found && use_epoch(s) != epoch);
 */
bool use_note(struct store *s, struct use_key key);
uint64_t use_epoch(struct store *s);
/* Was it used since the last flush? */
bool use_is_noted(struct store *s, struct use_key key);
/* May it be taken? False: it was used since the last flush. True: from now on use_note() says
 * false, until uses_settle(). One thread at a time. */
bool use_take(struct store *s, struct use_key key);
/* What was taken is gone, or is not taken after all: the database knows. */
void uses_settle(struct store *s);
/* Writes down what was used, a part at the least. Returns 1 if time_is_up() ended it: the next flush
 * goes on, and what could not be written is still noted. One thread at a time, not between
 * use_take() and uses_settle(). */
int uses_flush(struct store *s, uint64_t deadline_ms, struct err *err);

enum { USE_GRAIN_S = 3600 };

#endif
