/* SPDX-License-Identifier: Apache-2.0 */
/* Frames are the same whoever makes them, and other frames are told from them. */
#include "../unit.h"

#include <pthread.h>
#include <string.h>
#include <zstd.h>

#include <nacre/image.h>

#include "base/mem.h"
#include "layer/framer.h"

enum { BIG = 3 << 20, STREAMS = 3 };

static void content_fill(uint8_t *ret, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		ret[i] = (uint8_t)(i % 7 ? 'a' + (seed >> 61) : i >> 9);
	}
}

/* Files of all sizes around what is bulk and what is one frame. */
static void emit_files(struct node_sink *out, const uint8_t *content, struct err *err)
{
	static const size_t sizes[] = {0,
				       FRAME_BULK_MIN - 1,
				       FRAME_BULK_MIN,
				       70000,
				       FRAME_RAW_MAX,
				       FRAME_RAW_MAX + 1,
				       1000000,
				       BIG,
				       5};
	struct node_event ev = {.type = NODE_DIRECTORY};

	assert_ok(node_sink_event(out, &ev, err), *err);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		char name[8];
		size_t step = i % 2 ? 128 << 10 : 3000, at;

		snprintf(name, sizeof(name), "f%zu", i);
		ev = (struct node_event){.type = NODE_REGULAR,
					 .depth = 1,
					 .name = slice_str(name),
					 .size = sizes[i]};
		assert_ok(node_sink_event(out, &ev, err), *err);
		ev.type = NODE_CONTENT;
		for (at = 0; at < sizes[i]; at += ev.data.len) {
			ev.data = slice_make(content + at,
					     sizes[i] - at < step ? sizes[i] - at : step);
			assert_ok(node_sink_event(out, &ev, err), *err);
		}
		ev.type = NODE_REGULAR_END;
		assert_ok(node_sink_event(out, &ev, err), *err);
	}
	ev = (struct node_event){.type = NODE_DIRECTORY_END};
	assert_ok(node_sink_event(out, &ev, err), *err);
	ev = (struct node_event){.type = NODE_END};
	assert_ok(node_sink_event(out, &ev, err), *err);
}

struct made {
	struct nar_object nar;
	struct layer_object layer;
	struct buf nar_bytes, glue_bytes, layer_bytes;
	struct hash diff_id;
};

static void make(struct made *m, struct frame_pool *pool, const uint8_t *content)
{
	static const char base[] = "0123456789abcdfghijklmnpqrsvwxyz-x";
	struct absorb_options options = {.pool = pool};
	struct buf_sink nar, glue, layer;
	struct err err = ERR_INIT;
	struct layer_writer *w;
	struct absorb *a;

	*m = (struct made){.nar_bytes = BUF_INIT(64 << 20),
			   .glue_bytes = BUF_INIT(64 << 20),
			   .layer_bytes = BUF_INIT(64 << 20)};
	buf_sink_init(&nar, &m->nar_bytes);
	buf_sink_init(&glue, &m->glue_bytes);
	buf_sink_init(&layer, &m->layer_bytes);
	a = absorb_new(&nar.sink, &glue.sink, "/nix/store", base, &options);
	emit_files(absorb_node_sink(a), content, &err);
	absorb_nar(a, &m->nar);
	assert_ok(absorb_layer(a, &m->layer, &err), err);
	absorb_free(a);
	assert_ok(layer_writer_new(&w, &layer.sink, "/nix/store", IMAGE_ZSTD, pool, &err), err);
	assert_ok(layer_writer_path(w, base, &err), err);
	emit_files(layer_writer_node_sink(w), content, &err);
	assert_ok(layer_writer_end(w, &m->diff_id, &err), err);
	layer_writer_free(w);
}

static void made_release(struct made *m)
{
	nar_object_release(&m->nar);
	layer_object_release(&m->layer);
	buf_release(&m->nar_bytes);
	buf_release(&m->glue_bytes);
	buf_release(&m->layer_bytes);
}

static void check_same(const struct made *a, const struct made *b)
{
	assert_true(slice_equal(buf_slice(&a->nar_bytes), buf_slice(&b->nar_bytes)));
	assert_true(slice_equal(buf_slice(&a->glue_bytes), buf_slice(&b->glue_bytes)));
	assert_true(slice_equal(buf_slice(&a->layer_bytes), buf_slice(&b->layer_bytes)));
	assert_true(hash_equal(&a->nar.zstd.digest, &b->nar.zstd.digest));
	assert_true(hash_equal(&a->layer.zstd.digest, &b->layer.zstd.digest));
	assert_true(hash_equal(&a->layer.tar.digest, &b->layer.tar.digest));
	assert_int_equal(a->layer.frames.len, b->layer.frames.len);
	assert_memory_equal(a->layer.frames.items, b->layer.frames.items,
			    a->layer.frames.len * sizeof(struct frame));
}

struct stream {
	struct frame_pool *pool;
	const uint8_t *content;
	const struct made *want;
};

static void *stream_run(void *arg)
{
	struct stream *s = arg;
	struct made m;

	make(&m, s->pool, s->content);
	check_same(&m, s->want);
	made_release(&m);
	return NULL;
}

/* Alone, by a pool, by one that several share, and by one that was used before. */
static void test_pool(void **state)
{
	static const unsigned threads[] = {1, 2, 5};
	cleanup_free uint8_t *content = xmalloc(BIG);
	struct made alone;

	(void)state;
	content_fill(content, BIG, 3);
	make(&alone, NULL, content);
	assert_true(hash_equal(&alone.diff_id, &alone.layer.tar.digest));
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		struct frame_pool *pool = frame_pool_new(threads[i]);
		struct stream stream = {pool, content, &alone};
		pthread_t others[STREAMS];

		stream_run(&stream);
		for (size_t j = 0; j < STREAMS; j++)
			assert_int_equal(pthread_create(&others[j], NULL, stream_run, &stream), 0);
		for (size_t j = 0; j < STREAMS; j++)
			pthread_join(others[j], NULL);
		frame_pool_free(pool);
	}
	made_release(&alone);
}

/* Dropped half-way, with frames at the pool. */
static void test_dropped(void **state)
{
	cleanup_free uint8_t *content = xmalloc(BIG);
	struct frame_pool *pool = frame_pool_new(3);
	struct absorb_options options = {.pool = pool};
	struct node_event ev = {.type = NODE_REGULAR, .size = BIG + 1};
	cleanup_buf struct buf out = BUF_INIT(64 << 20);
	struct err err = ERR_INIT;
	struct buf_sink nar;
	struct absorb *a;

	(void)state;
	content_fill(content, BIG, 4);
	buf_sink_init(&nar, &out);
	a = absorb_new(&nar.sink, NULL, NULL, NULL, &options);
	assert_ok(node_sink_event(absorb_node_sink(a), &ev, &err), err);
	ev.type = NODE_CONTENT;
	ev.data = slice_make(content, BIG);
	assert_ok(node_sink_event(absorb_node_sink(a), &ev, &err), err);
	absorb_free(a);
	frame_pool_free(pool);
}

/* SPEC nacre 3: one segment, with content size, without checksum. */
static void test_measure(void **state)
{
	static const struct {
		const char *what;
		size_t raw;
		int level, size_flag, checksum, window_log;
		int want;
	} table[] = {
		{"ours", 1000, 3, 1, 0, 0, 0},
		{"a whole one", FRAME_RAW_MAX, 3, 1, 0, 0, 0},
		{"of another level", 1000, 19, 1, 0, 0, 0},
		{"empty", 0, 3, 1, 0, 0, E_INVALID},
		{"too large", FRAME_RAW_MAX + 1, 3, 1, 0, 0, E_INVALID},
		{"without its size", 1000, 3, 0, 0, 0, E_INVALID},
		{"with a checksum", 1000, 3, 1, 1, 0, E_INVALID},
		{"more than one segment", FRAME_RAW_MAX, 3, 1, 0, 12, E_INVALID},
	};
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};
	cleanup_free uint8_t *raw = xmalloc(2 * FRAME_RAW_MAX);
	cleanup_free uint8_t *stored = xmalloc(2 * FRAME_STORED_MAX);
	struct frame frame;

	(void)state;
	content_fill(raw, 2 * FRAME_RAW_MAX, 9);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		ZSTD_CCtx *ctx = ZSTD_createCCtx();
		size_t n;
		int got;

		ZSTD_CCtx_setParameter(ctx, ZSTD_c_compressionLevel, table[i].level);
		ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, table[i].size_flag);
		ZSTD_CCtx_setParameter(ctx, ZSTD_c_checksumFlag, table[i].checksum);
		if (table[i].window_log)
			ZSTD_CCtx_setParameter(ctx, ZSTD_c_windowLog, table[i].window_log);
		n = ZSTD_compress2(ctx, stored, 2 * FRAME_STORED_MAX, raw, table[i].raw);
		ZSTD_freeCCtx(ctx);
		assert_false(ZSTD_isError(n));
		stored[n] = 0x28; /* something follows */
		got = frame_measure(slice_make(stored, n + 1), &frame);
		if (got != table[i].want)
			fail_msg("%s: %d, not %d", table[i].what, got, table[i].want);
		if (got < 0)
			continue;
		assert_int_equal(frame.raw_size, table[i].raw);
		assert_int_equal(frame.stored_size, n);
		for (size_t cut = 0; cut < n; cut += n < 2000 ? 1 : n / 17)
			assert_int_equal(frame_measure(slice_make(stored, cut), &frame),
					 E_TRUNCATED);
	}
	assert_int_equal(frame_measure(slice_make(skippable, sizeof(skippable)), &frame),
			 E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_measure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
