/* SPDX-License-Identifier: Apache-2.0 */
/* What handlers ask for when the store has nothing; private to src/serve. With no upstreams they
 * leave `err` as it is. */
#ifndef NACRE_SERVE_UPSTREAM_SERVE_H
#define NACRE_SERVE_UPSTREAM_SERVE_H

#include "serve/content.h"
#include "serve/request.h"
#include "serve/upstream.h"

struct upstream_ask upstream_ask_for(const struct request *req);

/* The text of a narinfo; < 0 with `err`. */
int upstream_get_narinfo(struct request *req, const char *hash_part, struct buf *ret,
			 struct err *err);
/* GET and HEAD of nar/<name>. True: answered. */
bool upstream_answer_nar(struct request *req, const char *name, struct err *err);
/* A document, after a miss. */
int upstream_get_document(struct request *req, enum store_tree tree, const char *name,
			  struct content **ret, struct err *err);
/* Before a tag of a registry upstream is looked up: sees to it that it is not out of date. */
void upstream_refresh_tag(struct request *req, const char *repository, const char *reference);
/* After a miss of a manifest: fetches it, or the store paths that it is made of. True: it may be
 * there now, so look again. */
bool upstream_get_manifest(struct request *req, const char *repository, const char *reference,
			   struct err *err);

/* Before referrers are listed. */
void upstream_refresh_referrers(struct request *req, const char *repository,
				const struct hash *subject);
/* After a miss. */
int upstream_blob_stat(struct request *req, const char *repository, const struct hash *digest,
		       uint64_t *ret, struct err *err);
/* GET of a blob, after a miss. True: answered, without what all blobs have. */
bool upstream_answer_blob(struct request *req, const char *repository, const struct hash *digest,
			  const struct content_reply *reply, struct err *err);
/* SPEC dist-1.1 ns: puts the repository that is meant in place of the one in the address. False:
 * answered (404), since the host is not one of our upstreams. */
bool upstream_namespace(struct request *req);

#endif
