/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.json of a docker-archive. */
#include <nacre/encode.h>
#include <nacre/reference.h>

#include "base/mem.h"
#include "oci/docker-archive.h"
#include "oci/oci-internal.h"

static void release_image(struct docker_image *image)
{
	free(image->config);
	strv_release(&image->tags);
	strv_release(&image->layers);
}

void docker_images_release(struct docker_images *list)
{
	for (size_t i = 0; i < list->len; i++)
		release_image(&list->items[i]);
	free(list->items);
	*list = (struct docker_images){0};
}

static int fill_image(const json_t *obj, const char *where, struct docker_image *image,
		      struct err *err)
{
	const char *config = NULL;
	int r;

	if (!json_is_object(obj))
		return err_set(err, E_INVALID, "%s: must be an object", where);
	r = json_get_text(obj, where, "Config", true, &config, err);
	if (r >= 0)
		image->config = xstrdup(config);
	if (r >= 0)
		r = json_get_texts(obj, where, "RepoTags", &image->tags, err);
	if (r >= 0)
		r = json_get_texts(obj, where, "Layers", &image->layers, err);
	if (r >= 0 && image->layers.len > MANIFEST_DESCRIPTORS_MAX)
		return err_set(err, E_LIMIT, "%s.Layers: more than %d entries", where,
			       MANIFEST_DESCRIPTORS_MAX);
	return r;
}

int docker_images_parse(struct docker_images *ret, struct slice text, struct err *err)
{
	cleanup_docker_images struct docker_images list = {0};
	cleanup_json json_t *doc = NULL;
	json_t *item;
	size_t i;
	int r = json_parse(&doc, text, DOCKER_MANIFEST_MAX, err);

	if (r >= 0 && !json_is_array(doc))
		r = err_set(err, E_INVALID, "must be an array");
	if (r < 0)
		return err_wrap(err, "manifest.json");
	list.items = xcalloc(json_array_size(doc) + 1, sizeof(*list.items));
	json_array_foreach (doc, i, item) {
		char where[40];

		list.len = i + 1;
		snprintf(where, sizeof(where), "[%zu]", i);
		r = fill_image(item, where, &list.items[i], err);
		if (r < 0)
			return err_wrap(err, "manifest.json");
	}
	*ret = list;
	list = (struct docker_images){0};
	return 0;
}

/* "; it has: a, @1, …", cut. */
static void list_images(const struct docker_images *list, struct buf *ret)
{
	for (size_t i = 0; i < list->len && ret->len < 300; i++) {
		const struct strv *tags = &list->items[i].tags;

		buf_add_str(ret, i ? ", " : "; it has: ");
		if (tags->len)
			buf_addf(ret, "%.200s", tags->items[0]);
		else
			buf_addf(ret, "@%zu", i);
	}
	buf_add_str(ret, ret->len >= 300 ? ", …" : "");
}

/* Do two spellings name the same tag? "busybox" is docker.io/library/busybox:latest. */
static bool same_reference(const char *a, const char *b)
{
	struct reference x, y;
	char x_text[REFERENCE_TEXT_MAX], y_text[REFERENCE_TEXT_MAX];

	if (strcmp(a, b) == 0)
		return true;
	if (reference_parse_normalized(&x, slice_str(a)) < 0 ||
	    reference_parse_normalized(&y, slice_str(b)) < 0)
		return false;
	reference_default_tag(&x);
	reference_default_tag(&y);
	reference_format(x_text, &x);
	reference_format(y_text, &y);
	return strcmp(x_text, y_text) == 0;
}

static const struct docker_image *find_by_name(const struct docker_images *list, const char *name)
{
	uint64_t n;

	if (name[0] == '@')
		return parse_u64(&n, slice_str(name + 1)) == 0 && n < list->len ? &list->items[n]
										: NULL;
	for (size_t i = 0; i < list->len; i++)
		for (size_t j = 0; j < list->items[i].tags.len; j++)
			if (same_reference(list->items[i].tags.items[j], name))
				return &list->items[i];
	return NULL;
}

int docker_images_find(const struct docker_images *list, const char *name,
		       const struct docker_image **ret, struct err *err)
{
	cleanup_buf struct buf what = {0};
	const struct docker_image *found;

	if (!list->items || !list->len)
		return err_set(err, E_NOTFOUND, "there is no image in it");
	found = name ? find_by_name(list, name) : list->items;
	if (!found || (!name && list->len > 1))
		list_images(list, &what);
	if (!found)
		return err_set(err, E_NOTFOUND, "there is no image '%.200s' in it%s", name,
			       (const char *)what.data);
	if (!name && list->len > 1)
		return err_set(err, E_USAGE, "there are %zu images in it: name one%s", list->len,
			       (const char *)what.data);
	*ret = found;
	return 0;
}
