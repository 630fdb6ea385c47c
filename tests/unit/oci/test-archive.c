/* SPDX-License-Identifier: Apache-2.0 */
/* Tars of images: oci-archive and docker-archive, and what hostile ones may hold. */
#include "image-helper.h"

#include <dirent.h>

#include "oci/docker-archive.h"
#include "oci/layout-internal.h"
#include "oci/tar-file.h"

static char dir[64], file[96], packed[96];
static int dirfd_;

static int setup(void **state)
{
	dirfd_ = unit_tempdir(dir);
	snprintf(file, sizeof(file), "%s/a.tar", dir);
	snprintf(packed, sizeof(packed), "%s/a.tar.x", dir);
	return 0;
}

static int teardown(void **state)
{
	unit_tempdir_end(dirfd_, dir);
	return 0;
}

static void read_all(const char *path, struct buf *ret)
{
	struct err err = ERR_INIT;

	assert_ok(read_file_at(AT_FDCWD, path, 16 << 20, ret, &err), err);
}

/* No temporary file is left. */
static void check_clean(size_t files)
{
	cleanup_strv struct strv names = {0};
	int fd = openat(dirfd_, ".", O_RDONLY | O_DIRECTORY);
	DIR *d = fdopendir(fd);
	struct dirent *e;

	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			strv_add(&names, e->d_name);
	closedir(d);
	if (names.len != files)
		fail_msg("%zu files, expected %zu: %s", names.len, files,
			 names.len ? names.items[0] : "");
}

static void write_oci(const struct test_image *t, const char *tag)
{
	cleanup_image_dest struct image_dest *d = NULL;
	struct err err = ERR_INIT;

	assert_ok(image_archive_dest(&d, file, &err), err);
	assert_ok(test_image_put(t, d, tag, &err), err);
	assert_ok(image_dest_finish(d, &err), err);
}

static void test_oci_round_trip(void **state)
{
	struct test_image t;
	cleanup_buf struct buf first = {0}, second = {0};
	cleanup_image_source struct image_source *s = NULL;
	struct err err = ERR_INIT;

	test_image_make(&t, "a", CODEC_GZIP);
	write_oci(&t, "tag");
	check_clean(1);
	read_all(file, &first);
	assert_int_equal(first.len % 512, 0);
	write_oci(&t, "tag");
	read_all(file, &second);
	assert_true(slice_equal(buf_slice(&first), buf_slice(&second))); /* deterministic */
	assert_ok(image_archive_source(&s, file, NULL, &err), err);
	test_image_check(&t, s, NULL);
	test_image_check(&t, s, "tag");
	test_image_release(&t);
}

static void test_oci_compressed(void **state)
{
	static const enum codec codecs[] = {CODEC_GZIP, CODEC_ZSTD, CODEC_XZ, CODEC_BZIP2};
	struct test_image t;

	test_image_make(&t, "a", CODEC_NONE);
	write_oci(&t, "tag");
	setenv("TMPDIR", dir, 1);
	for (size_t i = 0; i < 4; i++) {
		cleanup_buf struct buf tar = {0}, out = {0};
		cleanup_image_source struct image_source *s = NULL;
		struct buf_sink to;
		struct sink *encoder;
		struct err err = ERR_INIT;

		read_all(file, &tar);
		buf_sink_init(&to, &out);
		assert_ok(encoder_new(&encoder, codecs[i], 0, &to.sink, &err), err);
		assert_ok(sink_write(encoder, tar.data, tar.len, &err), err);
		assert_ok(sink_finish(encoder, &err), err);
		encoder_free(encoder);
		assert_ok(write_file_at(dirfd_, "a.tar.x", out.data, out.len, true, &err), err);
		assert_ok(image_archive_source(&s, packed, "tag", &err), err);
		test_image_check(&t, s, NULL);
		image_source_free(take_ptr(s));
		/* Cut. */
		assert_ok(write_file_at(dirfd_, "a.tar.x", out.data, out.len - 9, true, &err), err);
		assert_int_equal(image_archive_source(&s, packed, NULL, &err), E_TRUNCATED);
	}
	unsetenv("TMPDIR");
	check_clean(2);
	test_image_release(&t);
}

/* More out of it than any archive of images would give. */
static void test_bomb(void **state)
{
	cleanup_buf struct buf out = BUF_INIT(64 << 20);
	cleanup_free uint8_t *zeros = calloc(1, 1 << 20);
	struct image_source *s = NULL;
	struct buf_sink to;
	struct sink *encoder;
	struct err err = ERR_INIT;

	buf_sink_init(&to, &out);
	assert_ok(encoder_new(&encoder, CODEC_ZSTD, 0, &to.sink, &err), err);
	for (size_t i = 0; i < 64; i++)
		assert_ok(sink_write(encoder, zeros, 1 << 20, &err), err);
	assert_ok(sink_finish(encoder, &err), err);
	encoder_free(encoder);
	assert_ok(write_file_at(dirfd_, "a.tar.x", out.data, out.len, true, &err), err);
	setenv("TMPDIR", dir, 1);
	assert_int_equal(image_archive_source(&s, packed, NULL, &err), E_LIMIT);
	assert_int_equal(image_docker_archive_source(&s, packed, NULL, &err), E_LIMIT);
	unsetenv("TMPDIR");
	check_clean(1);
}

static void test_oci_bad_blobs(void **state)
{
	struct test_image t;
	cleanup_image_dest struct image_dest *d = NULL;
	cleanup_image_source struct image_source *s = NULL;
	struct err err = ERR_INIT;

	test_image_make(&t, "a", CODEC_NONE);
	assert_ok(image_archive_dest(&d, file, &err), err);
	check_bad_blobs(d);
	/* What was refused does not show in what follows. */
	assert_ok(test_image_put(&t, d, "tag", &err), err);
	assert_ok(image_dest_finish(d, &err), err);
	assert_ok(image_archive_source(&s, file, NULL, &err), err);
	test_image_check(&t, s, NULL);
	image_source_free(take_ptr(s));
	image_dest_free(take_ptr(d));

	/* Nor in a byte. */
	cleanup_buf struct buf plain = {0}, after = {0};
	struct failing_producer failing = {{produce_and_fail}, "some"};

	write_oci(&t, "tag");
	read_all(file, &plain);
	assert_ok(image_archive_dest(&d, file, &err), err);
	assert_int_equal(
		image_put_blob(d, &t.parsed.layers.items[1], &failing.producer, NULL, &err), E_NET);
	assert_ok(test_image_put(&t, d, "tag", &err), err);
	assert_ok(image_dest_finish(d, &err), err);
	read_all(file, &after);
	assert_true(slice_equal(buf_slice(&plain), buf_slice(&after)));
	test_image_release(&t);
}

static void test_unfinished(void **state)
{
	struct test_image t;
	struct image_dest *d = NULL;
	struct err err = ERR_INIT;
	cleanup_buf struct buf old = {0};

	test_image_make(&t, "a", CODEC_NONE);
	assert_ok(write_file_at(dirfd_, "a.tar", "old", 3, true, &err), err);
	assert_ok(image_archive_dest(&d, file, &err), err);
	assert_ok(test_image_put(&t, d, "tag", &err), err);
	image_dest_free(d);
	assert_ok(image_docker_archive_dest(&d, file, "x", &err), err);
	assert_ok(test_image_put(&t, d, NULL, &err), err);
	image_dest_free(d);
	check_clean(1);
	read_all(file, &old);
	assert_string_equal((char *)old.data, "old");
	test_image_release(&t);
}

/* A sha512 digest makes a name that needs a pax header. */
static void test_oci_sha512(void **state)
{
	struct test_image t;
	cleanup_image_dest struct image_dest *d = NULL;
	cleanup_image_source struct image_source *s = NULL;
	cleanup_descriptor struct descriptor want = {0};
	struct text_producer text = {{produce_text}, "content"};
	cleanup_buf struct buf out = {0};
	struct err err = ERR_INIT;
	struct hash h;

	test_image_make(&t, "a", CODEC_NONE);
	hash_bytes(&h, HASH_SHA512, "content", 7);
	descriptor_make(&want, MT_OCI_LAYER, &h, 7);
	assert_ok(image_archive_dest(&d, file, &err), err);
	text.text = "contend";
	assert_int_equal(image_put_blob(d, &want, &text.producer, NULL, &err), E_MISMATCH);
	assert_ok(test_image_put(&t, d, "tag", &err), err); /* no pax header is left over */
	text.text = "content";
	assert_ok(image_put_blob(d, &want, &text.producer, NULL, &err), err);
	assert_ok(image_dest_finish(d, &err), err);
	assert_ok(image_archive_source(&s, file, NULL, &err), err);
	test_image_check(&t, s, NULL);
	assert_ok(image_get_blob_bytes(s, &want, 99, &out, &err), err);
	assert_string_equal((char *)out.data, "content");
	test_image_release(&t);
}

static void write_docker(const struct test_image *t, const char *name)
{
	cleanup_image_dest struct image_dest *d = NULL;
	struct err err = ERR_INIT;

	assert_ok(image_docker_archive_dest(&d, file, name, &err), err);
	assert_true(d->images_only);
	assert_ok(test_image_put(t, d, NULL, &err), err);
	assert_ok(image_dest_finish(d, &err), err);
}

static void check_docker(const struct test_image *plain, const char *name)
{
	cleanup_image_source struct image_source *s = NULL;
	struct err err = ERR_INIT;

	assert_ok(image_docker_archive_source(&s, file, name, &err), err);
	test_image_check(plain, s, NULL);
}

static void test_docker_round_trip(void **state)
{
	struct test_image packed_image, plain;
	struct image_source *s = NULL;
	struct err err = ERR_INIT;
	struct manifest_bytes m;

	/* Compressed layers are unpacked: what comes back is the image over the plain ones. */
	test_image_make(&plain, "a", CODEC_NONE);
	test_image_make(&packed_image, "a", CODEC_GZIP);
	write_docker(&packed_image, "busybox");
	check_docker(&plain, NULL);
	check_docker(&plain, "busybox");
	check_docker(&plain, "docker.io/library/busybox:latest");
	check_docker(&plain, "@0");
	assert_int_equal(image_docker_archive_source(&s, file, "busybox:other", &err), E_NOTFOUND);
	assert_non_null(strstr(err.text, "it has: docker.io/library/busybox:latest"));
	assert_int_equal(image_docker_archive_source(&s, file, "@1", &err), E_NOTFOUND);
	assert_int_equal(image_docker_archive_source(&s, file, "@", &err), E_NOTFOUND);
	write_docker(&plain, NULL);
	check_docker(&plain, NULL);
	err = ERR_INIT;
	assert_ok(image_docker_archive_source(&s, file, NULL, &err), err);
	assert_int_equal(image_get_manifest(s, "latest", &m, &err), E_NOTFOUND);
	image_source_free(s);
	test_image_release(&plain);
	test_image_release(&packed_image);
}

static void test_docker_bad_blobs(void **state)
{
	cleanup_image_dest struct image_dest *d = NULL;
	struct err err = ERR_INIT;

	assert_ok(image_docker_archive_dest(&d, file, NULL, &err), err);
	check_bad_blobs(d);
	assert_int_equal(image_dest_finish(d, &err), E_INTERNAL);
	check_clean(0);
}

static void test_docker_refuses(void **state)
{
	struct test_image t;
	struct manifest index = {.media_type = strdup(MT_OCI_INDEX)};
	cleanup_image_dest struct image_dest *d = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(image_docker_archive_dest(&d, file, "No Name", &err), E_INVALID);
	assert_int_equal(image_docker_archive_dest(&d, "/", NULL, &err), E_USAGE);
	assert_int_equal(image_docker_archive_dest(&d, "/nowhere/x.tar", NULL, &err), E_NOTFOUND);
	test_image_make(&t, "a", CODEC_NONE);
	err = ERR_INIT;
	assert_ok(image_docker_archive_dest(&d, file, NULL, &err), err);
	assert_int_equal(image_put_manifest(d, &t.manifest, NULL, &err), E_INTERNAL);
	assert_int_equal(image_put_manifest_built(d, &index, NULL, NULL, &err), E_UNSUPPORTED);
	assert_int_equal(image_put_blob_bytes(d, "text/plain", slice_str("x"), NULL, &err),
			 E_UNSUPPORTED);
	err = ERR_INIT;
	assert_ok(test_image_put(&t, d, NULL, &err), err);
	assert_int_equal(image_put_manifest(d, &t.manifest, NULL, &err), E_UNSUPPORTED);
	manifest_release(&index);
	test_image_release(&t);
}

/* The configuration speaks of other layers. */
static void test_docker_wrong_diff_id(void **state)
{
	struct test_image t;
	cleanup_image_dest struct image_dest *d = NULL;
	cleanup_manifest_bytes struct manifest_bytes wrong = {0};
	struct manifest m = {0};
	struct descriptor swap;
	struct err err = ERR_INIT;

	test_image_make(&t, "a", CODEC_NONE);
	assert_ok(image_docker_archive_dest(&d, file, NULL, &err), err);
	assert_ok(manifest_parse(&m, NULL, buf_slice(&t.manifest.bytes), &err), err);
	swap = m.layers.items[0];
	m.layers.items[0] = m.layers.items[1];
	m.layers.items[1] = swap;
	assert_ok(image_put_blob_bytes(d, MT_OCI_CONFIG, buf_slice(&t.config), NULL, &err), err);
	for (size_t i = 0; i < 2; i++)
		assert_ok(
			image_put_blob_bytes(d, MT_OCI_LAYER, buf_slice(&t.layers[i]), NULL, &err),
			err);
	assert_int_equal(image_put_manifest_built(d, &m, NULL, NULL, &err), E_MISMATCH);
	manifest_release(&m);
	test_image_release(&t);
}

struct entry {
	const char *name, *content, *link;
	char type; /* '0' file, '1' hard link, '2' symlink */
};

/* Writes a tar of odd members; links by hand, since the writer has none. */
static void write_tar(const struct entry *entries, size_t n)
{
	cleanup_buf struct buf tar = {0};
	struct archive_writer w;
	struct err err = ERR_INIT;
	int fd = openat(dirfd_, "a.tar", O_RDWR | O_CREAT | O_TRUNC, 0644);

	archive_writer_init(&w, fd);
	for (size_t i = 0; i < n; i++) {
		uint64_t at = w.start;
		uint8_t h[512];
		unsigned sum = 0;

		assert_ok(archive_writer_add(
				  &w, entries[i].name,
				  slice_str(entries[i].content ? entries[i].content : ""), &err),
			  err);
		if (!entries[i].link)
			continue;
		assert_int_equal(pread_full(fd, h, 512, at), 512);
		h[156] = (uint8_t)entries[i].type;
		snprintf((char *)h + 157, 100, "%s", entries[i].link);
		memset(h + 148, ' ', 8);
		for (size_t k = 0; k < 512; k++)
			sum += h[k];
		snprintf((char *)h + 148, 8, "%06o", sum);
		assert_int_equal(pwrite(fd, h, 512, (off_t)at), 512);
	}
	assert_ok(archive_writer_finish(&w, &err), err);
	archive_writer_release(&w);
	close(fd);
}

static void test_members(void **state)
{
	static const struct entry entries[] = {
		{"./a/file", "one", NULL, '0'},    {"a//b/../other", "two", NULL, '0'},
		{"twice", "first", NULL, '0'},     {"a/soft", NULL, "file", '2'},
		{"a/up", NULL, "../twice", '2'},   {"hard", NULL, "a/file", '1'},
		{"chain", NULL, "a/soft", '2'},    {"circle", NULL, "circle", '2'},
		{"broken", NULL, "nothing", '2'},  {"out", NULL, "../../etc/passwd", '2'},
		{"absolute", NULL, "/twice", '2'}, {"../escape", "bad", NULL, '0'},
		{"twice", "second", NULL, '0'},
	};
	static const struct {
		const char *name, *content; /* NULL: not found */
	} cases[] = {
		{"a/file", "one"},   {"./a/./file", "one"},
		{"a/other", "two"},  {"twice", "second"},
		{"a/soft", "one"},   {"a/up", "second"},
		{"hard", "one"},     {"chain", "one"},
		{"broken", NULL},    {"out", NULL},
		{"../escape", NULL}, {"escape", NULL},
		{"a", NULL},         {"", NULL},
		{"..", NULL},
	};
	cleanup_tar_file struct tar_file t = {.fd = -1};
	const struct tar_member *m;
	struct err err = ERR_INIT;

	write_tar(entries, sizeof(entries) / sizeof(entries[0]));
	assert_ok(tar_file_open(&t, file, &err), err);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_buf struct buf out = {0};
		int r = tar_file_read_small(&t, cases[i].name, 100, &out, &err);

		if (r != (cases[i].content ? 0 : E_NOTFOUND))
			fail_msg("%s: %d %s", cases[i].name, r, err.text);
		if (cases[i].content)
			assert_string_equal((char *)out.data, cases[i].content);
	}
	assert_int_equal(tar_file_find(&t, "circle", &m, &err), E_INVALID);
	cleanup_buf struct buf out = {0};
	assert_int_equal(tar_file_read_small(&t, "twice", 3, &out, &err), E_LIMIT);
}

static void test_broken_tars(void **state)
{
	static const struct entry entries[] = {{"a", "one", NULL, '0'}, {"b", "two", NULL, '0'}};
	cleanup_buf struct buf tar = {0};
	struct tar_file t;
	struct err err = ERR_INIT;

	write_tar(entries, 2);
	read_all(file, &tar);
	/* Cut within the second header, within its content; a wrong checksum; no tar at all. */
	assert_ok(write_file_at(dirfd_, "a.tar", tar.data, 1024 + 100, true, &err), err);
	assert_int_equal(tar_file_open(&t, file, &err), E_INVALID);
	assert_ok(write_file_at(dirfd_, "a.tar", tar.data, 1024 + 513, true, &err), err);
	assert_int_equal(tar_file_open(&t, file, &err), E_INVALID);
	tar.data[1024] ^= 1;
	assert_ok(write_file_at(dirfd_, "a.tar", tar.data, tar.len, true, &err), err);
	assert_int_equal(tar_file_open(&t, file, &err), E_INVALID);
	assert_ok(write_file_at(dirfd_, "a.tar", "no tar", 6, true, &err), err);
	assert_int_equal(tar_file_open(&t, file, &err), E_INVALID);
	assert_int_equal(tar_file_open(&t, dir, &err), E_USAGE);
	assert_int_equal(tar_file_open(&t, "/nowhere", &err), E_NOTFOUND);
}

/* Members as docker save of old, dockerTools and others have them. */
static void test_docker_shapes(void **state)
{
	struct test_image t;
	cleanup_buf struct buf gzipped = {0};
	cleanup_image_source struct image_source *s = NULL;
	struct err err = ERR_INIT;

	test_image_make(&t, "a", CODEC_NONE);
	struct entry entries[] = {
		{"abc/layer.tar", LAYER1, NULL, '0'},
		{"def/VERSION", "1.0", NULL, '0'},
		{"xyz/layer.tar", LAYER2, NULL, '0'},
		{"def/layer.tar", NULL, "../xyz/layer.tar", '2'},
		{"c.json", (char *)t.config.data, NULL, '0'},
		{"manifest.json",
		 "[{\"Config\":\"c.json\",\"RepoTags\":null,\"Layers\":[\"abc/layer.tar\","
		 "\"def/layer.tar\"],\"LayerSources\":{}}]",
		 NULL, '0'},
	};

	write_tar(entries, sizeof(entries) / sizeof(entries[0]));
	check_docker(&t, NULL);
	/* A layer that is compressed within the archive. */
	compress(&gzipped, CODEC_GZIP, LAYER1);
	write_tar(entries + 1, 4);
	int fd = openat(dirfd_, "a.tar", O_RDWR);
	struct archive_writer w;
	archive_writer_init(&w, fd);
	w.start = (uint64_t)lseek(fd, -1024, SEEK_END);
	assert_ok(archive_writer_add(&w, "abc/layer.tar", buf_slice(&gzipped), &err), err);
	assert_ok(archive_writer_add(&w, "manifest.json", slice_str(entries[5].content), &err),
		  err);
	assert_ok(archive_writer_finish(&w, &err), err);
	archive_writer_release(&w);
	close(fd);
	check_docker(&t, NULL);
	test_image_release(&t);
}

static void test_docker_hostile(void **state)
{
	struct test_image t;

	test_image_make(&t, "a", CODEC_NONE);
	const char *config = (const char *)t.config.data;
#define ONE(config, layers) "[{\"Config\":\"" config "\",\"Layers\":[" layers "]}]"
	const struct {
		const char *manifest, *config, *layer;
		int open, get; /* what opening and reading the first layer give */
		const char *says;
	} cases[] = {
		{"{}", config, LAYER1, E_INVALID, 0, "must be an array"},
		{"[]", config, LAYER1, E_NOTFOUND, 0, "no image"},
		{"[{}]", config, LAYER1, E_INVALID, 0, "[0].Config: is missing"},
		{"[1]", config, LAYER1, E_INVALID, 0, "[0]: must be an object"},
		{ONE("nothing", "\"1\",\"2\""), config, LAYER1, E_NOTFOUND, 0, "nothing"},
		{ONE("../../etc/passwd", "\"1\",\"2\""), config, LAYER1, E_NOTFOUND, 0, "etc"},
		{ONE("/etc/passwd", "\"1\",\"2\""), config, LAYER1, E_NOTFOUND, 0, "etc"},
		{ONE("c", "\"1\""), config, LAYER1, E_INVALID, 0, "names 1 layers"},
		{ONE("c", "\"1\",\"/etc/passwd\""), config, LAYER1, E_NOTFOUND, 0, "etc/passwd"},
		{ONE("c", "\"1\",2"), config, LAYER1, E_INVALID, 0, "Layers"},
		{ONE("c", "\"1\",\"2\""), "{}", LAYER1, E_INVALID, 0, "image configuration"},
		{ONE("c", "\"1\",\"2\""), config, "the worst layer", 0, E_MISMATCH, "digest"},
		{ONE("c", "\"1\",\"2\""), config, "longer than it was thought", 0, E_MISMATCH,
		 "digest"},
		{ONE("c", "\"1\",\"2\""), config, "\x1f\x8b\x08zzzzzzzzzzzzzzz", E_INVALID, 0, "1"},
		{"[{\"Config\":\"c\"},{\"Config\":\"c\",\"RepoTags\":[\"x\"]}]", config, LAYER1,
		 E_USAGE, 0, "it has: @0, x"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct entry entries[] = {{"c", cases[i].config, NULL, '0'},
						{"1", cases[i].layer, NULL, '0'},
						{"2", LAYER2, NULL, '0'},
						{"manifest.json", cases[i].manifest, NULL, '0'}};
		cleanup_image_source struct image_source *s = NULL;
		cleanup_manifest_bytes struct manifest_bytes m = {0};
		cleanup_manifest struct manifest parsed = {0};
		cleanup_buf struct buf out = {0};
		struct err err = ERR_INIT;
		int r;

		write_tar(entries, 4);
		r = image_docker_archive_source(&s, file, NULL, &err);
		if (r != cases[i].open)
			fail_msg("%zu: %d %s", i, r, err.text);
		if (r >= 0) {
			assert_ok(image_get_manifest(s, NULL, &m, &err), err);
			assert_ok(manifest_parse(&parsed, NULL, buf_slice(&m.bytes), &err), err);
			r = image_get_blob_bytes(s, &parsed.layers.items[0], 99, &out, &err);
			assert_int_equal(r, cases[i].get);
			assert_int_equal(out.len, 0);
		}
		if (!strstr(err.text, cases[i].says))
			fail_msg("%zu: '%s' does not say '%s'", i, err.text, cases[i].says);
	}
	test_image_release(&t);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_oci_round_trip),
		CASE(test_oci_compressed),
		CASE(test_bomb),
		CASE(test_oci_bad_blobs),
		CASE(test_unfinished),
		CASE(test_oci_sha512),
		CASE(test_docker_round_trip),
		CASE(test_docker_bad_blobs),
		CASE(test_docker_refuses),
		CASE(test_docker_wrong_diff_id),
		CASE(test_members),
		CASE(test_broken_tars),
		CASE(test_docker_shapes),
		CASE(test_docker_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
