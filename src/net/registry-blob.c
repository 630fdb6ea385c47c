/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs: get, head (SPEC dist-1.1 end-2) and the uploads that need no answer in between (end-4,
 * end-6, end-11). */
#include "net/registry-internal.h"

#include <inttypes.h>

#include "net/registry-upload.h"
#include "net/url.h"

int registry_get_blob(struct registry *r, const char *repository, const struct hash *digest,
		      int64_t size, struct sink *out, struct err *err)
{
	struct registry_scope scope = {repository, "pull", NULL};
	cleanup_http_response struct http_response resp = {0};
	cleanup_verify_sink struct verify_sink verify = {0};
	struct http_request req = {.method = HTTP_GET, .accept_encoded = true};
	cleanup_free char *url = NULL, *what = NULL;
	char text[DIGEST_TEXT_MAX];
	int result;

	digest_format(text, digest);
	what = xasprintf("get the blob %s of %s", text, repository);
	result = registry_url(r, repository, &url, err, "blobs/%s", text);
	if (result < 0)
		return result;
	verify_sink_init(&verify, digest, size, out);
	req.url = url;
	req.sink = &verify.sink;
	/* One more than expected, so that it is the verifier that complains about too many. */
	req.max_body = size >= 0 ? (uint64_t)size + 1 : 0;
	result = registry_send(r, &scope, &req, &resp, err);
	if (result == 0 && resp.status != 200 && resp.status != 206)
		return registry_failed(r, &resp, what, err);
	if (result == 0)
		result = sink_finish(&verify.sink, err);
	return result < 0 ? err_wrap(err, "%s", what) : 0;
}

int registry_has_blob(struct registry *r, const char *repository, const struct hash *digest,
		      uint64_t *ret_size, struct err *err)
{
	struct registry_scope scope = {repository, "pull", NULL};
	cleanup_http_response struct http_response resp = {0};
	struct http_request req = {.method = HTTP_HEAD};
	cleanup_free char *url = NULL, *what = NULL;
	char text[DIGEST_TEXT_MAX];
	uint64_t size = 0;
	int result;

	digest_format(text, digest);
	what = xasprintf("look for the blob %s of %s", text, repository);
	result = registry_url(r, repository, &url, err, "blobs/%s", text);
	if (result < 0)
		return result;
	req.url = url;
	result = registry_send(r, &scope, &req, &resp, err);
	if (result < 0)
		return err_wrap(err, "%s", what);
	if (resp.status == 404)
		return 0;
	if (resp.status != 200)
		return registry_failed(r, &resp, what, err);
	if (ret_size && http_response_length(&resp, &size) < 0)
		return err_set(err, E_NET, "%s: the registry %s does not tell its size", what,
			       r->domain);
	if (ret_size)
		*ret_size = size;
	return 1;
}

/* The address where the upload goes on. SPEC dist-1.1 end-4b: absolute or relative, with a query
 * or without. */
static int take_location(const struct registry *r, const struct http_response *resp, char **ret,
			 struct err *err)
{
	const char *location = http_response_header(resp, "location");
	cleanup_free char *url = NULL;

	if (!location || url_resolve(&url, resp->url, slice_str(location)) < 0)
		return err_set(err, E_NET, "the registry %s begins an upload without saying where",
			       r->domain);
	if (url_downgrades(resp->url, url))
		return err_set(err, E_DENIED,
			       "the registry %s wants the upload sent unencrypted, to %s (a proxy "
			       "before it must send "
			       "X-Forwarded-Proto)",
			       r->domain, url);
	*ret = take_ptr(url);
	return 0;
}

int registry_upload_begin(struct registry *r, const char *repository, const struct hash *digest,
			  const char *from_repository, char **ret_location, struct err *err)
{
	struct registry_scope scope = {repository, "pull,push", from_repository};
	cleanup_http_response struct http_response resp = {0};
	struct http_request req = {.method = HTTP_POST};
	cleanup_buf struct buf query = {0};
	cleanup_free char *url = NULL;
	char text[DIGEST_TEXT_MAX];
	int result;

	if (from_repository) {
		digest_format(text, digest);
		buf_addf(&query, "?mount=");
		url_encode(&query, slice_str(text), ":");
		buf_addf(&query, "&from=");
		url_encode(&query, slice_str(from_repository), "/");
	} else if (digest && digest->algo != HASH_SHA256) {
		buf_addf(&query, "?digest-algorithm=%s", hash_algo_name(digest->algo));
	}
	result = registry_url(r, repository, &url, err, "blobs/uploads/%s",
			      query.len ? (char *)query.data : "");
	if (result < 0)
		return result;
	req.url = url;
	result = registry_send(r, &scope, &req, &resp, err);
	if (result < 0)
		return result;
	if (resp.status == 201 && from_repository)
		return 1;
	if (resp.status != 202)
		return registry_failed(r, &resp, "begin an upload", err);
	return take_location(r, &resp, ret_location, err);
}

int registry_upload_next(const struct registry *r, const struct http_response *resp,
			 char **location, struct err *err)
{
	cleanup_free char *next = NULL;
	int result;

	if (!http_response_header(resp, "location"))
		return 0;
	result = take_location(r, resp, &next, err);
	if (result < 0)
		return result;
	free(*location);
	*location = take_ptr(next);
	return 0;
}

char *registry_upload_end_url(const char *location, const struct hash *digest)
{
	cleanup_buf struct buf b = BUF_INIT(2 * URL_MAX);
	char text[DIGEST_TEXT_MAX];

	digest_format(text, digest);
	buf_addf(&b, "%s%sdigest=", location, strchr(location, '?') ? "&" : "?");
	url_encode(&b, slice_str(text), ":");
	return buf_take_str(&b);
}

int registry_mount_blob(struct registry *r, const char *repository, const struct hash *digest,
			const char *from_repository, struct err *err)
{
	cleanup_free char *location = NULL;
	int result;

	if (repository_check(slice_str(from_repository)) < 0)
		return err_set(err, E_USAGE, "%s is not the name of a repository", from_repository);
	result = registry_upload_begin(r, repository, digest, from_repository, &location, err);
	if (result < 0)
		return err_wrap(err, "mount a blob of %s in %s", from_repository, repository);
	if (result == 0)
		registry_upload_cancel(r, repository, location);
	return result;
}

void registry_upload_cancel(struct registry *r, const char *repository, const char *location)
{
	struct registry_scope scope = {repository, "pull,push", NULL};
	cleanup_http_response struct http_response resp = {0};
	struct http_request req = {.method = HTTP_DELETE, .url = location};
	struct err ignored = ERR_INIT;

	/* A courtesy: the registry forgets it some day anyway. */
	registry_send(r, &scope, &req, &resp, &ignored);
}

int registry_put_blob(struct registry *r, const char *repository, const struct hash *digest,
		      struct http_source *body, struct err *err)
{
	struct registry_scope scope = {repository, "pull,push", NULL};
	cleanup_http_response struct http_response resp = {0};
	struct http_request req = {.method = HTTP_PUT, .body = body};
	cleanup_free char *location = NULL, *url = NULL, *what = NULL;
	cleanup_strv struct strv headers = {0};
	char text[DIGEST_TEXT_MAX];
	int result;

	digest_format(text, digest);
	what = xasprintf("put the blob %s of %s", text, repository);
	result = registry_upload_begin(r, repository, digest, NULL, &location, err);
	if (result != 0 || !location)
		return err_wrap(err, "%s", what);
	url = registry_upload_end_url(location, digest);
	strv_add(&headers, "Content-Type: application/octet-stream");
	req.url = url;
	req.headers = &headers;
	result = registry_send(r, &scope, &req, &resp, err);
	if (result < 0)
		return err_wrap(err, "%s", what);
	return resp.status == 201 || resp.status == 204 ? 0 : registry_failed(r, &resp, what, err);
}
