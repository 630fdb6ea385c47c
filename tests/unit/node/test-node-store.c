/* SPDX-License-Identifier: Apache-2.0 */
/* Holds, references, listings and collections over stores made by hand. */
#include "../unit.h"

#include <string.h>

#include <nacre/nar.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/node-gc.h"
#include "node/node-verify.h"
#include "node/view-listing.h"

#define NIX32_A "0000000000000000000000000000000000000000000000000000"
#define HEX_A   "0000000000000000000000000000000000000000000000000000000000000000"

static void test_hold_lines(void **state)
{
	static const struct {
		const char *text;
		int code;
		enum hold_kind kind;
	} cases[] = {
		{"path " NIX32_A "\n", 0, HOLD_PATH},
		{"path sha256:" NIX32_A, 0, HOLD_PATH},
		{"layer sha256:" HEX_A "\n", 0, HOLD_LAYER},
		{"image sha256:" HEX_A "\n", 0, HOLD_IMAGE},
		{"image sha512:" HEX_A "\n", E_INVALID, 0},
		{"image " HEX_A "0\n", E_INVALID, 0},
		{"\n", E_INVALID, 0},
		{"path\n", E_INVALID, 0},
		{"paths " NIX32_A "\n", E_INVALID, 0},
		{" path " NIX32_A "\n", E_INVALID, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice text = slice_str(cases[i].text);
		struct hold_line line = {0};

		if (hold_next_line(&text, &line) != cases[i].code)
			fail_msg("case %zu", i);
		if (cases[i].code == 0)
			assert_int_equal(line.kind, cases[i].kind);
		assert_int_equal(text.len, 0);
	}
}

/* A path of one file with this content; returns its NarHash. */
static struct hash add_path(struct node_store *s, const char *content)
{
	struct path_import *p = path_import_new(s);
	struct node_event ev = {.type = NODE_REGULAR, .size = strlen(content)};
	struct err err = ERR_INIT;
	struct hash hash;
	uint64_t size;

	assert_ok(node_sink_event(path_import_sink(p), &ev, &err), err);
	ev.type = NODE_CONTENT;
	ev.data = slice_str(content);
	assert_ok(node_sink_event(path_import_sink(p), &ev, &err), err);
	ev.type = NODE_REGULAR_END;
	assert_ok(node_sink_event(path_import_sink(p), &ev, &err), err);
	ev.type = NODE_END;
	assert_ok(node_sink_event(path_import_sink(p), &ev, &err), err);
	path_import_finish(p, &hash, &size);
	assert_ok(path_import_publish(p, &err), err);
	path_import_free(p);
	return hash;
}

static void test_collect(void **state)
{
	static const char *const bad_names[] = {"", ".x", "a/b", "..", "a b"};
	char dir[64];
	int dirfd = unit_tempdir(dir);
	struct node_store *s;
	struct err err = ERR_INIT;
	struct gc_options options = {.older_than_s = -1};
	struct verify_options verify = {0};
	struct verify_stats verified;
	struct gc_stats stats;
	struct hash kept, dropped, layer = {.algo = HASH_SHA256};
	struct layer_path paths[1] = {{.base = "00000000000000000000000000000000-x"}};
	struct layer_record record = {.store_dir = "/nix/store", .paths = paths, .len = 1};
	cleanup_buf struct buf hold = {0};
	char text[HASH_TEXT_MAX];

	(void)state;
	assert_ok(node_store_open(&s, dir, &err), err);
	kept = add_path(s, "kept");
	dropped = add_path(s, "dropped");
	paths[0].nar_hash = add_path(s, "of a layer");
	assert_ok(node_store_put_layer_record(s, &layer, &record, &err), err);
	hash_format(text, &kept, HASH_NIX32);
	buf_addf(&hold, "path %s\n", text);
	hash_format(text, &layer, HASH_HEX);
	buf_addf(&hold, "layer %s\n", text);
	assert_ok(node_store_put_hold(s, "test", buf_slice(&hold), &err), err);
	for (size_t i = 0; i < ARRAY_LEN(bad_names); i++)
		assert_int_equal(node_store_put_hold(s, bad_names[i], buf_slice(&hold), &err),
				 E_INVALID);
	assert_int_equal(node_store_put_hold(s, "bad", slice_str("nonsense\n"), &err), E_INVALID);
	err = ERR_INIT;
	assert_ok(node_gc(s, &options, &stats, &err), err);
	assert_int_equal(stats.paths, 1);
	assert_true(node_store_has_path(s, &kept) && !node_store_has_path(s, &dropped));
	assert_true(node_store_has_path(s, &paths[0].nar_hash));
	assert_ok(node_verify(s, &verify, &verified, &err), err);
	assert_int_equal(verified.paths, 2);
	assert_int_equal(verified.damaged, 0);
	assert_ok(node_store_remove_hold(s, "test", &err), err);
	assert_ok(node_store_remove_hold(s, "test", &err), err);
	assert_ok(node_gc(s, &options, &stats, &err), err);
	assert_int_equal(stats.paths, 2);
	assert_int_equal(stats.layers, 1);
	node_store_free(s);
	unit_tempdir_end(dirfd, dir);
}

static void test_refs(void **state)
{
	char dir[64];
	int dirfd = unit_tempdir(dir);
	cleanup_node_refs struct node_refs refs = {0};
	struct node_store *s;
	struct err err = ERR_INIT;
	struct hash digest, got;

	(void)state;
	assert_ok(node_store_open(&s, dir, &err), err);
	hash_bytes(&digest, HASH_SHA256, "x", 1);
	assert_ok(node_store_put_ref(s, "b/with space", &digest, &err), err);
	assert_ok(node_store_put_ref(s, "a:1", &digest, &err), err);
	assert_ok(node_store_get_ref(s, "b/with space", &got, &err), err);
	assert_true(hash_equal(&digest, &got));
	assert_ok(node_refs_list(&refs, s, &err), err);
	assert_int_equal(refs.len, 2);
	assert_string_equal(refs.items[0].text, "a:1");
	assert_string_equal(refs.items[1].text, "b/with space");
	assert_int_equal(node_store_remove_ref(s, "c", &err), E_NOTFOUND);
	assert_ok(node_store_remove_ref(s, "a:1", &err), err);
	assert_int_equal(node_store_get_ref(s, "a:1", &got, &err), E_NOTFOUND);
	node_store_free(s);
	unit_tempdir_end(dirfd, dir);
}

/* Listings: what is walked, kept and read again gives the same NAR listing events. */
static void test_listing(void **state)
{
	char dir[64];
	int dirfd = unit_tempdir(dir);
	struct listing_sink first, again;
	struct err err = ERR_INIT;
	size_t n_nodes, len;

	(void)state;
	assert_ok(make_dirs_at(dirfd, "tree/sub", &err), err);
	assert_ok(write_file_at(dirfd, "tree-file", "abc", 3, true, &err), err);
	assert_int_equal(renameat(dirfd, "tree-file", dirfd, "tree/file"), 0);
	assert_int_equal(symlinkat("target", dirfd, "tree/sub/link"), 0);
	listing_sink_init(&first);
	assert_ok(listing_walk(dirfd, "tree", &first.node_sink, &n_nodes, &err), err);
	assert_int_equal(n_nodes, 4);
	listing_sink_init(&again);
	assert_ok(listing_read(buf_slice(&first.text), &again.node_sink, &err), err);
	assert_true(slice_equal(buf_slice(&first.text), buf_slice(&again.text)));
	/* Cut or changed anywhere, it is refused. */
	len = first.text.len;
	for (size_t i = 0; i < len; i++) {
		buf_reset(&again.text);
		assert_int_equal(
			listing_read(slice_make(first.text.data, i), &again.node_sink, &err),
			E_INVALID);
		first.text.data[i] ^= 1;
		assert_int_equal(listing_read(buf_slice(&first.text), &again.node_sink, &err),
				 E_INVALID);
		first.text.data[i] ^= 1;
	}
	assert_int_equal(mkfifoat(dirfd, "tree/fifo", 0600), 0);
	buf_reset(&again.text);
	assert_int_equal(listing_walk(dirfd, "tree", &again.node_sink, &n_nodes, &err),
			 E_UNSUPPORTED);
	buf_release(&first.text);
	buf_release(&again.text);
	unit_tempdir_end(dirfd, dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hold_lines),
		cmocka_unit_test(test_collect),
		cmocka_unit_test(test_refs),
		cmocka_unit_test(test_listing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
