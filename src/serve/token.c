/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC distribution token: the endpoint that turns credentials into bearer tokens. */
#include <jansson.h>
#include <sys/random.h>
#include <time.h>

#include <nacre/encode.h>

#include "serve/htpasswd.h"
#include "serve/policy.h"
#include "serve/server-internal.h"
#include "serve/token.h"

enum { SCOPE_TEXT_MAX = 4096, FORM_MAX = 64 << 10 };

void token_id(char ret[JWT_ID_LEN + 1])
{
	uint8_t bytes[JWT_ID_LEN / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		abort(); /* the kernel has no random numbers */
	hex_encode(ret, bytes, sizeof(bytes));
}

/* Of what is asked for, what the user may have. */
static void narrow(const struct request *req, const struct grants *wanted, struct grants *ret)
{
	for (size_t i = 0; i < wanted->len; i++) {
		const struct grant *g = &wanted->items[i];
		unsigned rights = g->resource == RESOURCE_REGISTRY
					  ? g->rights
					  : g->rights & auth_user_rights(req, g->resource, g->name);

		if (rights)
			grants_add(ret, g->resource, slice_str(g->name), rights);
	}
}

/* 0: appended; else answered. */
static int make_token(struct request *req, struct buf *ret, struct claims *claims,
		      unsigned lifetime_s)
{
	struct err err = ERR_INIT;
	int r;

	claims->subject = req->user;
	claims->audience = (char *)(uintptr_t)req->settings->auth.service;
	claims->issued_s = time(NULL);
	claims->expires_s = claims->issued_s + lifetime_s;
	token_id(claims->id);
	r = jwt_make(ret, claims, auth_key(req->server->auth), &err);
	if (r < 0)
		respond_plain(req, 400, "%s", err.text);
	return r;
}

/* Appends the scopes as the token has them. */
static void scopes_text(struct buf *ret, const struct grants *g)
{
	for (size_t i = 0; i < g->len; i++) {
		char rights[RIGHTS_TEXT_MAX];

		rights_format(rights, g->items[i].rights);
		buf_addf(ret, "%s%s:%s:%s", i ? " " : "", resource_name(g->items[i].resource),
			 g->items[i].name, rights);
	}
}

/* `refresh`: a token that gets others, or empty. */
static void send_token(struct request *req, const struct grants *wanted, struct slice refresh)
{
	struct claims claims = {0};
	cleanup_buf struct buf text = {0}, scope = {0};
	char issued[32], *dump;
	struct tm tm;
	json_t *body;
	int r;

	narrow(req, wanted, &claims.grants);
	scopes_text(&scope, &claims.grants);
	r = make_token(req, &text, &claims, req->settings->auth.token_lifetime_s);
	grants_release(&claims.grants);
	if (r < 0)
		return;
	strftime(issued, sizeof(issued), "%Y-%m-%dT%H:%M:%SZ",
		 gmtime_r(&(time_t){claims.issued_s}, &tm));
	body = json_pack("{s:s%, s:s%, s:I, s:s, s:s%}", "token", text.data, text.len,
			 "access_token", text.data, text.len, "expires_in",
			 (json_int_t)(claims.expires_s - claims.issued_s), "issued_at", issued,
			 "scope", scope.len ? (char *)scope.data : "", scope.len);
	if (body && refresh.len)
		json_object_set_new(body, "refresh_token",
				    json_stringn((const char *)refresh.data, refresh.len));
	dump = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	if (!dump)
		abort(); /* out of memory for a small allocation */
	respond_text(req, 200, "application/json", slice_str(dump));
	respond_header(req, "Cache-Control", "no-store");
	free(dump);
}

/* For a user with a password; nothing for others. 0, or answered. */
static int make_refresh(struct request *req, struct buf *ret)
{
	const struct auth_settings *s = &req->settings->auth;
	struct claims claims = {.use = TOKEN_REFRESH};

	if (!req->user || req->token || !auth_password_stamp(req, req->user, claims.stamp))
		return 0;
	return make_token(req, ret, &claims, s->refresh_lifetime_s);
}

/* All `scope` parameters of a query or form. False: answered. */
static bool read_scopes(struct request *req, struct slice query, struct grants *ret)
{
	char text[SCOPE_TEXT_MAX];

	for (size_t i = 0; i < SCOPES_MAX; i++) {
		int r = query_get(text, sizeof(text), query, "scope", i);

		if (r == 0)
			return true;
		/* A query has '+' for a blank, too; no scope has one of its own. */
		for (char *p = text; r > 0 && *p; p++)
			if (*p == '+')
				*p = ' ';
		if (r < 0 || scopes_parse(ret, slice_str(text)) < 0) {
			respond_plain(req, 400, "the scope is malformed");
			return false;
		}
	}
	return true;
}

static bool is_on(struct request *req)
{
	if (req->settings->auth.configured)
		return true;
	respond_plain(req, 404, "this server has no users");
	return false;
}

static bool asks_for(struct slice query, const char *key, const char *want)
{
	char text[16];

	return query_get(text, sizeof(text), query, key, 0) == 1 && strcmp(text, want) == 0;
}

static void token_get_end(struct request *req)
{
	struct grants wanted = {0};
	cleanup_buf struct buf refresh = {0};

	if (!is_on(req) || !auth_identify(req))
		return;
	/* A token is for what it is made out for, and neither grows nor lasts longer. */
	if (req->token && req->token->use == TOKEN_ACCESS)
		policy_unauthorized(req, "a token gets no other token");
	else if (read_scopes(req, req->query, &wanted) &&
		 (!asks_for(req->query, "offline_token", "true") ||
		  make_refresh(req, &refresh) == 0))
		send_token(req, &wanted, buf_slice(&refresh));
	grants_release(&wanted);
}

/* ---- POST: the form of OAuth 2 (SPEC rfc6749 4.3, 6) ---- */

static void form_begin(struct request *req)
{
	req->body.max = FORM_MAX;
	if (req->content_length > FORM_MAX)
		respond_plain(req, 413, "the form is larger than %d bytes", FORM_MAX);
}

static void form_body(struct request *req, const void *data, size_t len)
{
	if (buf_add(&req->body, data, len) < 0)
		respond_plain(req, 413, "the form is larger than %d bytes", FORM_MAX);
}

static void oauth_error(struct request *req, unsigned status, const char *code)
{
	cleanup_free char *text = xasprintf("{\"error\":\"%s\"}", code);

	if (status == 401)
		metrics_count(req->server->metrics, METRIC_AUTH_FAILED);
	respond_text(req, status, "application/json", slice_str(text));
	respond_header(req, "Cache-Control", "no-store");
}

/* Who it is, and the refresh token of the answer. False: answered. */
static bool password_grant(struct request *req, struct slice form, struct buf *refresh)
{
	char user[300], password[JWT_MAX];
	bool good;

	if (query_get(user, sizeof(user), form, "username", 0) != 1 ||
	    query_get(password, sizeof(password), form, "password", 0) != 1) {
		oauth_error(req, 400, "invalid_request");
		return false;
	}
	good = auth_login(req, user, password);
	if (!good)
		oauth_error(req, 401, "invalid_grant");
	else if (!asks_for(form, "access_type", "offline"))
		;
	else if (req->token) /* a login token is one already */
		buf_add_str(refresh, password);
	else
		good = make_refresh(req, refresh) == 0;
	explicit_bzero(password, sizeof(password));
	return good;
}

static bool refresh_grant(struct request *req, struct slice form, struct buf *refresh)
{
	char token[JWT_MAX];
	bool good;

	if (query_get(token, sizeof(token), form, "refresh_token", 0) != 1) {
		oauth_error(req, 400, "invalid_request");
		return false;
	}
	good = auth_refresh(req, token);
	if (good)
		buf_add_str(refresh, token);
	else
		oauth_error(req, 401, "invalid_grant");
	explicit_bzero(token, sizeof(token));
	return good;
}

static void token_post_end(struct request *req)
{
	struct slice form = buf_slice(&req->body);
	cleanup_buf struct buf refresh = {0};
	struct grants wanted = {0};
	char grant[40];
	bool good;

	if (!is_on(req))
		return;
	/* SPEC application/x-www-form-urlencoded: before the escapes, for one of them may be a '+'. */
	for (size_t i = 0; i < req->body.len; i++)
		if (req->body.data[i] == '+')
			req->body.data[i] = ' ';
	if (query_get(grant, sizeof(grant), form, "grant_type", 0) != 1)
		grant[0] = '\0';
	if (strcmp(grant, "password") == 0) {
		good = password_grant(req, form, &refresh);
	} else if (strcmp(grant, "refresh_token") == 0) {
		good = refresh_grant(req, form, &refresh);
	} else {
		oauth_error(req, 400, "unsupported_grant_type");
		return;
	}
	if (good && read_scopes(req, form, &wanted))
		send_token(req, &wanted, buf_slice(&refresh));
	grants_release(&wanted);
}

const struct handler token_get = {.end = token_get_end};
const struct handler token_post = {.begin = form_begin, .body = form_body, .end = token_post_end};
