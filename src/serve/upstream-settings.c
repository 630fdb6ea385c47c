/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream-settings.h"

#include <string.h>

#include <nacre/reference.h>

#include "base/mem.h"
#include "base/pattern.h"
#include "net/http.h"
#include "serve/upstream-client.h"

enum { UPSTREAMS_MAX = 64, DAY_MS = 24 * 3600 * 1000, PRIORITY_MAX = 1000000 };

static const struct config_range timeout_ms = {100, 3600 * 1000};
static const struct config_range ttl_ms = {0, 365ull * DAY_MS};

static int trusted_add(struct upstream_settings *u, struct config *item, struct err *err)
{
	const char *text;
	int r = config_as_text(item, &text, err);

	if (r < 0)
		return r;
	array_grow(u->trusted, u->trusted_cap, u->n_trusted + 1);
	if (public_key_parse(&u->trusted[u->n_trusted], slice_str(text)) < 0)
		return config_fail(item, err, "'%.200s' is no public key: say name:base64", text);
	u->n_trusted++;
	return 0;
}

static int trust_read(struct upstream_settings *u, struct config *map, struct err *err)
{
	static const char *const names[] = {"signed", "all", NULL};
	struct config *list = NULL;
	unsigned trust = 0;
	int r = config_list(map, "trusted-keys", &list, err);

	for (size_t i = 0; r == 0 && i < config_len(list); i++)
		r = trusted_add(u, config_item(list, i), err);
	if (r == 0)
		r = config_choice(map, "trust", names, &trust, err);
	u->trust_all = trust == 1;
	if (r == 0 && !u->n_trusted && !u->trust_all && (u->kind == UPSTREAM_CACHE || u->packages))
		r = config_fail(map, err,
				"say whose signatures count (trusted-keys), or trust: all to take "
				"whatever %s says",
				u->name);
	return r;
}

/* "https://…", "http://…", "docker://HOST", "oci+https://HOST", "oci+http://HOST". */
static int where_read(struct upstream_settings *u, struct config *map, struct err *err)
{
	static const struct {
		const char *prefix;
		enum upstream_kind kind;
		bool host, insecure;
	} schemes[] = {
		{"docker://", UPSTREAM_REGISTRY, true, false},
		{"oci+https://", UPSTREAM_REGISTRY, true, false},
		{"oci+http://", UPSTREAM_REGISTRY, true, true},
		{"https://", UPSTREAM_CACHE, false, false},
		{"http://", UPSTREAM_CACHE, false, false},
	};
	static const char *const kinds[] = {"cache", "registry", NULL};
	const char *url = NULL, *at;
	size_t i = 0, len;
	unsigned kind;
	int r = config_text(map, "url", &url, err);

	if (r < 0)
		return r;
	if (!url)
		return config_fail(map, err, "an upstream has a url");
	while (i < ARRAY_LEN(schemes) &&
	       strncmp(url, schemes[i].prefix, strlen(schemes[i].prefix)) != 0)
		i++;
	if (i == ARRAY_LEN(schemes))
		return config_fail(config_child(map, "url"), err,
				   "say https://HOST/… for a cache, docker://HOST for a registry");
	kind = schemes[i].kind;
	u->insecure = schemes[i].insecure;
	r = config_choice(map, "kind", kinds, &kind, err);
	if (r < 0)
		return r;
	u->kind = (enum upstream_kind)kind;
	if (u->kind == UPSTREAM_CACHE && schemes[i].host)
		return config_fail(map, err, "a cache is said by http:// or https://");
	if (u->kind == UPSTREAM_REGISTRY)
		url += strlen(schemes[i].prefix);
	u->where = xstrdup(url);
	len = strlen(u->where);
	while (len && u->where[len - 1] == '/')
		u->where[--len] = '\0';
	if (u->kind == UPSTREAM_REGISTRY && (!len || strpbrk(u->where, "/@?#")))
		return config_fail(config_child(map, "url"), err,
				   "a registry is a host: docker://HOST[:PORT]");
	at = strrchr(u->where, '@');
	u->name = xstrdup(at ? at + 1 : u->where);
	return 0;
}

static int patterns_read(struct upstream_settings *u, struct config *map, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(map, "repositories", &list, err);

	for (size_t i = 0; r == 0 && i < config_len(list); i++) {
		const char *text;

		r = config_as_text(config_item(list, i), &text, err);
		if (r == 0 && pattern_check(slice_str(text)) < 0)
			r = config_fail(config_item(list, i), err, "'%.80s' is no pattern", text);
		if (r == 0)
			strv_add(&u->repositories, text);
	}
	return r;
}

static int registry_read(struct upstream_settings *u, struct config *map, struct err *err)
{
	int r = patterns_read(u, map, err);

	if (r == 0)
		r = config_text(map, "prefix", &u->prefix, err);
	if (r == 0)
		r = config_text(map, "remote-prefix", &u->remote_prefix, err);
	if (r == 0)
		r = config_text(map, "packages", &u->packages, err);
	if (r == 0 && u->packages && repository_check(slice_str(u->packages)) < 0)
		r = config_fail(config_child(map, "packages"), err,
				"'%s' is no name of a repository", u->packages);
	return r == 0 ? config_duration(map, "tag-ttl", ttl_ms, &u->tag_ttl_ms, err) : r;
}

static int transport_read(struct upstream_settings *u, struct config *map, struct err *err)
{
	uint64_t connect = 10000, stall = 30000, speed = 1;
	int r = config_duration(map, "connect-timeout", timeout_ms, &connect, err);

	if (r == 0)
		r = config_duration(map, "stall-timeout", (struct config_range){1000, DAY_MS},
				    &stall, err);
	if (r == 0)
		r = config_bytes(map, "min-speed", &speed, err);
	if (r == 0)
		r = config_duration(map, "back-off", timeout_ms, &u->back_off_ms, err);
	if (r == 0)
		r = config_text(map, "credentials", &u->credentials, err);
	if (r == 0)
		r = config_bool(map, "insecure", &u->insecure, err);
	u->connect_timeout_ms = (unsigned)connect;
	u->stall_timeout_s = (unsigned)((stall + 999) / 1000);
	u->min_speed = speed < 1 ? 1 : speed > 1u << 30 ? 1u << 30 : (unsigned)speed;
	return r;
}

/* *ret_enabled: it is to be used. */
static int upstream_read(struct upstream_settings *u, struct config *map, bool *ret_enabled,
			 struct err *err)
{
	int r = where_read(u, map, err);

	*ret_enabled = true;
	u->closures = true;
	u->prefix = u->remote_prefix = ""; /* of caches, too: who looks for a registry sees them */
	u->priority = 50;
	u->tag_ttl_ms = 60 * 1000;
	u->back_off_ms = 10 * 1000;
	u->state = upstream_state_new();
	if (r == 0)
		r = config_bool(map, "enabled", ret_enabled, err);
	if (r == 0)
		r = config_number(map, "priority", (struct config_range){0, PRIORITY_MAX},
				  &u->priority, err);
	if (r == 0)
		r = config_bool(map, "optional", &u->optional, err);
	if (r == 0)
		r = config_bool(map, "closures", &u->closures, err);
	if (r == 0 && u->kind == UPSTREAM_REGISTRY)
		r = registry_read(u, map, err);
	if (r == 0)
		r = trust_read(u, map, err);
	return r == 0 ? transport_read(u, map, err) : r;
}

static void upstream_release(struct upstream_settings *u)
{
	upstream_state_free(u->state);
	strv_release(&u->repositories);
	free(u->trusted);
	if (u->where) /* may hold a password */
		explicit_bzero(u->where, strlen(u->where));
	free(u->where);
	free(u->name);
}

/* Keeps the order of equals. */
static void sort_in(struct upstream_list *l, const struct upstream_settings *u)
{
	size_t at = l->len++;

	for (; at && l->items[at - 1].priority > u->priority; at--)
		l->items[at] = l->items[at - 1];
	l->items[at] = *u;
}

int upstream_settings_read(struct upstream_list *ret, struct config *section, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(section, "upstreams", &list, err);

	*ret = (struct upstream_list){.narinfo_ttl_ms = DAY_MS, .negative_ttl_ms = 600 * 1000};
	if (r == 0)
		r = config_duration(section, "upstream-ttl", ttl_ms, &ret->narinfo_ttl_ms, err);
	if (r == 0)
		r = config_duration(section, "upstream-negative-ttl", ttl_ms, &ret->negative_ttl_ms,
				    err);
	if (r == 0 && config_len(list) > UPSTREAMS_MAX)
		r = config_fail(list, err, "%d upstreams are the most", UPSTREAMS_MAX);
	/* Said when the server starts, not when somebody asks. */
	if (r == 0 && config_len(list))
		r = http_require(err);
	if (r < 0)
		return r;
	ret->items = xcalloc(config_len(list) + 1, sizeof(*ret->items));
	for (size_t i = 0; r == 0 && i < config_len(list); i++) {
		struct upstream_settings u = {0};
		bool enabled;

		r = upstream_read(&u, config_item(list, i), &enabled, err);
		if (r == 0 && enabled)
			sort_in(ret, &u);
		else
			upstream_release(&u);
	}
	return r;
}

void upstream_settings_release(struct upstream_list *l)
{
	for (size_t i = 0; i < l->len; i++)
		upstream_release(&l->items[i]);
	free(l->items);
	*l = (struct upstream_list){0};
}
