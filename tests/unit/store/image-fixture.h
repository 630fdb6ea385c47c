/* SPDX-License-Identifier: Apache-2.0 */
/* Images of store paths as clients push them. */
#ifndef NACRE_TESTS_IMAGE_FIXTURE_H
#define NACRE_TESTS_IMAGE_FIXTURE_H

#include "store-fixture.h"

/* A small closure: lib, and app that refers to lib and to itself. */
struct package {
	const char *name;
	const char *refs; /* as info_of() takes them */
	struct entry entries[6];
	size_t n;
	struct buf nar;
	struct path_info info;
};

struct world {
	struct fixture f;
	struct package p[3];
	char *bulk, *text; /* owned */
	struct path_infos set;
};

UNUSED_OK static void package_make(struct package *p)
{
	nar_of(&p->nar, p->entries, p->n);
	info_of(&p->info, p->name, buf_slice(&p->nar), p->refs);
}

/* An ELF file for x86-64, as far as anybody here looks. */
#define ELF_AMD64 "\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0\76\0\1\0\0\0"

enum { ELF_SIZE = 24 };

UNUSED_OK static void world_make(struct world *w)
{
	char lib[STORE_BASE_MAX + 1], app[STORE_BASE_MAX + 1];
	struct package *p = w->p;

	fixture_open(&w->f);
	w->bulk = noise(1500000, 5);
	base_of("lib", lib);
	base_of("app", app);
	w->text = xmalloc(ELF_SIZE + 600);
	memcpy(w->text, ELF_AMD64, ELF_SIZE);
	snprintf(w->text + ELF_SIZE, 600, "/nix/store/%s/lib/libbig.so /nix/store/%s/share", lib,
		 app);
	p[0] = (struct package){
		.name = "lib",
		.entries = {{"lib"}, {"libbig.so", w->bulk, 1500000, true}, {"small", "x"}, {NULL}},
		.n = 4};
	p[1] = (struct package){
		.name = "app",
		.refs = "lib app",
		.entries = {{"bin"},
			    {"app", w->text, ELF_SIZE + strlen(w->text + ELF_SIZE), true},
			    {"other", "app", 0, false, true},
			    {NULL}},
		.n = 4};
	p[2] = (struct package){.name = "data", .entries = {{NULL, "only data"}}, .n = 1};
	for (size_t i = 0; i < 3; i++) {
		struct path_info copy = {0};

		package_make(&p[i]);
		path_info_copy(&copy, &p[i].info);
		path_infos_take(&w->set, &copy);
	}
}

UNUSED_OK static void world_release(struct world *w)
{
	for (size_t i = 0; i < 3; i++) {
		buf_release(&w->p[i].nar);
		path_info_release(&w->p[i].info);
	}
	path_infos_release(&w->set);
	free(w->bulk);
	free(w->text);
	fixture_close(&w->f);
}

UNUSED_OK static struct package *world_find(struct world *w, const char *base)
{
	for (size_t i = 0; i < 3; i++)
		if (strcmp(store_path_base(&w->p[i].info.path), base) == 0)
			return &w->p[i];
	fail();
	return NULL;
}

/* The layer of these paths (indices into the set). */
UNUSED_OK static void layer_of(struct world *w, enum image_compression compression,
			       const size_t *paths, size_t n, struct buf *ret,
			       struct hash *ret_diff)
{
	struct err err = ERR_INIT;
	struct layer_writer *lw;
	struct buf_sink sink;

	ret->max = 64 << 20;
	buf_sink_init(&sink, ret);
	assert_ok(layer_writer_new(&lw, &sink.sink, STORE_DIR_DEFAULT, compression, NULL, &err),
		  err);
	for (size_t i = 0; i < n; i++) {
		const char *base = store_path_base(&w->set.items[paths[i]].path);
		struct package *p = world_find(w, base);

		assert_ok(layer_writer_path(lw, base, &err), err);
		emit_tree(layer_writer_node_sink(lw), p->entries, p->n);
	}
	assert_ok(layer_writer_end(lw, ret_diff, &err), err);
	layer_writer_free(lw);
}

/* An image under construction. */
struct pushed {
	struct manifest m;
	struct buf bytes;
	struct hash digest;
	struct manifest_put_result result;
};

UNUSED_OK static void pushed_init(struct world *w, struct pushed *p, const char *repository)
{
	static const char config[] =
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\","
		"\"diff_ids\":[]}}";
	struct hash digest;

	*p = (struct pushed){.m = {.kind = MANIFEST_IMAGE, .has_config = true},
			     .bytes = BUF_INIT(MANIFEST_BYTES_MAX)};
	p->m.media_type = xstrdup(MT_OCI_MANIFEST);
	assert_ok(put_blob(&w->f, repository, slice_str(config), &digest), w->f.err);
	descriptor_make(&p->m.config, MT_OCI_CONFIG, &digest, strlen(config));
}

UNUSED_OK static struct descriptor *pushed_layer(struct world *w, struct pushed *p,
						 const char *repository, const char *media_type,
						 struct slice blob)
{
	struct descriptor d;
	struct hash digest;

	assert_ok(put_blob(&w->f, repository, blob, &digest), w->f.err);
	descriptor_make(&d, media_type, &digest, blob.len);
	descriptors_take(&p->m.layers, &d);
	return &p->m.layers.items[p->m.layers.len - 1];
}

UNUSED_OK static int pushed_put(struct world *w, struct pushed *p, const char *repository,
				const char *tag)
{
	buf_reset(&p->bytes);
	assert_int_equal(manifest_build(&p->bytes, &p->m), 0);
	hash_bytes(&p->digest, HASH_SHA256, p->bytes.data, p->bytes.len);
	return put_manifest(&w->f, repository, tag, &p->bytes, &p->result);
}

UNUSED_OK static void pushed_release(struct pushed *p)
{
	manifest_release(&p->m);
	buf_release(&p->bytes);
}

enum { ANNOTATED = 1, REFERENCES = 2 };

/* The three paths in two layers: the first alone, the other two grouped. */
UNUSED_OK static void push_world(struct world *w, struct pushed *p, const char *repository,
				 enum image_compression compression, int flags)
{
	static const size_t groups[2][2] = {{0}, {1, 2}};

	pushed_init(w, p, repository);
	for (size_t i = 0; i < 2; i++) {
		cleanup_buf struct buf layer = {0};
		struct descriptor *d;
		struct hash diff;

		layer_of(w, compression, groups[i], i + 1, &layer, &diff);
		d = pushed_layer(w, p, repository, image_layer_media_type(compression),
				 buf_slice(&layer));
		if (flags & ANNOTATED)
			image_annotate_layer(&d->annotations, &w->set, groups[i], i + 1,
					     flags & REFERENCES);
	}
	assert_ok(pushed_put(w, p, repository, "latest"), w->f.err);
}

/* Path infos that refer to the image. */
UNUSED_OK static void push_infos(struct world *w, const struct pushed *image,
				 const struct path_infos *set, const char *repository,
				 struct manifest_put_result *ret)
{
	cleanup_buf struct buf text = BUF_INIT(1 << 20), manifest = BUF_INIT(1 << 20);
	cleanup_descriptor struct descriptor subject = {0};
	struct named_bytes layer;
	struct hash digest, h;
	char ref[DIGEST_TEXT_MAX];

	assert_int_equal(path_infos_format(&text, set), 0);
	assert_ok(put_blob(&w->f, repository, buf_slice(&text), &digest), w->f.err);
	layer = (struct named_bytes){digest, text.len};
	assert_ok(put_blob(&w->f, repository, slice_str(OCI_EMPTY_JSON), &digest), w->f.err);
	descriptor_make(&subject, MT_OCI_MANIFEST, &image->digest, image->bytes.len);
	assert_int_equal(path_infos_manifest(&manifest, &subject, &layer), 0);
	hash_bytes(&h, HASH_SHA256, manifest.data, manifest.len);
	digest_format(ref, &h);
	assert_ok(put_manifest(&w->f, repository, ref, &manifest, ret), w->f.err);
	assert_true(ret->has_subject);
	assert_true(hash_equal(&ret->subject, &image->digest));
}

/* Is the path served as its package says? */
UNUSED_OK static void check_path(struct world *w, size_t i)
{
	struct package *p = &w->p[i];
	cleanup_narinfo struct narinfo n = {0};
	cleanup_buf struct buf file = {0}, nar = {0};

	assert_ok(get_info(&w->f, p->name, &n), w->f.err);
	assert_true(hash_equal(&n.info.nar_hash, &p->info.nar_hash));
	assert_int_equal(n.info.references.len, p->info.references.len);
	for (size_t j = 0; j < n.info.references.len; j++)
		assert_string_equal(n.info.references.items[j], p->info.references.items[j]);
	get_nar(&w->f, n.url, &file);
	decode(&nar, CODEC_ZSTD, buf_slice(&file));
	assert_true(slice_equal(buf_slice(&nar), buf_slice(&p->nar)));
}

UNUSED_OK static void check_absent(struct world *w, size_t i)
{
	assert_fails(get_info(&w->f, w->p[i].name, NULL), E_NOTFOUND, w->f.err, NULL);
}

#endif
