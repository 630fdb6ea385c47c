/* SPDX-License-Identifier: Apache-2.0 */
/* The path infos that refer to an image or a package (SPEC nacre 4); private to src/net and what is built on it. */
#ifndef NACRE_NET_REFERRED_INFOS_H
#define NACRE_NET_REFERRED_INFOS_H

#include <nacre/pathinfo.h>
#include <nacre/transport.h>

/* So many referrers are read of one manifest: anybody who may push can attach some. */
enum { REFERRERS_READ_MAX = 32 };

/* Takes over what somebody said of the same content: signatures, a deriver where none is known, a content address if that
 * gives the store path. One that does not would make Nix refuse the path, however well it is signed. */
void referred_info_add(struct path_info *info, const struct path_info *said);

/* What one referrer says of paths in `store_dir`, at most *left bytes of it, which are taken off *left. E_INVALID: it has no
 * path infos. Whoever may push can attach one: what it says counts where a signature is good. */
int referred_infos_get(struct path_infos *ret, struct image_source *from,
		       const struct descriptor *referrer, const char *store_dir, size_t *left,
		       struct err *err);

#endif
