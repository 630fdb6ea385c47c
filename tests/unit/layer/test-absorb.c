/* SPDX-License-Identifier: Apache-2.0 */
/* What one pass computes must be what each way alone computes. */
#include "../unit.h"

#include <string.h>

#include <nacre/absorb.h>
#include <nacre/nar.h>
#include <nacre/splice.h>
#include <nacre/tar.h>

#include "base/mem.h"
#include "codec/codec.h"

#define BASE_A "00000000000000000000000000000000-a"
#define BASE_B "00000000000000000000000000000000-b"

/* A tree with a file of each size around the limits. */
static const uint64_t sizes[] = {0,     1,     511,     512,     513,     16383,
				 16384, 16385, 1048575, 1048576, 1048577, 3000000};

static int send(struct node_sink *out, const struct node_event *ev)
{
	struct err err = ERR_INIT;
	int r = node_sink_event(out, ev, &err);

	if (r < 0)
		fail_msg("%s", err.text);
	return r;
}

static void send_file(struct node_sink *out, size_t i)
{
	struct node_event ev = {
		.type = NODE_REGULAR, .depth = 1, .executable = i & 1, .size = sizes[i]};
	cleanup_free uint8_t *data = xmalloc(sizes[i]);
	char name[16];

	snprintf(name, sizeof(name), "f%02zu", i);
	for (uint64_t j = 0; j < sizes[i]; j++)
		data[j] = (uint8_t)((j * 2654435761u) >> (j % 13));
	ev.name = slice_str(name);
	send(out, &ev);
	ev.type = NODE_CONTENT;
	for (uint64_t at = 0; at < sizes[i]; at += 70000) {
		ev.data = slice_make(data + at, sizes[i] - at < 70000 ? sizes[i] - at : 70000);
		send(out, &ev);
	}
	ev.type = NODE_REGULAR_END;
	send(out, &ev);
}

static void send_tree(struct node_sink *out)
{
	struct node_event dir = {.type = NODE_DIRECTORY};
	struct node_event link = {.type = NODE_SYMLINK,
				  .depth = 1,
				  .name = slice_str("link"),
				  .data = slice_str("f00")};
	struct node_event end = {.type = NODE_DIRECTORY_END};
	struct node_event over = {.type = NODE_END};

	send(out, &dir);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		send_file(out, i);
	send(out, &link);
	send(out, &end);
	send(out, &over);
}

static void decode(struct slice stored, struct buf *ret)
{
	struct err err = ERR_INIT;
	struct codec_limits limits = {0};
	struct buf_sink sink;
	struct sink *decoder;

	buf_sink_init(&sink, ret);
	assert_ok(decoder_new(&decoder, CODEC_ZSTD, &sink.sink, &limits, &err), err);
	assert_ok(sink_write(decoder, stored.data, stored.len, &err), err);
	assert_ok(sink_finish(decoder, &err), err);
	decoder_free(decoder);
}

struct memory_object {
	struct object_reader reader;
	struct buf *data;
};

static int memory_read(struct object_reader *self, uint64_t offset, void *buf, size_t len,
		       struct err *err)
{
	struct memory_object *o = container_of(self, struct memory_object, reader);

	if (offset + len > o->data->len)
		return err_set(err, E_TRUNCATED, "past the end");
	memcpy(buf, o->data->data + offset, len);
	return 0;
}

static void check_named(const struct named_bytes *named, const struct buf *bytes)
{
	struct hash h;

	hash_bytes(&h, HASH_SHA256, bytes->data, bytes->len);
	assert_int_equal(named->size, bytes->len);
	assert_true(hash_equal(&h, &named->digest));
}

static void write_nar(struct buf *ret)
{
	struct buf_sink sink;
	struct nar_writer *w;

	buf_sink_init(&sink, ret);
	w = nar_writer_new(&sink.sink);
	send_tree(nar_writer_node_sink(w));
	nar_writer_free(w);
}

static void write_tar(struct buf *ret, const char *const *bases, size_t n)
{
	struct err err = ERR_INIT;
	struct buf_sink sink;
	struct tar_writer *w;

	buf_sink_init(&sink, ret);
	w = tar_writer_new(&sink.sink, "/nix/store");
	assert_ok(tar_writer_preamble(w, &err), err);
	for (size_t i = 0; i < n; i++) {
		assert_ok(tar_writer_path(w, bases[i], &err), err);
		send_tree(tar_writer_node_sink(w));
	}
	assert_ok(tar_writer_trailer(w, &err), err);
	assert_int_equal(tar_writer_offset(w), ret->len);
	tar_writer_free(w);
}

/* Puts the blob together from the splice and the objects. */
static void resolve(const struct splice *s, const struct buf *nar, const struct hash *nar_id,
		    const struct buf *glue, struct buf *ret)
{
	for (size_t i = 0; i < s->n_segments; i++) {
		const struct splice_segment *g = &s->segments[i];
		const struct buf *from = g->object == SPLICE_INLINE                   ? &s->bytes
					 : hash_equal(&s->objects[g->object], nar_id) ? nar
										      : glue;

		assert_true(g->offset + g->stored_size <= from->len);
		assert_int_equal(buf_add(ret, from->data + g->offset, g->stored_size), 0);
	}
}

static void test_one_pass(void **state)
{
	static const char *const one[] = {BASE_A};
	cleanup_buf struct buf nar = {0}, tar = {0}, nar_object = {0}, glue = {0}, back = {0},
			       glue2 = {0};
	cleanup_buf struct buf layer = {0}, layer_raw = {0}, bytes = {0};
	cleanup_nar_object struct nar_object n = {0};
	cleanup_layer_object struct layer_object l = {0}, derived = {0};
	cleanup_splice struct splice s = {0}, parsed = {0};
	struct memory_object object = {{memory_read}, &nar_object};
	struct framed_nar framed = {&object.reader, &n.frames};
	struct store_path a_path;
	struct buf_sink nar_sink, glue_sink, glue2_sink;
	struct err err = ERR_INIT;
	struct splice_path path;
	struct absorb *a;

	write_nar(&nar);
	write_tar(&tar, one, 1);
	buf_sink_init(&nar_sink, &nar_object);
	buf_sink_init(&glue_sink, &glue);
	a = absorb_new(&nar_sink.sink, &glue_sink.sink, "/nix/store", BASE_A, NULL);
	send_tree(absorb_node_sink(a));
	absorb_nar(a, &n);
	assert_ok(absorb_layer(a, &l, &err), err);
	absorb_free(a);

	check_named(&n.nar, &nar);
	check_named(&n.zstd, &nar_object);
	decode(buf_slice(&nar_object), &back);
	assert_int_equal(back.len, nar.len);
	assert_memory_equal(back.data, nar.data, nar.len);
	check_named(&l.tar, &tar);
	check_named(&l.glue, &glue);
	assert_int_equal(l.body_size, tar.len - 2 * 512 - TAR_TRAILER_SIZE);

	buf_sink_init(&glue2_sink, &glue2);
	assert_int_equal(store_path_make(&a_path, "/nix/store", slice_str(BASE_A)), 0);
	assert_ok(derive_layer(&framed, &a_path, &glue2_sink.sink, &derived, &err), err);
	assert_true(hash_equal(&derived.tar.digest, &l.tar.digest));
	assert_true(hash_equal(&derived.zstd.digest, &l.zstd.digest));
	assert_true(hash_equal(&derived.glue.digest, &l.glue.digest));
	assert_int_equal(derived.frames.len, l.frames.len);
	assert_memory_equal(derived.frames.items, l.frames.items,
			    l.frames.len * sizeof(struct frame));

	path = (struct splice_path){n.zstd.digest, l.glue.digest, &n.frames, &l.frames};
	assert_int_equal(splice_layer(&s, "/nix/store", &path, 1), 0);
	assert_int_equal(s.size, l.zstd.size);
	assert_int_equal(s.raw_size, tar.len);
	resolve(&s, &nar_object, &n.zstd.digest, &glue, &layer);
	check_named(&l.zstd, &layer);
	decode(buf_slice(&layer), &layer_raw);
	assert_int_equal(layer_raw.len, tar.len);
	assert_memory_equal(layer_raw.data, tar.data, tar.len);

	assert_int_equal(splice_serialize(&bytes, &s), 0);
	assert_int_equal(splice_parse(&parsed, buf_slice(&bytes)), 0);
	assert_int_equal(parsed.size, s.size);
	assert_int_equal(parsed.n_segments, s.n_segments);
	for (size_t i = 0; i < s.n_segments; i++) {
		assert_int_equal(parsed.segments[i].object, s.segments[i].object);
		assert_int_equal(parsed.segments[i].offset, s.segments[i].offset);
		assert_int_equal(parsed.segments[i].stored_size, s.segments[i].stored_size);
		assert_int_equal(parsed.segments[i].raw_size, s.segments[i].raw_size);
	}
	for (size_t cut = 0; cut < bytes.len; cut++) {
		struct splice bad;

		assert_int_equal(splice_parse(&bad, slice_make(bytes.data, cut)), E_INVALID);
	}
}

/* Two paths of the same content, one layer: the bodies are spliced without touching content. */
static void test_group(void **state)
{
	static const char *const both[] = {BASE_A, BASE_B};
	cleanup_buf struct buf tar = {0}, layer_raw = {0}, joined = {0};
	struct buf nar_object = {0}, glue[2] = {0};
	cleanup_nar_object struct nar_object n = {0};
	struct layer_object l[2] = {0};
	cleanup_splice struct splice s = {0};
	struct splice_path paths[2];
	struct err err = ERR_INIT;

	write_tar(&tar, both, 2);
	for (int i = 0; i < 2; i++) {
		struct buf_sink nar_sink, glue_sink;
		struct absorb *a;

		buf_reset(&nar_object);
		nar_object_release(&n);
		buf_sink_init(&nar_sink, &nar_object);
		buf_sink_init(&glue_sink, &glue[i]);
		a = absorb_new(&nar_sink.sink, &glue_sink.sink, "/nix/store", both[i], NULL);
		send_tree(absorb_node_sink(a));
		absorb_nar(a, &n);
		assert_ok(absorb_layer(a, &l[i], &err), err);
		absorb_free(a);
	}
	for (int i = 0; i < 2; i++)
		paths[i] = (struct splice_path){n.zstd.digest, l[i].glue.digest, &n.frames,
						&l[i].frames};
	assert_int_equal(splice_layer(&s, "/nix/store", paths, 2), 0);
	for (size_t i = 0; i < s.n_segments; i++) {
		const struct splice_segment *g = &s.segments[i];
		const struct buf *from = &s.bytes;

		if (g->object != SPLICE_INLINE)
			from = hash_equal(&s.objects[g->object], &n.zstd.digest)      ? &nar_object
			       : hash_equal(&s.objects[g->object], &l[0].glue.digest) ? &glue[0]
										      : &glue[1];
		assert_int_equal(buf_add(&joined, from->data + g->offset, g->stored_size), 0);
	}
	decode(buf_slice(&joined), &layer_raw);
	assert_int_equal(layer_raw.len, tar.len);
	assert_memory_equal(layer_raw.data, tar.data, tar.len);
	for (int i = 0; i < 2; i++) {
		layer_object_release(&l[i]);
		buf_release(&glue[i]);
	}
	buf_release(&nar_object);
}

/* Reads the tar in pieces of `step` bytes and writes its paths as NARs, one after another. */
static int read_tar(struct slice tar, size_t step, struct buf *ret_nars, struct strv *ret_paths)
{
	struct tar_reader *r = tar_reader_new();
	struct nar_writer *w = NULL;
	struct buf_sink sink;
	struct err err = ERR_INIT;
	int c = 0;

	buf_sink_init(&sink, ret_nars);
	while (tar.len && c >= 0) {
		size_t n = step < tar.len ? step : tar.len;
		struct slice in = slice_make(tar.data, n);
		struct tar_event ev;

		slice_advance(&tar, n);
		while ((c = tar_reader_step(r, &in, &ev)) > 0) {
			if (ev.type == TAR_STORE_DIR)
				assert_true(slice_equal_str(ev.text, "/nix/store"));
			if (ev.type == TAR_PATH) {
				nar_writer_free(w);
				w = nar_writer_new(&sink.sink);
				strv_add_slice(ret_paths, ev.text);
			}
			if (ev.type == TAR_NODE)
				assert_ok(node_sink_event(nar_writer_node_sink(w), &ev.node, &err),
					  err);
		}
	}
	if (c == 0)
		c = tar_reader_finish(r);
	nar_writer_free(w);
	tar_reader_free(r);
	return c;
}

static void test_tar_to_nar(void **state)
{
	static const char *const both[] = {BASE_A, BASE_B};
	static const size_t steps[] = {1 << 30, 4096, 513, 7};
	cleanup_buf struct buf tar = {0}, nar = {0};

	write_nar(&nar);
	write_tar(&tar, both, 2);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		cleanup_buf struct buf nars = {0};
		cleanup_strv struct strv paths = {0};

		assert_int_equal(read_tar(buf_slice(&tar), steps[i], &nars, &paths), 0);
		assert_int_equal(paths.len, 2);
		assert_string_equal(paths.items[0], BASE_A);
		assert_string_equal(paths.items[1], BASE_B);
		assert_int_equal(nars.len, 2 * nar.len);
		assert_memory_equal(nars.data, nar.data, nar.len);
		assert_memory_equal(nars.data + nar.len, nar.data, nar.len);
	}
}

/* No byte of a header may be another: whichever is changed, the layer is refused. */
static void test_every_header_byte_counts(void **state)
{
	static const char *const one[] = {BASE_A};
	cleanup_buf struct buf tar = {0};

	write_tar(&tar, one, 1);
	for (size_t i = 0; i < 2 * 512 + 3 * 512; i++) {
		cleanup_buf struct buf nars = {0};
		cleanup_strv struct strv paths = {0};
		int c;

		tar.data[i] ^= 1;
		c = read_tar(buf_slice(&tar), 1 << 30, &nars, &paths);
		if (c >= 0)
			fail_msg("byte %zu may be changed", i);
		if (i < 512)
			assert_int_equal(c, E_UNSUPPORTED);
		tar.data[i] ^= 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_pass),
		cmocka_unit_test(test_group),
		cmocka_unit_test(test_tar_to_nar),
		cmocka_unit_test(test_every_header_byte_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
