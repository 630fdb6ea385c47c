/* SPDX-License-Identifier: Apache-2.0 */
/* Stored splices and frame tables: what is taken is written again to the same bytes. */
#include <stdlib.h>

#include <nacre/splice.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_make(data, size);
	struct buf again = {0};
	struct splice s;
	struct frames f;

	if (splice_parse(&s, in) >= 0) {
		struct splice_index index;

		if (splice_serialize(&again, &s) < 0 || !slice_equal(buf_slice(&again), in))
			abort();
		splice_index_init(&index, &s);
		if (s.n_segments && splice_index_find(&index, false, s.size) != s.n_segments)
			abort();
		splice_index_release(&index);
		splice_release(&s);
	}
	buf_reset(&again);
	if (frames_parse(&f, in) >= 0) {
		if (frames_serialize(&again, &f) < 0 || !slice_equal(buf_slice(&again), in))
			abort();
		frames_release(&f);
	}
	buf_release(&again);
	return 0;
}
