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

#include "node/container-options.h"
#include "node/node-image.h"

/* Runs and waits. *ret_exit is the container's exit code (128 + n when signal n ended it). Signals
 * that end programs are handed on to the container meanwhile. */
int container_run(struct node_store *store, const struct node_image *image,
		  const struct container_options *options, int *ret_exit, struct err *err);

#endif
