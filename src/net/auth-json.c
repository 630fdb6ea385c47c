/* SPDX-License-Identifier: Apache-2.0 */
/* auth.json and config.json: who to be, or whom to ask (SPEC containers-auth.json(5), docker
 * config.json). */
#include <nacre/encode.h>
#include <nacre/json.h>

#include "base/mem.h"
#include "net/credentials.h"

/* Docker Hub goes by several names. */
static const char *canonical_host(const char *host)
{
	static const char *const hub[] = {"index.docker.io", "registry-1.docker.io",
					  "registry.hub.docker.com"};

	for (size_t i = 0; i < ARRAY_LEN(hub); i++) {
		if (strcmp(host, hub[i]) == 0)
			return "docker.io";
	}
	return host;
}

/* A key as docker writes it ("https://index.docker.io/v1/") or podman ("host/name"), without
 * scheme and API version; owned. */
static char *canonical_key(const char *key)
{
	cleanup_free char *rest = NULL;
	char *slash, *host;

	if (strncmp(key, "https://", 8) == 0)
		key += 8;
	else if (strncmp(key, "http://", 7) == 0)
		key += 7;
	rest = xstrdup(key);
	slash = strchr(rest, '/');
	if (!slash)
		return xstrdup(canonical_host(rest));
	*slash++ = '\0';
	host = rest;
	if (!*slash || strcmp(slash, "v1/") == 0 || strcmp(slash, "v2/") == 0 ||
	    strcmp(slash, "v1") == 0 || strcmp(slash, "v2") == 0)
		return xstrdup(canonical_host(host));
	return xasprintf("%s/%s", canonical_host(host), slash);
}

/* How well a key fits "host/repository": its length if it is that or a prefix that ends at a
 * '/', else 0. */
static size_t key_fit(const char *key, const char *name)
{
	cleanup_free char *canonical = canonical_key(key);
	size_t len = strlen(canonical);

	return len && strncmp(name, canonical, len) == 0 && (name[len] == '\0' || name[len] == '/')
		       ? len
		       : 0;
}

/* The member whose key fits best. */
static const char *best_key(json_t *object, const char *name)
{
	const char *key, *best = NULL;
	size_t best_fit = 0;
	json_t *value;

	json_object_foreach (object, key, value) {
		size_t fit = key_fit(key, name);

		if (fit > best_fit) {
			best_fit = fit;
			best = key;
		}
	}
	return best;
}

/* "auth": base64 of user:password. */
static int decode_auth(struct credentials *c, const char *auth, struct err *err)
{
	size_t max = strlen(auth) / 4 * 3 + 3;
	cleanup_free char *plain = try_malloc(max + 1, AUTH_FILE_MAX);
	char *colon;
	int n;

	if (!plain)
		return err_set(err, E_NOMEM, "no memory for credentials");
	n = base64_decode(plain, max, slice_str(auth));
	if (n >= 0)
		plain[n] = '\0';
	/* docker pads the password with NULs in some versions */
	colon = n > 0 ? memchr(plain, ':', (size_t)n) : NULL;
	if (!colon) {
		explicit_bzero(plain, max + 1);
		return err_set(err, E_INVALID, "\"auth\" is not the base64 of user:password");
	}
	c->user = xstrndup(plain, (size_t)(colon - plain));
	c->password = xstrdup(colon + 1);
	explicit_bzero(plain, max + 1);
	return 0;
}

/* One entry of "auths". 1, 0 for an empty one (docker leaves those for its helpers), < 0. */
static int read_entry(struct credentials *ret, const json_t *entry, const char *key,
		      struct err *err)
{
	cleanup_credentials struct credentials c = {0};
	const char *auth = NULL, *user = NULL, *password = NULL, *token = NULL;
	int r;

	if (!json_is_object(entry))
		return err_set(err, E_INVALID, "auths[\"%s\"] is not an object", key);
	if ((r = json_get_text(entry, key, "auth", false, &auth, err)) < 0 ||
	    (r = json_get_text(entry, key, "username", false, &user, err)) < 0 ||
	    (r = json_get_text(entry, key, "password", false, &password, err)) < 0 ||
	    (r = json_get_text(entry, key, "identitytoken", false, &token, err)) < 0)
		return r;
	if (auth && auth[0]) {
		r = decode_auth(&c, auth, err);
		if (r < 0)
			return err_wrap(err, "auths[\"%s\"]", key);
	} else if (user && user[0] && password) {
		c.user = xstrdup(user);
		c.password = xstrdup(password);
	}
	if (token && token[0])
		c.identity_token = xstrdup(token);
	if (!c.user && !c.identity_token)
		return 0;
	*ret = c;
	c = (struct credentials){0};
	return 1;
}

/* "credHelpers": {"host": "name"}. */
static int find_helper(struct auth_answer *ret, const json_t *root, const char *name,
		       struct err *err)
{
	json_t *helpers = NULL;
	const char *key, *helper;
	int r = json_get_object(root, "", "credHelpers", false, &helpers, err);

	if (r <= 0)
		return r;
	key = best_key(helpers, name);
	if (!key)
		return 0;
	helper = json_string_value(json_object_get(helpers, key));
	if (!helper)
		return err_set(err, E_INVALID, "credHelpers[\"%s\"] is not a text", key);
	ret->helper = xstrdup(helper);
	ret->server = xstrdup(key);
	return 1;
}

void auth_answer_release(struct auth_answer *a)
{
	credentials_release(&a->credentials);
	free(a->helper);
	free(a->server);
	*a = (struct auth_answer){0};
}

int auth_json_find(struct auth_answer *ret, struct slice text, const char *host,
		   const char *repository, struct err *err)
{
	const char *canonical = canonical_host(host);
	cleanup_free char *name =
		xasprintf("%s%s%s", canonical, repository[0] ? "/" : "", repository);
	cleanup_json json_t *root = NULL;
	json_t *auths = NULL;
	const char *key, *store = NULL;
	int r = json_parse(&root, text, AUTH_FILE_MAX, err);

	if (r == 0 && !json_is_object(root))
		r = err_set(err, E_INVALID, "not a JSON object");
	if (r == 0)
		r = find_helper(ret, root, name, err);
	if (r != 0)
		return r;
	r = json_get_object(root, "", "auths", false, &auths, err);
	key = r > 0 ? best_key(auths, name) : NULL;
	if (key)
		r = read_entry(&ret->credentials, json_object_get(auths, key), key, err);
	if (r < 0 || (key && r > 0))
		return r;
	r = json_get_text(root, "", "credsStore", false, &store, err);
	if (r <= 0 || !store[0])
		return r < 0 ? r : 0;
	ret->helper = xstrdup(store);
	/* docker asks for its hub by the name of its first API */
	ret->server =
		xstrdup(strcmp(canonical, "docker.io") == 0 ? "https://index.docker.io/v1/" : host);
	return 1;
}
