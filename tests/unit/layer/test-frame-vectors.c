/* SPDX-License-Identifier: Apache-2.0 */
/* Where frames are cut, by an independent writer; and, with the same libzstd, their bytes. */
#include "../unit.h"

#include "../vectors.h"

#include <zstd.h>

#include <nacre/absorb.h>
#include <nacre/splice.h>

/* A frame of the vectors: [raw size, "glue" or "bulk"]. */
static void check_frame(const json_t *want, uint32_t raw_size, enum frame_kind kind)
{
	assert_int_equal(json_integer_value(json_array_get(want, 0)), raw_size);
	assert_string_equal(json_string_value(json_array_get(want, 1)),
			    kind == FRAME_BULK ? "bulk" : "glue");
}

struct one_path {
	struct nar_object nar;
	struct layer_object layer;
};

static void absorb_one(const json_t *path, const char *base, struct one_path *ret)
{
	cleanup_buf struct buf nar = BUF_INIT(64 << 20);
	cleanup_buf struct buf glue = BUF_INIT(64 << 20);
	struct buf_sink nar_sink, glue_sink;
	struct err err = ERR_INIT;
	struct absorb *a;

	buf_sink_init(&nar_sink, &nar);
	buf_sink_init(&glue_sink, &glue);
	a = absorb_new(&nar_sink.sink, &glue_sink.sink, "/nix/store", base, NULL);
	vector_tree(absorb_node_sink(a), json_object_get(path, "tree"));
	absorb_nar(a, &ret->nar);
	assert_ok(absorb_layer(a, &ret->layer, &err), err);
	absorb_free(a);
}

static void check_path(const json_t *path, const struct one_path *one)
{
	const json_t *frames = json_object_get(path, "frames");
	char text[HASH_TEXT_MAX];

	hash_format(text, &one->nar.nar.digest, HASH_NIX32);
	assert_string_equal(text, vector_text(path, "narHash"));
	assert_int_equal(one->nar.nar.size, vector_number(path, "narSize"));
	assert_int_equal(one->nar.frames.len, json_array_size(frames));
	for (size_t i = 0; i < one->nar.frames.len; i++)
		check_frame(json_array_get(frames, i), one->nar.frames.items[i].raw_size,
			    one->nar.frames.items[i].kind);
}

/* What depends on the encoder, where this libzstd is one that the vectors know. */
static void check_encoded(const json_t *encoded, const char *name, const char *key,
			  const struct hash *digest, uint64_t size)
{
	const json_t *v, *want = NULL;
	char text[DIGEST_TEXT_MAX];
	size_t i;

	json_array_foreach (json_object_get(encoded, "frames"), i, v)
		if (strcmp(vector_text(v, "name"), name) == 0)
			want = json_object_get(v, key);
	if (!encoded)
		return;
	assert_non_null(want);
	digest_format(text, digest);
	assert_string_equal(text, vector_text(want, "digest"));
	assert_int_equal(size, vector_number(want, "size"));
}

static void check_case(const json_t *c, const json_t *encoded)
{
	const json_t *paths = json_object_get(c, "paths"), *frames = json_object_get(c, "frames");
	size_t n = json_array_size(paths);
	cleanup_free struct one_path *ones = xcalloc(n, sizeof(*ones));
	cleanup_free struct splice_path *parts = xcalloc(n, sizeof(*parts));
	cleanup_splice struct splice s = {0};
	char text[DIGEST_TEXT_MAX];

	for (size_t i = 0; i < n; i++) {
		const json_t *path = json_array_get(paths, i);
		const char *whole = vector_text(path, "path");

		absorb_one(path, whole + strlen("/nix/store/"), &ones[i]);
		check_path(path, &ones[i]);
		check_encoded(encoded, vector_text(c, "name"), whole, &ones[i].nar.zstd.digest,
			      ones[i].nar.zstd.size);
		parts[i] = (struct splice_path){ones[i].nar.zstd.digest, ones[i].layer.glue.digest,
						&ones[i].nar.frames, &ones[i].layer.frames};
	}
	assert_int_equal(splice_layer(&s, "/nix/store", parts, n), 0);
	assert_int_equal(s.raw_size, vector_number(c, "size"));
	assert_int_equal(s.n_segments, json_array_size(frames));
	for (size_t i = 0; i < s.n_segments; i++)
		assert_int_equal(s.segments[i].raw_size,
				 json_integer_value(json_array_get(json_array_get(frames, i), 0)));
	if (n == 1) {
		digest_format(text, &ones[0].layer.tar.digest);
		assert_string_equal(text, vector_text(c, "diffID"));
		check_encoded(encoded, vector_text(c, "name"), "layer", &ones[0].layer.zstd.digest,
			      ones[0].layer.zstd.size);
	}
	for (size_t i = 0; i < n; i++) {
		nar_object_release(&ones[i].nar);
		layer_object_release(&ones[i].layer);
	}
}

static void test_frames(void **state)
{
	cleanup_free char *name = xasprintf("encoded-%s.json", ZSTD_versionString());
	cleanup_free char *file = xasprintf("%s/%s", getenv("NACRE_VECTORS"), name);
	json_t *all = vectors_load("frames.json");
	json_t *encoded = access(file, R_OK) == 0 ? vectors_load(name) : NULL;
	const json_t *c;
	size_t i;

	json_array_foreach (json_object_get(all, "cases"), i, c)
		check_case(c, encoded);
	assert_true(i > 5);
	json_decref(all);
	json_decref(encoded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
