/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layer of exactly one path, computed from its events and from the bulk frames of its NAR: glue
 * object, frames, diffID, digest of the framed form. Used by absorb.c and derive.c.
 */
#ifndef NACRE_LAYER_LAYER_DIGEST_H
#define NACRE_LAYER_LAYER_DIGEST_H

#include <nacre/absorb.h>

#include "layer/framer.h"

struct layer_digest;
/* Of `framing`, the queue and the supply count. `unnamed`: as in struct absorb_options. */
struct layer_digest *layer_digest_new(struct sink *glue_out, const char *store_dir,
				      const char *base, const struct framer_options *framing,
				      bool unnamed);
/* E_UNSUPPORTED: the path is not layerable. */
int layer_digest_event(struct layer_digest *l, const struct node_event *ev, struct err *err);
/* A bulk frame of the NAR: after the first event of its content, before the event that ends the
 * file. */
void layer_digest_bulk(struct layer_digest *l, size_t raw_size, struct slice stored);
/* After NODE_END, once. */
int layer_digest_finish(struct layer_digest *l, struct layer_object *ret, struct err *err);
void layer_digest_free(struct layer_digest *l);

/* Ends the hash of a sink. */
void named_bytes_of(struct hash_sink *s, struct named_bytes *ret);

#endif
