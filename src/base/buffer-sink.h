/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sink that gathers small writes: what is smaller than its buffer is collected until that is full,
 * what is larger passes without a copy. `next` is borrowed. finish() writes the rest and finishes
 * `next`.
 */
#ifndef NACRE_BASE_BUFFER_SINK_H
#define NACRE_BASE_BUFFER_SINK_H

#include <nacre/sink.h>

#include "base/room.h"

struct buffer_sink {
	struct sink sink;
	struct room room;
	struct sink *next; /* borrowed */
	uint8_t *data;     /* owned */
	size_t len, size;  /* bytes in use, bytes allocated */
};

void buffer_sink_init(struct buffer_sink *s, struct sink *next, size_t size);
/* Writes what was collected. */
int buffer_sink_flush(struct buffer_sink *s, struct err *err);
/* Drops what was not written. */
void buffer_sink_release(struct buffer_sink *s);
#define cleanup_buffer_sink __attribute__((cleanup(buffer_sink_release)))

#endif
