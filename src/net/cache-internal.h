/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the cache client share: the two ways to reach a cache, behind one shape. */
#ifndef NACRE_NET_CACHE_INTERNAL_H
#define NACRE_NET_CACHE_INTERNAL_H

#include "net/cache.h"

struct cache {
	char *name; /* owned; without password */
	struct cache_info info;
	char store_dir[STORE_DIR_MAX + 1];
	const struct public_key *trusted; /* borrowed */
	size_t n_trusted;
	/* file:// */
	int dirfd; /* owned; -1: http */
	/* http:// and https:// */
	struct http *http;   /* owned; NULL: file */
	char *base;          /* owned; ends in '/' */
	char *authorization; /* owned, secret; NULL: nobody */
};

/* cache-file.c and cache-http.c implement each of these for their kind; `name` is relative to
 * the cache, made by us. */

/* A small file. E_NOTFOUND. */
int cache_file_get(struct cache *c, const char *name, size_t max, struct buf *ret, struct err *err);
int cache_http_get(struct cache *c, const char *name, size_t max, struct buf *ret, struct err *err);
/* A file by a narinfo's URL. Does not finish `out`. */
int cache_file_stream(struct cache *c, const char *url, struct sink *out, struct err *err);
int cache_http_stream(struct cache *c, const char *url, uint64_t max_bytes, bool accept_encoded,
		      struct sink *out, struct err *err);
/* 1 there, 0 not, < 0. */
int cache_file_has(struct cache *c, const char *name, struct err *err);
int cache_http_has(struct cache *c, const char *name, struct err *err);
/* A small file, atomically; replaces. */
int cache_file_put(struct cache *c, const char *name, struct slice bytes, struct err *err);
int cache_http_put(struct cache *c, const char *name, const char *type, struct http_source *body,
		   struct err *err);

/* "nar/<hash>.nar[.xz…]", owned. */
char *cache_nar_name(const struct hash *file_hash, enum codec codec);
/* Parses and checks one narinfo: it is of `base` (a hash part or a whole base name), and
 * trusted. */
int cache_check_narinfo(const struct cache *c, struct slice text, const char *base,
			struct narinfo *ret, struct err *err);

/* cache-walk.c: the narinfos of `bases` (hash parts or base names). `follow`: and of what they
 * refer to; a missing one is E_NOTFOUND. Without, missing ones are left out. */
int cache_walk(struct cache *c, const struct strv *bases, bool follow, struct narinfos *ret,
	       struct err *err);

#endif
