/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what: rules over the names of repositories and caches (section `access`), and scopes,
 * in which clients ask for rights and tokens hold them (SPEC distribution token scope). Private to
 * src/serve.
 */
#ifndef NACRE_SERVE_ACCESS_H
#define NACRE_SERVE_ACCESS_H

#include <nacre/buf.h>

#include "config/config.h"

enum right { RIGHT_PULL = 1, RIGHT_PUSH = 2, RIGHT_DELETE = 4, RIGHT_ADMIN = 8, RIGHT_ALL = 15 };

enum resource { RESOURCE_REPOSITORY, RESOURCE_CACHE, RESOURCE_REGISTRY };

struct access_rule {
	struct strv repositories, caches, who;
	unsigned allow; /* of enum right */
};

struct access_group {
	const char *name; /* borrowed from the tree */
	struct strv members;
};

struct access_settings {
	bool configured;           /* there is a section `access` */
	struct access_rule *rules; /* owned */
	size_t n_rules;
	struct access_group *groups; /* owned */
	size_t n_groups;
};

/* Reads `access` and `groups` of the root. On failure `ret` may hold a part. */
int access_settings_read(struct access_settings *ret, struct config *root, struct err *err);
void access_settings_release(struct access_settings *s);

/* What all rules that fit allow together. `user` NULL: anonymous. Without rules anybody may pull and
 * whoever is known may pull, push and delete. `name`: full name of the repository; of a cache
 * that of its view, "/" for the root's. */
unsigned access_rights(const struct access_settings *s, const char *user, enum resource resource,
		       const char *name);

enum admin_reach { ADMIN_NOTHING, ADMIN_SOMETHING, ADMIN_EVERYTHING };
/* Does a rule give the user `admin` on anything; on every repository and cache (the pattern "**" for both)? */
enum admin_reach access_admin(const struct access_settings *s, const char *user);

/* ---- Scopes ---- */

struct grant {
	enum resource resource;
	char *name; /* owned */
	unsigned rights;
};

struct grants {
	struct grant *items; /* owned */
	size_t len, cap;
};
void grants_release(struct grants *g);
/* Adds what is not there. */
void grants_add(struct grants *g, enum resource resource, struct slice name, unsigned rights);
unsigned grants_rights(const struct grants *g, enum resource resource, const char *name);

enum { SCOPES_MAX = 100 };
/* "repository:team/app:pull,push cache:/:pull registry:catalog:*". Scopes of another type, and
 * actions that are not known, are ignored. E_INVALID, E_LIMIT. */
int scopes_parse(struct grants *g, struct slice text);
/* "pull,push,delete" or "*"; `ret` has RIGHTS_TEXT_MAX bytes. */
enum { RIGHTS_TEXT_MAX = 40 };
void rights_format(char *ret, unsigned rights);
const char *resource_name(enum resource r);

#endif
