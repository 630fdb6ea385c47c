/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs one container in the foreground: composes the root file system of an image that the node
 * has, writes a bundle and starts crun or runc with it. Needs root.
 *
 * All mounts are made in a mount name space of the calling process, which container_run() enters
 * and does not leave: call it from a program that ends soon after. They are gone when it ends,
 * however it ends.
 */
#ifndef NACRE_NODE_CONTAINER_H
#define NACRE_NODE_CONTAINER_H

#include "node/node-image.h"
#include "node/view.h"

struct container_volume {
	char *source;      /* owned; absolute path on the host */
	char *destination; /* owned; absolute */
	bool read_only;
};

/* What the caller sets beside, or in place of, what the image's config says. All-zero is "as the
 * image says". */
struct container_options {
	const char *runtime;    /* borrowed; program to start; NULL: crun, else runc, from PATH */
	struct strv cmd;        /* replaces Cmd where not empty */
	const char *entrypoint; /* borrowed; replaces Entrypoint (and drops Cmd); "" is none */
	struct strv env;        /* added; NAME=value, or NAME to pass on */
	const char *cwd, *user, *hostname; /* borrowed */
	struct container_volume *volumes;  /* owned */
	size_t n_volumes, cap_volumes;
	bool read_only, terminal, host_network;
	enum view_kind view;
	void (*report)(const struct view_mounts *mounts); /* how it was mounted; may be NULL */
};
void container_options_release(struct container_options *o);

/* Parses "SOURCE:DESTINATION[:ro|rw]". E_USAGE. */
int container_parse_volume(struct container_volume *ret, const char *text, struct err *err);

/* Runs and waits. *ret_exit is the container's exit code (128 + n when signal n ended it). Signals
 * that end programs are handed on to the container meanwhile. */
int container_run(struct node_store *store, const struct node_image *image,
		  const struct container_options *options, int *ret_exit, struct err *err);

#endif
