/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads many pieces of a few objects by few calls: of a layer that is spliced, the frames of its
 * files and the tar headers between them lie in two objects, each in order. Private to src/store.
 */
#ifndef NACRE_STORE_GATHER_H
#define NACRE_STORE_GATHER_H

#include <sys/uio.h>

#include "store/objects.h"

enum {
	GATHER_OBJECTS = 2,
	GATHER_PIECES = 64,
	/* Bytes between two pieces that are read and dropped, since a call costs more. */
	GATHER_GAP_MAX = 4096,
};

/* Pieces of one object, in order, that one call reads. */
struct gather_run {
	const struct object *object; /* borrowed; NULL: none */
	uint64_t begin, end;         /* of the object's bytes */
	int n;
	struct iovec pieces[GATHER_PIECES]; /* gaps too */
};

struct gather {
	struct gather_run runs[GATHER_OBJECTS];
	unsigned next; /* of the runs, to be replaced */
	uint8_t gap[GATHER_GAP_MAX];
};

void gather_init(struct gather *g);

/* Bytes at `offset` of `o` are wanted in `to`, where they are after gather_finish(): until then both
 * stay. E_INTERNAL, E_IO; then nothing more may be done with `g`. */
int gather_add(struct gather *g, const struct object *o, uint64_t offset, const struct iovec *to,
	       struct err *err);

/* Reads what was not read yet. `g` can be used again. */
int gather_finish(struct gather *g, struct err *err);

#endif
