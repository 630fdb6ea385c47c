/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/jwt.h"

#include <jansson.h>

#include <nacre/encode.h>

#include "base/mem.h"

enum { SIGNATURE_TEXT = 86 }; /* 64 bytes in base64url */

#define TIME_MAX (INT64_C(1) << 48) /* seconds: some million years */

void jwt_claims_release(struct claims *c)
{
	free(c->subject);
	free(c->audience);
	grants_release(&c->grants);
	*c = (struct claims){0};
}

/* ---- base64url without padding (SPEC rfc7515 2) ---- */

static void url_encode(struct buf *ret, const void *data, size_t len)
{
	cleanup_free char *text = xmalloc(base64_len(len) + 1);
	size_t n;

	base64_encode(text, data, len);
	n = strcspn(text, "=");
	for (size_t i = 0; i < n; i++)
		text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
	buf_add(ret, text, n);
}

/* Returns the number of bytes, or E_INVALID. `ret` has room for 3/4 of the text. */
static int url_decode(void *ret, size_t max, struct slice text)
{
	cleanup_free char *padded = xmalloc(text.len + 4);
	size_t n = text.len;

	for (size_t i = 0; i < n; i++) {
		char c = (char)text.data[i];

		if (c == '+' || c == '/' || c == '=')
			return E_INVALID;
		padded[i] = c;
		if (c == '-')
			padded[i] = '+';
		if (c == '_')
			padded[i] = '/';
	}
	while (n % 4)
		padded[n++] = '=';
	return base64_decode(ret, max, slice_make(padded, n));
}

/* ---- Making ---- */

static json_t *grants_json(const struct grants *g)
{
	json_t *list = json_array();

	for (size_t i = 0; i < g->len; i++) {
		const struct grant *grant = &g->items[i];
		json_t *actions = json_array();
		char text[RIGHTS_TEXT_MAX];

		rights_format(text, grant->rights);
		for (char *next, *p = text; *p; p = next) {
			next = p + strcspn(p, ",");
			json_array_append_new(actions, json_stringn(p, (size_t)(next - p)));
			next += *next == ',';
		}
		json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "type",
						      resource_name(grant->resource), "name",
						      grant->name, "actions", actions));
	}
	return list;
}

static const char *const uses[] = {
	[TOKEN_ACCESS] = "", [TOKEN_LOGIN] = "login", [TOKEN_REFRESH] = "refresh"};

static char *payload_make(const struct claims *c)
{
	json_t *body =
		json_pack("{s:s, s:s, s:I, s:I, s:I, s:s}", "iss", "nacre", "aud", c->audience,
			  "exp", (json_int_t)c->expires_s, "nbf", (json_int_t)c->issued_s, "iat",
			  (json_int_t)c->issued_s, "jti", c->id);
	char *text;

	if (c->subject)
		json_object_set_new(body, "sub", json_string(c->subject));
	if (c->use != TOKEN_ACCESS)
		json_object_set_new(body, "use", json_string(uses[c->use]));
	if (c->use == TOKEN_REFRESH)
		json_object_set_new(body, "pwd", json_string(c->stamp));
	if (c->use == TOKEN_ACCESS)
		json_object_set_new(body, "access", grants_json(&c->grants));
	text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	return text;
}

int jwt_make(struct buf *ret, const struct claims *claims, const struct secret_key *key,
	     struct err *err)
{
	static const char header[] = "{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}";
	cleanup_free char *payload = payload_make(claims);
	uint8_t signature[SIGNATURE_SIZE];
	size_t start = ret->len;

	if (!payload || strlen(payload) > JWT_MAX / 2)
		return err_set(err, E_LIMIT, "so many scopes do not fit into a token");
	url_encode(ret, header, strlen(header));
	buf_add_str(ret, ".");
	url_encode(ret, payload, strlen(payload));
	if (secret_key_sign(signature, key, slice_make(ret->data + start, ret->len - start)) < 0)
		return err_set(err, E_INTERNAL, "libcrypto cannot sign");
	buf_add_str(ret, ".");
	url_encode(ret, signature, sizeof(signature));
	return 0;
}

/* ---- Verifying ---- */

static json_t *part_json(struct slice text)
{
	cleanup_free char *bytes = xmalloc(text.len + 4);
	int n = url_decode(bytes, text.len + 3, text);

	return n < 0 ? NULL : json_loadb(bytes, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
}

static bool take_part(struct slice *rest, struct slice *ret)
{
	const uint8_t *dot = rest->len ? memchr(rest->data, '.', rest->len) : NULL;

	if (!dot)
		return false;
	*ret = slice_make(rest->data, (size_t)(dot - rest->data));
	slice_advance(rest, ret->len + 1);
	return true;
}

static bool string_is(const json_t *object, const char *key, const char *want)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && strcmp(text, want) == 0;
}

static void grants_from_json(struct grants *g, const json_t *list)
{
	const json_t *item, *action;
	size_t i, j;

	json_array_foreach (list, i, item) {
		cleanup_buf struct buf scope = BUF_INIT(4096);
		const char *type = json_string_value(json_object_get(item, "type"));
		const char *name = json_string_value(json_object_get(item, "name"));

		if (!type || !name || i >= SCOPES_MAX)
			return;
		buf_addf(&scope, "%s:%s:", type, name);
		json_array_foreach (json_object_get(item, "actions"), j, action)
			buf_addf(&scope, "%s%s", j ? "," : "",
				 json_string_value(action) ? json_string_value(action) : "");
		scopes_parse(g, buf_slice(&scope));
	}
}

static bool use_read(struct claims *ret, const json_t *body)
{
	const char *stamp = json_string_value(json_object_get(body, "pwd"));

	if (!json_object_get(body, "use"))
		return true;
	ret->use = string_is(body, "use", uses[TOKEN_LOGIN]) ? TOKEN_LOGIN : TOKEN_REFRESH;
	if (!ret->subject)
		return false;
	if (ret->use == TOKEN_LOGIN)
		return true;
	if (!string_is(body, "use", uses[TOKEN_REFRESH]) || !stamp ||
	    strlen(stamp) != PASSWORD_STAMP_LEN)
		return false;
	memcpy(ret->stamp, stamp, sizeof(ret->stamp));
	return true;
}

/* What is signed is our own, and still looked at with care: keys outlive programs. */
static const char *claims_read(struct claims *ret, const json_t *body, const char *audience,
			       int64_t now_s)
{
	const json_t *expires = json_object_get(body, "exp"), *from = json_object_get(body, "nbf");
	const char *id = json_string_value(json_object_get(body, "jti"));
	const char *subject = json_string_value(json_object_get(body, "sub"));

	if (!string_is(body, "iss", "nacre") || !string_is(body, "aud", audience))
		return "it was made for another service";
	if (!json_is_integer(expires) || !json_is_integer(from) || !id || strlen(id) > JWT_ID_LEN)
		return "it is malformed";
	ret->expires_s = json_integer_value(expires);
	ret->issued_s = json_integer_value(from);
	if (ret->expires_s < 0 || ret->expires_s > TIME_MAX || ret->issued_s < 0 ||
	    ret->issued_s > TIME_MAX)
		return "it is malformed";
	if (now_s > ret->expires_s + CLOCK_SKEW_S)
		return "it has expired";
	if (now_s < ret->issued_s - CLOCK_SKEW_S)
		return "it is not valid yet";
	memcpy(ret->id, id, strlen(id) + 1);
	ret->subject = subject ? xstrdup(subject) : NULL;
	ret->audience = xstrdup(audience);
	if (!use_read(ret, body))
		return "it is malformed";
	grants_from_json(&ret->grants, json_object_get(body, "access"));
	return NULL;
}

static const char *verify(struct claims *ret, struct slice text, const struct public_key *key,
			  const char *audience, int64_t now_s)
{
	struct slice rest = text, header, payload, signed_text;
	uint8_t signature[SIGNATURE_SIZE + 2];
	const char *wrong;
	json_t *json;
	bool good;

	if (text.len > JWT_MAX || !take_part(&rest, &header) || !take_part(&rest, &payload) ||
	    rest.len != SIGNATURE_TEXT ||
	    url_decode(signature, sizeof(signature), rest) != SIGNATURE_SIZE)
		return "it is malformed";
	json = part_json(header);
	good = json && string_is(json, "alg", "EdDSA");
	json_decref(json);
	if (!good)
		return "its algorithm is not EdDSA";
	signed_text = slice_make(text.data, header.len + 1 + payload.len);
	if (!public_key_verify(key, signature, signed_text))
		return "its signature is not good";
	json = part_json(payload);
	wrong = json ? claims_read(ret, json, audience, now_s) : "it is malformed";
	json_decref(json);
	return wrong;
}

int jwt_verify(struct claims *ret, struct slice text, const struct public_key *key,
	       const char *audience, int64_t now_s, struct err *err)
{
	struct claims c = {0};
	const char *wrong = verify(&c, text, key, audience, now_s);

	if (wrong) {
		jwt_claims_release(&c);
		return err_set(err, E_DENIED, "the token is refused: %s", wrong);
	}
	*ret = c;
	return 0;
}
