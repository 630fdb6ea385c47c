/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NARs: taken in as events, kept framed, once for each content; private to src/store.
 */
#ifndef NACRE_STORE_NARS_H
#define NACRE_STORE_NARS_H

#include <nacre/absorb.h>
#include <nacre/splice.h>

#include "store/objects.h"

/* A NAR on its way in: init, events, seal, record inside a transaction, settle, release. */
struct new_nar {
	struct store *store; /* borrowed; NULL: all-zero, nothing */
	struct incoming nar, glue;
	struct absorb *absorb; /* owned */
	char *path;            /* owned whole store path, or NULL: no name */
	bool with_layer;       /* make the glue, too */
	struct nar_object object;
	bool has_layer;  /* made it: it is layerable */
	bool is_new;     /* after new_nar_record(): its frames were not there before */
	bool known_only; /* what is not there is not recorded: *ret_id is 0 */
	struct layer_object layer;
};
/* `path` may be NULL: a NAR without a name. `with_layer`: what its tar needs is made in the
 * same pass. `supply`: NULL, or the frames of the layer that is read (nacre/absorb.h). */
void new_nar_init(struct new_nar *n, struct store *s, const struct store_path *path,
		  bool with_layer, struct frame_supply *supply);
struct node_sink *new_nar_node_sink(struct new_nar *n);
/* After NODE_END: hashes are known, bytes are durable. */
int new_nar_seal(struct new_nar *n, struct err *err);
int new_nar_record(struct new_nar *n, struct conn *c, int64_t *ret_id, struct err *err);
void new_nar_settle(struct new_nar *n, bool committed);
void new_nar_release(struct new_nar *n);
#define cleanup_new_nar __attribute__((cleanup(new_nar_release)))

/* A NAR that is kept. */
struct nar {
	int64_t id;
	int64_t object;
	struct hash nar_hash;
	uint64_t nar_size;
	struct hash file_hash; /* of the framed object */
	uint64_t file_size;
	struct frames frames; /* owned */
	bool current_encoder; /* this program would make the same frames */
	/* It lies in the layer it was pushed in, which is `object` (settle.h). No frames, no file
	 * hash; file_size is nar_size. */
	bool unframed;
};
void nar_release(struct nar *n);
#define cleanup_nar __attribute__((cleanup(nar_release)))
/* 1 found, 0 there is none. */
int nar_find_hash(struct conn *c, const struct hash *nar_hash, struct nar *ret, struct err *err);
int nar_find_id(struct conn *c, int64_t id, struct nar *ret, struct err *err);
/* The whole NAR, uncompressed, to a sink, which is finished. Frames it first, if need be. */
int nar_decode(struct store *s, const struct nar *n, struct sink *out, struct err *err);

/* Inside a transaction: the names under which a view has a NAR from now on. `plain`: only the one of
 * the uncompressed NAR. */
int nar_name_views(struct conn *c, int64_t view, const struct nar *n, bool plain, struct err *err);
/* 1: the view has it uncompressed alone, or, `later`, will have it so once it is named. That depends
 * on what the view did, not on whether somebody else's push was framed. */
int nar_is_plain(struct conn *c, int64_t view, const struct nar *n, bool later, struct err *err);
/* 1: the view has this NAR, under whatever name; 0. */
int nar_in_view(struct conn *c, int64_t view, const struct hash *nar_hash, struct err *err);
enum { NAR_NAME_MAX = 255 }; /* bytes of a name under nar/ */

/* Would this program make the same frames as the one that left this identity? */
bool encoder_is_ours(struct slice encoder);

#endif
