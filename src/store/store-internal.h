/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of src/store share: the store itself, its views, and looking things up in them. */
#ifndef NACRE_STORE_INTERNAL_H
#define NACRE_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "store/db.h"
#include "store/single-flight.h"
#include "store/store.h"
#include "store/upkeep.h"

struct session;     /* uploads.c */
struct view_policy; /* views.h */
struct rules;       /* rules.h */
struct uses;        /* uses.h */
struct settler;     /* settle.h */

struct store_view {
	struct store *store; /* borrowed */
	int64_t id;
	char *name;                         /* owned; "" is the root */
	struct view_policy *_Atomic policy; /* owned */
	pthread_rwlock_t lock;
	/* Empty: not known yet; never changes once set. Under the lock. */
	char store_dir[STORE_DIR_MAX + 1];
};

struct store {
	struct db *db;                               /* owned */
	int dirfd, objects_fd, incoming_fd, lock_fd; /* owned */
	struct store_options options;                /* its pointers are not valid */
	struct store_view *root;                     /* borrowed from views */
	struct frame_pool *frame_pool;               /* owned */
	struct settler *settler;                     /* owned */
	atomic_bool closing;                         /* what may take long gives up */

	pthread_mutex_t views_lock;
	struct store_view **views; /* owned; under views_lock */
	size_t n_views, views_cap; /* under views_lock */

	pthread_mutex_t sessions_lock;
	struct session **sessions; /* owned table of chains; under sessions_lock */
	size_t n_sessions;         /* under sessions_lock */

	pthread_mutex_t contents_lock;
	struct content *contents_oldest, *contents_newest; /* under contents_lock, as the clock */
	uint64_t contents_clock;

	/* Garbage up to this row may go once no content is older than this; one thread
	 * maintains. */
	pthread_mutex_t garbage_lock;
	int64_t garbage_mark;
	uint64_t garbage_clock;

	_Atomic int64_t damaged;       /* objects, at least; see quarantine.h */
	store_repair_fn *repair_fetch; /* or NULL; under collected_lock */
	void *repair_arg;

	struct rules *_Atomic rules;  /* owned */
	struct uses *uses;            /* owned */
	pthread_mutex_t collect_lock; /* one thread collects; so below */
	/* By how much the wall's clock was ahead of the steady one while nothing was strange, and
	 * when it was found too far ahead; steady seconds, 0: it is not. clock.h */
	int64_t clock_offset_s, held_offset_s, held_until_s;
	int64_t behind_until_s; /* the same when it is behind that of the last collection */
	bool hold_told;         /* store_maintain() said so */

	pthread_mutex_t collected_lock;
	struct store_gc_result collected; /* under collected_lock */

	struct single_flight making; /* of an image or package */
};

static inline bool frames_later(const struct store *s)
{
	return s->options.framing != STORE_FRAME_AT_ONCE;
}

int64_t now_seconds(void);
/* E_IO from errno, whatever it is: a file of ours that is missing is nothing that a client
 * asked for. */
int io_errno(struct err *err, const char *what);

/* The store dir of a view, copied to `ret` of STORE_DIR_MAX + 1 bytes; false: not known yet. */
bool view_store_dir(struct store_view *v, char *ret);

/* A reader of the view's store, or NULL with `err` set; give it back with reader_done(). */
static inline struct conn *reader(struct store_view *v, struct err *err)
{
	return db_reader(v->store->db, err);
}
static inline void reader_done(struct store_view *v, struct conn *c)
{
	db_reader_done(v->store->db, c);
}

#endif
