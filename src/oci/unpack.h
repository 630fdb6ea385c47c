/* SPDX-License-Identifier: Apache-2.0 */
/* Layers as they come: in whatever compression. */
#ifndef NACRE_OCI_UNPACK_H
#define NACRE_OCI_UNPACK_H

#include <nacre/sink.h>

/* A sink that undoes whatever compression the first bytes show. `out` is borrowed and finished by
 * finish(). No limit to the growth: what a layer grows to nobody says, and a file of zeros in
 * zstd legitimately grows by 30 000. */
struct unpack_sink {
	struct sink sink;
	struct sink *out;
	struct sink *decoder; /* owned; NULL until enough is known */
	uint8_t head[8];
	size_t head_len;
};
void unpack_sink_init(struct unpack_sink *s, struct sink *out);
void unpack_sink_release(struct unpack_sink *s);
#define cleanup_unpack_sink __attribute__((cleanup(unpack_sink_release)))

#endif
