/* SPDX-License-Identifier: Apache-2.0 */
/* Copying images, from a source in memory that may say anything. */
#include "../unit.h"

#include <nacre/image.h>
#include <nacre/nar.h>
#include <nacre/tar.h>

#include "base/mem.h"
#include "base/sinks.h"
#include "net/image-paths.h"
#include "net/transfer-paths.h"
#include "net/transfer.h"
#include "net/transports.h"

/* Blobs and manifests by digest, tags on top. */
struct thing {
	struct hash digest;
	struct buf bytes;
	char *media_type; /* of a manifest */
	char *tag;
};
struct memory {
	struct image_source source;
	struct image_dest dest;
	struct thing *things;
	size_t len, cap;
	const char *top;              /* tag of what it is opened for */
	struct descriptors referrers; /* of whatever is asked for, if it is `subject` */
	struct hash subject;
	size_t fetched; /* manifests */
	char *put_tag;
};

static struct thing *find_thing(struct memory *m, const char *ref)
{
	struct hash h = {0};

	digest_parse(&h, slice_str(ref));
	for (size_t i = 0; i < m->len; i++) {
		struct thing *t = &m->things[i];

		if (h.algo ? hash_equal(&t->digest, &h) : t->tag && strcmp(t->tag, ref) == 0)
			return t;
	}
	return NULL;
}

static int memory_get_manifest(struct image_source *self, const char *ref,
			       struct manifest_bytes *ret, struct err *err)
{
	struct memory *m = container_of(self, struct memory, source);
	struct thing *t = find_thing(m, ref ? ref : m->top);

	if (!t)
		return err_set(err, E_NOTFOUND, "no manifest %s", ref);
	m->fetched++;
	*ret = (struct manifest_bytes){.bytes = BUF_INIT(MANIFEST_BYTES_MAX), .digest = t->digest};
	buf_add(&ret->bytes, t->bytes.data, t->bytes.len);
	ret->media_type = strdup(t->media_type);
	return 0;
}

static int memory_get_blob(struct image_source *self, const struct descriptor *blob,
			   struct sink *out, struct err *err)
{
	struct memory *m = container_of(self, struct memory, source);
	cleanup_verify_sink struct verify_sink verify = {0};
	char digest[DIGEST_TEXT_MAX];
	struct thing *t;
	int r;

	digest_format(digest, &blob->digest);
	t = find_thing(m, digest);
	if (!t)
		return err_set(err, E_NOTFOUND, "no blob %s", digest);
	verify_sink_init(&verify, &blob->digest, (int64_t)blob->size, out);
	r = sink_write(&verify.sink, t->bytes.data, t->bytes.len, err);
	return r < 0 ? r : sink_finish(&verify.sink, err);
}

static int memory_get_referrers(struct image_source *self, const struct hash *subject,
				const char *artifact_type, struct descriptors *ret, struct err *err)
{
	struct memory *m = container_of(self, struct memory, source);

	for (size_t i = 0; hash_equal(subject, &m->subject) && i < m->referrers.len; i++) {
		struct descriptor copy;

		if (artifact_type &&
		    strcmp(artifact_type, m->referrers.items[i].artifact_type) != 0)
			continue;
		descriptor_copy(&copy, &m->referrers.items[i]);
		descriptors_take(ret, &copy);
	}
	return 0;
}

/* As a destination: keeps nothing but counts, and checks the order. */
static int memory_has_blob(struct image_dest *self, const struct descriptor *blob, struct err *err)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, &blob->digest);
	return find_thing(container_of(self, struct memory, dest), digest) != NULL;
}

static struct thing *add_thing(struct memory *m, struct slice bytes, const char *media_type,
			       const char *tag)
{
	struct thing *t;

	array_grow(m->things, m->cap, m->len + 1);
	t = &m->things[m->len++];
	*t = (struct thing){.bytes = BUF_INIT(64 << 20)};
	buf_add(&t->bytes, bytes.data, bytes.len);
	hash_bytes(&t->digest, HASH_SHA256, bytes.data, bytes.len);
	t->media_type = media_type ? strdup(media_type) : NULL;
	t->tag = tag ? strdup(tag) : NULL;
	return t;
}

static int memory_put_blob(struct image_dest *self, const struct descriptor *want,
			   struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	struct memory *m = container_of(self, struct memory, dest);
	cleanup_buf struct buf bytes = BUF_INIT(64 << 20);
	struct buf_sink to;
	int r;

	buf_sink_init(&to, &bytes);
	r = from->produce(from, &to.sink, err);
	if (r < 0)
		return r;
	add_thing(m, buf_slice(&bytes), NULL, NULL);
	return 0;
}

static int memory_put_manifest(struct image_dest *self, const struct manifest_bytes *manifest,
			       const char *tag, struct err *err)
{
	struct memory *m = container_of(self, struct memory, dest);
	cleanup_manifest struct manifest parsed = {0};

	/* Everything that it names was put before it. */
	assert_int_equal(
		manifest_parse(&parsed, manifest->media_type, buf_slice(&manifest->bytes), err), 0);
	for (size_t i = 0; i < parsed.manifests.len; i++)
		assert_int_equal(memory_has_blob(self, &parsed.manifests.items[i], err), 1);
	for (size_t i = 0; i < parsed.layers.len; i++)
		assert_int_equal(
			memory_has_blob(self, &parsed.layers.items[i], err),
			!media_type_is_nondistributable(parsed.layers.items[i].media_type));
	if (parsed.has_config)
		assert_int_equal(memory_has_blob(self, &parsed.config, err), 1);
	if (parsed.has_subject)
		assert_int_equal(memory_has_blob(self, &parsed.subject, err), 1);
	add_thing(m, buf_slice(&manifest->bytes), manifest->media_type, tag);
	return 0;
}

static void memory_init(struct memory *m)
{
	*m = (struct memory){.top = "top"};
	m->source = (struct image_source){.name = "memory",
					  .get_manifest = memory_get_manifest,
					  .get_blob = memory_get_blob,
					  .get_referrers = memory_get_referrers};
	m->dest = (struct image_dest){.name = "memory",
				      .has_blob = memory_has_blob,
				      .put_blob = memory_put_blob,
				      .put_manifest = memory_put_manifest};
}

static void memory_release(struct memory *m)
{
	for (size_t i = 0; i < m->len; i++) {
		buf_release(&m->things[i].bytes);
		free(m->things[i].media_type);
		free(m->things[i].tag);
	}
	free(m->things);
	descriptors_release(&m->referrers);
}

static struct descriptor describe(const struct thing *t, const char *media_type)
{
	struct descriptor d;

	descriptor_make(&d, media_type, &t->digest, t->bytes.len);
	return d;
}

static void add_manifest(struct memory *m, const struct manifest *manifest, const char *tag,
			 struct descriptor *ret)
{
	cleanup_buf struct buf bytes = BUF_INIT(MANIFEST_BYTES_MAX);

	assert_int_equal(manifest_build(&bytes, manifest), 0);
	*ret = describe(add_thing(m, buf_slice(&bytes), manifest->media_type, tag),
			manifest->media_type);
}

/* An image over given layers; with a subject if that is not NULL. */
static struct descriptor add_image(struct memory *m, const char *arch, const struct slice *layers,
				   const struct annotations *notes, size_t n,
				   const struct descriptor *subject, const char *tag)
{
	struct manifest image = {.media_type = strdup(MT_OCI_MANIFEST), .has_config = true};
	struct image_config config = {.architecture = (char *)arch, .os = (char *)"linux"};
	cleanup_buf struct buf json = {0};
	struct descriptor d;

	for (size_t i = 0; i < n; i++) {
		d = describe(add_thing(m, layers[i], NULL, NULL), MT_OCI_LAYER);
		if (notes)
			annotations_copy(&d.annotations, &notes[i]);
		descriptors_take(&image.layers, &d);
	}
	assert_int_equal(image_config_build(&json, &config), 0);
	image.config = describe(add_thing(m, buf_slice(&json), NULL, NULL), MT_OCI_CONFIG);
	if (subject) {
		image.has_subject = true;
		descriptor_copy(&image.subject, subject);
	}
	add_manifest(m, &image, tag, &d);
	manifest_release(&image);
	return d;
}

/* Takes over the members. */
static struct descriptor add_index(struct memory *m, struct descriptor *members, size_t n,
				   const char *tag)
{
	struct manifest index = {.media_type = strdup(MT_OCI_INDEX)};
	struct descriptor d;

	for (size_t i = 0; i < n; i++) {
		descriptor_copy(&d, &members[i]);
		descriptors_take(&index.manifests, &d);
	}
	add_manifest(m, &index, tag, &d);
	manifest_release(&index);
	return d;
}

static int copy(struct memory *from, struct memory *to, const struct transfer_options *o,
		struct transfer_result *ret, struct err *err)
{
	memory_init(to);
	return transfer_image(&from->source, &to->dest, "new", o, ret, err);
}

static void test_image_and_referrers(void **state)
{
	const struct slice layers[] = {slice_str("one"), slice_str("two")};
	const struct slice note[] = {slice_str("note")};
	const struct transfer_options all = {0}, bare = {.without_referrers = true};
	struct memory from, to;
	struct transfer_result result;
	struct descriptor image, referrer, gone;
	struct err err = ERR_INIT;
	struct hash h;

	memory_init(&from);
	image = add_image(&from, "amd64", layers, NULL, 2, NULL, "top");
	referrer = add_image(&from, "amd64", note, NULL, 1, &image, NULL);
	from.subject = image.digest;
	descriptors_take(&from.referrers, &referrer);
	/* The list names one that is gone: that is no failure. */
	hash_bytes(&h, HASH_SHA256, "gone", 4);
	descriptor_make(&gone, MT_OCI_MANIFEST, &h, 4);
	descriptors_take(&from.referrers, &gone);
	assert_ok(copy(&from, &to, &all, &result, &err), err);
	assert_int_equal(result.manifests, 2);
	assert_int_equal(result.referrers, 1);
	assert_true(hash_equal(&result.digest, &image.digest));
	assert_non_null(find_thing(&to, "new"));
	assert_int_equal(result.blobs_sent, 4); /* three layers and one config, which both share */
	assert_int_equal(result.blobs_present, 1);
	memory_release(&to);
	assert_ok(copy(&from, &to, &bare, &result, &err), err);
	assert_int_equal(result.manifests, 1);
	memory_release(&to);
	/* What takes images alone gets no referrers. */
	memory_init(&to);
	to.dest.images_only = true;
	assert_ok(transfer_image(&from.source, &to.dest, NULL, &all, &result, &err), err);
	assert_int_equal(result.manifests, 1);
	memory_release(&to);
	descriptor_release(&image);
	memory_release(&from);
}

/* Indexes that name the one below twice: without care, 2^n copies. */
static void test_diamonds(void **state)
{
	const struct slice layers[] = {slice_str("one")};
	const struct transfer_options all = {0};
	struct memory from, to;
	struct transfer_result result;
	struct descriptor members[2], next;
	struct err err = ERR_INIT;

	memory_init(&from);
	next = add_image(&from, "amd64", layers, NULL, 1, NULL, NULL);
	for (int i = 0; i < TRANSFER_DEPTH_MAX; i++) {
		members[0] = next;
		descriptor_copy(&members[1], &next);
		annotations_set(&members[1].annotations, "k", "v");
		next = add_index(&from, members, 2, i == TRANSFER_DEPTH_MAX - 1 ? "top" : NULL);
		descriptor_release(&members[0]);
		descriptor_release(&members[1]);
	}
	assert_ok(copy(&from, &to, &all, &result, &err), err);
	assert_int_equal(result.manifests, TRANSFER_DEPTH_MAX + 1);
	assert_int_equal(from.fetched, TRANSFER_DEPTH_MAX + 1);
	memory_release(&to);
	/* One more level is too deep. */
	members[0] = next;
	next = add_index(&from, members, 1, "deep");
	descriptor_release(&members[0]);
	descriptor_release(&next);
	from.top = "deep";
	assert_int_equal(copy(&from, &to, &all, &result, &err), E_LIMIT);
	assert_null(find_thing(&to, "new"));
	memory_release(&to);
	memory_release(&from);
}

static void test_platforms(void **state)
{
	const struct slice layers[] = {slice_str("one")};
	cleanup_platform struct platform arm = {0}, s390x = {0}, amd64 = {0};
	struct transfer_options o = {0};
	struct memory from, to;
	struct transfer_result result;
	struct descriptor members[2], top;
	struct err err = ERR_INIT;

	memory_init(&from);
	platform_parse(&arm, slice_str("linux/arm64"));
	platform_parse(&s390x, slice_str("linux/s390x"));
	platform_parse(&amd64, slice_str("linux/amd64"));
	members[0] = add_image(&from, "amd64", layers, NULL, 1, NULL, "amd64");
	members[1] = add_image(&from, "arm64", layers, NULL, 1, NULL, NULL);
	for (int i = 0; i < 2; i++) {
		members[i].has_platform = true;
		platform_copy(&members[i].platform, i ? &arm : &amd64);
	}
	top = add_index(&from, members, 2, "top");
	o.platform = &arm;
	assert_ok(copy(&from, &to, &o, &result, &err), err);
	assert_true(hash_equal(&result.digest, &members[1].digest));
	memory_release(&to);
	o.platform = &s390x;
	assert_int_equal(copy(&from, &to, &o, &result, &err), E_NOTFOUND);
	assert_non_null(strstr(err.text, "linux/amd64, linux/arm64"));
	memory_release(&to);
	/* An image that stands alone says in its config what it is for. */
	from.top = "amd64";
	o.platform = &amd64;
	err = ERR_INIT;
	assert_ok(copy(&from, &to, &o, &result, &err), err);
	memory_release(&to);
	o.platform = &arm;
	assert_int_equal(copy(&from, &to, &o, &result, &err), E_NOTFOUND);
	assert_int_equal(to.len, 0);
	memory_release(&to);
	descriptor_release(&members[0]);
	descriptor_release(&members[1]);
	descriptor_release(&top);
	memory_release(&from);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *type, *text;
		int code;
	} cases[] = {
		{"application/x", "{\"mediaType\":\"application/x\"}", E_UNSUPPORTED},
		{MT_OCI_MANIFEST, "{}", E_INVALID},
		{MT_OCI_MANIFEST,
		 "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"a/b\",\"size\":2,\"digest\":"
		 "\"" OCI_EMPTY_DIGEST "\"},\"layers\":[]}",
		 E_NOTFOUND},
		{MT_OCI_INDEX,
		 "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MT_OCI_MANIFEST
		 "\",\"size\":2,\"digest\":\"" OCI_EMPTY_DIGEST "\"}]}",
		 E_NOTFOUND},
	};
	const struct transfer_options all = {0};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct memory from, to;
		struct transfer_result result = {.manifests = 99};
		struct err err = ERR_INIT;

		memory_init(&from);
		add_thing(&from, slice_str(cases[i].text), cases[i].type, "top");
		assert_int_equal(copy(&from, &to, &all, &result, &err), cases[i].code);
		assert_int_equal(to.len, 0);
		assert_int_equal(result.manifests, 99);
		memory_release(&to);
		memory_release(&from);
	}
}

/* A descriptor whose size is not that of the manifest. */
static void test_wrong_size(void **state)
{
	const struct slice layers[] = {slice_str("one")};
	const struct transfer_options all = {0};
	struct memory from, to;
	struct transfer_result result;
	struct descriptor member, top;
	struct err err = ERR_INIT;

	memory_init(&from);
	member = add_image(&from, "amd64", layers, NULL, 1, NULL, NULL);
	member.size++;
	top = add_index(&from, &member, 1, "top");
	assert_int_equal(copy(&from, &to, &all, &result, &err), E_MISMATCH);
	memory_release(&to);
	descriptor_release(&member);
	descriptor_release(&top);
	memory_release(&from);
}

static void test_nondistributable(void **state)
{
	struct manifest image = {.media_type = strdup(MT_DOCKER_MANIFEST), .has_config = true};
	const struct transfer_options all = {0};
	struct memory from, to;
	struct transfer_result result;
	struct descriptor d;
	struct err err = ERR_INIT;
	struct hash h;

	memory_init(&from);
	hash_bytes(&h, HASH_SHA256, "far away", 8);
	descriptor_make(&d, MT_DOCKER_FOREIGN_GZIP, &h, 8);
	strv_add(&d.urls, "https://far.example/layer");
	descriptors_take(&image.layers, &d);
	image.config = describe(add_thing(&from, slice_str("{}"), NULL, NULL), MT_DOCKER_CONFIG);
	add_manifest(&from, &image, "top", &d);
	assert_ok(copy(&from, &to, &all, &result, &err), err);
	assert_int_equal(result.blobs_sent, 1);
	memory_release(&to);
	descriptor_release(&d);
	manifest_release(&image);
	memory_release(&from);
}

/* ---- Store paths out of an image ----------------------------------------------------------------- */

#define BASE_A "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a-one"
#define BASE_B "1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b-two"

/* The canonical layer of one path that is a file. */
static void make_layer(struct buf *ret, const char *store_dir, const char *base,
		       const char *content)
{
	struct tar_writer *w;
	struct buf_sink to;
	struct node_event ev = {.type = NODE_REGULAR, .size = strlen(content)};
	struct err err = ERR_INIT;

	buf_sink_init(&to, ret);
	w = tar_writer_new(&to.sink, store_dir);
	assert_ok(tar_writer_preamble(w, &err), err);
	assert_ok(tar_writer_path(w, base, &err), err);
	assert_ok(node_sink_event(tar_writer_node_sink(w), &ev, &err), err);
	ev.type = NODE_CONTENT;
	ev.data = slice_str(content);
	assert_ok(node_sink_event(tar_writer_node_sink(w), &ev, &err), err);
	ev.type = NODE_REGULAR_END;
	assert_ok(node_sink_event(tar_writer_node_sink(w), &ev, &err), err);
	assert_ok(node_sink_event(tar_writer_node_sink(w), &(struct node_event){.type = NODE_END},
				  &err),
		  err);
	assert_ok(tar_writer_trailer(w, &err), err);
	tar_writer_free(w);
}

static int open_paths(struct memory *m, struct path_source **ret, struct err *err)
{
	const struct image_paths_options o = {0};

	return image_paths_open(ret, &m->source, &o, err);
}

static void test_paths(void **state)
{
	cleanup_buf struct buf a = {0}, b = {0};
	struct memory m;
	struct descriptor d;
	cleanup_path_source struct path_source *s = NULL;
	cleanup_path_infos struct path_infos set = {0}, closed = {0};
	struct err err = ERR_INIT;
	struct path_info found = {0};
	struct store_path path;

	make_layer(&a, "/nix/store", BASE_A, "content");
	make_layer(&b, "/nix/store", BASE_B, "refers to /nix/store/" BASE_A " and itself " BASE_B);
	memory_init(&m);
	const struct slice layers[] = {buf_slice(&b), slice_str("an ordinary layer"), buf_slice(&a),
				       buf_slice(&a)};
	d = add_image(&m, "amd64", layers, NULL, 4, NULL, "top");
	assert_ok(open_paths(&m, &s, &err), err);
	assert_string_equal(s->store_dir, "/nix/store");
	image_paths_all(s, &set);
	assert_int_equal(set.len, 2);
	assert_int_equal(set.items[0].references.len, 0);
	/* Found in the content. */
	assert_int_equal(set.items[1].references.len, 2);
	assert_string_equal(set.items[1].references.items[0], BASE_A);
	assert_ok(store_path_parse_any(&path, slice_str("/nix/store/" BASE_B)), err);
	assert_ok(s->closure(s, &path, &closed, &err), err);
	assert_int_equal(closed.len, 2);
	assert_ok(s->query(s, store_path_hash_part(&path), &found, &err), err);
	assert_int_equal(found.nar_size, set.items[1].nar_size);
	path_info_release(&found);
	assert_int_equal(s->query(s, slice_str("00000000000000000000000000000000"), &found, &err),
			 E_NOTFOUND);
	descriptor_release(&d);
	memory_release(&m);
}

/* What a source of store paths must not swallow. */
static void test_bad_paths(void **state)
{
	cleanup_buf struct buf a = {0}, other = {0}, gnu = {0}, broken = {0}, needs = {0};
	struct err err = ERR_INIT;

	make_layer(&a, "/nix/store", BASE_A, "content");
	make_layer(&other, "/nix/store", BASE_A, "another content");
	make_layer(&gnu, "/gnu/store", BASE_B, "content");
	make_layer(&broken, "/nix/store", BASE_B, "content");
	broken.data[512 * 2 + 108] = '1'; /* the owner of the file */
	const struct {
		struct slice layers[2];
		int code;
		const char *says;
	} cases[] = {
		{{buf_slice(&a), buf_slice(&other)}, E_CONFLICT, "two contents"},
		{{buf_slice(&a), buf_slice(&gnu)}, E_CONFLICT, "two stores"},
		{{slice_str("x"), buf_slice(&broken)}, E_NOTFOUND, "no store path"},
		{{slice_str("x"), slice_make(a.data, a.len - 512)}, E_NOTFOUND, "no store path"},
		{{slice_str(""), slice_str("\x1f\x8b\x08garbage garbage")}, E_INVALID, "gzip"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct memory m;
		struct descriptor d;
		struct path_source *s = NULL;
		int r;

		memory_init(&m);
		d = add_image(&m, "amd64", cases[i].layers, NULL, 2, NULL, "top");
		err = ERR_INIT;
		r = open_paths(&m, &s, &err);
		if (r != cases[i].code || !strstr(err.text, cases[i].says))
			fail_msg("%zu: %d %s", i, r, err.text);
		descriptor_release(&d);
		memory_release(&m);
	}
}

/* Annotations count for the content that they name; path infos only if they agree with it. */
static void test_said(void **state)
{
	cleanup_buf struct buf a = {0}, b = {0}, infos = {0};
	struct annotations notes[2] = {0};
	struct memory m;
	struct descriptor image, layer, referrer;
	struct manifest r = {.media_type = strdup(MT_OCI_MANIFEST),
			     .has_config = true,
			     .artifact_type = strdup(MT_NIX_PATH_INFOS),
			     .has_subject = true};
	cleanup_path_source struct path_source *s = NULL;
	cleanup_path_infos struct path_infos set = {0}, said = {0};
	static const size_t zero = 0;
	struct err err = ERR_INIT;

	make_layer(&a, "/nix/store", BASE_A, "content");
	make_layer(&b, "/nix/store", BASE_B, "content");
	/* First, to know the NarHash. */
	memory_init(&m);
	const struct slice layers[] = {buf_slice(&a), buf_slice(&b)};
	image = add_image(&m, "amd64", layers, NULL, 2, NULL, "top");
	assert_ok(open_paths(&m, &s, &err), err);
	image_paths_all(s, &said);
	path_source_free(take_ptr(s));
	descriptor_release(&image);
	memory_release(&m);

	/* The layer of A claims a reference to B; that of B, another content. */
	strv_add(&said.items[0].references, BASE_B);
	strv_add(&said.items[1].references, BASE_A);
	image_annotate_layer(&notes[0], &said, &zero, 1, true);
	said.items[1].nar_hash.bytes[0] ^= 1;
	struct path_infos second = {.items = &said.items[1], .len = 1};
	image_annotate_layer(&notes[1], &second, &zero, 1, true);
	/* Path infos: a signature for A that agrees, one for B that does not. */
	strv_add(
		&said.items[0].signatures,
		"k:"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		"AAAA==");
	strv_add(&said.items[1].signatures, said.items[0].signatures.items[0]);
	assert_int_equal(path_infos_format(&infos, &said), 0);
	memory_init(&m);
	image = add_image(&m, "amd64", layers, notes, 2, NULL, "top");
	r.config = describe(add_thing(&m, slice_str("{}"), NULL, NULL), MT_OCI_EMPTY);
	layer = describe(add_thing(&m, buf_slice(&infos), NULL, NULL), MT_NIX_NARINFO);
	descriptors_take(&r.layers, &layer);
	descriptor_copy(&r.subject, &image);
	add_manifest(&m, &r, NULL, &referrer);
	referrer.artifact_type = strdup(MT_NIX_PATH_INFOS);
	m.subject = image.digest;
	descriptors_take(&m.referrers, &referrer);
	/* Another that tells other references of A: its signature is for something else. */
	cleanup_buf struct buf others = {0};
	strv_add(&said.items[0].references, BASE_A);
	strv_sort_unique(&said.items[0].references);
	said.items[0].signatures.items[0][0] = 'o';
	assert_int_equal(path_infos_format(&others, &said), 0);
	descriptor_release(&r.layers.items[0]);
	r.layers.items[0] = describe(add_thing(&m, buf_slice(&others), NULL, NULL), MT_NIX_NARINFO);
	add_manifest(&m, &r, NULL, &referrer);
	referrer.artifact_type = strdup(MT_NIX_PATH_INFOS);
	descriptors_take(&m.referrers, &referrer);
	/* And one that is malformed: it adds nothing. */
	referrer =
		describe(add_thing(&m, slice_str("{ }"), MT_OCI_MANIFEST, NULL), MT_OCI_MANIFEST);
	referrer.artifact_type = strdup(MT_NIX_PATH_INFOS);
	descriptors_take(&m.referrers, &referrer);
	assert_ok(open_paths(&m, &s, &err), err);
	image_paths_all(s, &set);
	assert_int_equal(set.len, 2);
	assert_int_equal(set.items[0].references.len, 1);
	assert_string_equal(set.items[0].references.items[0], BASE_B);
	assert_int_equal(set.items[0].signatures.len, 1);
	assert_int_equal(set.items[0].signatures.items[0][0], 'k');
	assert_int_equal(set.items[1].references.len, 0);
	assert_int_equal(set.items[1].signatures.len, 0);
	annotations_release(&notes[0]);
	annotations_release(&notes[1]);
	manifest_release(&r);
	descriptor_release(&image);
	memory_release(&m);
}

static void test_places(void **state)
{
	static const struct {
		const char *text, *where; /* NULL: no place of Nix */
		bool cache;
	} cases[] = {
		{"http://x/y", "http://x/y", true},
		{"https://x", "https://x", true},
		{"file:///x", "file:///x", true},
		{"/", "/", false},
		{"/some/root", "/some/root", false},
		{"local:", "/", false},
		{"local:/r", "/r", false},
		{"oci:/x", NULL, false},
		{"docker://x", NULL, false},
		{"x", NULL, false},
		{"", NULL, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct nix_place p;

		assert_int_equal(nix_place_parse(&p, cases[i].text), cases[i].where != NULL);
		if (!cases[i].where)
			continue;
		assert_string_equal(p.where, cases[i].where);
		assert_int_equal(p.cache, cases[i].cache);
	}
}

static void test_transport_texts(void **state)
{
	static const struct {
		const char *text;
		bool dest;
		const char *says;
	} bad[] = {
		{"ftp://x", false, "names no image"},
		{"x/y", true, "names no image"},
		{"", false, "is not the name"},
		{"UPPER", false, "is not the name"},
		{"docker://", false, "is not the name"},
		{"oci:", false, "path is missing"},
		{"oci::t", false, "path is missing"},
		{"oci:x:", false, "tag behind the ':' is missing"},
		{"oci-archive:", true, "path is missing"},
		{"oci:x@" OCI_EMPTY_DIGEST, true, "not by a digest"},
		{"docker://x@" OCI_EMPTY_DIGEST, true, "not by a digest"},
	};
	const struct transport_options o = {0};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct image_source *s = NULL;
		struct image_dest *d = NULL;
		char *tag = NULL;
		struct err err = ERR_INIT;
		int r = bad[i].dest ? transport_open_dest(&d, &tag, bad[i].text, &o, &err)
				    : transport_open_source(&s, bad[i].text, &o, &err);

		if (r != E_USAGE || !strstr(err.text, bad[i].says))
			fail_msg("'%s': %d %s", bad[i].text, r, err.text);
	}
	assert_true(transport_is_image("oci-archive:x"));
	assert_false(transport_is_image("http://x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image_and_referrers),
		cmocka_unit_test(test_diamonds),
		cmocka_unit_test(test_platforms),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_wrong_size),
		cmocka_unit_test(test_nondistributable),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_bad_paths),
		cmocka_unit_test(test_said),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_transport_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
