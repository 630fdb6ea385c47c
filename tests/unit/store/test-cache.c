/* SPDX-License-Identifier: Apache-2.0 */
/* The binary cache: NARs in, narinfos in, trust, and what comes out. */
#include "gc-fixture.h"

static const struct entry hello[] = {
	{"bin"},
	{"hello", "#!/bin/sh\necho hello\n", .executable = true},
	{NULL},
	{"link", "bin/hello", .symlink = true},
};

static void hello_nar(struct buf *ret)
{
	nar_of(ret, hello, ARRAY_LEN(hello));
}

/* A directory with a file that is one byte in a thousand different for each seed. */
static void large_nar(struct buf *ret, uint64_t seed)
{
	cleanup_free char *data = noise(2500000, seed);
	const struct entry entries[] = {
		{"a", "small"},
		{"big", data, 2500000, true},
		{"z", "end"},
	};

	nar_of(ret, entries, ARRAY_LEN(entries));
}

static void test_cache_info(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf text = {0};

	(void)state;
	fixture_open(&f);
	assert_ok(store_cache_info(f.root, &text, &f.err), f.err);
	assert_string_equal((char *)text.data,
			    "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n");
	assert_ok(store_cache_info_put(f.root, slice_str("StoreDir: /nix/store\n"), &f.err), f.err);
	assert_fails(store_cache_info_put(f.root, slice_str("StoreDir: /gnu/store\n"), &f.err),
		     E_CONFLICT, f.err, "/gnu/store");
	assert_fails(store_cache_info_put(f.root, slice_str("StoreDir: nix\n"), &f.err), E_INVALID,
		     f.err, NULL);
	fixture_close(&f);

	/* Without one, the first decides, for ever. */
	f = (struct fixture){.options = STORE_OPTIONS_INIT};
	f.options.root.store_dir = NULL;
	fixture_open(&f);
	buf_reset(&text);
	assert_fails(store_cache_info(f.root, &text, &f.err), E_NOTFOUND, f.err, NULL);
	assert_ok(store_cache_info_put(f.root, slice_str("Foo\nStoreDir:/gnu/store \r\n"), &f.err),
		  f.err);
	fixture_reopen(&f);
	assert_ok(store_cache_info(f.root, &text, &f.err), f.err);
	assert_non_null(strstr((char *)text.data, "StoreDir: /gnu/store\n"));
	assert_fails(store_cache_info_put(f.root, slice_str(""), &f.err), E_CONFLICT, f.err, NULL);
	fixture_close(&f);
}

static void check_served(struct fixture *f, const char *name, struct slice nar)
{
	cleanup_narinfo struct narinfo n = {0};
	cleanup_buf struct buf file = {0}, again = {0}, plain = {0};
	char hash[HASH_TEXT_MAX], url[80];
	struct hash h;
	uint64_t size;

	assert_ok(get_info(f, name, &n), f->err);
	assert_string_equal(n.compression, "zstd");
	get_nar(f, n.url, &file);
	assert_int_equal(file.len, n.file_size);
	hash_bytes(&h, HASH_SHA256, file.data, file.len);
	assert_true(hash_equal(&h, &n.file_hash));
	decode(&again, CODEC_ZSTD, buf_slice(&file));
	assert_true(slice_equal(buf_slice(&again), nar));
	/* Uncompressed, by NarHash. */
	hash_format_bare(hash, &n.info.nar_hash, HASH_NIX32);
	snprintf(url, sizeof(url), "nar/%.52s.nar", hash);
	get_nar(f, url, &plain);
	assert_true(slice_equal(buf_slice(&plain), nar));
	assert_ok(store_nar_stat(f->root, url + 4, &size, &f->err), f->err);
	assert_int_equal(size, nar.len);
}

/* Each compression in, ours out; the name it came under keeps working. */
static void test_compressions(void **state)
{
	static const enum codec codecs[] = {CODEC_NONE, CODEC_GZIP,  CODEC_ZSTD,
					    CODEC_XZ,   CODEC_BZIP2, CODEC_BROTLI};
	struct fixture f = {0};

	(void)state;
	fixture_open(&f);
	for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
		cleanup_buf struct buf nar = {0}, sent = {0}, back = {0};
		char name[80], url[84];
		uint64_t size;

		large_nar(&nar, i % 2);
		put_path(&f, i % 2 ? "odd" : "even", buf_slice(&nar), NULL, codecs[i]);
		assert_ok(put_nar(&f, buf_slice(&nar), codecs[i], name), f.err);
		check_served(&f, i % 2 ? "odd" : "even", buf_slice(&nar));
		assert_ok(store_nar_stat(f.root, name, &size, &f.err), f.err);
		snprintf(url, sizeof(url), "nar/%s", name);
		get_nar(&f, url, &sent);
		if (size != CONTENT_SIZE_UNKNOWN)
			assert_int_equal(size, sent.len);
		decode(&back, codecs[i], buf_slice(&sent));
		assert_true(slice_equal(buf_slice(&back), buf_slice(&nar)));
	}
	/* Stored once, whatever it was sent in. */
	struct store_statistics stats;

	assert_ok(store_statistics(f.store, &stats, &f.err), f.err);
	assert_int_equal(stats.nars, 2);
	assert_int_equal(stats.paths, 2);
	assert_int_equal(stats.opaque_bytes, 0);
	fixture_close(&f);
}

static void test_bad_nars(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf nar = {0}, xz = {0}, bad = {0};
	char name[80], hash[HASH_TEXT_MAX];
	struct store_statistics stats;
	struct hash h;
	uint64_t size;

	(void)state;
	fixture_open(&f);
	hello_nar(&nar);
	encode(&xz, CODEC_XZ, buf_slice(&nar));
	hash_bytes(&h, HASH_SHA256, xz.data, xz.len);
	hash_format_bare(hash, &h, HASH_NIX32);
	snprintf(name, sizeof(name), "%.52s.nar.xz", hash);
	/* Truncated, trailing, damaged, not a NAR. */
	assert_fails(put_nar_named(&f, name, slice_make(xz.data, xz.len - 4)), E_TRUNCATED, f.err,
		     NULL);
	assert_fails(put_nar_named(&f, "x.nar", slice_make(nar.data, nar.len - 8)), E_TRUNCATED,
		     f.err, NULL);
	buf_add(&bad, nar.data, nar.len);
	buf_add(&bad, "\0\0\0\0\0\0\0\0", 8);
	assert_fails(put_nar_named(&f, "x.nar", buf_slice(&bad)), E_INVALID, f.err, NULL);
	assert_fails(put_nar_named(&f, "x.nar", slice_str("no NAR at all")), E_INVALID, f.err,
		     NULL);
	assert_fails(put_nar_named(&f, "x.nar", slice_str("")), E_TRUNCATED, f.err, NULL);
	assert_fails(put_nar_named(&f, "x.nar.xz", buf_slice(&nar)), E_INVALID, f.err, NULL);
	/* Another hash than its name says. */
	buf_reset(&bad);
	nar_of(&bad, (struct entry[]){{NULL, "other"}}, 1);
	assert_fails(put_nar_named(&f, name, slice_make(nar.data, nar.len)), E_INVALID, f.err,
		     NULL);
	name[53 + 3] = '\0'; /* "<hash>.nar" */
	assert_fails(put_nar_named(&f, name, buf_slice(&bad)), E_MISMATCH, f.err, "has the hash");
	/* Names. */
	assert_fails(put_nar_named(&f, "../x.nar", buf_slice(&nar)), E_INVALID, f.err, NULL);
	assert_fails(put_nar_named(&f, ".nar", buf_slice(&nar)), E_INVALID, f.err, NULL);
	assert_fails(put_nar_named(&f, "x.tar", buf_slice(&nar)), E_INVALID, f.err, NULL);
	assert_fails(store_nar_stat(f.root, name, &size, &f.err), E_NOTFOUND, f.err, NULL);
	/* A free name is taken by one content. */
	assert_ok(put_nar_named(&f, "free.nar", buf_slice(&nar)), f.err);
	assert_ok(put_nar_named(&f, "free.nar", buf_slice(&nar)), f.err);
	assert_fails(put_nar_named(&f, "free.nar", buf_slice(&bad)), E_CONFLICT, f.err, NULL);
	assert_ok(store_statistics(f.store, &stats, &f.err), f.err);
	assert_int_equal(stats.nars, 1);
	fixture_close(&f);
}

static void test_bombs(void **state)
{
	static const enum codec codecs[] = {CODEC_GZIP, CODEC_ZSTD, CODEC_XZ, CODEC_BZIP2,
					    CODEC_BROTLI};
	struct fixture f = {0};
	cleanup_free char *zeros = xcalloc(1, 20 << 20);
	cleanup_buf struct buf nar = {0};
	struct store_statistics stats;

	(void)state;
	nar_of(&nar, (struct entry[]){{NULL, zeros, 20 << 20}}, 1);
	f.options = STORE_OPTIONS_INIT;
	f.options.decode_free_bytes = 1 << 20;
	f.options.decode_ratio_max = 100;
	fixture_open(&f);
	for (size_t i = 0; i < ARRAY_LEN(codecs); i++)
		assert_fails(put_nar(&f, buf_slice(&nar), codecs[i], NULL), E_LIMIT, f.err,
			     "100 times");
	f.options = STORE_OPTIONS_INIT;
	f.options.nar_max_bytes = 10 << 20;
	fixture_reopen(&f);
	for (size_t i = 0; i < ARRAY_LEN(codecs); i++)
		assert_fails(put_nar(&f, buf_slice(&nar), codecs[i], NULL), E_LIMIT, f.err,
			     "10485760 bytes");
	assert_fails(put_nar(&f, buf_slice(&nar), CODEC_NONE, NULL), E_LIMIT, f.err, NULL);
	assert_ok(store_statistics(f.store, &stats, &f.err), f.err);
	assert_int_equal(stats.nars, 0);
	fixture_close(&f);
}

static void test_bad_infos(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf nar = {0}, text = {0};
	cleanup_path_info struct path_info info = {0};
	char base[STORE_BASE_MAX + 1];

	(void)state;
	fixture_open(&f);
	hello_nar(&nar);
	info_of(&info, "hello", buf_slice(&nar), "hello");
	/* Before its NAR. */
	assert_fails(put_info(&f, &info), E_NOTFOUND, f.err, "no NAR");
	assert_ok(put_nar(&f, buf_slice(&nar), CODEC_XZ, NULL), f.err);
	info.nar_size++;
	assert_fails(put_info(&f, &info), E_MISMATCH, f.err, "NarSize");
	info.nar_size--;
	info.nar_hash.bytes[3] ^= 1;
	assert_fails(put_info(&f, &info), E_NOTFOUND, f.err, "no NAR");
	info.nar_hash.bytes[3] ^= 1;
	/* A reference that is not here: named. */
	strv_add(&info.references, base_of("missing", base));
	strv_sort_unique(&info.references);
	assert_fails(put_info(&f, &info), E_NOTFOUND, f.err, base);
	path_info_release(&info);
	info_of(&info, "hello", buf_slice(&nar), "hello");
	/* Of another path than the address says; grammar; content address. */
	assert_fails(store_narinfo_put(f.root, "0000000000000000000000000000000a",
				       slice_str("StorePath: /nix/store/x\n"), &f.err),
		     E_INVALID, f.err, NULL);
	assert_fails(store_narinfo_put(f.root, "eeee", slice_str(""), &f.err), E_INVALID, f.err,
		     NULL);
	info.ca = xstrdup("fixed:r:sha256:0000000000000000000000000000000000000000000000000000");
	assert_fails(put_info(&f, &info), E_MISMATCH, f.err, "content address");
	free(take_ptr(info.ca));
	assert_int_equal(store_narinfo_exists(f.root, "00000000000000000000000000000000", &f.err),
			 0);
	assert_fails(get_info(&f, "hello", NULL), E_NOTFOUND, f.err, NULL);
	assert_ok(put_info(&f, &info), f.err);
	base_of("hello", base);
	base[32] = '\0';
	assert_int_equal(store_narinfo_exists(f.root, base, &f.err), 1);
	/* The same hash part under another name. */
	assert_int_equal(strlen(store_path_base(&info.path)), 32 + 6);
	memcpy(info.path.text + info.path.dir_len + 1 + 33, "other", 5);
	strv_release(&info.references);
	assert_fails(put_info(&f, &info), E_CONFLICT, f.err, "hello");
	fixture_close(&f);
}

static void test_references_order(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf a = {0}, b = {0};
	cleanup_narinfo struct narinfo n = {0};

	(void)state;
	fixture_open(&f);
	nar_of(&a, (struct entry[]){{NULL, "a"}}, 1);
	nar_of(&b, (struct entry[]){{NULL, "b"}}, 1);
	put_path(&f, "a", buf_slice(&a), NULL, CODEC_XZ);
	put_path(&f, "b", buf_slice(&b), "a b", CODEC_XZ);
	assert_ok(get_info(&f, "b", &n), f.err);
	assert_int_equal(n.info.references.len, 2);
	fixture_close(&f);
}

/* (c) < (a), (b); the same content merges. */
static void test_trust(void **state)
{
	struct fixture f = {.options = STORE_OPTIONS_INIT};
	cleanup_buf struct buf one = {0}, two = {0}, three = {0};
	cleanup_path_info struct path_info info1 = {0}, info2 = {0}, info3 = {0};
	struct secret_key key, foreign;
	struct public_key public;

	(void)state;
	assert_ok(secret_key_generate(&key, "trusted-1", &f.err), f.err);
	assert_ok(secret_key_generate(&foreign, "foreign-1", &f.err), f.err);
	secret_key_public(&public, &key);
	f.options.root.trusted = &public;
	f.options.root.n_trusted = 1;
	fixture_open(&f);
	nar_of(&one, (struct entry[]){{NULL, "one"}}, 1);
	nar_of(&two, (struct entry[]){{NULL, "two"}}, 1);
	nar_of(&three, (struct entry[]){{NULL, "three"}}, 1);
	info_of(&info1, "p", buf_slice(&one), NULL);
	info_of(&info2, "p", buf_slice(&two), NULL);
	info_of(&info3, "p", buf_slice(&three), NULL);
	for (int i = 0; i < 3; i++)
		assert_ok(put_nar(&f,
				  buf_slice(i == 0   ? &one
					    : i == 1 ? &two
						     : &three),
				  CODEC_XZ, NULL),
			  f.err);
	assert_ok(put_info(&f, &info1), f.err);
	/* Another writer says otherwise: refused, and what stands stays. */
	assert_fails(put_info(&f, &info2), E_CONFLICT, f.err, "bound to the NAR");
	assert_ok(path_info_sign(&info2, &foreign, &f.err), f.err);
	assert_fails(put_info(&f, &info2), E_CONFLICT, f.err, NULL);
	check_served(&f, "p", buf_slice(&one));
	/* A signature by a trusted key, over other data, attests nothing. */
	strv_release(&info2.signatures);
	assert_ok(path_info_sign(&info1, &key, &f.err), f.err);
	strv_copy(&info2.signatures, &info1.signatures);
	assert_fails(put_info(&f, &info2), E_CONFLICT, f.err, NULL);
	/* Signed as it is: better than what stands. */
	strv_release(&info2.signatures);
	assert_ok(path_info_sign(&info2, &key, &f.err), f.err);
	assert_ok(put_info(&f, &info2), f.err);
	check_served(&f, "p", buf_slice(&two));
	/* Two of the same rank: the first stands. */
	assert_fails(put_info(&f, &info1), E_CONFLICT, f.err, NULL);
	assert_ok(path_info_sign(&info3, &key, &f.err), f.err);
	assert_fails(put_info(&f, &info3), E_CONFLICT, f.err, NULL);
	/* More signatures for what stands: the union. */
	strv_release(&info2.signatures);
	assert_ok(path_info_sign(&info2, &foreign, &f.err), f.err);
	assert_ok(put_info(&f, &info2), f.err);
	assert_ok(put_info(&f, &info2), f.err);
	cleanup_narinfo struct narinfo n = {0};

	assert_ok(get_info(&f, "p", &n), f.err);
	assert_int_equal(n.info.signatures.len, 2);
	assert_int_equal(path_info_verify(&n.info, &public, 1), 1);
	/* What was advertised for the old content is still there. */
	check_served(&f, "p", buf_slice(&two));
	cleanup_buf struct buf old = {0};
	char hash[HASH_TEXT_MAX], url[80];

	hash_format_bare(hash, &info1.nar_hash, HASH_NIX32);
	snprintf(url, sizeof(url), "nar/%.52s.nar", hash);
	get_nar(&f, url, &old);
	assert_true(slice_equal(buf_slice(&old), buf_slice(&one)));
	/* Too many. */
	for (int i = 0; i < 70; i++) {
		struct secret_key many;

		snprintf(foreign.name, sizeof(foreign.name), "k%d", i);
		assert_ok(secret_key_generate(&many, foreign.name, &f.err), f.err);
		assert_ok(path_info_sign(&info2, &many, &f.err), f.err);
	}
	assert_fails(put_info(&f, &info2), E_LIMIT, f.err, "signatures");
	fixture_close(&f);
}

static void test_same_nar_other_references(void **state)
{
	struct fixture f = {.options = STORE_OPTIONS_INIT};
	cleanup_buf struct buf nar = {0};
	cleanup_path_info struct path_info info = {0}, other = {0};
	cleanup_narinfo struct narinfo n = {0};
	struct secret_key key;
	struct public_key public;

	(void)state;
	assert_ok(secret_key_generate(&key, "trusted-1", &f.err), f.err);
	secret_key_public(&public, &key);
	f.options.root.trusted = &public;
	f.options.root.n_trusted = 1;
	fixture_open(&f);
	nar_of(&nar, (struct entry[]){{NULL, "dep"}}, 1);
	put_path(&f, "dep", buf_slice(&nar), NULL, CODEC_XZ);
	info_of(&info, "p", buf_slice(&nar), NULL);
	info_of(&other, "p", buf_slice(&nar), "dep");
	assert_ok(put_info(&f, &info), f.err);
	assert_fails(put_info(&f, &other), E_CONFLICT, f.err, "other references");
	assert_ok(path_info_sign(&other, &key, &f.err), f.err);
	assert_ok(put_info(&f, &other), f.err);
	assert_ok(get_info(&f, "p", &n), f.err);
	assert_int_equal(n.info.references.len, 1);
	assert_fails(put_info(&f, &info), E_CONFLICT, f.err, NULL);
	fixture_close(&f);
}

/* A content-addressed path: better than a writer's word, whatever its name. */
static void test_content_address(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf nar = {0}, lie = {0};
	cleanup_path_info struct path_info info = {0}, liar = {0};
	struct store_refs refs = {0};
	char text[HASH_TEXT_MAX];

	(void)state;
	fixture_open(&f);
	nar_of(&nar, hello, ARRAY_LEN(hello));
	nar_of(&lie, (struct entry[]){{NULL, "lie"}}, 1);
	info_of(&info, "ca", buf_slice(&nar), NULL);
	assert_int_equal(store_path_fixed(&info.path, STORE_DIR_DEFAULT, "ca", CA_NAR,
					  &info.nar_hash, &refs),
			 0);
	hash_format(text, &info.nar_hash, HASH_NIX32);
	info.ca = xasprintf("fixed:r:%s", text);
	/* First a writer binds the name to something else. */
	info_of(&liar, "ca", buf_slice(&lie), NULL);
	liar.path = info.path;
	assert_ok(put_nar(&f, buf_slice(&lie), CODEC_NONE, NULL), f.err);
	assert_ok(put_nar(&f, buf_slice(&nar), CODEC_NONE, NULL), f.err);
	assert_ok(put_info(&f, &liar), f.err);
	/* Claiming the content address does not help: the content has another hash. */
	liar.ca = xstrdup(info.ca);
	assert_fails(put_info(&f, &liar), E_MISMATCH, f.err, "content");
	assert_ok(put_info(&f, &info), f.err);
	free(take_ptr(liar.ca));
	assert_fails(put_info(&f, &liar), E_CONFLICT, f.err, NULL);
	fixture_close(&f);
}

static void read_document(struct fixture *f, enum store_tree tree, const char *name,
			  struct buf *ret)
{
	struct content *c;

	assert_ok(store_document_open(f->root, tree, name, &c, &f->err), f->err);
	content_bytes(c, ret);
	content_free(c);
}

static int put_document(struct fixture *f, enum store_tree tree, const char *name,
			const char *coding, const char *text)
{
	struct store_put *put;
	int r = store_document_put(f->root, tree, name, coding, &put, &f->err);

	if (r < 0)
		return r;
	r = store_put_write(put, text, strlen(text), &f->err);
	if (r >= 0)
		r = store_put_commit(put, &f->err);
	store_put_free(put);
	return r;
}

static void test_documents(void **state)
{
	static const struct {
		enum store_tree tree;
		const char *name;
		bool good;
	} names[] = {
		{STORE_LOG, "abc-x.drv", true},
		{STORE_LOG, "a/b", false},
		{STORE_LOG, "../x", false},
		{STORE_LOG, "", false},
		{STORE_LOG, "a b", false},
		{STORE_REALISATION, "sha256:00ff!out.doi", true},
		{STORE_BUILD_TRACE, "abc-x.drv/out.doi", true},
		{STORE_BUILD_TRACE, "abc-x.drv/../out.doi", false},
		{STORE_BUILD_TRACE, "a/b/c", false},
		{STORE_DEBUGINFO, "00112233445566778899aabbccddeeff00112233.debug", true},
		{STORE_LISTING, "00000000000000000000000000000000", true},
		{STORE_LISTING, "x", false},
	};
	struct fixture f = {0};
	struct content *c;

	(void)state;
	fixture_open(&f);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		cleanup_buf struct buf got = {0};

		if (!names[i].good) {
			assert_fails(put_document(&f, names[i].tree, names[i].name, NULL, "x"),
				     E_INVALID, f.err, NULL);
			continue;
		}
		assert_fails(store_document_open(f.root, names[i].tree, names[i].name, &c, &f.err),
			     E_NOTFOUND, f.err, NULL);
		assert_ok(put_document(&f, names[i].tree, names[i].name, NULL, "first"), f.err);
		assert_ok(put_document(&f, names[i].tree, names[i].name, "zstd", "second"), f.err);
		read_document(&f, names[i].tree, names[i].name, &got);
		assert_string_equal((char *)got.data, "second");
		assert_ok(store_document_open(f.root, names[i].tree, names[i].name, &c, &f.err),
			  f.err);
		assert_string_equal(content_coding(c), "zstd");
		content_free(c);
	}
	cleanup_free char *large = noise((1 << 20) + 1, 1);
	struct store_put *put;

	assert_ok(store_document_put(f.root, STORE_REALISATION, "large", NULL, &put, &f.err),
		  f.err);
	assert_fails(store_put_write(put, large, (1 << 20) + 1, &f.err), E_LIMIT, f.err,
		     "realisation");
	assert_fails(store_put_commit(put, &f.err), E_USAGE, f.err, NULL);
	store_put_free(put);
	fixture_close(&f);
}

static void test_listing(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf nar = {0}, got = {0};
	char base[STORE_BASE_MAX + 1];

	(void)state;
	fixture_open(&f);
	hello_nar(&nar);
	put_path(&f, "hello", buf_slice(&nar), NULL, CODEC_XZ);
	base_of("hello", base);
	base[32] = '\0';
	for (int i = 0; i < 2; i++) {
		buf_reset(&got);
		read_document(&f, STORE_LISTING, base, &got);
		assert_non_null(strstr((char *)got.data, "\"hello\":{"));
		assert_non_null(strstr((char *)got.data, "\"executable\":true"));
	}
	fixture_close(&f);
}

/* A directory whose listing is no small object. */
static void wide_nar(struct buf *ret, char first)
{
	static char names[2000][8];
	static struct entry entries[2000];

	for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
		snprintf(names[i], sizeof(names[i]), "%c%05zu", first, i);
		entries[i] = (struct entry){names[i], "x"};
	}
	nar_of(ret, entries, ARRAY_LEN(entries));
}

static void remove_wide(struct fixture *f)
{
	char base[STORE_BASE_MAX + 1];

	assert_ok(store_path_remove(f->root, base_of("wide", base), &f->err), f->err);
}

static struct secret_key trusted_key;

static void replace_wide(struct fixture *f)
{
	cleanup_buf struct buf nar = {0};
	cleanup_path_info struct path_info info = {0};

	wide_nar(&nar, 'b');
	info_of(&info, "wide", buf_slice(&nar), NULL);
	assert_ok(path_info_sign(&info, &trusted_key, &f->err), f->err);
	assert_ok(put_nar(f, buf_slice(&nar), CODEC_NONE, NULL), f->err);
	assert_ok(put_info(f, &info), f->err);
}

static int64_t count_documents(struct fixture *f)
{
	return db_int(f, "SELECT count(*) FROM document", NULL, NULL);
}

/* The path goes, or becomes another, while its listing is made. */
static void test_late_listing(void **state)
{
	struct public_key public;
	char base[STORE_BASE_MAX + 1];

	(void)state;
	base_of("wide", base);
	base[STORE_HASH_LEN] = '\0';
	for (int replaced = 0; replaced < 2; replaced++) {
		struct fixture f = {.options = STORE_OPTIONS_INIT};
		cleanup_buf struct buf nar = {0}, got = {0};
		struct content *content;

		assert_ok(secret_key_generate(&trusted_key, "k", &f.err), f.err);
		secret_key_public(&public, &trusted_key);
		f.options.root.trusted = &public;
		f.options.root.n_trusted = 1;
		fixture_open(&f);
		wide_nar(&nar, 'a');
		put_path(&f, "wide", buf_slice(&nar), NULL, CODEC_NONE);
		before_link(&f, replaced ? replace_wide : remove_wide);
		if (replaced) {
			read_document(&f, STORE_LISTING, base, &got);
			assert_non_null(strstr((char *)got.data, "\"b00000\":{"));
		} else {
			assert_fails(
				store_document_open(f.root, STORE_LISTING, base, &content, &f.err),
				E_NOTFOUND, f.err, NULL);
		}
		assert_null(link_hook);
		assert_int_equal(count_documents(&f), replaced);
		fixture_close(&f);
	}
}

/* Listings that clients put wait for their path, and go with it. */
static void test_listing_alone(void **state)
{
	struct fixture f = {0};
	char never[STORE_BASE_MAX + 1], lib[STORE_BASE_MAX + 1];

	(void)state;
	fixture_open(&f);
	base_of("never", never);
	base_of("lib", lib);
	never[STORE_HASH_LEN] = lib[STORE_HASH_LEN] = '\0';
	assert_ok(put_document(&f, STORE_LISTING, never, NULL, "{}"), f.err);
	assert_ok(put_document(&f, STORE_LISTING, lib, NULL, "{\"lib\"}"), f.err);
	gc(&f);
	put_small_path(&f, "lib", NULL);
	later(20 * HOUR);
	gc(&f);
	assert_int_equal(count_documents(&f), 2);
	/* Put again, it is as new. */
	assert_ok(put_document(&f, STORE_LISTING, never, NULL, "{}"), f.err);
	later(20 * HOUR);
	gc(&f);
	assert_int_equal(count_documents(&f), 2);
	later(5 * HOUR);
	gc(&f);
	assert_int_equal(count_documents(&f), 1);
	later(100 * DAY);
	gc(&f);
	assert_int_equal(count_documents(&f), 1);
	assert_ok(store_path_remove(f.root, lib, &f.err), f.err);
	assert_int_equal(count_documents(&f), 0);
	/* Those that a store had before are found by a repair. */
	assert_ok(put_document(&f, STORE_LISTING, never, NULL, "{}"), f.err);
	fixture_sql(&f, "DELETE FROM candidate WHERE kind = 0");
	struct store_check_options check = {.report = fixture_defect, .repair = true};
	struct store_check_result result;

	assert_ok(store_check_repair(f.store, &check, &result, &f.err), f.err);
	assert_int_equal(result.repaired, 1);
	later(25 * HOUR);
	gc(&f);
	assert_int_equal(count_documents(&f), 0);
	fixture_close(&f);
}

/* A NAR without a narinfo stays for its time of grace; afterwards it goes. */
static void test_pending(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf nar = {0};
	struct store_statistics stats;
	char name[80];
	uint64_t size;

	(void)state;
	fixture_open(&f);
	large_nar(&nar, 1);
	assert_ok(put_nar(&f, buf_slice(&nar), CODEC_XZ, name), f.err);
	for (int i = 0; i < 3; i++)
		assert_ok(store_maintain(f.store, &f.err), f.err);
	assert_ok(store_nar_stat(f.root, name, &size, &f.err), f.err);
	store_close(f.store);
	f.store = NULL;
	/* A day later. */
	fixture_sql(&f, "UPDATE pending SET added = added - 90000");
	fixture_reopen(&f);
	for (int i = 0; i < 3; i++)
		assert_ok(store_maintain(f.store, &f.err), f.err);
	assert_fails(store_nar_stat(f.root, name, &size, &f.err), E_NOTFOUND, f.err, NULL);
	assert_ok(store_statistics(f.store, &stats, &f.err), f.err);
	assert_int_equal(stats.nars, 0);
	assert_int_equal(stats.physical_bytes, stats.database_bytes);
	fixture_close(&f);
}

/* A path, and with it the last use of its NAR, goes. */
static void path_lose(struct fixture *f, const char *name)
{
	char base[STORE_BASE_MAX + 1];

	assert_ok(store_path_remove(f->root, base_of(name, base), &f->err), f->err);
	later(25 * HOUR);
	assert_ok(store_maintain(f->store, &f->err), f->err);
}

/* An object that is garbage comes into use again, and is garbage again: who reads it by the use that it
 * had meanwhile reads it to the end. */
static void test_garbage_again(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf nar = {0}, got = {0};
	struct store_statistics stats;
	char name[HASH_TEXT_MAX + 16];
	struct content *reader;
	struct hash h;

	(void)state;
	fixture_open(&f);
	large_nar(&nar, 1);
	hash_bytes(&h, HASH_SHA256, nar.data, nar.len);
	hash_format_bare(name, &h, HASH_NIX32);
	memcpy(name + strlen(name), ".nar", sizeof(".nar"));
	put_path(&f, "large", buf_slice(&nar), NULL, CODEC_NONE);
	path_lose(&f, "large");
	put_path(&f, "large", buf_slice(&nar), NULL, CODEC_NONE);
	assert_ok(store_nar_open(f.root, name, &reader, &f.err), f.err);
	path_lose(&f, "large");
	assert_ok(store_maintain(f.store, &f.err), f.err);
	content_bytes(reader, &got);
	assert_true(slice_equal(buf_slice(&got), buf_slice(&nar)));
	content_free(reader);
	for (int i = 0; i < 2; i++)
		assert_ok(store_maintain(f.store, &f.err), f.err);
	assert_ok(store_statistics(f.store, &stats, &f.err), f.err);
	assert_int_equal(stats.physical_bytes, stats.database_bytes);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache_info),
		cmocka_unit_test(test_compressions),
		cmocka_unit_test(test_bad_nars),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_bad_infos),
		cmocka_unit_test(test_references_order),
		cmocka_unit_test(test_trust),
		cmocka_unit_test(test_same_nar_other_references),
		cmocka_unit_test(test_content_address),
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_listing),
		cmocka_unit_test(test_late_listing),
		cmocka_unit_test(test_listing_alone),
		cmocka_unit_test(test_pending),
		cmocka_unit_test(test_garbage_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
