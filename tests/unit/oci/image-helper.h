/* SPDX-License-Identifier: Apache-2.0 */
/* A small image to put into destinations and to find in sources. */
#ifndef NACRE_TESTS_IMAGE_HELPER_H
#define NACRE_TESTS_IMAGE_HELPER_H

#include "../unit.h"

#include <nacre/reference.h>
#include <nacre/transport.h>

#include "base/fs.h"
#include "base/mem.h"
#include "codec/codec.h"

/* Two "layers": no tars, but nothing here looks into them. */
#define LAYER1 "the first layer"
#define LAYER2 "the second layer, which is longer than the first"

struct test_image {
	struct manifest_bytes manifest;
	struct buf config;
	struct buf layers[2]; /* as they are named: perhaps compressed */
	struct manifest parsed;
};

__attribute__((unused)) static void compress(struct buf *ret, enum codec codec, const char *text)
{
	struct buf_sink to;
	struct sink *encoder;
	struct err err = ERR_INIT;

	buf_sink_init(&to, ret);
	assert_ok(encoder_new(&encoder, codec, 0, &to.sink, &err), err);
	assert_ok(sink_write(encoder, text, strlen(text), &err), err);
	assert_ok(sink_finish(encoder, &err), err);
	encoder_free(encoder);
}

__attribute__((unused)) static void test_image_make(struct test_image *ret, const char *label,
						    enum codec codec)
{
	static const char *const content[] = {LAYER1, LAYER2};
	struct image_config config = {.architecture = (char *)"amd64", .os = (char *)"linux"};
	struct manifest m = {.media_type = strdup(MT_OCI_MANIFEST), .has_config = true};
	struct hash h;

	*ret = (struct test_image){0};
	for (size_t i = 0; i < 2; i++) {
		struct descriptor d;

		hash_bytes(&h, HASH_SHA256, content[i], strlen(content[i]));
		image_config_add_diff_id(&config, &h);
		if (codec == CODEC_NONE)
			buf_add_str(&ret->layers[i], content[i]);
		else
			compress(&ret->layers[i], codec, content[i]);
		hash_bytes(&h, HASH_SHA256, ret->layers[i].data, ret->layers[i].len);
		descriptor_make(&d, codec == CODEC_NONE ? MT_OCI_LAYER : MT_OCI_LAYER_GZIP, &h,
				ret->layers[i].len);
		descriptors_take(&m.layers, &d);
	}
	annotations_set(&config.labels, "label", label);
	assert_int_equal(image_config_build(&ret->config, &config), 0);
	config.architecture = config.os = NULL;
	image_config_release(&config);
	hash_bytes(&h, HASH_SHA256, ret->config.data, ret->config.len);
	descriptor_make(&m.config, MT_OCI_CONFIG, &h, ret->config.len);
	assert_int_equal(manifest_build(&ret->manifest.bytes, &m), 0);
	hash_bytes(&ret->manifest.digest, HASH_SHA256, ret->manifest.bytes.data,
		   ret->manifest.bytes.len);
	ret->manifest.media_type = strdup(MT_OCI_MANIFEST);
	ret->parsed = m;
}

__attribute__((unused)) static void test_image_release(struct test_image *t)
{
	manifest_bytes_release(&t->manifest);
	manifest_release(&t->parsed);
	buf_release(&t->config);
	buf_release(&t->layers[0]);
	buf_release(&t->layers[1]);
}

/* Puts the blobs and the manifest, without finishing. */
__attribute__((unused)) static int test_image_put(const struct test_image *t, struct image_dest *d,
						  const char *tag, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < 2 && r >= 0; i++)
		r = image_put_blob_bytes(d, t->parsed.layers.items[i].media_type,
					 buf_slice(&t->layers[i]), NULL, err);
	if (r >= 0)
		r = image_put_blob_bytes(d, MT_OCI_CONFIG, buf_slice(&t->config), NULL, err);
	return r < 0 ? r : image_put_manifest(d, &t->manifest, tag, err);
}

/* Is exactly this image there under `ref`? */
__attribute__((unused)) static void test_image_check(const struct test_image *t,
						     struct image_source *s, const char *ref)
{
	cleanup_manifest_bytes struct manifest_bytes m = {0};
	struct err err = ERR_INIT;

	assert_ok(image_get_manifest(s, ref, &m, &err), err);
	assert_string_equal(m.media_type, MT_OCI_MANIFEST);
	assert_true(hash_equal(&m.digest, &t->manifest.digest));
	assert_int_equal(m.bytes.len, t->manifest.bytes.len);
	assert_memory_equal(m.bytes.data, t->manifest.bytes.data, m.bytes.len);
	for (size_t i = 0; i < 2; i++) {
		cleanup_buf struct buf layer = {0};

		assert_ok(image_get_blob_bytes(s, &t->parsed.layers.items[i], 4096, &layer, &err),
			  err);
		assert_true(slice_equal(buf_slice(&layer), buf_slice(&t->layers[i])));
	}
}

struct failing_producer {
	struct blob_producer producer;
	const char *before;
};
__attribute__((unused)) static int produce_and_fail(struct blob_producer *self, struct sink *out,
						    struct err *err)
{
	struct failing_producer *p = container_of(self, struct failing_producer, producer);
	int r = sink_write(out, p->before, strlen(p->before), err);

	return r < 0 ? r : err_set(err, E_NET, "the line is dead");
}

struct text_producer {
	struct blob_producer producer;
	const char *text;
};
__attribute__((unused)) static int produce_text(struct blob_producer *self, struct sink *out,
						struct err *err)
{
	struct text_producer *p = container_of(self, struct text_producer, producer);

	return sink_write(out, p->text, strlen(p->text), err);
}

/* What every destination must refuse, and leave no trace of. */
__attribute__((unused)) static void check_bad_blobs(struct image_dest *d)
{
	struct failing_producer failing = {{produce_and_fail}, "some"};
	struct text_producer text = {{produce_text}, "content"};
	cleanup_descriptor struct descriptor want = {0};
	struct err err = ERR_INIT;
	struct blob_id id = {.size = 99};
	struct hash h;

	hash_bytes(&h, HASH_SHA256, "content", 7);
	descriptor_make(&want, MT_OCI_LAYER, &h, 7);
	assert_int_equal(image_put_blob(d, &want, &failing.producer, &id, &err), E_NET);
	assert_int_equal(image_has_blob(d, &want, &err), 0);
	text.text = "contend";
	assert_int_equal(image_put_blob(d, &want, &text.producer, &id, &err), E_MISMATCH);
	text.text = "content and more";
	assert_int_equal(image_put_blob(d, &want, &text.producer, &id, &err), E_MISMATCH);
	text.text = "con";
	assert_int_equal(image_put_blob(d, &want, &text.producer, &id, &err), E_MISMATCH);
	assert_int_equal(image_has_blob(d, &want, &err), 0);
	assert_int_equal(id.size, 99);
	text.text = "content";
	err = ERR_INIT;
	assert_ok(image_put_blob(d, &want, &text.producer, &id, &err), err);
	assert_int_equal(id.size, 7);
	assert_true(hash_equal(&id.digest, &h));
	assert_int_equal(image_has_blob(d, &want, &err), 1);
	/* A digest that is not known yet. */
	want.digest = (struct hash){0};
	want.size = 0;
	text.text = "unknown";
	assert_ok(image_put_blob(d, &want, &text.producer, &id, &err), err);
	hash_bytes(&h, HASH_SHA256, "unknown", 7);
	assert_true(hash_equal(&id.digest, &h));
	want.digest = h;
	want.size = 7;
	assert_int_equal(image_has_blob(d, &want, &err), 1);
}

#endif
