/* SPDX-License-Identifier: Apache-2.0 */
/* The rules in force, and which of them are meant; private to src/store. */
#ifndef NACRE_STORE_RULES_H
#define NACRE_STORE_RULES_H

#include "store/store-internal.h"
#include "store/upkeep.h"

/* Immutable; others take its place. Threads may still use it, so it goes with the store. */
struct rules {
	struct rules *older; /* owned */
	struct store_rules set;
};

static inline const struct store_rules *store_rules(const struct store *s)
{
	return &atomic_load(&s->rules)->set;
}

void rules_init(struct store *s);
void rules_free(struct store *s);

enum { FULL_NAME_MAX = 512 };
/* The name of a repository of a view in URLs; `ret` has FULL_NAME_MAX bytes. */
void full_name(char *ret, const char *view, const char *repository);
/* The name of a view's cache in patterns. */
const char *rule_cache_name(const char *view);

/* NULL: there is none. `repository`: full name. */
const struct tag_rule *tag_rule_find(const struct store_rules *r, const char *repository);
const struct path_rule *path_rule_find(const struct store_rules *r, const char *cache);
bool tag_rule_expires(const struct tag_rule *rule);

#endif
