/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a store; blobs and uploads. */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/fs.h"
#include "store-fixture.h"

static size_t count_files(const char *dir, const char *below)
{
	char path[200];
	struct dirent *e;
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", dir, below);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static size_t count_objects(const struct fixture *f)
{
	size_t n = 0;

	for (unsigned i = 0; i < 256; i++) {
		char shard[16];

		snprintf(shard, sizeof(shard), "objects/%02x", i);
		n += count_files(f->dir, shard);
	}
	return n;
}

static void test_open(void **state)
{
	struct fixture f = {0};
	struct store *second;
	struct err err = ERR_INIT;

	(void)state;
	fixture_open(&f);
	assert_fails(store_open(&second, f.dir, &f.options, &err), E_CONFLICT, err, "in use");
	fixture_reopen(&f);
	/* Another store dir than that of the paths in it. */
	f.options.root.store_dir = "/gnu/store";
	store_close(f.store);
	f.store = NULL;
	assert_fails(store_open(&second, f.dir, &f.options, &err), E_CONFLICT, err, "/nix/store");
	f.options.root.store_dir = "/nix/store/";
	assert_fails(store_open(&second, f.dir, &f.options, &err), E_INVALID, err, "/nix/store/");
	f.options.root.store_dir = "/nix/store";
	fixture_reopen(&f);
	store_close(f.store);
	/* A newer layout is left alone. */
	assert_ok(write_file_at(f.dirfd, "store/version", "nacre store 9\n", 14, true, &err), err);
	assert_fails(store_open(&second, f.dir, &f.options, &err), E_UNSUPPORTED, err,
		     "nacre store 9");
	assert_ok(write_file_at(f.dirfd, "store/version", "nacre store 1\n", 14, true, &err), err);
	f.store = NULL;
	fixture_reopen(&f);
	/* So is a newer database, and a directory without a version. */
	store_close(f.store);
	f.store = NULL;
	unlinkat(f.dirfd, "store/version", 0);
	assert_fails(store_open(&second, f.dir, &f.options, &err), E_UNSUPPORTED, err, "version");
	assert_ok(write_file_at(f.dirfd, "store/version", "nacre store 1\n", 14, true, &err), err);
	fixture_reopen(&f);
	fixture_close(&f);
}

static void test_put_get(void **state)
{
	static const size_t sizes[] = {0, 1, 511, 8191, 8192, 8193, 100000, 3 << 20};
	struct fixture f = {0};

	(void)state;
	fixture_open(&f);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		cleanup_free char *data = noise(sizes[i], i);
		cleanup_buf struct buf got = {0};
		struct hash digest;
		uint64_t size = 1;

		assert_ok(put_blob(&f, "a/b", slice_make(data, sizes[i]), &digest), f.err);
		assert_ok(store_blob_stat(f.root, "a/b", &digest, &size, &f.err), f.err);
		assert_int_equal(size, sizes[i]);
		get_blob(&f, "a/b", &digest, &got);
		assert_int_equal(got.len, sizes[i]);
		assert_memory_equal(got.data ? got.data : (uint8_t *)"", data, sizes[i]);
		/* Existence is per repository. */
		assert_fails(store_blob_stat(f.root, "a/c", &digest, &size, &f.err), E_NOTFOUND,
			     f.err, "a/c has no blob");
	}
	assert_int_equal(count_files(f.dir, "incoming"), 0);
	assert_int_equal(count_objects(&f), 3);
	fixture_reopen(&f);
	assert_int_equal(store_repository_exists(f.root, "a/b", &f.err), 1);
	assert_int_equal(store_repository_exists(f.root, "a", &f.err), 0);
	fixture_close(&f);
}

static void test_content_ranges(void **state)
{
	struct fixture f = {0};
	cleanup_free char *data = noise(70000, 7);
	struct content *c;
	struct hash digest;
	char buf[100];
	uint64_t at, len;
	size_t got;

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_make(data, 70000), &digest), f.err);
	assert_ok(store_blob_open(f.root, "r", &digest, &c, &f.err), f.err);
	assert_true(hash_equal(content_digest(c), &digest));
	assert_ok(content_read(c, 69950, buf, 100, &got, &f.err), f.err);
	assert_int_equal(got, 50);
	assert_memory_equal(buf, data + 69950, 50);
	assert_ok(content_read(c, 70000, buf, 100, &got, &f.err), f.err);
	assert_int_equal(got, 0);
	assert_ok(content_read(c, UINT64_MAX - 3, buf, 100, &got, &f.err), f.err);
	assert_int_equal(got, 0);
	assert_true(content_file(c, 10, 1000000, &at, &len) >= 0);
	assert_int_equal(at, 10);
	assert_int_equal(len, 69990);
	assert_int_equal(content_file(c, 70000, 1, &at, &len), -1);
	/* Stays readable when the blob is deleted. */
	assert_ok(store_blob_delete(f.root, "r", &digest, &f.err), f.err);
	assert_ok(store_maintain(f.store, &f.err), f.err);
	assert_ok(store_maintain(f.store, &f.err), f.err);
	assert_ok(content_read(c, 0, buf, 100, &got, &f.err), f.err);
	assert_memory_equal(buf, data, 100);
	content_free(c);
	fixture_close(&f);
}

static void test_digests(void **state)
{
	struct fixture f = {0};
	struct hash digest, other;
	struct upload *u;
	uint64_t size;

	(void)state;
	fixture_open(&f);
	/* sha512, whether said before or not, small or large. */
	for (int i = 0; i < 4; i++) {
		size_t len = i & 1 ? 100000 : 100;
		cleanup_free char *data = noise(len, (uint64_t)i);

		hash_bytes(&digest, HASH_SHA512, data, len);
		assert_ok(
			store_upload_once(f.root, "d", i & 2 ? HASH_SHA512 : HASH_NONE, &u, &f.err),
			f.err);
		assert_ok(upload_write(u, data, len, &f.err), f.err);
		assert_ok(upload_finish(u, &digest, &f.err), f.err);
		upload_close(u);
		assert_ok(store_blob_stat(f.root, "d", &digest, &size, &f.err), f.err);
		assert_int_equal(size, len);
		/* The other digest names nothing that was put. */
		hash_bytes(&other, HASH_SHA256, data, len);
		assert_fails(store_blob_stat(f.root, "d", &other, &size, &f.err), E_NOTFOUND, f.err,
			     NULL);
	}
	/* Another digest: refused, and nothing remains. */
	hash_bytes(&digest, HASH_SHA256, "right", 5);
	assert_ok(store_upload_once(f.root, "wrong", HASH_NONE, &u, &f.err), f.err);
	assert_ok(upload_write(u, "wrong", 5, &f.err), f.err);
	assert_fails(upload_finish(u, &digest, &f.err), E_MISMATCH, f.err, "5 bytes received");
	assert_fails(upload_finish(u, &digest, &f.err), E_USAGE, f.err, NULL);
	upload_close(u);
	assert_int_equal(store_repository_exists(f.root, "wrong", &f.err), 0);
	assert_int_equal(count_files(f.dir, "incoming"), 0);
	fixture_close(&f);
}

static void test_sessions(void **state)
{
	struct fixture f = {0};
	char id[UPLOAD_ID_LEN + 1], other[UPLOAD_ID_LEN + 1];
	struct upload *u, *second;
	struct hash digest;
	uint64_t offset, size;

	(void)state;
	f.options = STORE_OPTIONS_INIT;
	f.options.uploads_max = 2;
	f.options.upload_max_bytes = 50000;
	fixture_open(&f);
	assert_fails(store_upload_begin(f.root, "Bad", HASH_NONE, id, &f.err), E_INVALID, f.err,
		     "Bad");
	assert_ok(store_upload_begin(f.root, "s", HASH_NONE, id, &f.err), f.err);
	assert_ok(store_upload_status(f.root, "s", id, &offset, &f.err), f.err);
	assert_int_equal(offset, 0);
	assert_fails(store_upload_status(f.root, "t", id, &offset, &f.err), E_NOTFOUND, f.err,
		     NULL);
	assert_fails(store_upload_status(f.root, "s", "xyz", &offset, &f.err), E_NOTFOUND, f.err,
		     NULL);
	assert_ok(store_upload_open(f.root, "s", id, 0, &u, &f.err), f.err);
	assert_fails(store_upload_open(f.root, "s", id, 0, &second, &f.err), E_CONFLICT, f.err,
		     NULL);
	assert_fails(store_upload_cancel(f.root, "s", id, &f.err), E_CONFLICT, f.err, NULL);
	assert_ok(upload_write(u, "hello ", 6, &f.err), f.err);
	upload_close(u);
	assert_fails(store_upload_open(f.root, "s", id, 5, &u, &f.err), E_MISMATCH, f.err,
		     "byte 6");
	assert_ok(store_upload_open(f.root, "s", id, 6, &u, &f.err), f.err);
	assert_int_equal(upload_offset(u), 6);
	assert_ok(upload_write(u, "world", 5, &f.err), f.err);
	upload_close(u);
	assert_ok(store_upload_status(f.root, "s", id, &offset, &f.err), f.err);
	assert_int_equal(offset, 11);
	assert_ok(store_upload_open(f.root, "s", id, UPLOAD_ANY_OFFSET, &u, &f.err), f.err);
	hash_bytes(&digest, HASH_SHA256, "hello world", 11);
	assert_ok(upload_finish(u, &digest, &f.err), f.err);
	upload_close(u);
	assert_fails(store_upload_status(f.root, "s", id, &offset, &f.err), E_NOTFOUND, f.err,
		     NULL);
	assert_ok(store_blob_stat(f.root, "s", &digest, &size, &f.err), f.err);
	/* Cancelled, too many, too large. */
	assert_ok(store_upload_begin(f.root, "s", HASH_NONE, id, &f.err), f.err);
	assert_ok(store_upload_begin(f.root, "s", HASH_NONE, other, &f.err), f.err);
	assert_string_not_equal(id, other);
	assert_fails(store_upload_begin(f.root, "s", HASH_NONE, id, &f.err), E_LIMIT, f.err, NULL);
	assert_ok(store_upload_cancel(f.root, "s", other, &f.err), f.err);
	assert_fails(store_upload_cancel(f.root, "s", other, &f.err), E_NOTFOUND, f.err, NULL);
	assert_ok(store_upload_open(f.root, "s", id, 0, &u, &f.err), f.err);
	cleanup_free char *data = noise(50000, 1);

	assert_ok(upload_write(u, data, 50000, &f.err), f.err);
	assert_fails(upload_write(u, data, 1, &f.err), E_LIMIT, f.err, "50000 bytes");
	upload_close(u);
	assert_fails(store_upload_status(f.root, "s", id, &offset, &f.err), E_NOTFOUND, f.err,
		     NULL);
	assert_int_equal(count_files(f.dir, "incoming"), 0);
	/* Left behind: gone with the server, and with time. */
	f.options.upload_idle_s = 0;
	assert_ok(store_upload_begin(f.root, "s", HASH_NONE, id, &f.err), f.err);
	fixture_reopen(&f);
	assert_fails(store_upload_status(f.root, "s", id, &offset, &f.err), E_NOTFOUND, f.err,
		     NULL);
	fixture_close(&f);
}

static void test_mount_delete(void **state)
{
	struct fixture f = {0};
	struct hash digest, unknown;
	uint64_t size;

	(void)state;
	fixture_open(&f);
	hash_bytes(&unknown, HASH_SHA256, "?", 1);
	assert_ok(put_blob(&f, "from", slice_str("mounted"), &digest), f.err);
	assert_fails(store_blob_mount(f.root, "to", &unknown, "from", &f.err), E_NOTFOUND, f.err,
		     NULL);
	assert_fails(store_blob_mount(f.root, "to", &digest, "elsewhere", &f.err), E_NOTFOUND,
		     f.err, NULL);
	assert_fails(store_blob_mount(f.root, "To", &digest, "from", &f.err), E_INVALID, f.err,
		     NULL);
	assert_int_equal(store_repository_exists(f.root, "to", &f.err), 0);
	assert_ok(store_blob_mount(f.root, "to", &digest, "from", &f.err), f.err);
	assert_ok(store_blob_mount(f.root, "too", &digest, NULL, &f.err), f.err);
	/* Deleting takes it out of one repository alone. */
	assert_ok(store_blob_delete(f.root, "from", &digest, &f.err), f.err);
	assert_fails(store_blob_delete(f.root, "from", &digest, &f.err), E_NOTFOUND, f.err, NULL);
	assert_fails(store_blob_stat(f.root, "from", &digest, &size, &f.err), E_NOTFOUND, f.err,
		     NULL);
	assert_int_equal(store_repository_exists(f.root, "from", &f.err), 0);
	assert_ok(store_blob_stat(f.root, "to", &digest, &size, &f.err), f.err);
	assert_ok(store_blob_delete(f.root, "to", &digest, &f.err), f.err);
	assert_ok(store_blob_delete(f.root, "too", &digest, &f.err), f.err);
	/* Bytes that nobody can name any more must not be mountable. */
	assert_fails(store_blob_mount(f.root, "to", &digest, NULL, &f.err), E_NOTFOUND, f.err,
		     NULL);
	fixture_close(&f);
}

/* Files left by a crash: bytes half received, an object that no row names, one that a row names. */
static void test_recovery(void **state)
{
	struct fixture f = {0};
	cleanup_free char *data = noise(20000, 3);
	cleanup_buf struct buf got = {0};
	cleanup_free char *object = NULL;
	char path[400], to[400];
	struct hash digest;

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_make(data, 20000), &digest), f.err);
	store_close(f.store);
	f.store = NULL;
	assert_ok(write_file_at(f.dirfd, "store/incoming/new-0123", "half", 4, true, &f.err),
		  f.err);
	snprintf(path, sizeof(path), "store/incoming/0a~%062d.%016d", 0, 0);
	assert_ok(write_file_at(f.dirfd, path, "object", 6, true, &f.err), f.err);
	snprintf(path, sizeof(path), "%s/incoming/0a~%062d.%016d", f.dir, 0, 0);
	snprintf(to, sizeof(to), "%s/objects/0a/%062d.%016d", f.dir, 0, 0);
	assert_int_equal(link(path, to), 0);
	/* The one that is named. */
	for (unsigned i = 0; i < 256 && !object; i++) {
		struct dirent *e;
		DIR *d;

		snprintf(path, sizeof(path), "%s/objects/%02x", f.dir, i);
		d = opendir(path);
		while ((e = readdir(d)))
			if (e->d_name[0] != '.' && strlen(e->d_name) > 70 && i != 0x0a)
				object = xasprintf("%02x/%s", i, e->d_name);
		closedir(d);
	}
	if (object) {
		snprintf(path, sizeof(path), "%s/objects/%s", f.dir, object);
		object[2] = '~';
		snprintf(to, sizeof(to), "%s/incoming/%s", f.dir, object);
		assert_int_equal(link(path, to), 0);
	}
	fixture_reopen(&f);
	assert_int_equal(count_files(f.dir, "incoming"), 0);
	assert_int_equal(count_objects(&f), 1);
	get_blob(&f, "r", &digest, &got);
	assert_int_equal(got.len, 20000);
	fixture_close(&f);
}

/* No room for a file: an error, nothing changed, and it works again when there is room. */
static void test_no_room(void **state)
{
	struct rlimit small = {30000, RLIM_INFINITY}, before;
	struct fixture f = {0};
	cleanup_free char *data = noise(200000, 3);
	struct hash digest;
	uint64_t size;

	(void)state;
	fixture_open(&f);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	setrlimit(RLIMIT_FSIZE, &small);
	assert_fails(put_blob(&f, "n", slice_make(data, 200000), &digest), E_IO, f.err, NULL);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_fails(store_blob_stat(f.root, "n", &digest, &size, &f.err), E_NOTFOUND, f.err, NULL);
	assert_int_equal(count_files(f.dir, "incoming"), 0);
	assert_int_equal(count_objects(&f), 0);
	assert_ok(put_blob(&f, "n", slice_make(data, 200000), &digest), f.err);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),           cmocka_unit_test(test_put_get),
		cmocka_unit_test(test_content_ranges), cmocka_unit_test(test_digests),
		cmocka_unit_test(test_sessions),       cmocka_unit_test(test_mount_delete),
		cmocka_unit_test(test_recovery),       cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
