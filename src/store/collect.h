/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector: looks at what may have lost its last use, and takes away what nothing keeps;
 * private to src/store.
 *
 * Table `candidate` is its queue, by the time when a row is due. Triggers put in what loses a use
 * or begins without one; a look ends in one of three ways: it is in use (the row goes; who takes
 * that use away puts it in again), it is kept until some time (the row waits), or it goes - and
 * its going puts in what it used. So the work is in proportion to what changes, not to what is
 * there.
 *
 * What a rule takes when its time comes waits in the queue from the start. Tags under a rule are
 * put in when they leave the last n of their repository: invariant: of a repository with such a
 * rule, all tags older than one in the queue are in the queue, so the search for new ones ends at
 * the first. When rules change, everything that they may speak of is looked at again, bit by bit.
 */
#ifndef NACRE_STORE_COLLECT_H
#define NACRE_STORE_COLLECT_H

#include "store/rules.h"
#include "store/uses.h"

/* Numbers are those in the database. */
enum candidate_kind {
	CANDIDATE_LISTING = 0, /* a: view, name: hash part; put before its path */
	CANDIDATE_REPOSITORY,  /* a; b: go on with tags pushed before; 0: from the last */
	CANDIDATE_TAG,         /* a: repository, name */
	CANDIDATE_MANIFEST,    /* a */
	CANDIDATE_LINK,        /* a: repository, b: blob in it */
	CANDIDATE_BLOB,        /* a: in no repository any more */
	CANDIDATE_PATH,        /* a: binding */
	/* After rules changed: put in all of these, behind a. */
	CANDIDATE_ALL_REPOSITORIES,
	CANDIDATE_ALL_PATHS,
	CANDIDATE_ALL_WAITING, /* candidates */
};
struct candidate {
	int64_t id;
	enum candidate_kind kind;
	int64_t a, b;
	char *name; /* owned */
	int64_t since;
};

enum verdict {
	VERDICT_USED, /* or gone, or no rule takes it: not a candidate */
	VERDICT_WAIT, /* until k->due */
	VERDICT_GONE, /* it went */
};
#define DUE_NEVER INT64_MAX /* when rules or pins change */

/* Something that went in the transaction that runs. */
struct gone {
	const char *kind;
	char *cache;         /* owned; NULL: of a repository */
	char *name, *reason; /* owned */
	uint64_t bytes;
};

struct collector {
	struct store *store;
	const struct store_rules *rules;
	bool dry; /* everything is taken back */
	int64_t now;
	int64_t due;       /* of VERDICT_WAIT */
	struct gone *gone; /* owned */
	size_t n_gone, gone_cap;
	struct store_gc_result result; /* of the transaction */
	/* The search for least used paths goes on behind this one; of another view: from the start. */
	struct least_used_at {
		int64_t view, used, id;
		size_t gone, kept; /* since the start */
	} least_used;
};

/* Notes what went, of a view's cache or (NULL) of a repository; `name` and `reason` are taken over. */
void collector_note(struct collector *k, const char *kind, const char *cache, char *name,
		    char *reason, uint64_t bytes);
/* What went is forgotten; the array stays. */
void collector_forget(struct collector *k);
/* May it go? Once true, readers are told that it is gone, unless all is taken back. */
bool collector_take(struct collector *k, struct use_key key);
enum verdict collector_wait(struct collector *k, int64_t due);

/* Each inside a transaction; enum verdict, or < 0. */
typedef int collect_fn(struct collector *k, struct conn *c, struct candidate *cand,
		       struct err *err);
collect_fn collect_repository, collect_tag, collect_manifest, collect_link, collect_blob,
	collect_path, collect_listing;

/* Inside a transaction: the least recently used paths of a view go until it has no more than
 * `max_bytes`; a batch of them, or of those that something keeps. *ret_more: that was not all. */
int collect_least_used(struct collector *k, struct conn *c, int64_t view, bool *ret_more,
		       struct err *err);

/* Inside a transaction: documents of a view whose time is over go; a batch of them. *ret_more: that
 * was not all. */
int collect_documents(struct collector *k, struct conn *c, int64_t view, bool *ret_more,
		      struct err *err);

/* Inside a transaction. */
int candidate_put(struct conn *c, const struct candidate *cand, struct err *err);
int collect_look_again(struct conn *c, struct err *err);

/* 1: `reference` of the repository, or all of it, is pinned. */
int pin_find(struct conn *c, int64_t view, const char *repository, const char *reference,
	     struct err *err);
/* 1: the path is, or an image of it that the server makes. */
int pin_find_path(struct conn *c, int64_t view, const char *base, struct err *err);

#endif
