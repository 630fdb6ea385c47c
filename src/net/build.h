/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds an image of store paths and their closure, and puts it into a destination (SPEC nacre 4).
 * The same paths and options give the same digest from any source.
 */
#ifndef NACRE_NET_BUILD_H
#define NACRE_NET_BUILD_H

#include <nacre/image.h>
#include <nacre/transport.h>

#include "net/path-source.h"

struct build_options {
	size_t max_layers; /* 0: one path a layer */
	enum image_compression compression;
	const struct platform *platform; /* borrowed; NULL: what the programs are for */
	const struct strv *link_dirs;    /* borrowed; "bin", "share": linked into the paths */
	bool no_root_layer;
	/* Replace what image_defaults() chose, where they are set (lists: where has_* or not
	 * empty). All borrowed. */
	const char *created, *user, *working_dir;
	const struct strv *entrypoint, *cmd, *env, *exposed_ports, *volumes;
	bool has_entrypoint, has_cmd;
	const struct annotations *labels;
	void (*progress)(void *data, uint64_t bytes); /* may be NULL */
	void *progress_data;
};
#define BUILD_OPTIONS_INIT ((struct build_options){.max_layers = GROUP_MAX_LAYERS_DEFAULT})

struct build_result {
	struct hash digest;     /* of the image manifest */
	uint64_t manifest_size; /* bytes */
	size_t n_paths, n_layers;
	uint64_t nar_bytes; /* of all paths */
};

/* Builds the image of `roots` (the first is the main one), puts it under `tag` (NULL: none) with
 * its path infos as a referrer, and finishes the destination. */
int image_build(struct build_result *ret, struct path_source *source,
		const struct store_path *roots, size_t n_roots, struct image_dest *dest,
		const char *tag, const struct build_options *options, struct err *err);

#endif
