/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/oci.h"

bool oci_repository(struct request *req, char *ret)
{
	if (repository_check(req->route.name) == 0 &&
	    slice_to_text(ret, REPOSITORY_MAX + 1, req->route.name))
		return true;
	oci_invalid(req, OCI_NAME, "'%.*s' is no repository name",
		    (int)(req->route.name.len < 300 ? req->route.name.len : 300),
		    (const char *)req->route.name.data);
	return false;
}

bool oci_digest(struct request *req, struct slice text, struct hash *ret)
{
	struct err err = ERR_INIT;

	if (digest_parse_err(ret, text, &err) == 0)
		return true;
	/* SPEC dist-1.1: unsupported algorithms are invalid digests, too. */
	err.code = E_INVALID;
	oci_fail(req, OCI_BLOB, &err);
	return false;
}

bool oci_query_digest(struct request *req, const char *key, struct hash *ret)
{
	char text[DIGEST_TEXT_MAX];
	int r = query_get(text, sizeof(text), req->query, key, 0);

	if (r == 1)
		return oci_digest(req, slice_str(text), ret);
	oci_invalid(req, OCI_BLOB,
		    r ? "the parameter %s is malformed" : "the parameter %s is missing", key);
	return false;
}

char *oci_link_next(const char *path, const char *more)
{
	return xasprintf("<%s?%s>; rel=\"next\"", path, more);
}

/* SPEC dist-1.1 end-1 */
static void base_end(struct request *req)
{
	respond_text(req, 200, "application/json", slice_str("{}"));
}

const struct handler oci_base_get = {.end = base_end, .recall = base_end};
