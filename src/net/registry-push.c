/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs out of a producer: one PUT where digest and size are known, else a PATCH of unknown
 * length and a PUT without body. */
#include <nacre/hash.h>

#include "net/registry-upload.h"
#include "net/url.h"

struct push {
	struct registry *registry;
	const char *repository;
	const struct descriptor *want;
	struct blob_producer *from;
	bool again;        /* the failure may be the network's, or a token that expired under way */
	bool is_new_token; /* then at once */
	struct http_wait wait;
};

static bool is_known(const struct push *p)
{
	return p->want->digest.algo != HASH_NONE;
}

/* A request with a pushed body, and the right to it. */
static int open_upload(struct push *p, enum http_method method, const char *url, uint64_t size,
		       struct http_upload **ret, struct err *err)
{
	struct registry_scope scope = {p->repository, "pull,push", NULL};
	cleanup_strv struct strv headers = {0};
	struct http_request req = {.method = method, .url = url, .headers = &headers};
	char *authorization = NULL;
	const char *base;
	bool fresh;
	int result = registry_base(p->registry, &base, err);

	if (result == 0 && url_same_origin(base, url))
		result = registry_authorization(p->registry, &scope, &authorization, &fresh, err);
	if (result < 0)
		return result;
	strv_add(&headers, "Content-Type: application/octet-stream");
	req.authorization = authorization;
	result = http_upload_new(ret, p->registry->http, &req, size, err);
	if (authorization)
		explicit_bzero(authorization, strlen(authorization));
	free(authorization);
	return result;
}

/* Ends the request. A producer that failed by itself is what to report; one that failed because
 * the registry answered early, or the connection broke, is not. */
static int close_upload(struct push *p, struct http_upload *up, int produced, const struct err *why,
			struct http_response *ret, struct err *err)
{
	const char *base;
	bool is_ours;
	int result;

	if (produced < 0 && !http_upload_is_over(up)) {
		p->again = produced == E_NET;
		*err = *why;
		return produced;
	}
	result = http_upload_response(up, ret, err);
	if (result < 0) {
		p->again = result == E_NET;
		return result;
	}
	result = registry_base(p->registry, &base, err);
	if (result < 0)
		return result;
	/* An upload may go to another host: that one has no say in where credentials go. */
	is_ours = url_same_origin(base, ret->url);
	if (ret->status == 401 && is_ours) {
		struct registry_scope scope = {p->repository, "pull,push", NULL};

		result = registry_challenged(p->registry, &scope, ret, err);
		if (result < 0)
			return result;
	}
	p->is_new_token = ret->status == 401;
	http_wait_note(&p->wait, ret);
	p->again = (ret->status == 401 && is_ours) || ret->status == 404 || ret->status == 408 ||
		   ret->status == 429 || ret->status >= 500;
	if (ret->status >= 200 && ret->status < 300)
		return 0;
	return registry_failed(p->registry, ret, "send the bytes", err);
}

static int push_known(struct push *p, const char *location, struct blob_id *ret, struct err *err)
{
	cleanup_free char *url = registry_upload_end_url(location, &p->want->digest);
	cleanup_http_response struct http_response resp = {0};
	CLEANUP(http_upload_free) struct http_upload *up = NULL;
	cleanup_verify_sink struct verify_sink verify = {0};
	struct err why = ERR_INIT;
	int result = open_upload(p, HTTP_PUT, url, p->want->size, &up, err);

	if (result < 0)
		return result;
	verify_sink_init(&verify, &p->want->digest, (int64_t)p->want->size, http_upload_sink(up));
	result = p->from->produce(p->from, &verify.sink, &why);
	if (result == 0)
		result = sink_finish(&verify.sink, &why);
	result = close_upload(p, up, result, &why, &resp, err);
	if (result == 0)
		*ret = (struct blob_id){p->want->digest, p->want->size};
	return result;
}

static int end_unknown(struct push *p, const char *location, const struct blob_id *id,
		       struct err *err)
{
	struct registry_scope scope = {p->repository, "pull,push", NULL};
	cleanup_free char *url = registry_upload_end_url(location, &id->digest);
	cleanup_http_response struct http_response resp = {0};
	struct http_request req = {.method = HTTP_PUT, .url = url};
	int result = registry_send(p->registry, &scope, &req, &resp, err);

	if (result < 0) {
		p->again = result == E_NET;
		return result;
	}
	return resp.status == 201 || resp.status == 204
		       ? 0
		       : registry_failed(p->registry, &resp, "end the upload", err);
}

static int push_unknown(struct push *p, char **location, struct blob_id *ret, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	CLEANUP(http_upload_free) struct http_upload *up = NULL;
	struct hash_sink hash;
	struct blob_id id;
	struct err why = ERR_INIT;
	int result = open_upload(p, HTTP_PATCH, *location, UINT64_MAX, &up, err);

	if (result < 0)
		return result;
	hash_sink_init(&hash, HASH_SHA256, http_upload_sink(up));
	result = p->from->produce(p->from, &hash.sink, &why);
	hash_sink_final(&hash, &id.digest);
	id.size = hash.bytes;
	hash_sink_release(&hash);
	result = close_upload(p, up, result, &why, &resp, err);
	if (result == 0)
		result = registry_upload_next(p->registry, &resp, location, err);
	http_upload_free(take_ptr(up)); /* the client is free for the next request */
	if (result == 0)
		result = end_unknown(p, *location, &id, err);
	if (result == 0)
		*ret = id;
	return result;
}

static int push_once(struct push *p, struct blob_id *ret, struct err *err)
{
	cleanup_free char *location = NULL;
	int result =
		registry_upload_begin(p->registry, p->repository,
				      is_known(p) ? &p->want->digest : NULL, NULL, &location, err);

	if (result < 0)
		return result;
	result = is_known(p) ? push_known(p, location, ret, err)
			     : push_unknown(p, &location, ret, err);
	if (result < 0 && !p->again)
		registry_upload_cancel(p->registry, p->repository, location);
	return result;
}

int registry_push_blob(struct registry *r, const char *repository, const struct descriptor *want,
		       struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	struct push p = {.registry = r, .repository = repository, .want = want, .from = from};
	char text[DIGEST_TEXT_MAX] = "";
	struct blob_id id;
	int result = 0;

	if (is_known(&p))
		digest_format(text, &want->digest);
	for (int i = 0; i < REGISTRY_PUSH_ATTEMPTS; i++) {
		struct err why = ERR_INIT;

		p.again = p.is_new_token = false;
		p.wait = (struct http_wait){0};
		result = push_once(&p, &id, &why);
		if (result == 0) {
			if (ret)
				*ret = id;
			return 0;
		}
		if (p.again && i + 1 < REGISTRY_PUSH_ATTEMPTS &&
		    (p.is_new_token || http_pause(r->http, (unsigned)i + 1, &p.wait, &why) == 0))
			continue;
		*err = why;
		break;
	}
	return err_wrap(err, "put %s%s of %s", text[0] ? "the blob " : "a blob", text, repository);
}
