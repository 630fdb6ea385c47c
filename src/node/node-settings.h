/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the configuration of a node says (docs/configuration.md, "The node"): where it keeps things and
 * where it gets store paths from. Shared by the commands that run containers and by daemons.
 */
#ifndef NACRE_NODE_NODE_SETTINGS_H
#define NACRE_NODE_NODE_SETTINGS_H

#include "config/config.h"
#include "node/node-sources.h"
#include "node/view.h"

#define NODE_CONFIG_DEFAULT "/etc/nacre/node.yaml"
#define NODE_ROOT_DEFAULT   "/var/lib/nacre"

struct node_settings {
	char *root;       /* owned; NULL: not said */
	char *host_store; /* owned; NULL: none */
	struct strv sources;
	struct public_key *trusted; /* owned */
	size_t n_trusted, cap_trusted;
	bool require_signatures;
	unsigned n_jobs;
	enum view_kind view;
};
#define NODE_SETTINGS_INIT ((struct node_settings){0})
void node_settings_release(struct node_settings *s);
#define cleanup_node_settings __attribute__((cleanup(node_settings_release)))

/* Reads the keys of `map` (NULL: all defaults). Whether there are others is for the caller to check
 * (config_check_used()). E_INVALID with file, line and key. */
int node_settings_read(struct node_settings *ret, struct config *map, struct err *err);
/* A whole file. `path` NULL: NODE_CONFIG_DEFAULT where it exists, else all defaults. */
int node_settings_load(struct node_settings *ret, const char *path, struct err *err);

/* Borrows from the settings. */
void node_settings_sources(const struct node_settings *s, struct node_sources_options *ret);

#endif
