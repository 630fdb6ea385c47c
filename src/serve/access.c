/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/access.h"

#include <nacre/reference.h>

#include "base/mem.h"
#include "base/pattern.h"

enum { RULES_MAX = 10000 };

static const struct {
	const char *name;
	unsigned rights;
} right_names[] = {
	{"pull", RIGHT_PULL},
	{"push", RIGHT_PUSH},
	{"delete", RIGHT_DELETE},
	{"admin", RIGHT_ADMIN},
};

/* 0: there is none of this name. */
static unsigned right_parse(struct slice s)
{
	if (slice_equal_str(s, "*"))
		return RIGHT_PULL | RIGHT_PUSH | RIGHT_DELETE;
	for (size_t i = 0; i < ARRAY_LEN(right_names); i++)
		if (slice_equal_str(s, right_names[i].name))
			return right_names[i].rights;
	return 0;
}

/* ---- Settings ---- */

static int texts_read(struct strv *ret, struct config *map, const char *key, bool patterns,
		      struct err *err)
{
	struct config *list = NULL;
	int r = config_list(map, key, &list, err);

	for (size_t i = 0; r == 0 && i < config_len(list); i++) {
		struct config *item = config_item(list, i);
		const char *text;

		r = config_as_text(item, &text, err);
		if (r == 0 && patterns && pattern_check(slice_str(text)) < 0)
			r = config_fail(item, err,
					"'%.80s' is no pattern: a name with * (in one component),"
					" ** (across) and ?",
					text);
		if (r == 0)
			strv_add(ret, text);
	}
	return r;
}

static int rights_read(struct access_rule *rule, struct config *map, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(map, "allow", &list, err);

	for (size_t i = 0; r == 0 && i < config_len(list); i++) {
		struct config *item = config_item(list, i);
		const char *text;
		unsigned right;

		r = config_as_text(item, &text, err);
		if (r < 0)
			return r;
		right = right_parse(slice_str(text));
		if (!right)
			return config_fail(item, err,
					   "'%.40s' is no right: pull, push, delete, admin, or *",
					   text);
		rule->allow |= right;
	}
	return r;
}

static int rule_read(struct access_rule *rule, struct config *map, struct err *err)
{
	int r = texts_read(&rule->repositories, map, "repositories", true, err);

	if (r == 0)
		r = texts_read(&rule->caches, map, "caches", true, err);
	if (r == 0)
		r = texts_read(&rule->who, map, "who", false, err);
	if (r == 0)
		r = rights_read(rule, map, err);
	if (r == 0 && !rule->repositories.len && !rule->caches.len)
		r = config_fail(map, err, "say which repositories or caches this is about");
	if (r == 0 && !rule->who.len)
		r = config_fail(map, err,
				"say who: anonymous, authenticated, everyone, a user or @GROUP");
	if (r == 0 && !rule->allow)
		r = config_fail(map, err, "say what they may do: `allow`");
	return r;
}

/* A misspelt group would quietly be one of nobody. */
static int check_groups(const struct access_settings *s, const struct access_rule *rule,
			const struct config *map, struct err *err)
{
	for (size_t i = 0; i < rule->who.len; i++) {
		const char *name = rule->who.items[i];
		bool found = name[0] != '@';

		for (size_t j = 0; j < s->n_groups && !found; j++)
			found = strcmp(s->groups[j].name, name + 1) == 0;
		if (!found)
			return config_fail(map, err, "there is no group '%.80s' in `groups`",
					   name + 1);
	}
	return 0;
}

static int groups_read(struct access_settings *s, struct config *root, struct err *err)
{
	struct config *map = NULL;
	int r = config_map(root, "groups", &map, err);

	s->groups = xcalloc(config_len(map) + 1, sizeof(*s->groups));
	for (size_t i = 0; r == 0 && i < config_len(map); i++) {
		struct access_group *g = &s->groups[s->n_groups++];

		g->name = config_key(map, i);
		r = texts_read(&g->members, map, g->name, false, err);
	}
	return r;
}

int access_settings_read(struct access_settings *ret, struct config *root, struct err *err)
{
	struct config *list = NULL;
	int r = groups_read(ret, root, err);

	if (r == 0)
		r = config_list(root, "access", &list, err);
	if (r == 0 && config_len(list) > RULES_MAX)
		r = config_fail(list, err, "%d rules are the most", RULES_MAX);
	if (r < 0)
		return r;
	ret->configured = list != NULL;
	ret->rules = xcalloc(config_len(list) + 1, sizeof(*ret->rules));
	for (size_t i = 0; r == 0 && i < config_len(list); i++) {
		struct access_rule *rule = &ret->rules[ret->n_rules++];

		r = rule_read(rule, config_item(list, i), err);
		if (r == 0)
			r = check_groups(ret, rule, config_item(list, i), err);
	}
	return r;
}

void access_settings_release(struct access_settings *s)
{
	for (size_t i = 0; i < s->n_rules; i++) {
		strv_release(&s->rules[i].repositories);
		strv_release(&s->rules[i].caches);
		strv_release(&s->rules[i].who);
	}
	for (size_t i = 0; i < s->n_groups; i++)
		strv_release(&s->groups[i].members);
	free(s->groups);
	free(s->rules);
}

/* ---- Deciding ---- */

static bool in_group(const struct access_settings *s, const char *group, const char *user)
{
	for (size_t i = 0; user && i < s->n_groups; i++)
		if (strcmp(s->groups[i].name, group) == 0)
			return strv_contains(&s->groups[i].members, user);
	return false;
}

static bool is_meant(const struct access_settings *s, const struct strv *who, const char *user)
{
	for (size_t i = 0; i < who->len; i++) {
		const char *w = who->items[i];

		if (strcmp(w, "everyone") == 0 ||
		    strcmp(w, user ? "authenticated" : "anonymous") == 0)
			return true;
		if (user && (w[0] == '@' ? in_group(s, w + 1, user) : strcmp(w, user) == 0))
			return true;
	}
	return false;
}

unsigned access_rights(const struct access_settings *s, const char *user, enum resource resource,
		       const char *name)
{
	unsigned rights = 0;

	if (!s->configured)
		return user ? RIGHT_PULL | RIGHT_PUSH | RIGHT_DELETE : RIGHT_PULL;
	for (size_t i = 0; i < s->n_rules; i++) {
		const struct access_rule *rule = &s->rules[i];
		const struct strv *names =
			resource == RESOURCE_CACHE ? &rule->caches : &rule->repositories;

		if (is_meant(s, &rule->who, user) && patterns_fit(names, name))
			rights |= rule->allow;
	}
	return rights;
}

enum admin_reach access_admin(const struct access_settings *s, const char *user)
{
	enum admin_reach reach = ADMIN_NOTHING;

	for (size_t i = 0; i < s->n_rules; i++) {
		const struct access_rule *rule = &s->rules[i];

		if (!(rule->allow & RIGHT_ADMIN) || !is_meant(s, &rule->who, user))
			continue;
		if (strv_contains(&rule->repositories, "**") && strv_contains(&rule->caches, "**"))
			return ADMIN_EVERYTHING;
		reach = ADMIN_SOMETHING;
	}
	return reach;
}

/* ---- Scopes ---- */

static const char *const resource_names[] = {"repository", "cache", "registry"};

const char *resource_name(enum resource r)
{
	return resource_names[r];
}

void grants_release(struct grants *g)
{
	for (size_t i = 0; i < g->len; i++)
		free(g->items[i].name);
	free(g->items);
	*g = (struct grants){0};
}

void grants_add(struct grants *g, enum resource resource, struct slice name, unsigned rights)
{
	for (size_t i = 0; i < g->len; i++) {
		if (g->items[i].resource == resource && slice_equal_str(name, g->items[i].name)) {
			g->items[i].rights |= rights;
			return;
		}
	}
	array_grow(g->items, g->cap, g->len + 1);
	g->items[g->len++] =
		(struct grant){resource, xstrndup((const char *)name.data, name.len), rights};
}

unsigned grants_rights(const struct grants *g, enum resource resource, const char *name)
{
	for (size_t i = 0; i < g->len; i++)
		if (g->items[i].resource == resource && strcmp(g->items[i].name, name) == 0)
			return g->items[i].rights;
	return 0;
}

static bool name_is_good(enum resource resource, struct slice name)
{
	if (resource == RESOURCE_CACHE && slice_equal_str(name, "/"))
		return true;
	return repository_check(name) == 0;
}

/* "<type>[(class)]:<name>:<actions>"; the name may have colons of its own (a port). */
static int scope_parse(struct grants *g, struct slice s)
{
	const uint8_t *first = memchr(s.data, ':', s.len), *last;
	struct slice type, name, actions;
	unsigned rights = 0;

	if (!first)
		return E_INVALID;
	last = memrchr(s.data, ':', s.len);
	if (last == first)
		return E_INVALID;
	type = slice_make(s.data, (size_t)(first - s.data));
	name = slice_make(first + 1, (size_t)(last - first - 1));
	actions = slice_make(last + 1, s.len - (size_t)(last + 1 - s.data));
	/* SPEC distribution token scope: "repository(plugin)" is an old form of the same. */
	if (slice_has_prefix(type, "repository("))
		type = slice_str("repository");
	while (actions.len) {
		const uint8_t *comma = memchr(actions.data, ',', actions.len);
		size_t n = comma ? (size_t)(comma - actions.data) : actions.len;

		rights |= right_parse(slice_make(actions.data, n)) & ~(unsigned)RIGHT_ADMIN;
		slice_advance(&actions, n + (comma ? 1 : 0));
	}
	for (size_t i = 0; i < ARRAY_LEN(resource_names); i++) {
		if (!slice_equal_str(type, resource_names[i]))
			continue;
		if (i == RESOURCE_REGISTRY ? !slice_equal_str(name, "catalog")
					   : !name_is_good((enum resource)i, name))
			return E_INVALID;
		grants_add(g, (enum resource)i, name, rights);
	}
	return 0;
}

int scopes_parse(struct grants *g, struct slice text)
{
	for (size_t n = 0; text.len;) {
		const uint8_t *space = memchr(text.data, ' ', text.len);
		size_t len = space ? (size_t)(space - text.data) : text.len;
		int r;

		if (len && ++n > SCOPES_MAX)
			return E_LIMIT;
		r = len ? scope_parse(g, slice_make(text.data, len)) : 0;
		if (r < 0)
			return r;
		slice_advance(&text, len + (space ? 1 : 0));
	}
	return g->len > SCOPES_MAX ? E_LIMIT : 0;
}

void rights_format(char *ret, unsigned rights)
{
	size_t n = 0;

	ret[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(right_names); i++)
		if (rights & right_names[i].rights)
			n += (size_t)snprintf(ret + n, RIGHTS_TEXT_MAX - n, n ? ",%s" : "%s",
					      right_names[i].name);
}
