/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/mem.h"
#include "base/sinks.h"
#include "base/thread-sink.h"

#include <nacre/buf.h>
#include <nacre/hash.h>

/* Fails once it was given so many bytes, and counts. */
struct failing {
	struct sink sink;
	size_t bytes, limit;
	bool is_finished;
};

static int failing_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct failing *f = container_of(self, struct failing, sink);

	(void)data;
	f->bytes += len;
	return f->bytes > f->limit ? err_set(err, E_IO, "full at %zu", f->limit) : 0;
}

static int failing_finish(struct sink *self, struct err *err)
{
	struct failing *f = container_of(self, struct failing, sink);

	(void)err;
	f->is_finished = true;
	return 0;
}

static const size_t sizes[] = {0,
			       1,
			       THREAD_SINK_BLOCK - 1,
			       THREAD_SINK_BLOCK,
			       THREAD_SINK_BLOCK + 1,
			       THREAD_SINK_BLOCKS *THREAD_SINK_BLOCK,
			       9 * THREAD_SINK_BLOCK + 77};

static size_t put_into_room(struct room *room, const uint8_t *data, size_t len)
{
	struct err err = ERR_INIT;
	uint8_t *to;
	size_t n = room_find(room, &to);

	assert_true(n > 0);
	n = n < len ? n : len;
	memcpy(to, data, n);
	assert_ok(room_fill(room, n, &err), err);
	return n;
}

/* Whatever the sizes of the writes, `next` sees the same bytes. */
static void test_bytes(void **state)
{
	static const size_t steps[] = {7, 4096, THREAD_SINK_BLOCK, 3 * THREAD_SINK_BLOCK + 5};
	cleanup_buf struct buf all = BUF_INIT(16 << 20);
	struct err err = ERR_INIT;

	(void)state;
	for (uint32_t i = 0; i < 10 * THREAD_SINK_BLOCK / 4; i++)
		assert_int_equal(buf_add(&all, &(uint32_t){i * 2654435761U}, 4), 0);
	for (size_t i = 0; i < ARRAY_LEN(sizes) * ARRAY_LEN(steps); i++) {
		size_t size = sizes[i / ARRAY_LEN(steps)], step = steps[i % ARRAY_LEN(steps)];
		struct thread_sink t;
		struct hash_sink got;
		struct hash hash, want;

		hash_sink_init(&got, HASH_SHA256, NULL);
		thread_sink_init(&t, &got.sink);
		for (size_t at = 0, n; at < size; at += n) {
			n = size - at < step ? size - at : step;
			/* Every other time into its room, as much as there is. */
			if (at / step % 2)
				n = put_into_room(&t.room, all.data + at, n);
			else
				assert_ok(sink_write(&t.sink, all.data + at, n, &err), err);
		}
		assert_ok(sink_finish(&t.sink, &err), err);
		thread_sink_release(&t);
		hash_sink_final(&got, &hash);
		assert_true(got.bytes == size);
		hash_sink_release(&got);
		hash_bytes(&want, HASH_SHA256, all.data, size);
		assert_true(hash_equal(&hash, &want));
	}
}

/* A failure comes back, by a later write or at the end, and nothing is finished. */
static void test_failure(void **state)
{
	static uint8_t block[THREAD_SINK_BLOCK];

	(void)state;
	for (size_t n = 1; n < 12; n++) {
		struct failing f = {.sink = {failing_write, failing_finish},
				    .limit = 3 * THREAD_SINK_BLOCK};
		struct thread_sink t;
		struct err err = ERR_INIT;
		int r = 0;

		thread_sink_init(&t, &f.sink);
		for (size_t i = 0; i < n && r >= 0; i++)
			r = sink_write(&t.sink, block, sizeof(block), &err);
		if (r >= 0)
			r = sink_finish(&t.sink, &err);
		thread_sink_release(&t);
		assert_int_equal(r, n > 3 ? E_IO : 0);
		assert_true(f.is_finished == (n <= 3));
	}
}

/* Given up half-way, with blocks that wait. */
static void test_release(void **state)
{
	static uint8_t block[THREAD_SINK_BLOCK];

	(void)state;
	for (size_t n = 0; n < 8; n++) {
		struct failing f = {.sink = {failing_write, failing_finish}, .limit = SIZE_MAX};
		struct thread_sink t;
		struct err err = ERR_INIT;

		thread_sink_init(&t, &f.sink);
		for (size_t i = 0; i < n; i++)
			assert_ok(sink_write(&t.sink, block, sizeof(block), &err), err);
		thread_sink_release(&t);
		assert_false(f.is_finished);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
