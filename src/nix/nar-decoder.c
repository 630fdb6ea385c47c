/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include <nacre/nar.h>

#include "base/mem.h"

/* What the reader refused, for people. `bytes` is what the reader was to take next. */
static int malformed(const struct nar_reader *r, int code, struct err *err)
{
	return err_set(err, code, "malformed NAR at offset %" PRIu64 ": expected %s",
		       nar_reader_offset(r), nar_reader_expected(r));
}

static int nar_decoder_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct nar_decoder *d = container_of(self, struct nar_decoder, sink);
	struct slice input = slice_make(data, len);
	struct node_event ev;
	int r;

	while ((r = nar_reader_step(d->reader, &input, &ev)) > 0)
		if (node_sink_event(d->out, &ev, err) < 0)
			return err->code;
	if (r < 0)
		return malformed(d->reader, r, err);
	if (input.len)
		return err_set(err, E_INVALID,
			       "trailing bytes behind the end of the NAR at offset %" PRIu64,
			       nar_reader_offset(d->reader));
	return 0;
}

static int nar_decoder_finish(struct sink *self, struct err *err)
{
	struct nar_decoder *d = container_of(self, struct nar_decoder, sink);
	int r = nar_reader_finish(d->reader);

	if (r == E_TRUNCATED)
		return err_set(err, r, "truncated NAR: it ends at offset %" PRIu64 ", expected %s",
			       nar_reader_offset(d->reader), nar_reader_expected(d->reader));
	return r < 0 ? malformed(d->reader, r, err) : 0;
}

void nar_decoder_init(struct nar_decoder *d, struct node_sink *out)
{
	*d = (struct nar_decoder){
		.sink = {nar_decoder_write, nar_decoder_finish},
		.reader = nar_reader_new(),
		.out = out,
	};
}

void nar_decoder_release(struct nar_decoder *d)
{
	nar_reader_free(d->reader);
	d->reader = NULL;
}
