/* SPDX-License-Identifier: Apache-2.0 */
/* A value of the tree; private to src/config. */
#ifndef NACRE_CONFIG_INTERNAL_H
#define NACRE_CONFIG_INTERNAL_H

#include <nacre/buf.h>

#include "base/mem.h"
#include "config/config.h"

enum config_kind { CONFIG_NULL, CONFIG_TEXT, CONFIG_LIST, CONFIG_MAP };

struct config {
	enum config_kind kind;
	struct config *parent; /* borrowed; NULL: the root */
	char *key;             /* owned; in the parent, if that is a map */
	char *text;            /* owned; CONFIG_TEXT */
	struct config **items; /* owned, and what they point to; CONFIG_LIST, CONFIG_MAP */
	size_t len, cap;
	unsigned line;     /* 0: from the command line */
	char *file;        /* owned; of the root */
	struct strv asked; /* keys that somebody asked this map for */
};

struct config *config_node_new(enum config_kind kind, unsigned line);
/* Appends; `key` is NULL in a list. Takes over `item`. */
void config_append(struct config *to, const char *key, struct config *item);
/* The value of a key, asked for or not. */
struct config *config_peek(const struct config *map, const char *key);
/* Any value. `line` is taken for all of it when it is not UINT_MAX. */
int config_parse_value(struct config **ret, struct slice text, const char *name, struct err *err);

#endif
