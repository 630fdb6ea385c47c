/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where bytes go. A sink is embedded as the first member of the struct that implements it; writers
 * that transform (hash, count, compress, tee, frame) wrap another sink, so one pass over the bytes
 * computes all that is needed.
 *
 * 	struct count_sink { struct sink sink; struct sink *next; uint64_t bytes; };
 *
 * `write` takes all `len` bytes or fails; after a failure only releasing is allowed. `finish`,
 * where not NULL, writes what is still buffered and finishes the sinks that it wraps; it is called
 * once, at the end, on success only.
 */
#ifndef NACRE_SINK_H
#define NACRE_SINK_H

#include <nacre/err.h>
#include <nacre/slice.h>

struct sink {
	int (*write)(struct sink *self, const void *data, size_t len, struct err *err);
	int (*finish)(struct sink *self, struct err *err); /* may be NULL */
};

static inline int sink_write(struct sink *s, const void *data, size_t len, struct err *err)
{
	return len ? s->write(s, data, len, err) : 0;
}

static inline int sink_finish(struct sink *s, struct err *err)
{
	return s->finish ? s->finish(s, err) : 0;
}

#endif
