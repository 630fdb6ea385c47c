/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key `upstreams` of a view: where the view gets what it does not have. Private to src/serve.
 *
 * What is known of an upstream's health and the connections to it live here, too (state), so they
 * begin anew when the configuration is read again.
 */
#ifndef NACRE_SERVE_UPSTREAM_SETTINGS_H
#define NACRE_SERVE_UPSTREAM_SETTINGS_H

#include <nacre/buf.h>
#include <nacre/pathinfo.h>

#include "config/config.h"

enum upstream_kind { UPSTREAM_CACHE, UPSTREAM_REGISTRY };

struct upstream_state; /* upstream-client.h */

struct upstream_settings {
	enum upstream_kind kind;
	char *where; /* owned; the URL of a cache, or host[:port] of a registry */
	char *name;  /* owned; for messages: without password */
	uint64_t priority;
	struct public_key *trusted; /* owned */
	size_t n_trusted, trusted_cap;
	bool trust_all; /* unsigned paths, too */
	bool optional;  /* while it fails, it has nothing */
	bool closures;  /* of what is fetched, the references are fetched as well */
	bool insecure;  /* registry: any certificate, or plain HTTP */
	unsigned connect_timeout_ms, stall_timeout_s, min_speed;
	uint64_t tag_ttl_ms, back_off_ms;
	const char
		*credentials; /* netrc file or auth file; borrowed from the tree; NULL: the usual */
	/* Registries: which repositories of the view are its, and what they are called there. */
	struct strv repositories;     /* patterns of names in the view; none: all */
	const char *prefix;           /* taken off the name in the view */
	const char *remote_prefix;    /* then put before it */
	const char *packages;         /* repository there with package artifacts; NULL: none */
	struct upstream_state *state; /* owned */
};

/* Sorted by priority. */
struct upstream_list {
	struct upstream_settings *items; /* owned */
	size_t len;
	uint64_t narinfo_ttl_ms, negative_ttl_ms;
};

/* Reads `upstreams`, `upstream-ttl` and `upstream-negative-ttl` of a view's section. E_INVALID; on
 * failure `ret` may hold a part. */
int upstream_settings_read(struct upstream_list *ret, struct config *section, struct err *err);
void upstream_settings_release(struct upstream_list *l);

#endif
