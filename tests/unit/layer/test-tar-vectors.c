/* SPDX-License-Identifier: Apache-2.0 */
/* Tars of an independent writer: each good one is read to the NARs it says, and written again to the same bytes; each bad one
 * breaks one rule and is refused. */
#include "../unit.h"

#include "../vectors.h"

#include <nacre/nar.h>
#include <nacre/tar.h>

#include "layer/tar-header.h"

struct reading {
	struct tar_reader *reader;
	struct tar_writer *writer; /* writes again what is read */
	struct buf_sink out;
	struct nar_writer *nar;
	struct hash_sink hash;
	const json_t *paths; /* NULL: none are known */
	size_t n;
};

static void end_path(struct reading *r)
{
	const json_t *want = json_array_get(r->paths, r->n++);
	char text[HASH_TEXT_MAX];
	struct hash h;

	hash_sink_final(&r->hash, &h);
	hash_format(text, &h, HASH_NIX32);
	if (r->paths) {
		assert_string_equal(text, vector_text(want, "narHash"));
		assert_int_equal(nar_writer_offset(r->nar), vector_number(want, "narSize"));
	}
	nar_writer_free(r->nar);
	r->nar = NULL;
	hash_sink_release(&r->hash);
}

static void take(struct reading *r, const struct tar_event *ev)
{
	struct err err = ERR_INIT;

	switch (ev->type) {
	case TAR_STORE_DIR: {
		cleanup_free char *dir = xstrndup((const char *)ev->text.data, ev->text.len);

		r->writer = tar_writer_new(&r->out.sink, dir);
		assert_ok(tar_writer_preamble(r->writer, &err), err);
		break;
	}
	case TAR_PATH: {
		cleanup_free char *base = xstrndup((const char *)ev->text.data, ev->text.len);

		assert_ok(tar_writer_path(r->writer, base, &err), err);
		hash_sink_init(&r->hash, HASH_SHA256, NULL);
		r->nar = nar_writer_new(&r->hash.sink);
		break;
	}
	case TAR_NODE:
		assert_ok(node_sink_event(nar_writer_node_sink(r->nar), &ev->node, &err), err);
		assert_ok(node_sink_event(tar_writer_node_sink(r->writer), &ev->node, &err), err);
		if (ev->node.type == NODE_END)
			end_path(r);
		break;
	case TAR_END:
		assert_ok(tar_writer_trailer(r->writer, &err), err);
		break;
	}
}

static int read_all(struct slice tar, size_t step, const json_t *paths, struct buf *again)
{
	struct reading r = {.reader = tar_reader_new(), .paths = paths};
	int c = 0;

	buf_sink_init(&r.out, again);
	while (c >= 0 && tar.len) {
		size_t n = step < tar.len ? step : tar.len;
		/* A copy on the heap, so that a sanitizer sees a read past the end. */
		cleanup_free uint8_t *copy = xmemdup(tar.data, n);
		struct slice in = slice_make(copy, n);
		struct tar_event ev;

		slice_advance(&tar, n);
		while ((c = tar_reader_step(r.reader, &in, &ev)) > 0)
			take(&r, &ev);
	}
	if (c == 0)
		c = tar_reader_finish(r.reader);
	if (c < 0 && c != E_TRUNCATED)
		assert_non_null(tar_reader_expected(r.reader));
	if (r.nar) {
		nar_writer_free(r.nar);
		hash_sink_release(&r.hash);
	}
	tar_writer_free(r.writer);
	tar_reader_free(r.reader);
	return c;
}

static void test_good(void **state)
{
	static const size_t steps[] = {1 << 30, 512, 1};
	json_t *all = vectors_load("tar.json");
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(all, "good"), i, v) {
		cleanup_buf struct buf tar = {0};

		vectors_read(vector_text(v, "file"), &tar);
		for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
			cleanup_buf struct buf again = {0};
			int c = read_all(buf_slice(&tar), steps[s], json_object_get(v, "paths"),
					 &again);

			if (c < 0)
				fail_msg("%s: %d", vector_text(v, "name"), c);
			assert_int_equal(again.len, tar.len);
			assert_memory_equal(again.data, tar.data, tar.len);
		}
	}
	assert_true(i > 15);
	json_decref(all);
}

static void test_bad(void **state)
{
	json_t *all = vectors_load("tar.json");
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(all, "bad"), i, v) {
		cleanup_buf struct buf tar = {0};
		int first = 0;

		vectors_read(vector_text(v, "file"), &tar);
		for (size_t step = 1 << 30; step; step = step == 1 << 30 ? 7 : 0) {
			cleanup_buf struct buf again = {0};
			int c = read_all(buf_slice(&tar), step, NULL, &again);

			if (c >= 0)
				fail_msg("%s was read", vector_text(v, "name"));
			/* However it comes, the answer is the same. */
			if (first)
				assert_int_equal(c, first);
			first = c;
		}
	}
	assert_true(i > 100);
	json_decref(all);
}

static void test_truncated_anywhere(void **state)
{
	cleanup_buf struct buf tar = {0};

	vectors_read("tar/one-long-names.tar", &tar);
	for (size_t cut = 0; cut < tar.len; cut += cut < 4096 ? 1 : 97) {
		cleanup_buf struct buf again = {0};

		assert_int_equal(read_all(slice_make(tar.data, cut), 1 << 30, NULL, &again),
				 E_TRUNCATED);
	}
}

/* Headers of files that nobody wants to store whole, about 8 GiB. */
static void test_headers(void **state)
{
	json_t *all = vectors_load("tar.json");
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(all, "headers"), i, v) {
		cleanup_free uint8_t *headers = xmalloc(TAR_HEADERS_MAX);
		cleanup_free char *hex = xmalloc(2 * TAR_HEADERS_MAX + 1);
		struct tar_entry e = {
			.type = TAR_TYPE_FILE,
			.mode = strcmp(vector_text(v, "mode"), "0555") == 0 ? 0555 : 0444,
			.name = slice_str(vector_text(v, "name")),
			.size = vector_number(v, "size"),
		};
		size_t len = tar_headers_format(headers, &e);

		for (size_t j = 0; j < len; j++)
			snprintf(hex + 2 * j, 3, "%02x", headers[j]);
		assert_string_equal(hex, vector_text(v, "header"));
	}
	assert_true(i > 3);
	json_decref(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_truncated_anywhere),
		cmocka_unit_test(test_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
