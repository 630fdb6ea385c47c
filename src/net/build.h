/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds an image of store paths and their closure, and puts it into a destination (SPEC nacre 4).
 * The same paths and options give the same digest from any source.
 */
#ifndef NACRE_NET_BUILD_H
#define NACRE_NET_BUILD_H

#include <nacre/image.h>
#include <nacre/transport.h>

#include "net/build-cache.h"
#include "net/path-source.h"

/* Beside the roots and the compression, all-zero means "as SPEC nacre 4.2 says". */
struct build_options {
	const struct store_path *roots; /* borrowed; the first is the main one */
	size_t n_roots;
	const char *tag;   /* borrowed; NULL: none */
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
	struct build_cache *cache;                    /* borrowed; NULL: none */
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

/* A layer that the cache knows and the destination has is not made again: no content of its paths is
 * read. Builds the image, puts it with its path infos as a referrer, and finishes the destination. */
int image_build(struct build_result *ret, struct path_source *source, struct image_dest *dest,
		const struct build_options *options, struct err *err);

#endif
