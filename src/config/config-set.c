/* SPDX-License-Identifier: Apache-2.0 */
/* Values from the command line. */
#include <string.h>

#include <nacre/encode.h>

#include "config/config-internal.h"

/* NOLINTNEXTLINE(misc-no-recursion): as deep as CONFIG_DEPTH_MAX */
static void forget_lines(struct config *c)
{
	c->line = 0;
	for (size_t i = 0; i < c->len; i++)
		forget_lines(c->items[i]);
}

/* Puts `value` where `old` is. */
static void replace(struct config *old, struct config *value)
{
	struct config *parent = old->parent;

	for (size_t i = 0; i < parent->len; i++)
		if (parent->items[i] == old)
			parent->items[i] = value;
	value->parent = parent;
	value->key = old->key;
	old->key = NULL;
	config_free(old);
}

/* A position of a list; "+" is behind its end. */
static struct config *list_step(struct config *list, const char *name)
{
	uint64_t i;

	if (strcmp(name, "+") == 0)
		i = list->len;
	else if (parse_u64(&i, slice_str(name)) < 0 || i > list->len)
		return NULL;
	if (i == list->len)
		config_append(list, NULL, config_node_new(CONFIG_NULL, 0));
	return list->items[i];
}

/* The value under `name`, which is made where it is missing; NULL: there can be none. */
static struct config *step(struct config *at, const char *name)
{
	struct config *c;

	if (at->kind == CONFIG_NULL)
		at->kind = strcmp(name, "+") == 0 ? CONFIG_LIST : CONFIG_MAP;
	if (at->kind == CONFIG_LIST)
		return list_step(at, name);
	if (at->kind != CONFIG_MAP)
		return NULL;
	c = config_peek(at, name);
	if (!c) {
		c = config_node_new(CONFIG_NULL, 0);
		config_append(at, name, c);
	}
	return c;
}

static int set(struct config *root, char *keys, struct config *value, struct err *err)
{
	struct config *at = root;
	size_t depth = 0;

	for (char *next, *name = keys; name; name = next) {
		next = strchr(name, '.');
		if (next)
			*next++ = '\0';
		if (!name[0] || ++depth > CONFIG_DEPTH_MAX / 2)
			return err_set(err, E_USAGE, "it names no key");
		at = step(at, name);
		if (!at)
			return err_set(err, E_USAGE, "there is nothing called '%s' to be set",
				       name);
	}
	replace(at, value);
	return 0;
}

int config_set(struct config *root, struct slice assignment, struct err *err)
{
	const uint8_t *mark = assignment.len ? memchr(assignment.data, '=', assignment.len) : NULL;
	cleanup_free char *keys = NULL;
	struct slice text = assignment;
	struct config *value;
	int r;

	if (!mark)
		return err_set(err, E_USAGE, "'%.*s': say KEY=VALUE",
			       (int)(assignment.len < 200 ? assignment.len : 200),
			       (const char *)assignment.data);
	keys = xstrndup((const char *)assignment.data, (size_t)(mark - assignment.data));
	slice_advance(&text, (size_t)(mark - assignment.data) + 1);
	r = config_parse_value(&value, text, keys, err);
	if (r < 0) {
		err->code = E_USAGE;
		return E_USAGE;
	}
	forget_lines(value);
	r = set(root, keys, value, err);
	if (r < 0) {
		config_free(value);
		return err_wrap(err, "'%.*s'", (int)(assignment.len < 200 ? assignment.len : 200),
				(const char *)assignment.data);
	}
	return 0;
}

int config_make_map(struct config *map, const char *key, struct config **ret, struct err *err)
{
	struct config *c = step(map, key);

	if (c->kind == CONFIG_NULL)
		c->kind = CONFIG_MAP;
	if (c->kind != CONFIG_MAP)
		return config_fail(c, err, "this must be a map of keys");
	*ret = c;
	return 0;
}

static struct config *text_new(const char *text)
{
	struct config *c = config_node_new(CONFIG_TEXT, 0);

	c->text = xstrdup(text);
	return c;
}

void config_put(struct config *map, const char *key, const char *text)
{
	replace(step(map, key), text_new(text));
}

void config_add(struct config *map, const char *key, const char *text)
{
	struct config *list = step(map, key);

	if (list->kind != CONFIG_LIST) {
		struct config *fresh = config_node_new(CONFIG_LIST, 0);

		if (list->kind == CONFIG_TEXT)
			config_append(fresh, NULL, text_new(list->text));
		replace(list, fresh);
		list = fresh;
	}
	config_append(list, NULL, text_new(text));
}
