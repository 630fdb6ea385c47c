/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime-spec configuration (config.json) of one container, for crun, runc or youki (SPEC
 * oci-runtime config.md). What a container may do is podman's default: the same capabilities,
 * masked and read-only paths, no new privileges.
 */
#ifndef NACRE_NODE_BUNDLE_H
#define NACRE_NODE_BUNDLE_H

#include <nacre/buf.h>

#include "node/user.h"

struct container_rlimit;

struct bundle_mount {
	char *source;      /* owned; NULL: a tmpfs */
	char *destination; /* owned; absolute, in the container */
	char *options;     /* owned; of a tmpfs, separated by commas; or NULL */
	bool read_only;
	bool recursive; /* rbind */
};

struct bundle {
	const char *rootfs;   /* borrowed; absolute */
	const char *hostname; /* borrowed */
	struct strv args;     /* the command; args.items[0] is the program */
	struct strv env;      /* NAME=value */
	const char *cwd;      /* borrowed; absolute */
	struct user user;
	struct bundle_mount *mounts; /* owned; in this order, after /proc, /dev and the like */
	size_t n_mounts, cap_mounts;
	bool terminal;
	uint16_t rows, columns;     /* of the terminal at first; 0: not known */
	bool is_rootless;           /* in a user name space where not all groups are mapped */
	bool read_only;             /* the root file system */
	bool host_network;          /* else a network name space with nothing but lo */
	uint64_t cap_add, cap_drop; /* to and from the default; bit n is capability n */
	const struct container_rlimit *rlimits; /* borrowed */
	size_t n_rlimits;
	uint64_t memory_bytes, cpu_millis, pids; /* 0: no limit */
};

void bundle_add_mount(struct bundle *b, const char *source, const char *destination, bool read_only,
		      bool recursive);
void bundle_add_tmpfs(struct bundle *b, const char *destination, const char *options);
/* The number of a capability by its name without "CAP_", in any case; -1: there is none. */
int bundle_capability(const char *name);
/* Appends the JSON. `caps` is the bounding set of this process (bit n is capability n): what it
 * lacks is left out. */
int bundle_format(struct buf *ret, const struct bundle *b, uint64_t caps, struct err *err);
void bundle_release(struct bundle *b);

/* This process's capability bounding set. */
uint64_t bundle_bounding_set(void);

#endif
