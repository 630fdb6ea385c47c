/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What builds found out about layers and paths, kept from one build to the next: an image whose
 * layers are where it goes is made without reading any content. What is in it was proven when it
 * was noted: a layer's key covers the NarHash of all its paths, and how they were encoded.
 *
 * A cache is never what fails: a file that is missing, damaged, of another user or busy is as good as
 * an empty one. Several processes may share a file; an object belongs to one thread at a time.
 */
#ifndef NACRE_NET_BUILD_CACHE_H
#define NACRE_NET_BUILD_CACHE_H

#include <nacre/image.h>
#include <nacre/transport.h>

struct build_cache;

struct known_layer {
	struct blob_id blob;  /* sha256 */
	struct hash diff_id;  /* sha256 */
	uint16_t elf_machine; /* of its paths, as in struct path_survey */
	bool elf_mixed;
};

/* $XDG_CACHE_HOME/nacre/layers.sqlite (~/.cache), or NULL: there is no such place. Owned by the
 * caller. */
char *build_cache_default_file(void);
/* Opens or makes the file, and folders above it; NULL where that cannot be. */
struct build_cache *build_cache_open(const char *file);
void build_cache_free(struct build_cache *c); /* NULL is nothing */

/* The key of the layer of these paths (indices into the set). */
void build_cache_layer_key(struct hash *ret, const struct path_infos *set,
			   const struct layer_group *group, const char *store_dir,
			   enum image_compression compression);
/* The key of the root layer with this diffID. */
void build_cache_root_key(struct hash *ret, const struct hash *diff_id,
			  enum image_compression compression);
/* In all that follows a cache of NULL knows and keeps nothing. */
bool build_cache_find_layer(struct build_cache *c, const struct hash *key, struct known_layer *ret);
void build_cache_keep_layer(struct build_cache *c, const struct hash *key,
			    const struct known_layer *layer);
/* What was seen of a path with this NarHash; s->dirs says which directories are of interest. Fills
 * programs, links and the machine. */
bool build_cache_find_survey(struct build_cache *c, const struct hash *nar_hash,
			     struct path_survey *s);
void build_cache_keep_survey(struct build_cache *c, const struct hash *nar_hash,
			     const struct path_survey *s);

#endif
