/* SPDX-License-Identifier: Apache-2.0 */
/* Every decoder, with limits. The first byte chooses the codec (its low nibble) and how the rest is cut (its high nibble). */
#include "base/mem.h"
#include "base/sinks.h"
#include "codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct codec_limits limits = {4 << 20, 1000};
	struct slice in = slice_make(data, size);
	struct err err = ERR_INIT;
	struct sink *dec;
	size_t piece;
	int r;

	if (!in.len)
		return 0;
	piece = (size_t)(in.data[0] >> 4) * 16 + 1;
	if (decoder_new(&dec, (enum codec)((in.data[0] & 15) % CODEC_UNKNOWN), null_sink(), &limits,
			&err) < 0)
		return 0;
	slice_advance(&in, 1);
	for (r = 0; r == 0 && in.len;) {
		size_t n = in.len < piece ? in.len : piece;

		r = sink_write(dec, in.data, n, &err);
		slice_advance(&in, n);
	}
	if (r == 0)
		r = sink_finish(dec, &err);
	/* A failure always says which kind and why. */
	if (r != err.code || (r < 0 && !err.text[0]))
		abort();
	decoder_free(dec);
	return 0;
}
