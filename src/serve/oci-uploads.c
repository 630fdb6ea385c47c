/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads of blobs (SPEC dist-1.1 end-4 to end-6, end-11, end-13, end-14). The state of an
 * upload is in the path of its Location: there are clients that lose its query. */
#include "serve/oci.h"
#include "serve/policy.h"

enum { SESSIONS_RETRY_S = 5 };

/* What a request that writes holds. */
struct upload_state {
	char repository[REPOSITORY_MAX + 1];
	char id[UPLOAD_ID_LEN + 1]; /* empty: all comes in this request */
	struct upload *upload;      /* owned */
	struct hash digest;         /* algo HASH_NONE: not the end yet */
	bool has_range;
	struct byte_range range;
};

static void state_free(void *arg)
{
	struct upload_state *s = arg;

	upload_close(s->upload);
	free(s);
}

static struct upload_state *state_new(struct request *req)
{
	struct upload_state *s = xcalloc(1, sizeof(*s));

	req->state = s;
	req->state_release = state_free;
	return s;
}

static void session_headers(struct request *req, const char *repository, const char *id,
			    uint64_t offset)
{
	respond_header(req, "Location", "/v2/%s%s/blobs/uploads/%s", req->view->prefix, repository,
		       id);
	respond_header(req, "Docker-Upload-UUID", "%s", id);
	/* There is no spelling for "nothing"; this one is what clients know. */
	respond_header(req, "Range", "0-%llu", (unsigned long long)(offset ? offset - 1 : 0));
}

static void created(struct request *req, const char *repository, const struct hash *digest)
{
	char text[DIGEST_TEXT_MAX];

	digest_format(text, digest);
	respond_empty(req, 201);
	respond_header(req, "Location", "/v2/%s%s/blobs/%s", req->view->prefix, repository, text);
	respond_header(req, "Docker-Content-Digest", "%s", text);
}

/* The session that the URL names. One that cannot exist is not found. */
static bool session_id(struct request *req, char *ret)
{
	struct err err = ERR_INIT;

	if (req->route.arg.len == UPLOAD_ID_LEN &&
	    slice_to_text(ret, UPLOAD_ID_LEN + 1, req->route.arg))
		return true;
	err_set(&err, E_NOTFOUND, "there is no such upload");
	oci_fail(req, OCI_UPLOAD, &err);
	return false;
}

/* SPEC dist-1.1 end-5: the range that a chunk claims. False: answered. */
static bool read_content_range(struct request *req, struct upload_state *s)
{
	struct slice header = request_header(req, "Content-Range");

	if (!header.data)
		return true;
	if (http_content_range_parse(&s->range, header) < 0) {
		oci_invalid(req, OCI_UPLOAD, "Content-Range is not <first>-<last>");
		return false;
	}
	s->has_range = true;
	if (req->content_length != BODY_UNKNOWN &&
	    (uint64_t)req->content_length != s->range.last - s->range.first + 1) {
		oci_respond(req, 400, "SIZE_INVALID",
			    "Content-Range and Content-Length contradict each other");
		return false;
	}
	return true;
}

/* SPEC dist-1.1 end-5: 416, and where the session stands. */
static void out_of_order(struct request *req, const struct upload_state *s, const struct err *cause)
{
	struct err err = ERR_INIT;
	uint64_t offset;

	if (store_upload_status(request_view(req), s->repository, s->id, &offset, &err) < 0) {
		oci_fail(req, OCI_UPLOAD, &err);
		return;
	}
	oci_respond(req, 416, "BLOB_UPLOAD_INVALID", cause->text);
	session_headers(req, s->repository, s->id, offset);
}

/* PATCH and PUT: takes hold of the session before the body comes. */
static bool open_session(struct request *req, struct upload_state *s)
{
	int64_t offset = UPLOAD_ANY_OFFSET;
	struct err err = ERR_INIT;

	if (!oci_repository(req, s->repository) || !session_id(req, s->id) ||
	    !read_content_range(req, s))
		return false;
	/* Past INT64_MAX no session ever stands. */
	if (s->has_range)
		offset = s->range.first > INT64_MAX ? INT64_MAX : (int64_t)s->range.first;
	if (store_upload_open(request_view(req), s->repository, s->id, offset, &s->upload, &err) ==
	    0)
		return true;
	if (err.code == E_MISMATCH)
		out_of_order(req, s, &err);
	else
		oci_fail(req, OCI_UPLOAD, &err);
	return false;
}

static void upload_body(struct request *req, const void *data, size_t len)
{
	struct upload_state *s = req->state;
	struct err err = ERR_INIT;

	if (s->has_range && req->body_bytes > s->range.last - s->range.first + 1)
		oci_respond(req, 400, "SIZE_INVALID", "the body is longer than its Content-Range");
	else if (upload_offset(s->upload) + len > req->settings->limits.body_max_bytes)
		request_refuse(req, 413, "the blob is larger than %llu bytes",
			       (unsigned long long)req->settings->limits.body_max_bytes);
	else if (upload_write(s->upload, data, len, &err) < 0)
		oci_fail(req, OCI_UPLOAD, &err);
}

static bool body_is_whole(struct request *req, const struct upload_state *s)
{
	if (!s->has_range || req->body_bytes == s->range.last - s->range.first + 1)
		return true;
	oci_respond(req, 400, "SIZE_INVALID", "the body is shorter than its Content-Range");
	return false;
}

static void finish(struct request *req, struct upload_state *s)
{
	struct err err = ERR_INIT;

	if (upload_finish(s->upload, &s->digest, &err) < 0)
		oci_fail(req, OCI_UPLOAD, &err);
	else
		created(req, s->repository, &s->digest);
}

/* SPEC dist-1.1 end-4c; HASH_NONE where the client does not say. False: answered. */
static bool read_algorithm(struct request *req, enum hash_algo *ret)
{
	char name[16];
	int r = query_get(name, sizeof(name), req->query, "digest-algorithm", 0);
	enum hash_algo algo = r == 1 ? hash_algo_parse(slice_str(name)) : HASH_NONE;

	if (r != 0 && algo != HASH_SHA256 && algo != HASH_SHA512) {
		oci_invalid(req, OCI_BLOB, "digest-algorithm is neither sha256 nor sha512");
		return false;
	}
	*ret = algo;
	return true;
}

/* Makes the name of a repository one within the request's view; false: it lies in another, is none,
 * or its blobs are not for this user. */
static bool may_mount(const struct request *req, char *name)
{
	size_t skip = strlen(req->view->prefix);

	if (repository_check(slice_str(name)) < 0 || !policy_may_pull_now(req, name) ||
	    settings_view(req->settings, slice_str(name)) != req->view)
		return false;
	memmove(name, name + skip, strlen(name + skip) + 1);
	return true;
}

/* SPEC dist-1.1 end-11. True: mounted, or refused; false: go on with an upload. */
static bool try_mount(struct request *req, const char *repository)
{
	char text[DIGEST_TEXT_MAX], from[REPOSITORY_MAX + 1];
	struct err err = ERR_INIT;
	struct hash digest;
	int r = query_get(text, sizeof(text), req->query, "mount", 0);
	int has_from = query_get(from, sizeof(from), req->query, "from", 0);

	if (r == 0)
		return false;
	if (r < 0) {
		oci_invalid(req, OCI_BLOB, "the parameter mount is no digest");
		return true;
	}
	if (!oci_digest(req, slice_str(text), &digest))
		return true;
	if (has_from < 0 || (has_from == 1 && !may_mount(req, from)) ||
	    (!has_from && !(req->view->mount_without_from && policy_all_may_pull(req))))
		return false; /* no such repository */
	if (store_blob_mount(request_view(req), repository, &digest, has_from ? from : NULL, &err) <
	    0) {
		if (err.code == E_NOTFOUND)
			return false;
		oci_fail(req, OCI_BLOB, &err);
		return true;
	}
	created(req, repository, &digest);
	return true;
}

/* SPEC dist-1.1 end-4b: the whole blob in one POST, if there is a digest. */
static void uploads_begin(struct request *req)
{
	struct upload_state *s = state_new(req);
	struct err err = ERR_INIT;
	char probe[2];

	if (!oci_repository(req, s->repository))
		return;
	if (query_get(probe, sizeof(probe), req->query, "digest", 0) == 0)
		return;
	/* Without content it is a mount, by a client that says the digest twice. */
	if (!request_has_body(req) && query_get(probe, sizeof(probe), req->query, "mount", 0) != 0)
		return;
	if (!oci_query_digest(req, "digest", &s->digest))
		return;
	if (store_upload_once(request_view(req), s->repository, s->digest.algo, &s->upload, &err) <
	    0)
		oci_fail(req, OCI_UPLOAD, &err);
}

static void uploads_body(struct request *req, const void *data, size_t len)
{
	struct upload_state *s = req->state;

	/* The body of a POST that only opens a session means nothing. */
	if (s->upload)
		upload_body(req, data, len);
}

/* SPEC dist-1.1 end-4a, end-4b, end-4c, end-11 */
static void uploads_end(struct request *req)
{
	struct upload_state *s = req->state;
	char id[UPLOAD_ID_LEN + 1];
	struct err err = ERR_INIT;
	enum hash_algo algo;

	if (s->upload) {
		finish(req, s);
		return;
	}
	if (try_mount(req, s->repository) || !read_algorithm(req, &algo))
		return;
	if (store_upload_begin(request_view(req), s->repository, algo, id, &err) >= 0) {
		respond_empty(req, 202);
		session_headers(req, s->repository, id, 0);
	} else if (err.code == E_LIMIT && !err.sys_errno) {
		/* Nothing is too large: others have to come to their end first. */
		oci_respond(req, 429, NULL, err.text);
		respond_header(req, "Retry-After", "%d", SESSIONS_RETRY_S);
	} else {
		oci_fail(req, OCI_UPLOAD, &err);
	}
}

/* A session is opened in memory; what is mounted has to be looked up. */
static void uploads_recall(struct request *req)
{
	const struct upload_state *s = req->state;
	char probe[2];

	if (!s->upload && query_get(probe, sizeof(probe), req->query, "mount", 0) == 0)
		uploads_end(req);
}

/* SPEC dist-1.1 end-5 */
static void patch_begin(struct request *req)
{
	open_session(req, state_new(req));
}

static void patch_end(struct request *req)
{
	struct upload_state *s = req->state;

	if (!body_is_whole(req, s))
		return;
	respond_empty(req, 202);
	session_headers(req, s->repository, s->id, upload_offset(s->upload));
}

/* SPEC dist-1.1 end-6 */
static void put_begin(struct request *req)
{
	struct upload_state *s = state_new(req);

	if (oci_query_digest(req, "digest", &s->digest))
		open_session(req, s);
}

static void put_end(struct request *req)
{
	struct upload_state *s = req->state;

	if (body_is_whole(req, s))
		finish(req, s);
}

/* SPEC dist-1.1 end-13 */
static void status_end(struct request *req)
{
	char repository[REPOSITORY_MAX + 1], id[UPLOAD_ID_LEN + 1];
	struct err err = ERR_INIT;
	uint64_t offset;

	if (!oci_repository(req, repository) || !session_id(req, id))
		return;
	if (store_upload_status(request_view(req), repository, id, &offset, &err) < 0) {
		oci_fail(req, OCI_UPLOAD, &err);
		return;
	}
	respond_empty(req, 204);
	session_headers(req, repository, id, offset);
}

/* SPEC dist-1.1 end-14 */
static void cancel_end(struct request *req)
{
	char repository[REPOSITORY_MAX + 1], id[UPLOAD_ID_LEN + 1];
	struct err err = ERR_INIT;

	if (!oci_repository(req, repository) || !session_id(req, id))
		return;
	if (store_upload_cancel(request_view(req), repository, id, &err) < 0)
		oci_fail(req, OCI_UPLOAD, &err);
	else
		respond_empty(req, 204);
}

const struct handler uploads_post = {.begin = uploads_begin,
				     .body = uploads_body,
				     .end = uploads_end,
				     .recall = uploads_recall,
				     .access = ACCESS_WRITE,
				     .prompt = true};
const struct handler upload_patch = {.begin = patch_begin,
				     .body = upload_body,
				     .end = patch_end,
				     .access = ACCESS_WRITE,
				     .resumable = true,
				     .prompt = true};
const struct handler upload_put = {.begin = put_begin,
				   .body = upload_body,
				   .end = put_end,
				   .access = ACCESS_WRITE,
				   .resumable = true,
				   .prompt = true};
const struct handler upload_get = {.end = status_end, .access = ACCESS_WRITE};
const struct handler upload_delete = {.end = cancel_end, .access = ACCESS_WRITE};
