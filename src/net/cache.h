/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of Nix binary caches (SPEC nix-cache 1.1 to 1.4), by URL: http://, https:// or
 * file://. What comes is proven: a narinfo must be about the path that was asked for and, with
 * trusted keys, signed by one (or content-addressed by content that holds); a NAR must have the
 * NarHash and NarSize of its narinfo, and FileHash and FileSize where those are given.
 *
 * 	CLEANUP(cache_free) struct cache *cache = NULL;
 * 	r = cache_open(&cache, "https://cache.example", &options, err);
 * 	r = cache_closure(cache, &path, 1, &narinfos, err);
 * 	r = cache_get_nar(cache, &narinfos.items[0], &out, err);
 *
 * Credentials: user information in the URL, or netrc (credentials.h); sent as Basic, unasked, to
 * the origin of the URL alone. A NAR's URL may be absolute and elsewhere; it may not lead from
 * https to http, nor out of the directory of a file:// cache.
 *
 * Errors: E_NOTFOUND (404, 410, and 403, which is how S3 says it), E_DENIED, E_INVALID,
 * E_MISMATCH, E_LIMIT, E_NET, E_IO. Threads: one at a time; different clients are independent. A
 * sink or producer given to a client must not use the same client.
 */
#ifndef NACRE_NET_CACHE_H
#define NACRE_NET_CACHE_H

#include <nacre/pathinfo.h>

#include "codec/codec.h"
#include "net/http.h"

struct cache;

/* All-zero: the defaults. All borrowed until cache_open() returns, but `trusted` as long as the
 * cache. */
struct cache_options {
	const char *
		store_dir; /* must be the cache's; NULL: whatever the cache says, /nix/store if it says nothing */
	const char *netrc_file;           /* NULL: $NIX_CONF_DIR/netrc, /etc/nix/netrc, ~/.netrc */
	const struct public_key *trusted; /* NULL or none: nothing is asked of signatures */
	size_t n_trusted;
	bool create; /* write nix-cache-info (and the directory of a file:// cache) where it is missing */
	struct http_options http;
};

/* What nix-cache-info says. */
struct cache_info {
	char store_dir[STORE_DIR_MAX + 1]; /* empty: nothing said */
	bool want_mass_query;
	int priority; /* 0: nothing said */
};
enum { CACHE_INFO_MAX = 64 << 10 /* bytes */ };
/* "Key: value" lines; unknown keys and lines without ':' are ignored. SPEC nix-cache 1.3. 0, or
 * E_INVALID for a store dir that is none or a priority that is no number. */
int cache_info_parse(struct cache_info *ret, struct slice text);

/* Reads nix-cache-info. E_NOTFOUND: there is none, so this is no binary cache (and `create` is
 * not set); E_MISMATCH: another store dir. */
int cache_open(struct cache **ret, const char *url, const struct cache_options *options,
	       struct err *err);
void cache_free(struct cache *c);
CLEANUP_FUNC(struct cache, cache_free)
/* The URL without password; the store dir. Borrowed as long as the cache. */
const char *cache_name(const struct cache *c);
const char *cache_store_dir(const struct cache *c);
const struct cache_info *cache_info_of(const struct cache *c);

/* The narinfo of a path by the 32 characters of its hash part. */
int cache_get_narinfo(struct cache *c, struct slice hash_part, struct narinfo *ret,
		      struct err *err);

/* A file by its name below the cache ("log/…"), which must not lead out of it; nothing is proven.
 * E_NOTFOUND, E_LIMIT. */
int cache_get_file(struct cache *c, const char *name, size_t max, struct buf *ret, struct err *err);

/* Owned, sorted by store path. All-zero is empty. */
struct narinfos {
	struct narinfo *items;
	size_t len, cap;
};
void narinfos_release(struct narinfos *n);
#define cleanup_narinfos __attribute__((cleanup(narinfos_release)))
/* By base name; NULL if there is none. Borrowed. */
const struct narinfo *narinfos_find(const struct narinfos *n, const char *base);

enum { CACHE_CLOSURE_MAX = 1 << 20 /* paths */ };
/* The narinfos of the closure of `roots`, level by level, many at a time. `ret` is empty before.
 * E_NOTFOUND names what is missing, and what refers to it. */
int cache_closure(struct cache *c, const struct store_path *roots, size_t n_roots,
		  struct narinfos *ret, struct err *err);

/* Writes the NAR, decompressed, to `out`, and finishes it after the last byte was proven: on
 * failure `out` may have been written to, but was not finished. Bounded memory, and never more
 * than NarSize bytes. */
int cache_get_nar(struct cache *c, const struct narinfo *n, struct sink *out, struct err *err);

/* Who can write the NAR of a path: to `out`, without finishing it; perhaps again from the start
 * after a failure of the network. */
struct nar_producer {
	int (*produce)(struct nar_producer *self, const struct path_info *info, struct sink *out,
		       struct err *err);
};

/* All-zero: uncompressed, unsigned. */
struct cache_put_options {
	enum codec compression;        /* one that can be written */
	int level;                     /* 0: the codec's default */
	const struct secret_key *keys; /* each path is signed with all of these */
	size_t n_keys;
	bool replace; /* write narinfos that are there too; else what is there stays */
	void (*progress)(void *data, const struct path_info *info,
			 bool present); /* after each path; may be NULL */
	void *progress_data;
};

/* Uploads one path: the NAR as nar/<FileHash>.nar[.xz…] unless it is there, then its narinfo.
 * What the producer writes is proven against info->nar_hash and nar_size (E_MISMATCH; then
 * nothing is visible). A compressed NAR is kept in a file of $TMPDIR or /var/tmp meanwhile. The
 * narinfos of the references must be there already. */
int cache_put(struct cache *c, const struct path_info *info, struct nar_producer *from,
	      const struct cache_put_options *options, struct err *err);
/* Uploads a closed set, references before what refers to them; paths whose narinfo is there are
 * skipped. E_NOTFOUND: a reference is not in the set. */
int cache_put_closure(struct cache *c, const struct path_infos *set, struct nar_producer *from,
		      const struct cache_put_options *options, struct err *err);

#endif
