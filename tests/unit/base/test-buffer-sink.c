/* SPDX-License-Identifier: Apache-2.0 */
/* What comes behind a buffer is what was put in, in whole blocks as long as writes are small. */
#include "../unit.h"

#include "base/buffer-sink.h"
#include "base/mem.h"

enum { SIZE = 64 };

struct seen {
	struct sink sink;
	uint8_t bytes[1024];
	size_t len;
	size_t pieces[64], n_pieces;
	bool is_finished;
};

static int seen_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct seen *s = container_of(self, struct seen, sink);

	(void)err;
	assert_true(s->len + len <= sizeof(s->bytes) && s->n_pieces < ARRAY_LEN(s->pieces));
	memcpy(s->bytes + s->len, data, len);
	s->len += len;
	s->pieces[s->n_pieces++] = len;
	return 0;
}

static int seen_finish(struct sink *self, struct err *err)
{
	(void)err;
	container_of(self, struct seen, sink)->is_finished = true;
	return 0;
}

/* Writes; a negative one is put into the room, as far as it goes at a time. */
static const struct {
	int writes[8];
	size_t pieces[8];
} cases[] = {
	{{0}, {0}},
	{{63}, {63}},
	{{64}, {64}},
	{{63, 1}, {64}},
	{{63, 2}, {64, 1}},
	{{10, 63, 63}, {64, 64, 8}},
	/* What is not smaller than the buffer passes, behind what was in it. */
	{{10, 200, 1}, {10, 200, 1}},
	{{-64}, {64}},
	{{-200}, {64, 64, 64, 8}},
	{{10, -54, 1}, {64, 1}},
	{{10, -200, 3}, {64, 64, 64, 21}},
};

static void put(struct buffer_sink *s, int write, const uint8_t *data)
{
	struct err err = ERR_INIT;

	if (write >= 0) {
		assert_ok(sink_write(&s->sink, data, (size_t)write, &err), err);
		return;
	}
	for (size_t left = (size_t)-write, n; left; left -= n, data += n) {
		uint8_t *to;

		n = room_find(&s->room, &to);
		assert_true(n > 0);
		n = n < left ? n : left;
		memcpy(to, data, n);
		assert_ok(room_fill(&s->room, n, &err), err);
	}
}

static void test_pieces(void **state)
{
	uint8_t data[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct seen seen = {.sink = {seen_write, seen_finish}};
		struct err err = ERR_INIT;
		struct buffer_sink s;
		size_t len = 0, n = 0;

		buffer_sink_init(&s, &seen.sink, SIZE);
		for (const int *w = cases[i].writes; *w; w++) {
			put(&s, *w, data + len);
			len += (size_t)abs(*w);
		}
		assert_ok(sink_finish(&s.sink, &err), err);
		buffer_sink_release(&s);
		assert_true(seen.is_finished);
		assert_int_equal(seen.len, len);
		assert_memory_equal(seen.bytes, data, len);
		while (n < ARRAY_LEN(cases[i].pieces) && cases[i].pieces[n])
			n++;
		assert_int_equal(seen.n_pieces, n);
		assert_memory_equal(seen.pieces, cases[i].pieces, n * sizeof(size_t));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
