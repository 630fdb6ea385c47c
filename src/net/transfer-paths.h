/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies store paths from any source (a cache, a local store, an image) into a binary cache or into
 * the Nix store of this machine. References go before what refers to them; what is there stays.
 */
#ifndef NACRE_NET_TRANSFER_PATHS_H
#define NACRE_NET_TRANSFER_PATHS_H

#include "net/cache.h"
#include "net/path-source.h"

/* Where Nix's things are, by the text that people write: http://, https:// or file:// (a binary
 * cache), or "local:[ROOT]" or an absolute directory (a Nix store of this machine). */
struct nix_place {
	bool cache;
	const char *where; /* borrowed from the text: the URL, or the root of the store */
};
/* False if the text is none of these. */
bool nix_place_parse(struct nix_place *ret, const char *text);

/* All-zero: unsigned, uncompressed, and nothing asked of signatures. */
struct paths_options {
	struct cache_put_options put;
	/* With any, every path needs a signature by one, or a content address that its content
	 * has. */
	const struct public_key *trusted; /* borrowed */
	size_t n_trusted;
	bool no_check_sigs; /* a local store: take what its own keys do not vouch for */
};

/* Copies a closed set. */
int transfer_paths(struct path_source *from, const struct path_infos *set,
		   const struct nix_place *to, const struct paths_options *options,
		   struct err *err);

#endif
