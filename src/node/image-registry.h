/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry that an image is pulled from, as a source of its store layers: containerd passes the
 * image's reference and the layer's digest in labels where it is told to. The layer is taken in as
 * store paths; what they prove is for the caller to see. And as a source of the path infos that refer
 * to the image, with their signatures.
 */
#ifndef NACRE_NODE_IMAGE_REGISTRY_H
#define NACRE_NODE_IMAGE_REGISTRY_H

#include <nacre/manifest.h>

#include "node/node-sources.h"
#include "node/registry-hosts.h"

struct image_registries {
	const char *certs_dir;      /* borrowed; of hosts.toml; NULL: none */
	const struct strv *allowed; /* borrowed; registries that may be asked without a file */
	const char *auth_file;      /* borrowed; NULL: where podman and docker keep credentials */
};

/* 1: the layer that the labels name was fetched, and its paths are on this node; 0: the labels name
 * none. Errors: no host may be asked (E_NOTFOUND), none has it, it is no store layer. */
int image_registry_fetch(const struct image_registries *registries, struct node_store *store,
			 const struct annotations *labels, struct sources_stats *stats,
			 struct err *err);

/* The digests of the image's manifest and of the layer, as the labels have them; borrowed. NULL: they name none. */
const char *image_registry_manifest(const struct annotations *labels);
const char *image_registry_layer(const struct annotations *labels);
/* Adds the labels that say where an image is from, for another layer of it. */
void image_registry_labels(struct annotations *ret, const struct annotations *labels,
			   const char *layer);

/* 1: the manifest that the labels name, of the first host that has it; 0: they name none. Errors as for a layer. */
int image_registry_read_manifest(const struct image_registries *registries,
				 const struct annotations *labels, struct manifest *ret,
				 struct err *err);

/* 1: the path infos that refer to the image which the labels name were added; 0: they name none. The same
 * hosts are asked as for layers, and the first that has any counts. None at all is an answer only of the
 * last that can be asked, the registry itself. */
int image_registry_infos(const struct image_registries *registries,
			 const struct annotations *labels, const char *store_dir,
			 struct referrer_infos *ret, struct err *err);

#endif
