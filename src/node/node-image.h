/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings an image to the node: fetches what the node lacks, and nothing else.
 *
 * Each layer becomes either store paths (a store layer, recognised by its content, whatever its
 * annotations say) or an unpacked directory. A store layer whose paths the node has is not
 * fetched: the node computes its canonical tar from them and checks the diffID.
 */
#ifndef NACRE_NODE_IMAGE_H
#define NACRE_NODE_IMAGE_H

#include <nacre/manifest.h>
#include <nacre/transport.h>

#include "node/node-ready.h"
#include "node/node-sources.h"

struct node_layer {
	struct hash diff_id;
	bool is_store; /* mounted as the record's paths; else as node_store_layer_dir() */
	/* What a store layer holds, also where it is mounted as a directory, since another layer touches it. No paths: it is
	 * an ordinary layer. */
	struct layer_record record;
};

struct node_image {
	struct hash digest; /* of the image manifest */
	struct image_config config;
	struct node_layer *layers; /* owned; lowest first */
	size_t n_layers;
	struct node_ready ready; /* .image set: this is known instead of `layers` (NULL, 0) */
};
void node_image_release(struct node_image *image);
#define cleanup_node_image __attribute__((cleanup(node_image_release)))

/* What a pull did. */
struct pull_stats {
	size_t layers_fetched, layers_present;
	size_t paths_added;
	struct sources_stats sources;
	char why[ERR_TEXT_MAX]; /* why a source could not be used; empty: all could */
	uint64_t bytes_fetched; /* blobs of layers */
};

struct pull_options {
	const struct platform *platform; /* borrowed; which member of an index */
	/* Borrowed, or NULL: the image that the source had when it was last pulled. If it still has
	 * it, nothing is fetched. */
	const struct hash *known;
	void (*progress)(void *data, uint64_t bytes); /* may be NULL */
	void *progress_data;
	struct node_sources *sources; /* borrowed; asked before whole layers are; NULL: none */
	/* Opens the same source once more, so that layers are fetched by several threads, `n_jobs`
	 * at a time (0: 4), each with a source of its own. NULL: one after another. `progress` is
	 * then called by one of them at a time. */
	int (*open_source)(void *data, struct image_source **ret, struct err *err);
	void *open_data;
	unsigned n_jobs;
};

/* Pulls what `source` was opened for. */
int node_image_pull(struct node_image *ret, struct node_store *store, struct image_source *source,
		    const struct pull_options *options, struct pull_stats *stats, struct err *err);

/* Checks the signatures of an image's paths by what the sources say, or was found out before
 * (node_sources_check()); a pull asks what refers to the image as well. E_DENIED; also for a layer whose annotations
 * name store paths and whose content is not that of a store layer. */
int node_image_check(const struct node_image *image, struct node_store *store,
		     struct node_sources *sources, struct err *err);

/* Loads an image that was pulled before, by the digest of its manifest. E_NOTFOUND when it or one
 * of its layers is not there. */
int node_image_load(struct node_image *ret, struct node_store *store, const struct hash *digest,
		    struct err *err);

/* The same at the cost of a few files whatever the number of paths, where the image was mounted before and
 * nothing has changed since: then `ready` is set and no layer is known. Else as node_image_load(). */
int node_image_load_ready(struct node_image *ret, struct node_store *store,
			  const struct hash *digest, struct err *err);

#endif
