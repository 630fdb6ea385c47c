/* SPDX-License-Identifier: Apache-2.0 */
/* What db.c and query.c share. */
#ifndef NACRE_STORE_DB_INTERNAL_H
#define NACRE_STORE_DB_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/cond.h"
#include "store/db.h"
#include "store/log-vfs.h"

enum {
	DB_VERSION = 5,
	READERS_MAX = 16,
	STATEMENTS_MAX =
		512, /* slots per connection; a power of two, well above the number of texts */
};

struct conn {
	sqlite3 *handle; /* owned */
	/* Prepared statements by the address of their text: open addressing. */
	struct {
		const char *sql;
		sqlite3_stmt *stmt; /* owned */
	} statements[STATEMENTS_MAX];
	int prepare_rc; /* why the last statement could not be prepared */
};

/* What a thread sleeps by. It is woken when the lock is free again, and so may be late: who sleeps
 * looks whether it is meant, and who wakes may touch it when its thread is gone. So they are kept.
 */
struct waiter {
	struct waiter *next; /* of those not in use */
	sem_t sem;
};

/* On the stack of the thread that waits for it. */
struct db_job {
	struct db_job *next;
	db_job_fn *fn;
	void *arg;
	struct err *err; /* borrowed */
	int result;
	struct waiter *waiter; /* borrowed; NULL: nobody sleeps. Under jobs_lock, as are: */
	bool done, leads;
};

struct db {
	char *path; /* owned */

	pthread_mutex_t readers_lock;
	struct cond readers_idle;
	struct conn *idle[READERS_MAX]; /* owned; under readers_lock, so the two counts */
	size_t n_idle, n_readers;

	pthread_mutex_t jobs_lock;
	struct waiter *waiters;           /* owned, not in use; under jobs_lock */
	struct db_job *jobs, **jobs_tail; /* borrowed; under jobs_lock */
	bool leading;            /* somebody runs a batch, or is about to; under jobs_lock */
	struct log_vfs *log_vfs; /* owned; the writer's */
	struct conn *writer;     /* owned; used by the leader alone, as is: */
	bool shared;             /* the batch that runs is of more than one job */

	_Atomic uint64_t changes; /* batches that were run */
};

/* Sets `err` from a result code of SQLite. */
int db_error(struct err *err, sqlite3 *handle, int rc, const char *what);

#endif
