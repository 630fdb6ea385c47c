/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of an upload (SPEC dist-1.1 pushing blobs), for registry-blob.c and registry-push.c. */
#ifndef NACRE_NET_REGISTRY_UPLOAD_H
#define NACRE_NET_REGISTRY_UPLOAD_H

#include "net/registry-internal.h"

/* POST. 0: *ret_location (owned) is where the bytes go; 1: mounted from `from_repository` (may
 * be NULL). `digest` may be NULL without it. */
int registry_upload_begin(struct registry *r, const char *repository, const struct hash *digest,
			  const char *from_repository, char **ret_location, struct err *err);
/* Each answer may name another address for the next step: replaces *location (owned) if so. */
int registry_upload_next(const struct registry *r, const struct http_response *resp,
			 char **location, struct err *err);
/* Where the PUT goes that ends the upload; owned. */
char *registry_upload_end_url(const char *location, const struct hash *digest);
/* Best effort. */
void registry_upload_cancel(struct registry *r, const char *repository, const char *location);

#endif
