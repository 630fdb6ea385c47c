/* SPDX-License-Identifier: Apache-2.0 */
/* Which paths of a source may be used: SPEC nacre 1 (a) and (b). */
#include <nacre/nar.h>

#include "base/mem.h"
#include "net/path-source.h"

CLEANUP_FUNC(struct nar_writer, nar_writer_free)
CLEANUP_FUNC(struct ca_verifier, ca_verifier_free)

/* Does the content have the content address, and the content address the name? 1 yes, 0 no. */
static int check_content_address(struct path_source *from, const struct path_info *info,
				 struct err *err)
{
	CLEANUP(nar_writer_free) struct nar_writer *w = NULL;
	CLEANUP(ca_verifier_free) struct ca_verifier *verifier = NULL;
	struct content_address ca;
	int r;

	if (!info->ca || path_info_ca_matches(info) <= 0 ||
	    content_address_parse(&ca, slice_str(info->ca)) < 0)
		return 0;
	verifier = ca_verifier_new(info, &ca);
	if (!verifier)
		return 0;
	w = nar_writer_new(ca_verifier_sink(verifier));
	r = from->dump(from, info, nar_writer_node_sink(w), err);
	return r < 0 ? r : ca_verifier_result(verifier, err);
}

int path_trust_check(struct path_source *from, const struct path_infos *set,
		     const struct public_key *keys, size_t n_keys, struct err *err)
{
	for (size_t i = 0; n_keys && i < set->len; i++) {
		const struct path_info *info = &set->items[i];
		int r;

		if (path_info_verify(info, keys, n_keys) > 0)
			continue;
		r = check_content_address(from, info, err);
		if (r < 0)
			return r;
		if (r == 0)
			return err_set(err, E_DENIED,
				       "%s is not signed by a trusted key, and has no content "
				       "address that holds",
				       info->path.text);
	}
	return 0;
}
