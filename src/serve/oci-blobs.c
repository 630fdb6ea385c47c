/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs (SPEC dist-1.1 end-2, end-10). */
#include "serve/content.h"
#include "serve/oci.h"
#include "serve/server-internal.h"
#include "serve/upstream-serve.h"

/* A blob is named by what it contains: whoever has it need not ask again. */
#define BLOB_CACHE_CONTROL "max-age=31536000, immutable"

#define BLOB_REPLY(digest, repository)                                                       \
	{                                                                                    \
		.content_type = "application/octet-stream", .encode = true, .tag = (digest), \
		.kept_for = (repository)                                                     \
	}

static int blob_head(struct request *req, const char *repository, const struct hash *digest,
		     const struct content_reply *reply, struct err *err)
{
	struct content *content;
	uint64_t size;
	int r = store_blob_stat(request_view(req), repository, digest, &size, err);

	/* For a client that takes a coding GET may have another head. */
	if (r == 0 && request_header(req, "Accept-Encoding").data) {
		r = store_blob_open(request_view(req), repository, digest, &content, err);
		if (r == 0) {
			respond_content(req, content, reply);
			return 0;
		}
	}
	if (r < 0)
		r = upstream_blob_stat(req, repository, digest, &size, err);
	if (r == 0)
		respond_content_head(req, size, reply);
	return r;
}

static bool blob_answer(struct request *req, const char *repository, const struct hash *digest,
			const struct content_reply *reply, struct err *err)
{
	struct content *content;

	if (store_blob_open(request_view(req), repository, digest, &content, err) < 0)
		return upstream_answer_blob(req, repository, digest, reply, err);
	respond_content(req, content, reply);
	return true;
}

static void blob_headers(struct request *req, const char *digest)
{
	respond_header(req, "Docker-Content-Digest", "%s", digest);
	if (req->status < 300)
		respond_header(req, "Cache-Control", BLOB_CACHE_CONTROL);
}

static void blob_recall(struct request *req)
{
	char repository[REPOSITORY_MAX + 1], text[DIGEST_TEXT_MAX];
	struct content_reply reply = BLOB_REPLY(text, repository);

	if (slice_to_text(repository, sizeof(repository), req->route.name) &&
	    slice_to_text(text, sizeof(text), req->route.arg) && respond_kept(req, &reply))
		blob_headers(req, text);
}

/* SPEC dist-1.1 end-2 */
static void blob_get_end(struct request *req)
{
	char repository[REPOSITORY_MAX + 1], text[DIGEST_TEXT_MAX];
	struct content_reply reply = BLOB_REPLY(text, repository);
	struct err err = ERR_INIT;
	struct hash digest;

	if (!oci_repository(req, repository) || !oci_digest(req, req->route.arg, &digest))
		return;
	digest_format(text, &digest);
	reply.changes = store_changes(req->server->store);
	if (req->method == HTTP_HEAD ? blob_head(req, repository, &digest, &reply, &err) < 0
				     : !blob_answer(req, repository, &digest, &reply, &err)) {
		oci_fail(req, OCI_BLOB, &err);
		return;
	}
	blob_headers(req, text);
}

/* SPEC dist-1.1 end-10 */
static void blob_delete_end(struct request *req)
{
	char repository[REPOSITORY_MAX + 1];
	struct err err = ERR_INIT;
	struct hash digest;

	if (!oci_repository(req, repository) || !oci_digest(req, req->route.arg, &digest))
		return;
	if (store_blob_delete(request_view(req), repository, &digest, &err) < 0)
		oci_fail(req, OCI_BLOB, &err);
	else
		respond_empty(req, 202);
}

const struct handler blob_get = {.end = blob_get_end, .recall = blob_recall};
const struct handler blob_delete = {.end = blob_delete_end, .access = ACCESS_DELETE};
