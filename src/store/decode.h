/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decompression of what strangers sent: a sink that finds out the compression by the first bytes
 * (or is told), decodes, and stops a bomb. Private to src/store.
 */
#ifndef NACRE_STORE_DECODE_H
#define NACRE_STORE_DECODE_H

#include "store/store-internal.h"

enum { SNIFF_BYTES = 8 };

struct decode_sink {
	struct sink sink;
	struct sink guard;                   /* between decoder and `out` */
	struct sink *out;                    /* borrowed */
	const struct store_options *options; /* borrowed */
	const char *what;                    /* for messages; borrowed */
	enum codec codec;     /* CODEC_UNKNOWN: by the first bytes; then what was found */
	struct sink *decoder; /* owned; NULL: not known yet */
	uint8_t head[SNIFF_BYTES];
	size_t head_len;
	uint64_t bytes_in, bytes_out;
};
/* finish() ends the decoder, and it `out`. `what` is "the NAR", "the layer", …  */
void decode_sink_init(struct decode_sink *d, enum codec codec, struct sink *out,
		      const struct store_options *options, const char *what);
/* `len` bytes of output that somebody else decoded, from `len_in` bytes of input: under the same limits. */
int decode_sink_decoded(struct decode_sink *d, size_t len_in, const void *data, size_t len,
			struct err *err);
void decode_sink_release(struct decode_sink *d);

#endif
