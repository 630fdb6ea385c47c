/* SPDX-License-Identifier: Apache-2.0 */
/* Images and package artifacts that the server makes of store paths. */
#include <pthread.h>

#include <nacre/json.h>

#include "image-fixture.h"

static void upload_world(struct world *w)
{
	put_path(&w->f, "lib", buf_slice(&w->p[0].nar), w->p[0].refs, CODEC_XZ);
	put_path(&w->f, "app", buf_slice(&w->p[1].nar), w->p[1].refs, CODEC_ZSTD);
	put_path(&w->f, "data", buf_slice(&w->p[2].nar), NULL, CODEC_NONE);
}

static void tag_of(char *ret, const char *name, const char *suffix)
{
	char base[STORE_BASE_MAX + 1];

	snprintf(ret, 64, "%.32s%s", base_of(name, base), suffix);
}

static void get_manifest(struct world *w, const char *repository, const char *reference,
			 struct manifest_bytes *ret)
{
	assert_ok(store_manifest_get(w->f.root, repository, reference, ret, &w->f.err), w->f.err);
}

/* Every layer decodes to a tar that has the config's diffID; store layers hold the canonical
 * form. */
static void check_image(struct world *w, const struct manifest_bytes *bytes, enum codec codec)
{
	cleanup_manifest struct manifest m = {0};
	cleanup_image_config struct image_config config = {0};
	cleanup_buf struct buf json = {0};
	size_t paths = 0;

	assert_ok(manifest_parse(&m, bytes->media_type, buf_slice(&bytes->bytes), &w->f.err),
		  w->f.err);
	get_blob(&w->f, "nix", &m.config.digest, &json);
	assert_ok(image_config_parse(&config, buf_slice(&json), &w->f.err), w->f.err);
	assert_string_equal(config.architecture, "amd64");
	assert_string_equal(config.os, "linux");
	assert_int_equal(config.n_diff_ids, m.layers.len);
	for (size_t i = 0; i < m.layers.len; i++) {
		cleanup_path_infos struct path_infos claimed = {0};
		cleanup_buf struct buf blob = {0}, tar = {0};
		bool has_references;
		struct hash h;

		get_blob(&w->f, "nix", &m.layers.items[i].digest, &blob);
		assert_int_equal(blob.len, m.layers.items[i].size);
		hash_bytes(&h, HASH_SHA256, blob.data, blob.len);
		assert_true(hash_equal(&h, &m.layers.items[i].digest));
		decode(&tar, codec, buf_slice(&blob));
		hash_bytes(&h, HASH_SHA256, tar.data, tar.len);
		assert_true(hash_equal(&h, &config.diff_ids[i]));
		if (image_layer_claims(&claimed, &has_references, &m.layers.items[i].annotations) >=
		    0)
			paths += claimed.len;
	}
	assert_int_equal(paths, 2); /* of app: lib and app */
}

static void test_image(void **state)
{
	static const struct {
		const char *suffix;
		enum codec codec;
		const char *media_type;
	} kinds[] = {
		{"", CODEC_ZSTD, MT_OCI_LAYER_ZSTD},
		{"-tar", CODEC_NONE, MT_OCI_LAYER},
		{"-gzip", CODEC_GZIP, MT_OCI_LAYER_GZIP},
		{"-native", CODEC_ZSTD, MT_OCI_LAYER_ZSTD},
	};
	struct world w = {0};
	char tag[64];

	(void)state;
	world_make(&w);
	upload_world(&w);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		cleanup_manifest_bytes struct manifest_bytes first = {0}, second = {0};
		struct manifest_stat stat;
		char digest[DIGEST_TEXT_MAX];

		tag_of(tag, "app", kinds[i].suffix);
		assert_ok(store_manifest_stat(w.f.root, "nix", tag, &stat, &w.f.err), w.f.err);
		get_manifest(&w, "nix", tag, &first);
		assert_int_equal(stat.size, first.bytes.len);
		assert_true(hash_equal(&stat.digest, &first.digest));
		assert_string_equal(stat.media_type, MT_OCI_MANIFEST);
		assert_non_null(strstr((char *)first.bytes.data, kinds[i].media_type));
		check_image(&w, &first, kinds[i].codec);
		/* It is kept: the same after a restart, and by its digest. */
		fixture_reopen(&w.f);
		digest_format(digest, &first.digest);
		get_manifest(&w, "nix", digest, &second);
		assert_true(slice_equal(buf_slice(&first.bytes), buf_slice(&second.bytes)));
	}
	assert_int_equal(store_repository_exists(w.f.root, "nix", &w.f.err), 1);
	world_release(&w);
}

/* Two servers make the same image, whatever came before and however the paths came. */
static void test_deterministic(void **state)
{
	struct hash digests[2];
	char tag[64];

	(void)state;
	tag_of(tag, "app", "");
	for (int i = 0; i < 2; i++) {
		cleanup_manifest_bytes struct manifest_bytes m = {0};
		struct world w = {0};

		world_make(&w);
		if (i == 0)
			upload_world(&w);
		else {
			static const size_t all[] = {0, 1, 2};
			cleanup_buf struct buf layer = {0};
			struct pushed p;
			struct hash diff;

			layer_of(&w, IMAGE_GZIP, all, 3, &layer, &diff);
			pushed_init(&w, &p, "r");
			pushed_layer(&w, &p, "r", MT_OCI_LAYER_GZIP, buf_slice(&layer));
			assert_ok(pushed_put(&w, &p, "r", "t"), w.f.err);
			assert_int_equal(p.result.paths_bound, 3);
			pushed_release(&p);
		}
		get_manifest(&w, "nix", tag, &m);
		digests[i] = m.digest;
		world_release(&w);
	}
	assert_true(hash_equal(&digests[0], &digests[1]));
}

static void test_refused(void **state)
{
	struct world w = {0};
	struct manifest_stat stat;
	struct pushed p;
	char tag[64];

	(void)state;
	world_make(&w);
	tag_of(tag, "app", "");
	assert_fails(store_manifest_stat(w.f.root, "nix", tag, &stat, &w.f.err), E_NOTFOUND,
		     w.f.err, "no store path");
	upload_world(&w);
	/* Nothing tells the architecture of plain data. */
	tag_of(tag, "data", "");
	assert_fails(store_manifest_stat(w.f.root, "nix", tag, &stat, &w.f.err), E_UNSUPPORTED,
		     w.f.err, "architecture");
	w.f.options.architecture = "arm64";
	fixture_reopen(&w.f);
	assert_ok(store_manifest_stat(w.f.root, "nix", tag, &stat, &w.f.err), w.f.err);
	tag_of(tag, "app", "-zip");
	assert_fails(store_manifest_stat(w.f.root, "nix", tag, &stat, &w.f.err), E_NOTFOUND,
		     w.f.err, NULL);
	assert_fails(store_manifest_stat(w.f.root, "other", tag, &stat, &w.f.err), E_NOTFOUND,
		     w.f.err, NULL);
	assert_fails(store_manifest_stat(w.f.root, "nix", "latest", &stat, &w.f.err), E_NOTFOUND,
		     w.f.err, NULL);
	/* These tags are the server's, all others are free. */
	pushed_init(&w, &p, "nix");
	tag_of(tag, "app", "");
	assert_fails(pushed_put(&w, &p, "nix", tag), E_DENIED, w.f.err, "another repository");
	tag_of(tag, "app", "-gzip");
	assert_fails(pushed_put(&w, &p, "nix", tag), E_DENIED, w.f.err, NULL);
	assert_ok(pushed_put(&w, &p, "nix", "mine"), w.f.err);
	pushed_release(&p);
	world_release(&w);
}

/* A name that runtimes take for a whiteout: no image, but a NAR, and a package that holds it. */
static void test_whiteout(void **state)
{
	struct world w = {0};
	cleanup_buf struct buf nar = {0}, blob = {0};
	cleanup_manifest_bytes struct manifest_bytes m = {0};
	cleanup_manifest struct manifest parsed = {0};
	struct manifest_stat stat;
	char tag[64];

	(void)state;
	w.f.options = STORE_OPTIONS_INIT;
	w.f.options.architecture = "amd64";
	world_make(&w);
	nar_of(&nar, (struct entry[]){{".wh.odd", "x"}}, 1);
	put_path(&w.f, "white", buf_slice(&nar), NULL, CODEC_XZ);
	tag_of(tag, "white", "");
	assert_fails(store_manifest_stat(w.f.root, "nix", tag, &stat, &w.f.err), E_UNSUPPORTED,
		     w.f.err, ".wh.odd");
	get_manifest(&w, "nix/package", tag, &m);
	assert_ok(manifest_parse(&parsed, NULL, buf_slice(&m.bytes), &w.f.err), w.f.err);
	assert_string_equal(parsed.layers.items[0].media_type, MT_NIX_NAR_ZSTD);
	get_blob(&w.f, "nix/package", &parsed.layers.items[0].digest, &blob);
	buf_reset(&nar);
	nar_of(&nar, (struct entry[]){{".wh.odd", "x"}}, 1);
	cleanup_buf struct buf plain = {0};

	decode(&plain, CODEC_ZSTD, buf_slice(&blob));
	assert_true(slice_equal(buf_slice(&plain), buf_slice(&nar)));
	world_release(&w);
}

static void list_referrers(struct world *w, const char *repository, const struct hash *subject,
			   struct descriptors *ret)
{
	cleanup_buf struct buf text = {0};
	cleanup_manifest struct manifest index = {0};
	struct referrers_query q = {
		.subject = *subject, .artifact_type = MT_NIX_PATH_INFOS, .n = 10};
	uint64_t after;

	assert_ok(store_referrers(w->f.root, repository, &q, &text, &after, &w->f.err), w->f.err);
	assert_ok(manifest_parse(&index, MT_OCI_INDEX, buf_slice(&text), &w->f.err), w->f.err);
	*ret = index.manifests;
	index.manifests = (struct descriptors){0};
}

/* Reads the path infos that refer to something. */
static void read_infos(struct world *w, const char *repository, const struct hash *subject,
		       struct path_infos *ret)
{
	cleanup_descriptors struct descriptors list = {0};
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	cleanup_manifest struct manifest m = {0};
	cleanup_buf struct buf text = {0};
	char digest[DIGEST_TEXT_MAX];

	list_referrers(w, repository, subject, &list);
	assert_int_equal(list.len, 1);
	digest_format(digest, &list.items[0].digest);
	get_manifest(w, repository, digest, &bytes);
	assert_ok(manifest_parse(&m, NULL, buf_slice(&bytes.bytes), &w->f.err), w->f.err);
	get_blob(&w->f, repository, &m.layers.items[0].digest, &text);
	assert_ok(path_infos_parse(ret, STORE_DIR_DEFAULT, buf_slice(&text), &w->f.err), w->f.err);
}

static void test_package_and_infos(void **state)
{
	struct world w = {0};
	cleanup_manifest_bytes struct manifest_bytes image = {0}, package = {0}, again = {0};
	cleanup_manifest struct manifest m = {0};
	cleanup_path_infos struct path_infos infos = {0}, later = {0}, one = {0};
	cleanup_path_info struct path_info info = {0};
	cleanup_buf struct buf config = {0};
	struct secret_key key;
	char tag[64];

	(void)state;
	world_make(&w);
	upload_world(&w);
	tag_of(tag, "app", "");
	get_manifest(&w, "nix/package", tag, &package);
	assert_ok(manifest_parse(&m, NULL, buf_slice(&package.bytes), &w.f.err), w.f.err);
	assert_string_equal(m.artifact_type, MT_NIX_PACKAGE);
	get_blob(&w.f, "nix/package", &m.config.digest, &config);
	assert_ok(package_config_parse(&info, buf_slice(&config), &w.f.err), w.f.err);
	assert_string_equal(info.path.text, w.p[1].info.path.text);
	assert_int_equal(info.references.len, 2);
	read_infos(&w, "nix/package", &package.digest, &one);
	assert_int_equal(one.len, 1);

	get_manifest(&w, "nix", tag, &image);
	/* The layer of a path is the same blob in both. */
	assert_non_null(memmem(image.bytes.data, image.bytes.len, &m.layers.items[0].size, 0));
	read_infos(&w, "nix", &image.digest, &infos);
	assert_int_equal(infos.len, 2);
	assert_int_equal(infos.items[0].signatures.len, 0);
	/* Signatures that come later show; the image stays what it is. */
	assert_ok(secret_key_generate(&key, "k", &w.f.err), w.f.err);
	assert_ok(path_info_sign(&w.p[1].info, &key, &w.f.err), w.f.err);
	assert_ok(put_info(&w.f, &w.p[1].info), w.f.err);
	read_infos(&w, "nix", &image.digest, &later);
	assert_int_equal(
		path_infos_find(&later, store_path_base(&w.p[1].info.path))->signatures.len, 1);
	get_manifest(&w, "nix", tag, &again);
	assert_true(hash_equal(&again.digest, &image.digest));
	world_release(&w);
}

/* `subject` NULL: it refers to nothing. */
static void push_small(struct world *w, const char *repository, const char *tag,
		       const struct hash *subject)
{
	struct pushed p;

	pushed_init(w, &p, repository);
	if (subject) {
		p.m.artifact_type = xstrdup("application/x-signature");
		descriptor_make(&p.m.subject, MT_OCI_MANIFEST, subject, 300);
		p.m.has_subject = true;
	}
	assert_ok(pushed_put(w, &p, repository, tag), w->f.err);
	pushed_release(&p);
}

/* Path infos that a client deleted are made anew when something changed; whoever has their id by
 * then stays. */
static void test_deleted_infos(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct store_view_options options = STORE_VIEW_OPTIONS_INIT;
		cleanup_manifest_bytes struct manifest_bytes package = {0};
		cleanup_descriptors struct descriptors list = {0}, again = {0};
		const char *victim = way % 2 ? "nix/package" : "victim";
		struct world w = {0};
		struct store_view *team;
		struct manifest_stat stat;
		struct secret_key key;
		char tag[64], digest[DIGEST_TEXT_MAX];

		world_make(&w);
		assert_ok(store_view_open(&team, w.f.store, "team", &options, &w.f.err), w.f.err);
		w.f.root = team;
		upload_world(&w);
		tag_of(tag, "app", "");
		get_manifest(&w, "nix/package", tag, &package);
		list_referrers(&w, "nix/package", &package.digest, &list);
		assert_int_equal(list.len, 1);
		digest_format(digest, &list.items[0].digest);
		assert_ok(store_manifest_delete(team, "nix/package", digest, &w.f.err), w.f.err);
		/* Of another view, or about the same package. */
		w.f.root = way % 2 ? team : store_root(w.f.store);
		push_small(&w, victim, "v1", way % 2 ? &package.digest : NULL);
		/* As a store has it in which this was not minded. */
		if (way >= 2)
			fixture_sql(&w.f, "UPDATE made SET infos = (SELECT max(id) FROM manifest)");
		w.f.root = team;
		assert_ok(secret_key_generate(&key, "k", &w.f.err), w.f.err);
		assert_ok(path_info_sign(&w.p[1].info, &key, &w.f.err), w.f.err);
		assert_ok(put_info(&w.f, &w.p[1].info), w.f.err);
		list_referrers(&w, "nix/package", &package.digest, &again);
		assert_int_equal(again.len, 1);
		w.f.root = way % 2 ? team : store_root(w.f.store);
		assert_ok(store_manifest_stat(w.f.root, victim, "v1", &stat, &w.f.err), w.f.err);
		world_release(&w);
	}
}

/* Better attested content: what was made of the old is made anew, and stays by its digest. */
static void test_replaced(void **state)
{
	struct world w = {.f.options = STORE_OPTIONS_INIT};
	cleanup_manifest_bytes struct manifest_bytes old = {0}, new = {0}, again = {0};
	cleanup_buf struct buf nar = {0};
	cleanup_path_info struct path_info info = {0};
	struct secret_key key;
	struct public_key public;
	char tag[64], digest[DIGEST_TEXT_MAX];

	(void)state;
	assert_ok(secret_key_generate(&key, "k", &w.f.err), w.f.err);
	secret_key_public(&public, &key);
	w.f.options.root.trusted = &public;
	w.f.options.root.n_trusted = 1;
	world_make(&w);
	upload_world(&w);
	tag_of(tag, "app", "");
	get_manifest(&w, "nix", tag, &old);
	nar_of(&nar, (struct entry[]){{NULL, "better lib"}}, 1);
	info_of(&info, "lib", buf_slice(&nar), NULL);
	assert_ok(path_info_sign(&info, &key, &w.f.err), w.f.err);
	assert_ok(put_nar(&w.f, buf_slice(&nar), CODEC_XZ, NULL), w.f.err);
	assert_ok(put_info(&w.f, &info), w.f.err);
	get_manifest(&w, "nix", tag, &new);
	assert_false(hash_equal(&old.digest, &new.digest));
	digest_format(digest, &old.digest);
	get_manifest(&w, "nix", digest, &again);
	check_image(&w, &again, CODEC_ZSTD);
	check_image(&w, &new, CODEC_ZSTD);
	world_release(&w);
}

/* ---- Many at once ---- */

struct puller {
	pthread_t thread;
	struct world *w;
	struct hash digest;
	int result;
};

static void *pull(void *arg)
{
	struct puller *p = arg;
	struct err err = ERR_INIT;
	struct manifest_stat stat = {0};
	char tag[64];

	tag_of(tag, "app", "");
	p->result = store_manifest_stat(p->w->f.root, "nix", tag, &stat, &err);
	p->digest = stat.digest;
	return NULL;
}

static void test_concurrent(void **state)
{
	struct world w = {0};
	struct puller pullers[8];

	(void)state;
	world_make(&w);
	upload_world(&w);
	for (size_t i = 0; i < 8; i++) {
		pullers[i] = (struct puller){.w = &w};
		assert_int_equal(pthread_create(&pullers[i].thread, NULL, pull, &pullers[i]), 0);
	}
	for (size_t i = 0; i < 8; i++) {
		pthread_join(pullers[i].thread, NULL);
		assert_int_equal(pullers[i].result, 0);
		assert_true(hash_equal(&pullers[i].digest, &pullers[0].digest));
	}
	world_release(&w);
}

/* What the server made, pushed elsewhere: its layers are known and shared. */
static void test_pushed_on(void **state)
{
	struct world w = {0};
	cleanup_manifest_bytes struct manifest_bytes image = {0};
	cleanup_manifest struct manifest m = {0};
	struct manifest_put_result result;
	struct store_statistics before, after;
	char tag[64];

	(void)state;
	world_make(&w);
	upload_world(&w);
	tag_of(tag, "app", "");
	get_manifest(&w, "nix", tag, &image);
	assert_ok(manifest_parse(&m, NULL, buf_slice(&image.bytes), &w.f.err), w.f.err);
	assert_ok(store_statistics(w.f.store, &before, &w.f.err), w.f.err);
	assert_ok(store_blob_mount(w.f.root, "copy", &m.config.digest, "nix", &w.f.err), w.f.err);
	for (size_t i = 0; i < m.layers.len; i++) {
		cleanup_buf struct buf blob = {0};
		struct hash h;

		get_blob(&w.f, "nix", &m.layers.items[i].digest, &blob);
		assert_ok(put_blob(&w.f, "copy", buf_slice(&blob), &h), w.f.err);
	}
	assert_ok(put_manifest(&w.f, "copy", "v1", &image.bytes, &result), w.f.err);
	assert_int_equal(result.paths_bound, 2);
	assert_int_equal(result.paths_refused, 0);
	assert_ok(store_statistics(w.f.store, &after, &w.f.err), w.f.err);
	assert_int_equal(after.opaque_bytes, before.opaque_bytes);
	assert_int_equal(after.blobs, before.blobs);
	world_release(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image),
		cmocka_unit_test(test_deterministic),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_whiteout),
		cmocka_unit_test(test_package_and_infos),
		cmocka_unit_test(test_deleted_infos),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_concurrent),
		cmocka_unit_test(test_pushed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
