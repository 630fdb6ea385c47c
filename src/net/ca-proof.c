/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ca-proof.h"

int ca_proof_open(const struct path_info *info, const struct public_key *keys, size_t n_keys,
		  struct ca_verifier **ret, struct err *err)
{
	struct content_address ca;
	struct ca_verifier *verifier = NULL;

	*ret = NULL;
	if (path_info_verify(info, keys, n_keys))
		return 0;
	if (info->ca && path_info_ca_matches(info) > 0 &&
	    content_address_parse(&ca, slice_str(info->ca)) == 0)
		verifier = ca_verifier_new(info, &ca);
	if (!verifier)
		return err_set(err, E_DENIED,
			       "%s is not signed by a trusted key, and has no content address that "
			       "can be checked",
			       info->path.text);
	*ret = verifier;
	return 0;
}

int ca_proof_check(struct ca_verifier *ca, const struct path_info *info, struct err *err)
{
	int r = ca ? ca_verifier_result(ca, err) : 1;

	if (r == 0)
		return err_set(err, E_MISMATCH,
			       "%s does not have the content that its content address says",
			       info->path.text);
	return r < 0 ? r : 0;
}
