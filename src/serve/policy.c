/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/policy.h"

#include <nacre/reference.h>

#include "serve/oci-error.h"
#include "serve/server-internal.h"

enum { NAME_MAX_FULL = 2 * REPOSITORY_MAX + 2, HOST_MAX = 260, SCOPE_MAX = NAME_MAX_FULL + 64 };

/* ---- Without users: by where a request comes from ---- */

/* A request that a proxy on this machine passes on is as foreign as its origin. */
static bool is_forwarded(struct request *req)
{
	static const char *const marks[] = {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"};

	for (size_t i = 0; i < ARRAY_LEN(marks); i++)
		if (request_header(req, marks[i]).data)
			return true;
	return false;
}

/* Reads are open. Writes come from this machine, unless the server was told otherwise: not
 * through a proxy, and not from a page in a browser on this machine, whose author is anybody. */
static const char *why_not_local(struct request *req)
{
	if (req->handler->access == ACCESS_READ || req->settings->allow_write)
		return NULL;
	if (!connection_is_local(req->connection))
		return "this server takes writes from its own machine only (it was started without "
		       "--allow-write, and has no users)";
	if (is_forwarded(req))
		return "this server takes no writes through a proxy (it was started without "
		       "--allow-write, and has no users)";
	if (request_header(req, "Origin").data)
		return "this server takes no writes from web pages";
	return NULL;
}

/* ---- With users ---- */

/* What the request is about; false: nothing that has an owner. `name` has NAME_MAX_FULL bytes. */
static bool find_resource(const struct request *req, enum resource *ret, char *name)
{
	const struct route *r = &req->route;

	if (endpoint_is_oci(r->endpoint)) {
		*ret = RESOURCE_REPOSITORY;
		if (!r->name.len || r->name.len > REPOSITORY_MAX)
			return false;
		snprintf(name, NAME_MAX_FULL, "%s%.*s", req->view->prefix, (int)r->name.len,
			 (const char *)r->name.data);
		return true;
	}
	*ret = RESOURCE_CACHE;
	snprintf(name, NAME_MAX_FULL, "%s", req->view->name_len ? req->view->name : "/");
	return r->endpoint >= ENDPOINT_CACHE_INFO;
}

static unsigned wanted_right(const struct request *req)
{
	static const unsigned rights[] = {[ACCESS_READ] = RIGHT_PULL,
					  [ACCESS_WRITE] = RIGHT_PUSH,
					  [ACCESS_DELETE] = RIGHT_DELETE};

	return rights[req->handler->access];
}

/* The name by which the client addressed us, if it is one. */
static bool find_host(struct request *req, char ret[HOST_MAX])
{
	struct slice host = request_header(req, "Host");

	if (!host.len || !slice_to_text(ret, HOST_MAX, host))
		return false;
	return ret[strspn(
		       ret,
		       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]")] ==
	       '\0';
}

/* A blob that is mounted from another repository is pulled from there; as docker-registry says it. */
static void mount_scope(struct request *req, char ret[SCOPE_MAX])
{
	char probe[2], from[REPOSITORY_MAX + 1];

	ret[0] = '\0';
	if (req->route.endpoint == ENDPOINT_UPLOADS &&
	    query_get(probe, sizeof(probe), req->query, "mount", 0) != 0 &&
	    query_get(from, sizeof(from), req->query, "from", 0) == 1 &&
	    repository_check(slice_str(from)) == 0)
		snprintf(ret, SCOPE_MAX, " repository:%s:pull", from);
}

/* The scope that a token needs for this, or nothing. */
static void wanted_scope(struct request *req, char *ret, size_t size)
{
	char name[NAME_MAX_FULL], rights[RIGHTS_TEXT_MAX], more[SCOPE_MAX];
	enum resource resource;

	ret[0] = '\0';
	if (req->handler && find_resource(req, &resource, name) &&
	    repository_check(slice_str(name)) == 0) {
		unsigned right = wanted_right(req);

		rights_format(rights, right == RIGHT_PUSH ? RIGHT_PULL | RIGHT_PUSH : right);
		mount_scope(req, more);
		snprintf(ret, size, ",scope=\"repository:%s:%s%s\"", name, rights, more);
	} else if (req->route.endpoint == ENDPOINT_CATALOG) {
		snprintf(ret, size, ",scope=\"registry:catalog:*\"");
	}
}

static void challenge_bearer(struct request *req)
{
	const struct auth_settings *auth = &req->settings->auth;
	char host[HOST_MAX], scope[2 * SCOPE_MAX], url[HOST_MAX + 32];

	wanted_scope(req, scope, sizeof(scope));
	if (auth->token_url)
		snprintf(url, sizeof(url), "%s", auth->token_url);
	else if (find_host(req, host))
		snprintf(url, sizeof(url), "%s://%s/token", req->connection->tls ? "https" : "http",
			 host);
	else
		snprintf(url, sizeof(url), "/token");
	respond_header(req, "WWW-Authenticate", "Bearer realm=\"%s\",service=\"%s\"%s%s", url,
		       auth->service, scope,
		       req->user || req->token ? ",error=\"insufficient_scope\"" : "");
}

void policy_unauthorized(struct request *req, const char *text)
{
	if (request_header(req, "Authorization").data)
		metrics_count(req->server->metrics, METRIC_AUTH_FAILED);
	if (endpoint_is_oci(req->route.endpoint)) {
		oci_respond(req, 401, "UNAUTHORIZED", text);
		challenge_bearer(req);
	} else {
		respond_plain(req, 401, "%s", text);
		respond_header(req, "WWW-Authenticate", "Basic realm=\"nacre\", charset=\"UTF-8\"");
	}
}

static void refuse(struct request *req, const char *text)
{
	if (endpoint_is_oci(req->route.endpoint))
		oci_respond(req, 403, "DENIED", text);
	else
		respond_plain(req, 403, "%s", text);
}

/* On what, is looked at by the commands (admin-http.c). A token for a registry's client has no such
 * right: it may lie about in many places. */
static bool admit_admin(struct request *req)
{
	if (!req->user || (req->token && req->token->use == TOKEN_ACCESS)) {
		policy_unauthorized(req, "this needs a user with a password, a login token or a"
					 " certificate");
		return false;
	}
	if (access_admin(&req->settings->access, req->user) != ADMIN_NOTHING)
		return true;
	refuse(req, "you may not do this here");
	return false;
}

/* The answer is the same whether what was asked for exists or not. */
static bool admit_user(struct request *req)
{
	char name[NAME_MAX_FULL];
	enum resource resource;

	/* A browser sends a certificate by itself, and anybody's page may ask it to; passwords that were
	 * typed in once, too, but pages that push with one of their own are left alone. */
	if (req->handler->access != ACCESS_READ && request_header(req, "Origin").data &&
	    (req->route.endpoint == ENDPOINT_ADMIN || !request_header(req, "Authorization").data)) {
		refuse(req, "this server takes no writes from web pages");
		return false;
	}
	if (req->route.endpoint == ENDPOINT_ADMIN)
		return admit_admin(req);

	/* SPEC distribution token: clients look here for how to get a token. */
	if (req->route.endpoint == ENDPOINT_OCI_BASE && req->settings->auth.configured &&
	    !req->user && !req->token) {
		policy_unauthorized(req, "say who you are, or get a token for anybody");
		return false;
	}
	if (!find_resource(req, &resource, name) ||
	    (auth_rights(req, resource, name) & wanted_right(req)))
		return true;
	/* A token may be too narrow, and another one not. */
	if (!req->settings->auth.configured ||
	    (req->user && (!req->token || req->token->use != TOKEN_ACCESS)))
		refuse(req, "you may not do this here");
	else
		policy_unauthorized(req, "this needs a user who may do it");
	return false;
}

bool policy_admit(struct request *req)
{
	const char *why;

	if (req->route.endpoint == ENDPOINT_METRICS) {
		if (req->settings->metrics_open ||
		    (connection_is_local(req->connection) && !is_forwarded(req)))
			return true;
		refuse(req, "metrics are for this machine (metrics-open opens them)");
		return false;
	}
	if (req->settings->auth.configured || req->settings->access.configured) {
		if (req->route.endpoint == ENDPOINT_HEALTH ||
		    req->route.endpoint == ENDPOINT_READY || req->route.endpoint == ENDPOINT_TOKEN)
			return true;
		return auth_identify(req) && admit_user(req);
	}
	why = req->route.endpoint == ENDPOINT_ADMIN
		      ? "nobody has the right `admin`: this server has no rules (`access`)"
		      : why_not_local(req);
	if (why)
		refuse(req, why);
	return !why;
}

bool policy_all_may_pull(const struct request *req)
{
	return !req->settings->access.configured;
}

bool policy_may_pull_now(const struct request *req, const char *repository)
{
	return policy_all_may_pull(req) ||
	       (auth_rights(req, RESOURCE_REPOSITORY, repository) & RIGHT_PULL);
}

bool policy_admit_catalog(struct request *req)
{
	if (!req->token || req->token->use != TOKEN_ACCESS ||
	    grants_rights(&req->token->grants, RESOURCE_REGISTRY, "catalog"))
		return true;
	policy_unauthorized(req, "the token is not for the catalog");
	return false;
}

bool policy_may_pull(const struct request *req, const char *repository)
{
	if (policy_all_may_pull(req))
		return true;
	return auth_user_rights(req, RESOURCE_REPOSITORY, repository) & RIGHT_PULL;
}
