/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and passwords (SPEC docker token protocol: docs of distribution, spec/auth/token and
 * spec/auth/oauth). */
#include "net/registry-internal.h"

#include <inttypes.h>

#include <nacre/encode.h>
#include <nacre/json.h>

#include "net/http-internal.h"
#include "net/url.h"

static void free_secret(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

static void forget_challenge(struct registry *r)
{
	free(r->challenge.realm);
	free(r->challenge.service);
	free(r->challenge.scope);
	free(r->challenge.error);
	r->challenge = (struct challenge){0};
	r->challenged = false;
}

static void forget_token(struct registry *r, size_t i)
{
	free(r->tokens[i].scope);
	free_secret(r->tokens[i].value);
	r->tokens[i] = r->tokens[--r->n_tokens];
}

void registry_auth_release(struct registry *r)
{
	while (r->n_tokens)
		forget_token(r, r->n_tokens - 1);
	free(r->tokens);
	forget_challenge(r);
	credentials_release(&r->given);
	credentials_release(&r->who);
	free(r->who_repository);
}

/* *ret is borrowed; NULL: nobody. */
static int find_credentials(struct registry *r, const char *repository,
			    const struct credentials **ret, struct err *err)
{
	int found;

	if (r->has_given) {
		*ret = &r->given;
		return 0;
	}
	if (!repository)
		repository = "";
	if (!r->who_repository || strcmp(r->who_repository, repository) != 0) {
		credentials_release(&r->who);
		found = credentials_for_registry(&r->who, r->auth_file, r->domain, repository, err);
		if (found < 0)
			return found;
		free(r->who_repository);
		r->who_repository = xstrdup(repository);
		r->who_found = found > 0;
	}
	*ret = r->who_found ? &r->who : NULL;
	return 0;
}

/* One scope a word; owned. */
static char *scope_text(const struct registry *r, const struct registry_scope *scope)
{
	if (!scope->repository)
		return xstrdup(r->challenge.scope ? r->challenge.scope : "");
	if (scope->from)
		return xasprintf("repository:%s:%s repository:%s:pull", scope->repository,
				 scope->actions, scope->from);
	return xasprintf("repository:%s:%s", scope->repository, scope->actions);
}

static int denied(const struct registry *r, const char *why, struct err *err)
{
	return err_set(err, E_DENIED,
		       "the registry %s %s (credentials come from --authfile, or log in with "
		       "podman or docker)",
		       r->domain, why);
}

/* Appends "<name>=<value>" to a form or query. */
static void add_field(struct buf *b, const char *name, struct slice value)
{
	buf_addf(b, "%s%s=", b->len ? "&" : "", name);
	url_encode(b, value, "");
}

static void add_scopes(struct buf *b, const char *scopes)
{
	struct slice s = slice_str(scopes);

	while (s.len) {
		const uint8_t *space = memchr(s.data, ' ', s.len);
		size_t n = space ? (size_t)(space - s.data) : s.len;

		if (n)
			add_field(b, "scope", slice_make(s.data, n));
		slice_advance(&s, space ? n + 1 : n);
	}
}

/* SPEC docker token protocol: GET with Basic, or without for the public. */
static int ask_by_get(struct registry *r, const struct credentials *who, const char *scopes,
		      struct http_response *ret, struct err *err)
{
	cleanup_buf struct buf query = {0};
	cleanup_free char *url = NULL;
	char *basic = NULL;
	struct http_request req = {.method = HTTP_GET};
	int result;

	if (r->challenge.service)
		add_field(&query, "service", slice_str(r->challenge.service));
	add_scopes(&query, scopes);
	if (who && credentials_basic(&basic, who) < 0)
		return denied(r, "needs a user and a password, and the user must not have a ':'",
			      err);
	if (who)
		add_field(&query, "account", slice_str(who->user));
	url = xasprintf("%s%s%s", r->challenge.realm, strchr(r->challenge.realm, '?') ? "&" : "?",
			query.len ? (char *)query.data : "");
	req.url = url;
	req.authorization = basic;
	result = http_perform(r->http, &req, ret, err);
	free_secret(basic);
	return result;
}

/* SPEC docker oauth2 protocol: POST with a refresh token. */
static int ask_by_post(struct registry *r, const struct credentials *who, const char *scopes,
		       struct http_response *ret, struct err *err)
{
	cleanup_buf struct buf form = {0};
	cleanup_strv struct strv headers = {0};
	struct http_slice_source body;
	struct http_request req = {.method = HTTP_POST,
				   .url = r->challenge.realm,
				   .headers = &headers,
				   .is_secret = true};
	cleanup_buf struct buf scope_field = {0};
	int result;

	add_field(&form, "grant_type", slice_str("refresh_token"));
	add_field(&form, "service", slice_str(r->challenge.service ? r->challenge.service : ""));
	add_field(&form, "client_id", slice_str("nacre"));
	add_field(&form, "scope", slice_str(scopes)); /* one field, blanks between */
	add_field(&form, "refresh_token", slice_str(who->identity_token));
	strv_add(&headers, "Content-Type: application/x-www-form-urlencoded");
	http_slice_source_init(&body, buf_slice(&form));
	req.body = &body.source;
	result = http_perform(r->http, &req, ret, err);
	explicit_bzero(form.data, form.len);
	return result;
}

static bool is_token(const char *s)
{
	size_t len = strnlen(s, REGISTRY_TOKEN_TEXT_MAX + 1);

	for (size_t i = 0; i < len; i++) {
		if (s[i] <= 0x20 || s[i] >= 0x7f)
			return false;
	}
	return len && len <= REGISTRY_TOKEN_TEXT_MAX;
}

/* {"token" or "access_token", "expires_in"}; kept under `scopes`. *ret is borrowed. */
static int keep_token(struct registry *r, const char *scopes, const struct http_response *resp,
		      const char **ret, struct err *err)
{
	cleanup_json json_t *doc = NULL;
	const char *token = NULL;
	uint64_t seconds = 0;
	struct registry_token *t;
	int result = json_parse(&doc, buf_slice(&resp->body), HTTP_BODY_DEFAULT_MAX, err);

	if (result == 0 && !json_is_object(doc))
		result = err_set(err, E_INVALID, "not a JSON object");
	if (result == 0)
		result = json_get_text(doc, "", "token", false, &token, err);
	if (result >= 0 && (!token || !token[0]))
		result = json_get_text(doc, "", "access_token", true, &token, err);
	if (result >= 0)
		result = json_get_size(doc, "", "expires_in", false, &seconds, err);
	if (result >= 0 && !is_token(token))
		result = err_set(
			err, E_INVALID,
			"the token is empty, too long, or has blanks or control characters");
	if (result < 0)
		return err_wrap(err, "answer of the token server %s", r->challenge.realm);
	/* SPEC docker token protocol: 60 seconds where nothing is said. Ten less than allowed,
	 * for the way there. */
	seconds = seconds < 60 ? 60 : seconds > 86400 ? 86400 : seconds;
	if (r->n_tokens == REGISTRY_TOKENS_MAX) {
		while (r->n_tokens)
			forget_token(r, r->n_tokens - 1);
	}
	array_grow(r->tokens, r->tokens_cap, r->n_tokens + 1);
	t = &r->tokens[r->n_tokens++];
	*t = (struct registry_token){xstrdup(scopes), xstrdup(token),
				     http_now_ms() + (seconds - 10) * 1000};
	*ret = t->value;
	return 0;
}

static int check_realm(const struct registry *r, struct err *err)
{
	cleanup_url struct url realm = {0}, base = {0};

	if (!r->challenge.realm || url_parse(&realm, slice_str(r->challenge.realm)) < 0 ||
	    realm.user)
		return err_set(err, E_NET,
			       "the registry %s names a token server that is no http address",
			       r->domain);
	if (url_parse(&base, slice_str(r->base)) == 0 && base.https && !realm.https)
		return err_set(err, E_DENIED,
			       "the registry %s wants credentials sent unencrypted, to %s",
			       r->domain, r->challenge.realm);
	return 0;
}

static int fetch_token(struct registry *r, const struct registry_scope *scope, const char *scopes,
		       const char **ret, struct err *err)
{
	cleanup_http_response struct http_response resp = {0};
	const struct credentials *who = NULL;
	int result = check_realm(r, err);

	if (result == 0)
		result = find_credentials(r, scope->repository, &who, err);
	if (result < 0)
		return result;
	if (who && who->identity_token)
		result = ask_by_post(r, who, scopes, &resp, err);
	else
		result = ask_by_get(r, who, scopes, &resp, err);
	if (result < 0)
		return err_wrap(err, "get a token");
	if (resp.status == 401 || resp.status == 403)
		return denied(r,
			      who ? "refuses the user and password" : "needs a user and a password",
			      err);
	if (resp.status != 200)
		return http_status_err(&resp, "get a token", err);
	return keep_token(r, scopes, &resp, ret, err);
}

static const char *kept_token(struct registry *r, const char *scopes)
{
	uint64_t now = http_now_ms();

	for (size_t i = 0; i < r->n_tokens; i++) {
		if (strcmp(r->tokens[i].scope, scopes) != 0)
			continue;
		if (r->tokens[i].expires_ms > now)
			return r->tokens[i].value;
		forget_token(r, i);
		return NULL;
	}
	return NULL;
}

int registry_authorization(struct registry *r, const struct registry_scope *scope, char **ret,
			   bool *ret_fresh, struct err *err)
{
	cleanup_free char *scopes = NULL;
	const struct credentials *who = NULL;
	const char *token;
	int result;

	*ret = NULL;
	*ret_fresh = false;
	if (!r->challenged)
		return 0;
	if (r->challenge.scheme == AUTH_BASIC) {
		result = find_credentials(r, scope->repository, &who, err);
		if (result < 0)
			return result;
		*ret_fresh = true;
		if (!who || credentials_basic(ret, who) < 0)
			return denied(r, "needs a user and a password", err);
		return 0;
	}
	scopes = scope_text(r, scope);
	token = kept_token(r, scopes);
	if (!token) {
		*ret_fresh = true;
		result = fetch_token(r, scope, scopes, &token, err);
		if (result < 0)
			return result;
	}
	*ret = xasprintf("Bearer %s", token);
	return 0;
}

static int parse_challenges(const struct http_response *resp, struct challenges *ret)
{
	static const char name[] = "www-authenticate: ";

	for (size_t i = 0; i < resp->headers.len; i++) {
		const char *line = resp->headers.items[i];
		int r;

		if (strncmp(line, name, sizeof(name) - 1) != 0)
			continue;
		r = challenges_parse(ret, slice_str(line + sizeof(name) - 1));
		if (r < 0)
			return r;
	}
	return 0;
}

/* Bearer before Basic; NULL: neither. */
static struct challenge *choose(struct challenges *all)
{
	struct challenge *basic = NULL;

	for (size_t i = 0; i < all->len; i++) {
		if (all->items[i].scheme == AUTH_BEARER)
			return &all->items[i];
		if (all->items[i].scheme == AUTH_BASIC && !basic)
			basic = &all->items[i];
	}
	return basic;
}

int registry_challenged(struct registry *r, const struct registry_scope *scope,
			const struct http_response *resp, struct err *err)
{
	cleanup_challenges struct challenges all = {0};
	cleanup_free char *scopes = scope_text(r, scope);
	struct challenge *c;

	if (parse_challenges(resp, &all) < 0)
		return err_set(err, E_NET,
			       "the registry %s answers with a malformed WWW-Authenticate",
			       r->domain);
	c = choose(&all);
	if (!c)
		return denied(r, "refuses access and says no way to get it", err);
	for (size_t i = 0; i < r->n_tokens; i++) {
		if (strcmp(r->tokens[i].scope, scopes) == 0) {
			forget_token(r, i);
			break;
		}
	}
	forget_challenge(r);
	r->challenge = *c;
	*c = (struct challenge){0}; /* its texts are ours now */
	r->challenged = true;
	return 0;
}
