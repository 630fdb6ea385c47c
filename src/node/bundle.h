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

struct bundle_mount {
	char *source;      /* owned */
	char *destination; /* owned; absolute, in the container */
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
	bool read_only;    /* the root file system */
	bool host_network; /* else a network name space with nothing but lo */
};

void bundle_add_mount(struct bundle *b, const char *source, const char *destination, bool read_only,
		      bool recursive);
/* Appends the JSON. `caps` is the bounding set of this process (bit n is capability n): what it
 * lacks is left out. */
int bundle_format(struct buf *ret, const struct bundle *b, uint64_t caps, struct err *err);
void bundle_release(struct bundle *b);

/* This process's capability bounding set. */
uint64_t bundle_bounding_set(void);

#endif
