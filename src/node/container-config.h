/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime-spec configuration of a container out of an image's config (SPEC oci-image config.md)
 * and the options of who runs it. */
#ifndef NACRE_NODE_CONTAINER_CONFIG_H
#define NACRE_NODE_CONTAINER_CONFIG_H

#include "node/container-options.h"
#include "node/node-image.h"

/* Appends config.json. The root file system is mounted at DIR/rootfs (`dir` is absolute): users are
 * looked up in it, and directories that the image calls volumes are created. `hostname` counts where
 * the options name none. */
int container_config_format(struct buf *ret, const char *dir, const struct node_image *image,
			    const struct container_options *o, const char *hostname,
			    struct err *err);

#endif
