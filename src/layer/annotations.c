/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nacre 4: the annotations of a store layer, both ways. */
#include <inttypes.h>

#include <nacre/encode.h>
#include <nacre/image.h>

#include "base/mem.h"

static void annotate_path(struct annotations *a, size_t i, const struct path_info *info)
{
	cleanup_free char *key = xasprintf(ANNOTATION_PATH_PREFIX "%zu", i);
	char hash[HASH_TEXT_MAX];
	cleanup_free char *value = NULL;

	hash_format(hash, &info->nar_hash, HASH_NIX32);
	value = xasprintf("%s %s %" PRIu64, info->path.text, hash, info->nar_size);
	annotations_set(a, key, value);
}

static void annotate_references(struct annotations *a, size_t i, const struct path_info *info)
{
	cleanup_free char *key = xasprintf(ANNOTATION_REFERENCES_PREFIX "%zu", i);
	cleanup_buf struct buf value = BUF_INIT(64 << 20);

	for (size_t j = 0; j < info->references.len; j++)
		buf_addf(&value, "%s%s", j ? " " : "", info->references.items[j]);
	annotations_set(a, key, value.data ? (char *)value.data : "");
}

void image_annotate_layer(struct annotations *a, const struct path_infos *set,
			  const size_t *indices, size_t n, bool with_references)
{
	for (size_t i = 0; i < n; i++) {
		annotate_path(a, i, &set->items[indices[i]]);
		if (with_references)
			annotate_references(a, i, &set->items[indices[i]]);
	}
}

/* Takes text up to the next space (or the end). */
static struct slice take_word(struct slice *text)
{
	const uint8_t *space = text->len ? memchr(text->data, ' ', text->len) : NULL;
	size_t len = space ? (size_t)(space - text->data) : text->len;
	struct slice word = slice_make(text->data, len);

	slice_advance(text, len + (space ? 1 : 0));
	return word;
}

/* "<store path> sha256:<nix32> <size>" */
static int parse_path(struct path_info *info, const char *value)
{
	struct slice text = slice_str(value), path = take_word(&text), hash = take_word(&text);
	char again[HASH_TEXT_MAX];

	if (store_path_parse_any(&info->path, path) < 0 ||
	    hash_parse(&info->nar_hash, HASH_NONE, hash) < 0 ||
	    info->nar_hash.algo != HASH_SHA256 || parse_u64(&info->nar_size, text) < 0 ||
	    info->nar_size == 0)
		return E_INVALID;
	hash_format(again, &info->nar_hash, HASH_NIX32);
	return slice_equal_str(hash, again) ? 0 : E_INVALID;
}

static int parse_references(struct path_info *info, const char *value)
{
	struct slice text = slice_str(value);

	while (text.len) {
		struct slice word = take_word(&text);

		if (store_base_check(word) < 0)
			return E_INVALID;
		strv_add_slice(&info->references, word);
	}
	strv_sort_unique(&info->references);
	return 0;
}

static const char *numbered(const struct annotations *a, const char *prefix, size_t i)
{
	char key[80];

	snprintf(key, sizeof(key), "%s%zu", prefix, i);
	return annotations_get(a, key);
}

static size_t count_prefix(const struct annotations *a, const char *prefix)
{
	size_t n = 0;

	for (size_t i = 0; i < a->len; i++)
		n += strncmp(a->items[i].key, prefix, strlen(prefix)) == 0;
	return n;
}

/* Paths stand in the order of the layer: sorted, distinct, in one store dir. */
static bool follows(const struct path_infos *set, const struct path_info *info)
{
	const struct path_info *last = set->len ? &set->items[set->len - 1] : NULL;

	return !last || (slice_equal(store_path_dir(&last->path), store_path_dir(&info->path)) &&
			 strcmp(store_path_base(&last->path), store_path_base(&info->path)) < 0);
}

int image_layer_claims(struct path_infos *ret, bool *ret_has_references,
		       const struct annotations *a)
{
	size_t n = count_prefix(a, ANNOTATION_PATH_PREFIX);
	size_t n_references = count_prefix(a, ANNOTATION_REFERENCES_PREFIX);
	struct path_infos set = {0};

	if (n == 0)
		return E_NOTFOUND;
	if (n_references != 0 && n_references != n)
		return E_INVALID;
	for (size_t i = 0; i < n; i++) {
		const char *path = numbered(a, ANNOTATION_PATH_PREFIX, i);
		const char *references = numbered(a, ANNOTATION_REFERENCES_PREFIX, i);
		struct path_info info = {0};

		if (!path || (n_references && !references) || parse_path(&info, path) < 0 ||
		    !follows(&set, &info) ||
		    (references && parse_references(&info, references) < 0)) {
			path_info_release(&info);
			path_infos_release(&set);
			return E_INVALID;
		}
		path_infos_take(&set, &info);
	}
	*ret = set;
	*ret_has_references = n_references != 0;
	return 0;
}
