/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/nix.h"
#include "serve/oci.h"

/* HEAD is GET without the body; each GET handler knows. */
struct methods {
	const struct handler *get, *put, *post, *patch, *delete;
};

static const struct methods table[ENDPOINT_COUNT] = {
	[ENDPOINT_HOME] = {.get = &home_get},
	[ENDPOINT_HEALTH] = {.get = &health_get},
	[ENDPOINT_READY] = {.get = &ready_get},
	[ENDPOINT_METRICS] = {.get = &metrics_get},
	[ENDPOINT_TOKEN] = {.get = &token_get, .post = &token_post},
	[ENDPOINT_ADMIN] = {.get = &admin_get, .post = &admin_post},
	[ENDPOINT_OCI_BASE] = {.get = &oci_base_get},
	[ENDPOINT_CATALOG] = {.get = &catalog_get},
	[ENDPOINT_BLOB] = {.get = &blob_get, .delete = &blob_delete},
	[ENDPOINT_UPLOADS] = {.post = &uploads_post},
	[ENDPOINT_UPLOAD] = {.get = &upload_get,
			     .put = &upload_put,
			     .patch = &upload_patch,
			     .delete = &upload_delete},
	[ENDPOINT_MANIFEST] = {.get = &manifest_get,
			       .put = &manifest_put,
			       .delete = &manifest_delete},
	[ENDPOINT_TAGS] = {.get = &tags_get},
	[ENDPOINT_REFERRERS] = {.get = &referrers_get},
	[ENDPOINT_CACHE_INFO] = {.get = &cache_info_get, .put = &cache_info_put},
	[ENDPOINT_NARINFO] = {.get = &narinfo_get, .put = &narinfo_put, .delete = &narinfo_delete},
	[ENDPOINT_LISTING] = {.get = &document_get, .put = &document_put},
	[ENDPOINT_NAR] = {.get = &nar_get, .put = &nar_put},
	[ENDPOINT_LOG] = {.get = &document_get, .put = &document_put},
	[ENDPOINT_DEBUGINFO] = {.get = &document_get, .put = &document_put},
	[ENDPOINT_REALISATION] = {.get = &document_get, .put = &document_put},
	[ENDPOINT_BUILD_TRACE] = {.get = &document_get, .put = &document_put},
};

const struct handler *handler_find(enum endpoint e, enum http_method m)
{
	switch (m) {
	case HTTP_GET:
	case HTTP_HEAD:
		return table[e].get;
	case HTTP_PUT:
		return table[e].put;
	case HTTP_POST:
		return table[e].post;
	case HTTP_PATCH:
		return table[e].patch;
	case HTTP_DELETE:
		return table[e].delete;
	case HTTP_OTHER:
		break;
	}
	return NULL;
}

void handler_allowed(enum endpoint e, char *ret, size_t size)
{
	static const struct {
		enum http_method method;
		const char *name;
	} names[] = {{HTTP_GET, "GET, HEAD"},
		     {HTTP_PUT, "PUT"},
		     {HTTP_POST, "POST"},
		     {HTTP_PATCH, "PATCH"},
		     {HTTP_DELETE, "DELETE"}};
	size_t n = 0;

	ret[0] = 0;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (handler_find(e, names[i].method) && n < size)
			n += (size_t)snprintf(ret + n, size - n, n ? ", %s" : "%s", names[i].name);
}
