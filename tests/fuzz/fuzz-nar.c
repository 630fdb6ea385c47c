/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NAR reader: whatever the bytes, reading them whole and in pieces (whose size the first
 * byte chooses) gives the same events and the same error, and what was read completely is
 * written again byte for byte.
 */
#include <stdlib.h>

#include <nacre/buf.h>
#include <nacre/nar.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define check(condition)                                                                \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

/* What was read: each event's fields, and contents joined, in one checksum. */
struct outcome {
	uint64_t sum;
	uint64_t offset;
	int code;
	const char *expected;
};

static void mix(uint64_t *sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		*sum = (*sum ^ p[i]) * 0x100000001b3;
}

static void mix_event(uint64_t *sum, const struct node_event *ev)
{
	const uint64_t fields[] = {ev->type,     ev->executable, ev->depth,
				   ev->name.len, ev->size,       ev->nar_offset};

	if (ev->type != NODE_CONTENT)
		mix(sum, fields, sizeof(fields));
	mix(sum, ev->name.data, ev->name.len);
	mix(sum, ev->data.data, ev->data.len);
}

static struct outcome read_pieces(const uint8_t *data, size_t size, size_t step,
				  struct node_sink *out)
{
	struct nar_reader *r = nar_reader_new();
	struct outcome o = {.sum = 1};
	struct err err = ERR_INIT;
	int n = 0;

	for (size_t at = 0; at < size && n == 0;) {
		size_t len = size - at < step ? size - at : step;
		struct slice input = slice_make(data + at, len);
		struct node_event ev;

		while ((n = nar_reader_step(r, &input, &ev)) > 0) {
			mix_event(&o.sum, &ev);
			if (out)
				check(node_sink_event(out, &ev, &err) == 0);
		}
		at += len;
	}
	o.code = nar_reader_finish(r);
	check(n >= 0 || o.code == n);
	o.offset = nar_reader_offset(r);
	check(o.offset <= size);
	o.expected = nar_reader_expected(r);
	nar_reader_free(r);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_buf struct buf written = BUF_INIT(size + 8192);
	struct nar_lister *lister;
	struct buf_sink sink;
	struct nar_writer *writer;
	struct outcome whole, pieces;
	size_t step;

	if (size == 0)
		return 0;
	step = data[0] % 64 + 1U;
	data++, size--;
	lister = nar_lister_new(64 << 20);
	buf_sink_init(&sink, &written);
	writer = nar_writer_new(&sink.sink);
	whole = read_pieces(data, size, size, nar_writer_node_sink(writer));
	pieces = read_pieces(data, size, step, nar_lister_node_sink(lister));
	check(whole.sum == pieces.sum);
	check(whole.code == pieces.code);
	check(whole.offset == pieces.offset);
	check(whole.expected == pieces.expected);
	check(memcmp(written.data ? written.data : data, data,
		     whole.code ? 0 : (size_t)whole.offset) == 0);
	check(whole.code || written.len == whole.offset);
	nar_writer_free(writer);
	nar_lister_free(lister);
	return 0;
}
