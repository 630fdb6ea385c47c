/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in the place of a trusted signature (SPEC nacre 1 b): a content address that gives the store path, and that
 * the NAR is proven to have while it passes. Private to src/net and what is built on it. */
#ifndef NACRE_NET_CA_PROOF_H
#define NACRE_NET_CA_PROOF_H

#include <nacre/pathinfo.h>

/* *ret (owned): what the NAR has to be written to; NULL: one of the keys signed `info`, and nothing is to be proven. E_DENIED:
 * none did, and it has no content address that can be checked. */
int ca_proof_open(const struct path_info *info, const struct public_key *keys, size_t n_keys,
		  struct ca_verifier **ret, struct err *err);
/* The whole NAR was written. E_MISMATCH: it is other content. `ca` NULL is right. Call once. */
int ca_proof_check(struct ca_verifier *ca, const struct path_info *info, struct err *err);

#endif
