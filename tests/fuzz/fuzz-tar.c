/* SPDX-License-Identifier: Apache-2.0 */
/* A tar that is taken must be, byte for byte, what the writer makes of its events. */
#include <stdlib.h>

#include <nacre/buf.h>
#include <nacre/tar.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take(struct tar_writer **w, struct sink *out, const struct tar_event *ev)
{
	struct err err = ERR_INIT;
	char text[512] = {0};

	memcpy(text, ev->text.data ? (const char *)ev->text.data : "", ev->text.len);
	switch (ev->type) {
	case TAR_STORE_DIR:
		*w = tar_writer_new(out, text);
		return tar_writer_preamble(*w, &err);
	case TAR_PATH:
		return tar_writer_path(*w, text, &err);
	case TAR_NODE:
		return node_sink_event(tar_writer_node_sink(*w), &ev->node, &err);
	default:
		return tar_writer_trailer(*w, &err);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tar_reader *r = tar_reader_new();
	struct slice in = slice_make(data, size);
	struct tar_writer *w = NULL;
	struct buf again = {0};
	struct buf_sink sink;
	struct tar_event ev;
	int c;

	buf_sink_init(&sink, &again);
	while ((c = tar_reader_step(r, &in, &ev)) > 0)
		if (take(&w, &sink.sink, &ev) < 0)
			abort();
	if (c == 0 && tar_reader_finish(r) == 0 &&
	    !slice_equal(buf_slice(&again), slice_make(data, size)))
		abort();
	tar_writer_free(w);
	tar_reader_free(r);
	buf_release(&again);
	return 0;
}
