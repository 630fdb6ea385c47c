/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nacre 4, 4.2: config and manifest of an image of store paths. */
#include <nacre/encode.h>
#include <nacre/image.h>

#include "base/mem.h"

/* The last second of the year 9999: RFC 3339 has no more. */
#define EPOCH_MAX 253402300799ull

enum {
	MANIFEST_WITH_REFERENCES_MAX = 4 << 20, /* what every registry takes */
	CREATED_TEXT = 40,
};

const char *image_layer_media_type(enum image_compression c)
{
	static const char *const types[] = {[IMAGE_ZSTD] = MT_OCI_LAYER_ZSTD,
					    [IMAGE_NONE] = MT_OCI_LAYER,
					    [IMAGE_GZIP] = MT_OCI_LAYER_GZIP};

	return types[c];
}

int image_created(char **ret, struct err *err)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	uint64_t seconds;
	char text[CREATED_TEXT];
	struct tm tm;
	time_t t;

	if (!epoch || !epoch[0]) {
		*ret = xstrdup(IMAGE_CREATED_DEFAULT);
		return 0;
	}
	if (parse_u64(&seconds, slice_str(epoch)) < 0 || seconds > EPOCH_MAX)
		return err_set(
			err, E_USAGE,
			"SOURCE_DATE_EPOCH is '%.40s': it must be seconds since 1970, or unset",
			epoch);
	t = (time_t)seconds;
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	*ret = xstrdup(text);
	return 0;
}

static void describe_layers(struct image_config *config, const struct image_parts *parts)
{
	cleanup_free char *created =
		xstrdup(config->created ? config->created : IMAGE_CREATED_DEFAULT);
	char by[] = "nacre";
	struct image_history history = {.created = created, .created_by = by};

	for (size_t i = 0; i < parts->n_layers; i++) {
		image_config_add_diff_id(config, &parts->layers[i].diff_id);
		image_config_add_history(config, &history);
	}
}

static void add_layers(struct manifest *m, const struct image_parts *parts, bool with_references)
{
	for (size_t i = 0; i < parts->n_layers; i++) {
		const struct image_layer *layer = &parts->layers[i];
		struct descriptor d;

		descriptor_make(&d, image_layer_media_type(parts->compression), &layer->blob.digest,
				layer->blob.size);
		image_annotate_layer(&d.annotations, parts->set, layer->paths, layer->n_paths,
				     with_references);
		descriptors_take(&m->layers, &d);
	}
}

static int build_manifest(struct buf *ret_bytes, struct manifest *ret, const struct buf *config,
			  const struct image_parts *parts, bool with_references)
{
	cleanup_manifest struct manifest m = {
		.kind = MANIFEST_IMAGE,
		.media_type = xstrdup(MT_OCI_MANIFEST),
		.has_config = true,
	};
	struct hash digest;
	int r;

	hash_bytes(&digest, HASH_SHA256, config->data, config->len);
	descriptor_make(&m.config, MT_OCI_CONFIG, &digest, config->len);
	add_layers(&m, parts, with_references);
	r = manifest_build(ret_bytes, &m);
	if (r < 0)
		return r;
	*ret = m;
	m = (struct manifest){0};
	return 0;
}

int image_assemble(struct buf *ret_config, struct buf *ret_bytes, struct manifest *ret,
		   struct image_config *config, const struct image_parts *parts, struct err *err)
{
	cleanup_buf struct buf with = BUF_INIT(MANIFEST_WITH_REFERENCES_MAX);
	int r;

	describe_layers(config, parts);
	r = image_config_build(ret_config, config);
	if (r < 0)
		return err_set(
			err, r,
			"the image's configuration is too large, or has text that is not UTF-8");
	r = build_manifest(&with, ret, ret_config, parts, true);
	if (r == 0)
		r = buf_add(ret_bytes, with.data, with.len);
	else if (r == E_LIMIT)
		r = build_manifest(ret_bytes, ret, ret_config, parts, false);
	return r < 0 ? err_set(err, r, "the image has too many paths for one manifest") : 0;
}
