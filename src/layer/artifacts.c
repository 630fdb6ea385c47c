/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nacre 4 (the referrer that carries path infos) and 5 (package artifacts). */
#include <inttypes.h>

#include <nacre/image.h>
#include <nacre/json.h>

#include "base/mem.h"

int path_infos_format(struct buf *ret, const struct path_infos *set)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < set->len; i++) {
		char url[HASH_TEXT_MAX + 16] = "nar/", compression[] = "none";
		/* Borrows everything from the set: never released. */
		struct narinfo n = {
			.info = set->items[i],
			.url = url,
			.compression = compression,
		};

		hash_format_bare(url + 4, &n.info.nar_hash, HASH_NIX32);
		memcpy(url + strlen(url), ".nar", sizeof(".nar"));
		r = narinfo_format(ret, &n);
	}
	return r;
}

/* Where the next narinfo begins: at a line "StorePath: …" that is not the first. */
static size_t narinfo_length(struct slice text)
{
	static const char begin[] = "\nStorePath: ";
	const uint8_t *next = memmem(text.data, text.len, begin, sizeof(begin) - 1);

	return next ? (size_t)(next - text.data) + 1 : text.len;
}

/* SPEC nacre 4: they are sorted, so each goes behind the others. In any other order each would move all that are there. */
static int take_narinfo(struct path_infos *set, const char *store_dir, struct slice text,
			struct err *err)
{
	cleanup_narinfo struct narinfo n = {0};
	int r = narinfo_parse(&n, store_dir, text, err);

	if (r < 0)
		return r;
	if (set->len && strcmp(set->items[set->len - 1].path.text, n.info.path.text) >= 0)
		return err_set(err, E_INVALID, "%s does not sort behind %s", n.info.path.text,
			       set->items[set->len - 1].path.text);
	path_infos_take(set, &n.info);
	return 0;
}

int path_infos_parse(struct path_infos *ret, const char *store_dir, struct slice text,
		     struct err *err)
{
	struct path_infos set = {0};

	while (text.len) {
		size_t len = narinfo_length(text);

		if (take_narinfo(&set, store_dir, slice_make(text.data, len), err) < 0) {
			err_wrap(err, "path info %zu", set.len);
			path_infos_release(&set);
			return err->code;
		}
		slice_advance(&text, len);
	}
	*ret = set;
	return 0;
}

static void set_empty_config(struct manifest *m)
{
	struct hash digest;

	hash_bytes(&digest, HASH_SHA256, OCI_EMPTY_JSON, strlen(OCI_EMPTY_JSON));
	m->has_config = true;
	descriptor_make(&m->config, MT_OCI_EMPTY, &digest, strlen(OCI_EMPTY_JSON));
}

static void add_layer(struct manifest *m, const char *media_type, const struct named_bytes *layer)
{
	struct descriptor d;

	descriptor_make(&d, media_type, &layer->digest, layer->size);
	descriptors_take(&m->layers, &d);
}

int path_infos_manifest(struct buf *ret, const struct descriptor *subject,
			const struct named_bytes *layer)
{
	cleanup_manifest struct manifest m = {
		.kind = MANIFEST_IMAGE,
		.media_type = xstrdup(MT_OCI_MANIFEST),
		.artifact_type = xstrdup(MT_NIX_PATH_INFOS),
		.has_subject = true,
	};

	set_empty_config(&m);
	/* Only what says which manifest it is: the subject's own annotations are not ours to
	 * repeat. */
	descriptor_make(&m.subject, subject->media_type, &subject->digest, subject->size);
	add_layer(&m, MT_NIX_NARINFO, layer);
	return manifest_build(ret, &m);
}

int package_config(struct buf *ret, const struct path_info *info)
{
	cleanup_json json_t *references = json_array();
	cleanup_json json_t *config = NULL;
	char hash[HASH_TEXT_MAX];

	for (size_t i = 0; i < info->references.len; i++)
		json_array_append_new(references, json_string(info->references.items[i]));
	hash_format(hash, &info->nar_hash, HASH_NIX32);
	config = json_pack("{s:s%, s:s, s:s, s:I, s:O}", "storeDir", info->path.text,
			   (size_t)info->path.dir_len, "path", info->path.text, "narHash", hash,
			   "narSize", (json_int_t)info->nar_size, "references", references);
	return config ? json_canonical(ret, config) : E_INVALID;
}

int package_manifest(struct buf *ret, const struct path_info *info,
		     const struct named_bytes *config, const char *layer_media_type,
		     const struct named_bytes *layer)
{
	cleanup_manifest struct manifest m = {
		.kind = MANIFEST_IMAGE,
		.media_type = xstrdup(MT_OCI_MANIFEST),
		.artifact_type = xstrdup(MT_NIX_PACKAGE),
		.has_config = true,
	};
	static const size_t first = 0;
	struct path_infos set = {.items = (struct path_info *)(uintptr_t)info, .len = 1};

	descriptor_make(&m.config, MT_NIX_PACKAGE_CONFIG, &config->digest, config->size);
	add_layer(&m, layer_media_type, layer);
	/* The descriptor that images of this path use, so that it means the same everywhere. */
	if (media_type_is_layer(layer_media_type))
		image_annotate_layer(&m.layers.items[0].annotations, &set, &first, 1, true);
	return manifest_build(ret, &m);
}

static int parse_config_fields(struct path_info *info, const json_t *json, struct err *err)
{
	const char *dir, *path, *hash;

	if (json_get_text(json, "package config", "storeDir", true, &dir, err) < 0 ||
	    json_get_text(json, "package config", "path", true, &path, err) < 0 ||
	    json_get_text(json, "package config", "narHash", true, &hash, err) < 0 ||
	    json_get_size(json, "package config", "narSize", true, &info->nar_size, err) < 0 ||
	    json_get_texts(json, "package config", "references", &info->references, err) < 0)
		return err->code;
	if (store_path_parse(&info->path, dir, slice_str(path)) < 0)
		return err_set(err, E_INVALID, "package config: path is not in storeDir");
	if (hash_parse(&info->nar_hash, HASH_NONE, slice_str(hash)) < 0 ||
	    info->nar_hash.algo != HASH_SHA256 || info->nar_size == 0)
		return err_set(err, E_INVALID, "package config: narHash or narSize is malformed");
	for (size_t i = 0; i < info->references.len; i++)
		if (store_base_check(slice_str(info->references.items[i])) < 0)
			return err_set(err, E_INVALID,
				       "package config: references[%zu] is no base name", i);
	strv_sort_unique(&info->references);
	return 0;
}

int package_config_parse(struct path_info *ret, struct slice text, struct err *err)
{
	cleanup_json json_t *json = NULL;
	struct path_info info = {0};

	if (json_parse(&json, text, IMAGE_CONFIG_BYTES_MAX, err) < 0)
		return err_wrap(err, "package config");
	if (parse_config_fields(&info, json, err) < 0) {
		path_info_release(&info);
		return err->code;
	}
	*ret = info;
	return 0;
}
