/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image as a source of store paths: any registry or archive is a binary cache of the closures
 * in it (SPEC nacre 4). A package artifact stands for its closure: the packages that it refers
 * to are found by their hash parts as tags of the same repository (SPEC nacre 5).
 *
 * Contents come from the layers that are store layers by their content. References come from the
 * layer's annotations, else from path infos that refer to the image, else they are found in the
 * contents as Nix finds them; the first two count only for the NarHash that the content has.
 * Signatures, derivers and content addresses are the union of what all path infos say that agree
 * with the content and the references; whether a signature is good is for the reader of the
 * result to check.
 */
#ifndef NACRE_NET_IMAGE_PATHS_H
#define NACRE_NET_IMAGE_PATHS_H

#include <nacre/transport.h>

#include "net/path-source.h"

struct image_paths_options {
	const struct platform *platform;              /* NULL: all of an index */
	void (*progress)(void *data, uint64_t bytes); /* of layers; may be NULL */
	void *progress_data;
};

/* Fetches the layers of what `from` (borrowed until free) was opened for. E_NOTFOUND: there is no
 * store path in it. */
int image_paths_open(struct path_source **ret, struct image_source *from,
		     const struct image_paths_options *options, struct err *err);
/* Adds the path infos of everything in it. `s` is from image_paths_open(). */
void image_paths_all(const struct path_source *s, struct path_infos *ret);

#endif
