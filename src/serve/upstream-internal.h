/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the upstreams share. */
#ifndef NACRE_SERVE_UPSTREAM_INTERNAL_H
#define NACRE_SERVE_UPSTREAM_INTERNAL_H

#include <pthread.h>

#include "serve/upstream-client.h"
#include "serve/upstream.h"

enum {
	KNOWN_SLOTS = 8192,           /* one answer each; a newer one takes the place of an older */
	KNOWN_BYTES_MAX = 64 << 20,   /* of all answers */
	WAITING_BYTES_MAX = 64 << 20, /* of all narinfos that wait */
	COMPLETIONS_MAX = 4096,
};

/* What an upstream answered. */
struct known {
	char *key;   /* owned; "<kind>/<view>/<name>"; NULL: empty */
	char *where; /* owned; the upstream; NULL: none has it */
	char *text;  /* owned; the answer */
	uint64_t until_ms;
	size_t bytes; /* of the texts */
};

/* A path whose NAR is stored and whose references are not all bound. */
struct waiting {
	struct waiting *next;
	struct store_view *view;
	char *hash_part, *text; /* owned */
};

/* A path whose closure is to be fetched when there is time. */
struct completion {
	struct completion *next;
	struct settings *settings; /* a reference */
	const struct view_settings *view;
	char *hash_part; /* owned */
};

struct upstreams {
	struct flights flights;
	pthread_mutex_t known_lock;
	struct known known[KNOWN_SLOTS]; /* under known_lock; so the next two */
	size_t known_bytes;
	size_t known_next; /* the slot that goes next when there are too many bytes */
	uint64_t known_found, known_absent; /* answers that were remembered */
	pthread_mutex_t bind_lock;
	struct waiting *waiting; /* under bind_lock */
	size_t waiting_bytes;
	struct completion *completions; /* under bind_lock */
	size_t n_completions;
	bool completing;               /* a thread is at it */
	struct incomplete *incomplete; /* under bind_lock */
};

/* 1: *ret_where and *ret_text (owned by the caller, may be NULL) say what is known; *ret_where NULL:
 * that there is nothing. 0: nothing is known. `stale`: what is too old will do. */
int known_find(struct upstreams *u, const char *key, bool stale, char **ret_where, char **ret_text);
/* A NULL answer: none has it. */
void known_set(struct upstreams *u, const char *key, const char *where, const char *text,
	       uint64_t ttl_ms);

/* upstream-registry.c: images that wait for their blobs. */
struct incomplete;
void incompletes_free(struct incomplete *list);

/* Logs the failure of a fetch. Whatever is wrong with what came is E_NET for who wanted it. A quota
 * that is used up stays what it is: no upstream can help. */
int upstream_blame(const struct upstream_settings *up, int result, struct err *err);
/* What came of keeping something that a client waits for: 1 it is kept, or 0: a quota is used up. That
 * refuses the store, not the client, so `err` is clear then. < 0: it failed. */
int upstream_kept(const char *what, int result, struct err *err);

#endif
