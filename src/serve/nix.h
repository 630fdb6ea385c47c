/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the binary cache's API share. Private to src/serve.
 *
 * Nix's clients are particular about statuses (docs/operations.md): a PUT that is refused is
 * answered 4xx, always. 202, 3xx, 408, 429 and 5xx make clients before Nix 2.33.2 repeat the PUT
 * without its body and hang, so what the server itself fails at is a 413 there. An answer to GET
 * may be 5xx: that is repeated.
 */
#ifndef NACRE_SERVE_NIX_H
#define NACRE_SERVE_NIX_H

#include "serve/content.h"
#include "serve/server-internal.h"

/* The view that the cache's names live in. */
static inline struct store_view *request_cache(const struct request *req)
{
	return req->view->view;
}

/* The answer to a failure of a GET or of a PUT, by the tables. */
void nix_fail_get(struct request *req, const struct err *err);
void nix_fail_put(struct request *req, const struct err *err);
/* The argument of the route as text; `ret` has NIX_NAME_MAX + 1 bytes. False: answered (too long to
 * exist). */
enum { NIX_NAME_MAX = 600 };
bool nix_name(struct request *req, char *ret);

/* Content-Encoding of the request's body: CODEC_NONE without one or with "identity". False:
 * answered (415). */
bool nix_request_coding(struct request *req, enum codec *ret);
enum codec nix_codec_by_coding(struct slice name);
/* Which tree of documents the endpoint is. */
enum store_tree nix_tree(const struct request *req);

/* handlers.c knows them by these. */
extern const struct handler cache_info_get, cache_info_put;
extern const struct handler narinfo_get, narinfo_put, narinfo_delete;
extern const struct handler nar_get, nar_put;
extern const struct handler document_get, document_put;
extern const struct handler home_get, health_get, ready_get, metrics_get;
extern const struct handler token_get, token_post;
extern const struct handler admin_get, admin_post;

#endif
