/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Store paths out of the layers of an image. A layer is taken for what its content is (SPEC
 * nacre 2): preamble of a store dir, then canonical throughout; whatever its compression and
 * annotations. The NARs go into one scratch file, since a layer is a stream and its paths are
 * wanted in another order.
 */
#ifndef NACRE_NET_LAYER_SPOOL_H
#define NACRE_NET_LAYER_SPOOL_H

#include <nacre/pathinfo.h>
#include <nacre/transport.h>

struct spooled_path {
	struct path_info info; /* path, NarHash, NarSize */
	uint64_t offset;       /* of its NAR in the file */
};

/* All-zero but for the descriptor: use layer_spool_init(). */
struct layer_spool {
	int fd;                     /* owned */
	uint64_t end;               /* bytes in the file */
	struct spooled_path *items; /* owned; sorted by store path, unique */
	size_t len, cap;
	void (*progress)(void *data, uint64_t bytes); /* of layers; may be NULL */
	void *progress_data;
};
int layer_spool_init(struct layer_spool *s, struct err *err);
void layer_spool_release(struct layer_spool *s);

/* Fetches a layer: 1, its paths were added; 0, it is an ordinary layer; < 0. A path that is there
 * with the same NarHash is not added again; with another one it is E_CONFLICT. */
int layer_spool_add(struct layer_spool *s, struct image_source *from,
		    const struct descriptor *layer, struct err *err);
/* The same for a blob that is one NAR, in whatever compression: it must be what `info` says
 * (E_MISMATCH). */
int layer_spool_add_nar(struct layer_spool *s, struct image_source *from,
			const struct descriptor *blob, const struct path_info *info,
			struct err *err);
/* By base name; NULL if there is none. Borrowed until the next layer. */
struct spooled_path *layer_spool_find(const struct layer_spool *s, const char *base);
/* Writes a NAR to `out`, without finishing it. */
int layer_spool_read(const struct layer_spool *s, const struct spooled_path *p, struct sink *out,
		     struct err *err);

#endif
