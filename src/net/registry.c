/* SPDX-License-Identifier: Apache-2.0 */
/* The registry client: where it is, and how a request gets there with the right to. */
#include "net/registry-internal.h"

#include <stdio.h>

#include <nacre/json.h>

#include "net/url.h"

/* Docker Hub's registry is not where its name says. */
static const char *connect_host(const char *domain)
{
	return strcmp(domain, "docker.io") == 0 || strcmp(domain, "index.docker.io") == 0
		       ? "registry-1.docker.io"
		       : domain;
}

static char *base_of(const char *scheme, const char *host)
{
	return xasprintf("%s://%s", scheme, host);
}

static char *mirror_query(const char *registry)
{
	cleanup_buf struct buf b = {0};

	buf_add_str(&b, "ns=");
	url_encode(&b, slice_str(registry), "");
	return buf_take_str(&b);
}

int registry_open(struct registry **ret, const char *domain, const struct registry_options *options,
		  struct err *err)
{
	static const struct registry_options defaults = {0};
	const struct registry_options *o = options ? options : &defaults;
	CLEANUP(registry_free) struct registry *r = xcalloc(1, sizeof(*r));
	cleanup_free char *probe = base_of("https", connect_host(domain));
	cleanup_url struct url u = {0};
	int result = http_require(err);

	if (result < 0)
		return result;
	if (url_parse(&u, slice_str(probe)) < 0 || u.user || strpbrk(domain, "/?#@\\"))
		return err_set(err, E_USAGE, "%s is not the name of a registry", domain);
	r->http_options = o->http;
	r->http_options.insecure = o->insecure;
	result = http_new(&r->http, &r->http_options, err);
	r->http_options.ca_file = NULL; /* was borrowed */
	if (result < 0)
		return result;
	r->domain = xstrdup(domain);
	r->host = xstrdup(connect_host(domain));
	r->auth_file = o->auth_file ? xstrdup(o->auth_file) : NULL;
	r->query = o->mirror_of ? mirror_query(o->mirror_of) : NULL;
	if (o->credentials) {
		r->has_given = true;
		credentials_copy(&r->given, o->credentials);
	}
	if (o->scheme == REGISTRY_HTTP || (o->scheme == REGISTRY_AUTO && url_host_is_local(u.host)))
		r->base = base_of("http", r->host);
	else if (o->scheme == REGISTRY_HTTPS || !o->insecure)
		r->base = base_of("https", r->host);
	*ret = take_ptr(r);
	return 0;
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	http_free(r->http);
	registry_auth_release(r);
	free(r->domain);
	free(r->host);
	free(r->base);
	free(r->auth_file);
	free(r->query);
	free(r);
}

/* Does it speak HTTPS? One attempt, with any certificate: only those who asked for that come
 * here. */
static bool speaks_https(const struct registry *r)
{
	cleanup_http_response struct http_response resp = {0};
	CLEANUP(http_free) struct http *http = NULL;
	struct http_options options = r->http_options;
	cleanup_free char *url = xasprintf("https://%s/v2/", r->host);
	struct http_request req = {.method = HTTP_GET, .url = url};
	struct err ignored = ERR_INIT;

	options.attempts = 1;
	return http_new(&http, &options, &ignored) == 0 &&
	       http_perform(http, &req, &resp, &ignored) == 0;
}

int registry_base(struct registry *r, const char **ret, struct err *err)
{
	if (!r->base)
		r->base = base_of(speaks_https(r) ? "https" : "http", r->host);
	*ret = r->base;
	return 0;
}

int registry_url(struct registry *r, const char *repository, char **ret, struct err *err,
		 const char *fmt, ...)
{
	cleanup_buf struct buf b = BUF_INIT(URL_MAX);
	const char *base;
	va_list ap;
	char *rest = NULL;
	int len, result = registry_base(r, &base, err);

	if (result < 0)
		return result;
	if (repository_check(slice_str(repository)) < 0)
		return err_set(err, E_USAGE, "%s is not the name of a repository", repository);
	va_start(ap, fmt);
	len = vasprintf(&rest, fmt, ap);
	va_end(ap);
	if (len < 0)
		abort();
	result = buf_addf(&b, "%s/v2/%s/%s", base, repository, rest);
	if (result >= 0 && r->query)
		result = buf_addf(&b, "%c%s", strchr(rest, '?') ? '&' : '?', r->query);
	free(rest);
	if (result < 0)
		return err_set(err, E_LIMIT, "an address would be longer than %d bytes", URL_MAX);
	*ret = buf_take_str(&b);
	return 0;
}

int registry_ref_parse(const char *ref, struct hash *ret_digest, struct err *err)
{
	struct hash digest = {0};

	if (strchr(ref, ':'))
		return digest_parse_err(ret_digest, slice_str(ref), err);
	if (tag_check(slice_str(ref)) < 0)
		return err_set(err, E_USAGE, "%s is neither a tag nor a digest", ref);
	*ret_digest = digest;
	return 0;
}

int registry_send(struct registry *r, const struct registry_scope *scope, struct http_request *req,
		  struct http_response *ret, struct err *err)
{
	const char *base;
	bool ours, fresh;
	int result = registry_base(r, &base, err);

	if (result < 0)
		return result;
	ours = url_same_origin(base, req->url);
	for (;;) {
		char *authorization = NULL;

		fresh = false;
		if (ours)
			result = registry_authorization(r, scope, &authorization, &fresh, err);
		if (result < 0)
			return result;
		req->authorization = authorization;
		if (req->body && req->body->rewind)
			result = req->body->rewind(req->body, err);
		if (result == 0)
			result = http_perform(r->http, req, ret, err);
		req->authorization = NULL;
		if (authorization)
			explicit_bzero(authorization, strlen(authorization));
		free(authorization);
		/* Where a redirect led has no say in where credentials go. */
		if (result < 0 || ret->status != 401 || !ours || fresh ||
		    !url_same_origin(base, ret->url))
			return result;
		result = registry_challenged(r, scope, ret, err);
		if (result < 0)
			return result;
	}
}

/* SPEC dist-1.1 error codes: {"errors": [{"code", "message", …}]} */
static bool error_words(const struct http_response *resp, char *ret, size_t size)
{
	cleanup_json json_t *doc = NULL;
	struct err ignored = ERR_INIT;
	const char *code, *message;
	json_t *first;

	if (!resp->body.len ||
	    json_parse(&doc, buf_slice(&resp->body), HTTP_ERROR_BODY_MAX, &ignored) < 0)
		return false;
	first = json_array_get(json_object_get(doc, "errors"), 0);
	code = json_string_value(json_object_get(first, "code"));
	message = json_string_value(json_object_get(first, "message"));
	if (!code && !message)
		return false;
	snprintf(ret, size, "%.64s%s%.400s", code ? code : "", code && message ? ": " : "",
		 message ? message : "");
	return true;
}

int registry_failed(const struct registry *r, const struct http_response *resp, const char *what,
		    struct err *err)
{
	char words[512];
	int result = http_status_err(resp, what, err);

	if (!error_words(resp, words, sizeof(words)))
		return result;
	return err_set(err, (enum err_code)result, "%s: the registry %s answers %d, %s", what,
		       r->domain, resp->status, words);
}

int registry_ping(struct registry *r, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	struct registry_scope scope = {0};
	struct http_request req = {.method = HTTP_GET};
	cleanup_free char *url = NULL;
	const char *base;
	int result = registry_base(r, &base, err);

	if (result < 0)
		return result;
	url = xasprintf("%s/v2/", base);
	req.url = url;
	result = registry_send(r, &scope, &req, &resp, err);
	if (result == 0 && resp.status != 200)
		result = registry_failed(r, &resp, "ask whether this is a registry", err);
	return result;
}
