/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "config/config-internal.h"

enum { PLACE_MAX = 300 };

struct config *config_node_new(enum config_kind kind, unsigned line)
{
	struct config *c = xcalloc(1, sizeof(*c));

	c->kind = kind;
	c->line = line;
	return c;
}

struct config *config_new(void)
{
	return config_node_new(CONFIG_MAP, 0);
}

/* As deep as CONFIG_DEPTH_MAX. NOLINTNEXTLINE(misc-no-recursion) */
void config_free(struct config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->len; i++)
		config_free(c->items[i]);
	free(c->items);
	free(c->key);
	free(c->text);
	free(c->file);
	strv_release(&c->asked);
	free(c);
}

void config_append(struct config *to, const char *key, struct config *item)
{
	array_grow(to->items, to->cap, to->len + 1);
	to->items[to->len++] = item;
	item->parent = to;
	item->key = key ? xstrdup(key) : NULL;
}

struct config *config_peek(const struct config *map, const char *key)
{
	for (size_t i = 0; map && map->kind == CONFIG_MAP && i < map->len; i++)
		if (strcmp(map->items[i]->key, key) == 0)
			return map->items[i];
	return NULL;
}

struct config *config_child(struct config *map, const char *key)
{
	struct config *c = config_peek(map, key);

	if (map && map->kind == CONFIG_MAP && !strv_contains(&map->asked, key))
		strv_add(&map->asked, key);
	return c && c->kind == CONFIG_NULL ? NULL : c;
}

size_t config_len(const struct config *c)
{
	if (!c || c->kind == CONFIG_NULL)
		return 0;
	return c->kind == CONFIG_TEXT ? 1 : c->len;
}

struct config *config_item(struct config *c, size_t i)
{
	if (i >= config_len(c))
		return NULL;
	return c->kind == CONFIG_TEXT ? c : c->items[i];
}

const char *config_key(const struct config *map, size_t i)
{
	return map && map->kind == CONFIG_MAP && i < map->len ? map->items[i]->key : NULL;
}

struct config *config_value(struct config *map, size_t i)
{
	const char *key = config_key(map, i);

	return key ? config_child(map, key) : NULL;
}

/* ---- Messages ---- */

/* "views.1.priority", from the top; what does not fit is cut at the front. */
static void place_format(char *ret, size_t size, const struct config *c)
{
	size_t at = size - 1;

	ret[at] = '\0';
	for (; c->parent; c = c->parent) {
		char number[24];
		const char *name = c->key;
		size_t i = 0, len;

		if (!name) {
			while (c->parent->items[i] != c)
				i++;
			snprintf(number, sizeof(number), "%zu", i);
			name = number;
		}
		len = strlen(name);
		if (len + 1 > at)
			break;
		if (ret[at])
			ret[--at] = '.';
		at -= len;
		memcpy(ret + at, name, len);
	}
	memmove(ret, ret + at, size - at);
}

static const char *file_of(const struct config *c)
{
	while (c->parent)
		c = c->parent;
	return c->file ? c->file : "configuration";
}

int config_fail(const struct config *value, struct err *err, const char *fmt, ...)
{
	char place[PLACE_MAX];
	va_list ap;

	va_start(ap, fmt);
	err_vset(err, E_INVALID, fmt, ap);
	va_end(ap);
	place_format(place, sizeof(place), value);
	if (place[0])
		err_wrap(err, "%s", place);
	return value->line ? err_wrap(err, "%s:%u", file_of(value), value->line)
			   : err_wrap(err, "command line");
}

/* ---- What nobody asked for ---- */

enum { DISTANCE_WORD_MAX = 40, DISTANCE_MAX = 3 };

/* Levenshtein's, for short words. */
static size_t distance(const char *a, const char *b)
{
	size_t row[DISTANCE_WORD_MAX + 1], la = strlen(a), lb = strlen(b);

	if (la > DISTANCE_WORD_MAX || lb > DISTANCE_WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

static const char *nearest(const struct config *map, const char *key)
{
	const char *best = NULL;
	size_t best_distance = DISTANCE_MAX + 1;

	for (size_t i = 0; i < map->asked.len; i++) {
		size_t d = distance(map->asked.items[i], key);

		if (d < best_distance) {
			best = map->asked.items[i];
			best_distance = d;
		}
	}
	return best;
}

static int unknown(const struct config *c, struct err *err)
{
	const char *near = nearest(c->parent, c->key);

	if (near)
		return config_fail(c, err, "there is no such key; did you mean '%s'?", near);
	return config_fail(c, err, "there is no such key");
}

/* As deep as CONFIG_DEPTH_MAX. NOLINTNEXTLINE(misc-no-recursion) */
int config_check_used(const struct config *c, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->len; i++) {
		const struct config *item = c->items[i];

		if (c->kind == CONFIG_MAP && !strv_contains(&c->asked, item->key))
			r = unknown(item, err);
		else
			r = config_check_used(item, err);
	}
	return r;
}
