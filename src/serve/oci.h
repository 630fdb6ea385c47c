/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the registry's API share. Private to src/serve. */
#ifndef NACRE_SERVE_OCI_H
#define NACRE_SERVE_OCI_H

#include <nacre/reference.h>

#include "serve/oci-error.h"
#include "serve/server-internal.h"
#include "store/store.h"

/* The view that the registry's names live in. */
static inline struct store_view *request_view(const struct request *req)
{
	return req->view->view;
}

/* Each gives what the URL names, or makes the answer that says what is wrong with it and returns
 * false. `ret` has REPOSITORY_MAX + 1 bytes. */
bool oci_repository(struct request *req, char *ret);
bool oci_digest(struct request *req, struct slice text, struct hash *ret);
/* A parameter of the query that is a digest; false as well if it is missing. */
bool oci_query_digest(struct request *req, const char *key, struct hash *ret);

/* The value of a Link header, "<path?…>; rel=next", for what a list did not give; owned by the
 * caller. `more` begins with its first parameter. */
char *oci_link_next(const char *path, const char *more);

/* handlers.c knows them by these. */
extern const struct handler oci_base_get;
extern const struct handler blob_get, blob_delete;
extern const struct handler uploads_post, upload_get, upload_patch, upload_put, upload_delete;
extern const struct handler manifest_get, manifest_put, manifest_delete;
extern const struct handler tags_get, catalog_get, referrers_get;

#endif
