/* SPDX-License-Identifier: Apache-2.0 */
/* Holds, references, listings and collections over stores made by hand. */
#include "../unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

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

/* Killed while it deletes, it must leave no half of a path under its name: what is damaged is moved first, as a collection
 * does. Here the file that stands where the trash should be keeps it from that. */
static void test_remove_damaged(void **state)
{
	char dir[64];
	int dirfd = unit_tempdir(dir), fd;
	struct verify_options options = {.remove = true};
	struct verify_stats stats;
	struct err err = ERR_INIT;
	struct node_store *s;

	(void)state;
	assert_ok(node_store_open(&s, dir, &err), err);
	assert_int_equal(mkdirat(dirfd, "paths/rubbish", 0700), 0);
	fd = openat(dirfd, "trash", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_true(node_verify(s, &options, &stats, &err) < 0);
	assert_int_equal(faccessat(dirfd, "paths/rubbish", F_OK, 0), 0);
	assert_int_equal(unlinkat(dirfd, "trash", 0), 0);
	err = ERR_INIT;
	assert_ok(node_verify(s, &options, &stats, &err), err);
	assert_int_equal(stats.damaged, 1);
	assert_int_not_equal(faccessat(dirfd, "paths/rubbish", F_OK, 0), 0);
	/* Nor does the trash keep it, or what was left there before. */
	assert_int_equal(unlinkat(dirfd, "trash", AT_REMOVEDIR), 0);
	node_store_free(s);
	unit_tempdir_end(dirfd, dir);
}

/* A reference that cannot be read may name what is in use: nothing goes, whatever errno was left from before. */
static void test_unreadable_ref(void **state)
{
	char dir[64];
	int dirfd = unit_tempdir(dir), fd;
	struct gc_options options = {.older_than_s = -1};
	struct gc_stats stats;
	struct err err = ERR_INIT;
	struct node_store *s;
	struct hash path;

	(void)state;
	assert_ok(node_store_open(&s, dir, &err), err);
	path = add_path(s, "content");
	fd = openat(dirfd, "refs/big", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	errno = ENOENT;
	assert_int_equal(node_gc(s, &options, &stats, &err), E_LIMIT);
	assert_non_null(strstr(err.text, "big"));
	assert_true(node_store_has_path(s, &path));
	node_store_free(s);
	unit_tempdir_end(dirfd, dir);
}

static struct hash hash_of(const char *text)
{
	struct hash h;

	hash_bytes(&h, HASH_SHA256, text, strlen(text));
	return h;
}

/* A layer that is held by its diffID alone, and whose record was written before it was proven. */
static void test_staged(void **state)
{
	char dir[64];
	int dirfd = unit_tempdir(dir);
	struct gc_options options = {.older_than_s = -1};
	struct staged_record staged = STAGED_RECORD_INIT;
	struct hash layer = hash_of("layer"), other = hash_of("other");
	struct layer_path paths[1] = {{.base = "00000000000000000000000000000000-x"}};
	struct layer_record record = {.store_dir = "/nix/store", .paths = paths, .len = 1}, got;
	struct err err = ERR_INIT;
	struct gc_stats stats;
	struct node_store *s;

	(void)state;
	assert_ok(node_store_open(&s, dir, &err), err);
	paths[0].nar_hash = add_path(s, "of a layer");
	for (int synced = 0; synced < 2; synced++) {
		assert_ok(node_store_stage_record(s, &record, &staged, &err), err);
		assert_int_equal(node_store_layer_record(s, &layer, &got, &err),
				 synced ? 0 : E_NOTFOUND);
		if (synced)
			layer_record_release(&got);
		err = ERR_INIT;
		if (synced)
			assert_ok(node_store_sync(s, &err), err);
		assert_ok(node_store_name_record(s, &layer, &staged, &err), err);
		staged_record_release(&staged);
		assert_ok(node_store_layer_record(s, &layer, &got, &err), err);
		assert_int_equal(got.len, 1);
		assert_string_equal(got.paths[0].base, paths[0].base);
		assert_true(hash_equal(&got.paths[0].nar_hash, &paths[0].nar_hash));
		layer_record_release(&got);
	}
	/* One that is not named leaves nothing. */
	assert_ok(node_store_stage_record(s, &record, &staged, &err), err);
	staged_record_release(&staged);
	assert_int_equal(node_store_layer_record(s, &other, &got, &err), E_NOTFOUND);
	err = ERR_INIT;
	assert_int_equal(node_store_hold_layer(s, "snapshot-1", &other, &err), 1);
	assert_int_equal(node_store_hold_layer(s, "snapshot-1", &layer, &err), 1);
	assert_int_equal(node_store_hold_layer(s, "snapshot-1", &layer, &err), 0);
	assert_int_equal(node_store_hold_layer(s, "../x", &layer, &err), E_INVALID);
	err = ERR_INIT;
	assert_ok(node_gc(s, &options, &stats, &err), err);
	assert_int_equal(stats.paths, 0);
	assert_int_equal(stats.layers, 0);
	assert_ok(node_store_remove_hold(s, "snapshot-1", &err), err);
	assert_ok(node_gc(s, &options, &stats, &err), err);
	assert_int_equal(stats.paths, 1);
	assert_int_equal(stats.layers, 1);
	/* What is no hold of ours is refused, not passed over. */
	assert_int_equal(symlinkat("nonsense", dirfd, "holds/bad"), 0);
	assert_int_equal(node_gc(s, &options, &stats, &err), E_INVALID);
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

static struct platform platform_of(const char *text)
{
	struct platform p = {0};

	assert_true(platform_parse(&p, slice_str(text)) >= 0);
	return p;
}

/* Which indexes a manifest is in: what is noted wrongly says nothing, and is in nobody's way. */
static void test_index_notes(void **state)
{
	struct hash manifest = hash_of("manifest"), index = hash_of("index"),
		    other = hash_of("other");
	struct platform here = platform_of("linux/amd64"), there = platform_of("linux/s390x");
	static char large[16 << 10], file[192], right[192];
	const struct {
		const char *text;
		size_t len;
	} notes[] = {
		{"", 0},
		{"x", 1},
		{"\n\n\n", 3},
		{"\0\0\0\n", 4},
		{"sha256:0 linux/amd64\n", 21},
		{right, strlen("sha256:") + 64},      /* cut in the middle */
		{right, strlen("sha256:") + 64 + 12}, /* but for the last character */
		{right + 1, strlen("ha256:") + 64 + 13},
		{large, sizeof(large)},
		{large, 1},
	};
	char dir[64], digest[HASH_TEXT_MAX];
	int dirfd = unit_tempdir(dir);
	struct node_store *s;
	struct err err = ERR_INIT;

	(void)state;
	memset(large, 'a', sizeof(large));
	large[sizeof(large) - 1] = '\n';
	hash_format(digest, &index, HASH_HEX);
	snprintf(right, sizeof(right), "%s linux/amd64\n", digest);
	hash_format_bare(digest, &manifest, HASH_HEX);
	snprintf(file, sizeof(file), "blobs/%s.index", digest);
	assert_ok(node_store_open(&s, dir, &err), err);
	for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
		assert_ok(write_file_at(dirfd, file, notes[i].text, notes[i].len, true, &err), err);
		if (node_store_is_member(s, &manifest, &index, &here))
			fail_msg("note %zu counts", i);
		assert_ok(node_store_put_index_of(s, &manifest, &index, &here, &err), err);
		assert_true(node_store_is_member(s, &manifest, &index, &here));
		assert_false(node_store_is_member(s, &manifest, &index, &there));
		assert_false(node_store_is_member(s, &manifest, &other, &here));
		assert_false(node_store_is_member(s, &other, &index, &here));
		assert_int_equal(node_store_member_for(s, &manifest, &here), 1);
		assert_int_equal(node_store_member_for(s, &manifest, &there), 0);
		assert_int_equal(node_store_member_for(s, &other, &here), E_NOTFOUND);
	}
	/* The last ones are kept. */
	for (int i = 0; i < 3 * NODE_INDEXES_MAX; i++) {
		char name[16];
		struct hash h;

		snprintf(name, sizeof(name), "%d", i);
		h = hash_of(name);
		assert_ok(node_store_put_index_of(s, &manifest, &h, &here, &err), err);
		assert_int_equal(node_store_is_member(s, &manifest, &index, &here),
				 i < NODE_INDEXES_MAX - 1);
		assert_true(node_store_is_member(s, &manifest, &h, &here));
	}
	node_store_free(s);
	platform_release(&here);
	platform_release(&there);
	unit_tempdir_end(dirfd, dir);
}

/* Holds a content in another process, until it is killed. */
static pid_t start_holder(const char *dir, const struct hash *hash)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct node_store *s;
		struct err err = ERR_INIT;

		if (node_store_open(&s, dir, &err) < 0 ||
		    node_store_lock_content(s, hash, &err) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* Who fetches may be killed at any point: what it had locked is free, and what it had begun is nobody's. */
static void test_locks(void **state)
{
	struct hash held = hash_of("held"), unheld = hash_of("free");
	char dir[64];
	int dirfd = unit_tempdir(dir), locks, one, status;
	struct node_store *s;
	struct err err = ERR_INIT;
	pid_t holder;

	(void)state;
	assert_ok(node_store_open(&s, dir, &err), err);
	holder = start_holder(dir, &held);
	locks = node_store_open_locks(s, &err);
	assert_true(locks >= 0);
	assert_int_equal(node_store_try_lock(locks, &held, &err), 0);
	assert_int_equal(node_store_try_lock(locks, &unheld, &err), 1);
	assert_int_equal(node_store_try_lock(locks, &unheld, &err), 1); /* by the same one */
	assert_int_equal(kill(holder, SIGKILL), 0);
	assert_int_equal(waitpid(holder, &status, 0), holder);
	assert_int_equal(node_store_try_lock(locks, &held, &err), 1);
	/* Another descriptor is somebody else, in the same process too. */
	one = node_store_open_locks(s, &err);
	assert_int_equal(node_store_try_lock(one, &held, &err), 0);
	close(locks);
	assert_int_equal(node_store_try_lock(one, &held, &err), 1);
	close(one);
	one = node_store_lock_content(s, &held, &err);
	assert_true(one >= 0);
	close(one);
	node_store_free(s);
	unit_tempdir_end(dirfd, dir);
}

/* A path that was begun and not published is never seen, and goes with the next one who opens the store. */
static void test_unpublished(void **state)
{
	struct node_event ev = {.type = NODE_REGULAR, .size = 5};
	char dir[64], path[96];
	int dirfd = unit_tempdir(dir), status;
	struct node_store *s;
	struct err err = ERR_INIT;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct path_import *p;

		if (node_store_open(&s, dir, &err) < 0)
			_exit(1);
		p = path_import_new(s);
		node_sink_event(path_import_sink(p), &ev, &err);
		ev = (struct node_event){.type = NODE_CONTENT, .data = slice_str("hel")};
		node_sink_event(path_import_sink(p), &ev, &err);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_ok(node_store_open(&s, dir, &err), err);
	snprintf(path, sizeof(path), "%s/paths", dir);
	assert_int_equal(rmdir(path), 0); /* it is empty */
	snprintf(path, sizeof(path), "%s/tmp", dir);
	assert_int_equal(rmdir(path), 0);
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

/* A layer's files have modes of their own: where they lie is nobody else's, also where an earlier version made it. */
static void test_private(void **state)
{
	static const char *const names[] = {"layers", "tmp", "trash"};
	const struct gc_options options = {.older_than_s = -1};
	char dir[64];
	int dirfd = unit_tempdir(dir);
	struct node_store *s;
	struct err err = ERR_INIT;
	struct gc_stats stats;
	struct stat st;

	(void)state;
	for (int is_there = 0; is_there < 2; is_there++) {
		for (size_t i = 0; is_there && i < ARRAY_LEN(names); i++)
			assert_int_equal(fchmodat(dirfd, names[i], 0755, 0), 0);
		assert_ok(node_store_open(&s, dir, &err), err);
		assert_ok(node_gc(s, &options, &stats, &err), err);
		node_store_free(s);
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			assert_int_equal(fstatat(dirfd, names[i], &st, 0), 0);
			assert_int_equal(st.st_mode & 07777, 0700);
		}
	}
	unit_tempdir_end(dirfd, dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hold_lines),     cmocka_unit_test(test_collect),
		cmocka_unit_test(test_staged),         cmocka_unit_test(test_refs),
		cmocka_unit_test(test_index_notes),    cmocka_unit_test(test_locks),
		cmocka_unit_test(test_unpublished),    cmocka_unit_test(test_listing),
		cmocka_unit_test(test_private),        cmocka_unit_test(test_remove_damaged),
		cmocka_unit_test(test_unreadable_ref),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
