/* SPDX-License-Identifier: Apache-2.0 */
/* A cache by http:// or https://. */
#include "net/cache-internal.h"
#include "net/url.h"

/* `name` below the cache; owned. */
static char *address(const struct cache *c, const char *name)
{
	return xasprintf("%s%s", c->base, name);
}

/* 403 is how S3 says that there is nothing, to those who may not list. SPEC nix-cache 1.2 */
static bool is_absent(int status)
{
	return status == 404 || status == 410 || status == 403;
}

static int failed(const struct http_response *resp, const char *what, struct err *err)
{
	int r = http_status_err(resp, what, err);

	if (is_absent(resp->status))
		err->code = r = E_NOTFOUND;
	return r;
}

int cache_http_get(struct cache *c, const char *name, size_t max, struct buf *ret, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	cleanup_free char *url = address(c, name);
	struct http_request req = {.method = HTTP_GET,
				   .url = url,
				   .authorization = c->authorization,
				   .max_body = max,
				   .accept_encoded = true};
	int r = http_perform(c->http, &req, &resp, err);

	if (r < 0)
		return r;
	if (resp.status != 200)
		return failed(&resp, "read the cache", err);
	r = buf_add(ret, resp.body.data, resp.body.len);
	return r < 0 ? err_set(err, (enum err_code)r, "%s is too large", name) : 0;
}

int cache_http_stream(struct cache *c, const char *url, uint64_t max_bytes, bool accept_encoded,
		      struct sink *out, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	struct http_request req = {.method = HTTP_GET,
				   .sink = out,
				   .max_body = max_bytes,
				   .accept_encoded = accept_encoded};
	cleanup_free char *whole = NULL;
	int r = url_resolve(&whole, c->base, slice_str(url));

	if (r < 0)
		return err_set(err, E_INVALID, "the URL of the NAR, %s, is not an http address",
			       url);
	if (url_downgrades(c->base, whole))
		return err_set(err, E_DENIED, "the URL of the NAR, %s, leads from https to http",
			       url);
	req.url = whole;
	req.authorization = url_same_origin(c->base, whole) ? c->authorization : NULL;
	r = http_perform(c->http, &req, &resp, err);
	if (r < 0)
		return r;
	return resp.status == 200 || resp.status == 206 ? 0 : failed(&resp, "read the NAR", err);
}

int cache_http_has(struct cache *c, const char *name, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	cleanup_free char *url = address(c, name);
	struct http_request req = {
		.method = HTTP_HEAD, .url = url, .authorization = c->authorization};
	int r = http_perform(c->http, &req, &resp, err);

	if (r < 0)
		return r;
	if (resp.status == 200)
		return 1;
	return is_absent(resp.status) ? 0 : failed(&resp, "look into the cache", err);
}

int cache_http_put(struct cache *c, const char *name, const char *type, struct http_source *body,
		   struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	cleanup_strv struct strv headers = {0};
	cleanup_free char *url = address(c, name);
	struct http_request req = {.method = HTTP_PUT,
				   .url = url,
				   .authorization = c->authorization,
				   .headers = &headers,
				   .body = body};
	int r;

	strv_addf(&headers, "Content-Type: %s", type);
	r = http_perform(c->http, &req, &resp, err);
	if (r < 0)
		return r;
	/* 202 is no success for Nix, so a server that means "stored" does not say it. */
	if (resp.status == 200 || resp.status == 201 || resp.status == 204)
		return 0;
	return http_status_err(&resp, "write to the cache", err);
}
