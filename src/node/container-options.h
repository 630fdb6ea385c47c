/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container is to be beside, or in place of, what the image's config says, and the texts in
 * which people say it. All-zero is "as the image says".
 */
#ifndef NACRE_NODE_CONTAINER_OPTIONS_H
#define NACRE_NODE_CONTAINER_OPTIONS_H

#include <nacre/buf.h>

#include "node/view.h"

struct container_volume {
	char *source;      /* owned; absolute path on the host; NULL: a tmpfs */
	char *destination; /* owned; absolute */
	char *options;     /* owned; of a tmpfs, as "size=64m,mode=1777"; or NULL */
	bool read_only;
};

struct container_rlimit {
	const char *type;    /* static; "RLIMIT_NOFILE" */
	uint64_t soft, hard; /* UINT64_MAX: none */
};

enum { CONTAINER_RLIMITS_MAX = 16 };

struct container_options {
	const char *runtime;    /* borrowed; program to start; NULL: crun, else runc, from PATH */
	struct strv cmd;        /* replaces Cmd where not empty */
	const char *entrypoint; /* borrowed; replaces Entrypoint (and drops Cmd); "" is none */
	struct strv env;        /* added; NAME=value, or NAME to pass on */
	const char *cwd, *user, *hostname; /* borrowed */
	struct container_volume *volumes;  /* owned */
	size_t n_volumes, cap_volumes;
	struct container_rlimit rlimits[CONTAINER_RLIMITS_MAX];
	size_t n_rlimits;
	uint64_t cap_add, cap_drop; /* bit n is capability n */
	uint64_t memory_bytes;      /* 0: no limit; so the next two */
	uint64_t cpu_millis;        /* thousandths of a CPU */
	uint64_t pids;
	bool read_only, terminal, host_network;
	enum view_kind view;
	int *in_use; /* borrowed; of node_store_use(): closed once the container names its image */
	void (*report)(const struct view_mounts *mounts); /* how it was mounted; may be NULL */
};
void container_options_release(struct container_options *o);

/* Each adds what one option's value says. E_USAGE with what was wanted. */
/* "SOURCE:DESTINATION[:ro|rw]" */
int container_add_volume(struct container_options *o, const char *text, struct err *err);
/* "DESTINATION[:OPTIONS]" */
int container_add_tmpfs(struct container_options *o, const char *text, struct err *err);
/* "nofile=SOFT[:HARD]", numbers or "unlimited" */
int container_add_rlimit(struct container_options *o, const char *text, struct err *err);
/* "NET_ADMIN", "cap_net_admin" or "ALL": sets bits of *mask */
int container_add_capability(uint64_t *mask, const char *text, struct err *err);
/* "512m": bytes, or with k, m, g */
int container_parse_bytes(uint64_t *ret, const char *text, struct err *err);
/* "1.5": *ret is in thousandths */
int container_parse_cpus(uint64_t *ret, const char *text, struct err *err);
/* A positive number. */
int container_parse_count(uint64_t *ret, const char *text, struct err *err);

#endif
