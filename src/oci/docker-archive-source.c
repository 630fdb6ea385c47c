/* SPDX-License-Identifier: Apache-2.0 */
/* An image in a docker-archive, offered as an OCI manifest over its uncompressed layers: the only
 * names that such an archive has for them are the diffIDs. */
#include "base/mem.h"
#include "codec/codec.h"
#include "oci/docker-archive.h"
#include "oci/oci-internal.h"
#include "oci/tar-file.h"
#include "oci/unpack.h"

struct layer {
	struct hash diff_id;
	uint64_t size; /* bytes, uncompressed */
	const struct tar_member *member;
};

struct docker_source {
	struct image_source source;
	char *name; /* owned */
	struct tar_file tar;
	struct buf config;
	struct hash config_digest;
	struct layer *layers; /* owned */
	size_t n_layers;
	struct buf manifest;
	struct hash manifest_digest;
};

static struct docker_source *from_source(struct image_source *self)
{
	return container_of(self, struct docker_source, source);
}

static int get_manifest(struct image_source *self, const char *ref, struct manifest_bytes *ret,
			struct err *err)
{
	struct docker_source *s = from_source(self);
	struct hash digest;

	if (ref && (digest_parse(&digest, slice_str(ref)) < 0 ||
		    !hash_equal(&digest, &s->manifest_digest)))
		return err_set(err, E_NOTFOUND, "%s: there is no manifest '%.200s' in it", s->name,
			       ref);
	ret->bytes = BUF_INIT(MANIFEST_BYTES_MAX);
	buf_add(&ret->bytes, s->manifest.data, s->manifest.len);
	ret->media_type = xstrdup(MT_OCI_MANIFEST);
	ret->digest = s->manifest_digest;
	return 0;
}

/* Unpacks a layer and proves it. */
static int read_layer(struct docker_source *s, const struct layer *layer, int64_t size,
		      struct sink *out, uint64_t *ret_size, struct err *err)
{
	cleanup_verify_sink struct verify_sink verify = {0};
	cleanup_unpack_sink struct unpack_sink unpack = {0};
	int r;

	verify_sink_init(&verify, &layer->diff_id, size, out);
	unpack_sink_init(&unpack, &verify.sink);
	r = tar_file_read(&s->tar, layer->member, &unpack.sink, err);
	if (r >= 0)
		r = sink_finish(&unpack.sink, err);
	if (r < 0)
		return err_wrap(err, "%s: layer %.200s", s->name, layer->member->name);
	*ret_size = verify.bytes;
	return 0;
}

static int get_blob(struct image_source *self, const struct descriptor *blob, struct sink *out,
		    struct err *err)
{
	struct docker_source *s = from_source(self);
	char digest[DIGEST_TEXT_MAX];
	uint64_t size;
	int r;

	if (hash_equal(&blob->digest, &s->config_digest)) {
		r = sink_write(out, s->config.data, s->config.len, err);
		return r < 0 ? r : sink_finish(out, err);
	}
	for (size_t i = 0; i < s->n_layers; i++)
		if (hash_equal(&blob->digest, &s->layers[i].diff_id))
			return read_layer(s, &s->layers[i], (int64_t)blob->size, out, &size, err);
	digest_format(digest, &blob->digest);
	return err_set(err, E_NOTFOUND, "%s: there is no blob %s in it", s->name, digest);
}

static void free_source(struct image_source *self)
{
	struct docker_source *s = from_source(self);

	tar_file_release(&s->tar);
	buf_release(&s->config);
	buf_release(&s->manifest);
	free(s->layers);
	free(s->name);
	free(s);
}

/* Finds a layer and how large it is uncompressed: for a compressed one, by unpacking it. */
static int find_layer(struct docker_source *s, const char *name, struct layer *layer,
		      struct err *err)
{
	uint8_t head[8];
	int r = tar_file_find(&s->tar, name, &layer->member, err);

	if (r >= 0)
		r = tar_file_peek(&s->tar, layer->member, head, sizeof(head), err);
	if (r < 0)
		return err_wrap(err, "%s", s->name);
	layer->size = layer->member->size;
	if (codec_sniff(slice_make(head, (size_t)r)) == CODEC_NONE)
		return 0;
	return read_layer(s, layer, DIGEST_SIZE_UNKNOWN, NULL, &layer->size, err);
}

static int find_layers(struct docker_source *s, const struct docker_image *image,
		       const struct image_config *config, struct err *err)
{
	if (config->n_diff_ids != image->layers.len)
		return err_set(err, E_INVALID,
			       "%s: manifest.json names %zu layers, the configuration %zu", s->name,
			       image->layers.len, config->n_diff_ids);
	s->layers = xcalloc(image->layers.len + 1, sizeof(*s->layers));
	for (size_t i = 0; i < image->layers.len; i++) {
		int r;

		s->layers[i].diff_id = config->diff_ids[i];
		r = find_layer(s, image->layers.items[i], &s->layers[i], err);
		if (r < 0)
			return r;
		s->n_layers = i + 1;
	}
	return 0;
}

static int make_manifest(struct docker_source *s, struct err *err)
{
	cleanup_manifest struct manifest m = {.has_config = true};
	int r;

	m.media_type = xstrdup(MT_OCI_MANIFEST);
	descriptor_make(&m.config, MT_OCI_CONFIG, &s->config_digest, s->config.len);
	for (size_t i = 0; i < s->n_layers; i++) {
		struct descriptor d;

		descriptor_make(&d, MT_OCI_LAYER, &s->layers[i].diff_id, s->layers[i].size);
		descriptors_take(&m.layers, &d);
	}
	s->manifest = BUF_INIT(MANIFEST_BYTES_MAX);
	r = manifest_build(&s->manifest, &m);
	if (r < 0)
		return err_set(err, r, "%s: its manifest would be too large", s->name);
	hash_bytes(&s->manifest_digest, HASH_SHA256, s->manifest.data, s->manifest.len);
	return 0;
}

static int load(struct docker_source *s, const char *image_name, struct err *err)
{
	cleanup_docker_images struct docker_images images = {0};
	cleanup_image_config struct image_config config = {0};
	cleanup_buf struct buf text = BUF_INIT(DOCKER_MANIFEST_MAX);
	const struct docker_image *image;
	int r = tar_file_read_small(&s->tar, "manifest.json", DOCKER_MANIFEST_MAX, &text, err);

	if (r == E_NOTFOUND)
		return err_set(err, E_INVALID,
			       "%s: is not an archive of docker save: has no manifest.json",
			       s->name);
	if (r >= 0)
		r = docker_images_parse(&images, buf_slice(&text), err);
	if (r >= 0)
		r = docker_images_find(&images, image_name, &image, err);
	s->config = BUF_INIT(IMAGE_CONFIG_BYTES_MAX);
	if (r >= 0)
		r = tar_file_read_small(&s->tar, image->config, IMAGE_CONFIG_BYTES_MAX, &s->config,
					err);
	if (r >= 0)
		r = image_config_parse(&config, buf_slice(&s->config), err);
	if (r < 0)
		return err_wrap(err, "%s", s->name);
	hash_bytes(&s->config_digest, HASH_SHA256, s->config.data, s->config.len);
	r = find_layers(s, image, &config, err);
	return r < 0 ? r : make_manifest(s, err);
}

int image_docker_archive_source(struct image_source **ret, const char *file, const char *name,
				struct err *err)
{
	struct docker_source *s = xcalloc(1, sizeof(*s));
	int r;

	s->name = xstrdup(file);
	s->source = (struct image_source){.name = s->name,
					  .get_manifest = get_manifest,
					  .get_blob = get_blob,
					  .free = free_source};
	r = tar_file_open(&s->tar, file, err);
	if (r < 0)
		s->tar.fd = -1;
	else
		r = load(s, name, err);
	if (r < 0) {
		free_source(&s->source);
		return r;
	}
	*ret = &s->source;
	return 0;
}
