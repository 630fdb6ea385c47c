/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors and annotations in JSON, both ways: see oci-internal.h. */
#include "base/mem.h"
#include "oci/oci-internal.h"

int parse_annotations(const json_t *obj, const char *where, const char *key,
		      struct annotations *ret, struct err *err)
{
	struct annotations parsed = {0};
	json_t *map, *value;
	const char *name;
	int r = json_get_object(obj, where, key, false, &map, err);

	*ret = parsed;
	if (r <= 0)
		return r;
	json_object_foreach (map, name, value) {
		if (!json_is_string(value)) {
			annotations_release(&parsed);
			return err_set(err, E_INVALID, "%s%s%s.%s: must be a text", where,
				       *where ? "." : "", key, name);
		}
		annotations_append(&parsed, name, json_string_value(value));
	}
	annotations_sort(&parsed);
	*ret = parsed;
	return 0;
}

/* Copies a text member, if it is there. */
static int parse_text(const json_t *obj, const char *where, const char *key, char **ret,
		      struct err *err)
{
	const char *text;
	int r = json_get_text(obj, where, key, false, &text, err);

	if (r > 0)
		*ret = xstrdup(text);
	return r < 0 ? r : 0;
}

/* SPEC image-spec image-index.md platform */
static int parse_platform(const json_t *obj, const char *where, struct descriptor *d,
			  struct err *err)
{
	struct platform *p = &d->platform;
	char inner[96];
	json_t *map;
	int r = json_get_object(obj, where, "platform", false, &map, err);

	if (r <= 0)
		return r;
	d->has_platform = true;
	snprintf(inner, sizeof(inner), "%s.platform", where);
	r = parse_text(map, inner, "architecture", &p->architecture, err);
	if (r >= 0)
		r = parse_text(map, inner, "os", &p->os, err);
	if (r >= 0)
		r = parse_text(map, inner, "variant", &p->variant, err);
	if (r >= 0)
		r = parse_text(map, inner, "os.version", &p->os_version, err);
	if (r >= 0)
		r = json_get_texts(map, inner, "os.features", &p->os_features, err);
	return r < 0 ? r : 0;
}

static int parse_media_type(const json_t *obj, const char *where, const char *key, bool required,
			    char **ret, struct err *err)
{
	char checked[MEDIA_TYPE_MAX + 1];
	const char *text;
	int r = json_get_text(obj, where, key, required, &text, err);

	if (r <= 0)
		return r;
	/* As a document's type it has no parameters and no blanks. */
	if (media_type_parse(checked, slice_str(text)) < 0 || strcmp(checked, text) != 0)
		return err_set(err, E_INVALID, "%s%s%s: '%.100s' is not a media type", where,
			       *where ? "." : "", key, text);
	*ret = xstrdup(text);
	return 1;
}

/* The members that every descriptor has. */
static int parse_identity(const json_t *obj, const char *where, struct descriptor *d,
			  struct err *err)
{
	const char *text;
	int r = parse_media_type(obj, where, "mediaType", true, &d->media_type, err);

	if (r < 0)
		return r;
	r = json_get_text(obj, where, "digest", true, &text, err);
	if (r < 0)
		return r;
	r = digest_parse_err(&d->digest, slice_str(text), err);
	if (r < 0)
		return err_wrap(err, "%s.digest", where);
	r = json_get_size(obj, where, "size", true, &d->size, err);
	return r < 0 ? r : 0;
}

static int fill_descriptor(const json_t *obj, const char *where, struct descriptor *d,
			   struct err *err)
{
	int r;

	if (!json_is_object(obj))
		return err_set(err, E_INVALID, "%s: must be an object", where);
	r = parse_identity(obj, where, d, err);
	if (r >= 0)
		r = json_get_texts(obj, where, "urls", &d->urls, err);
	if (r >= 0)
		r = parse_annotations(obj, where, "annotations", &d->annotations, err);
	if (r >= 0)
		r = parse_text(obj, where, "data", &d->data, err);
	if (r >= 0)
		r = parse_text(obj, where, "artifactType", &d->artifact_type, err);
	if (r >= 0)
		r = parse_platform(obj, where, d, err);
	return r < 0 ? r : 0;
}

int parse_descriptor(const json_t *obj, const char *where, struct descriptor *ret, struct err *err)
{
	int r;

	*ret = (struct descriptor){0};
	r = fill_descriptor(obj, where, ret, err);
	if (r < 0)
		descriptor_release(ret);
	return r;
}

int parse_descriptor_member(const json_t *obj, const char *key, bool required,
			    struct descriptor *ret, struct err *err)
{
	json_t *member;
	int r = json_get_object(obj, "", key, required, &member, err);

	if (r <= 0)
		return r;
	r = parse_descriptor(member, key, ret, err);
	return r < 0 ? r : 1;
}

int parse_descriptors(const json_t *obj, const char *key, struct descriptors *ret, struct err *err)
{
	cleanup_descriptors struct descriptors parsed = {0};
	json_t *list, *item;
	char where[80];
	size_t i;
	int r = json_get_array(obj, "", key, false, &list, err);

	*ret = (struct descriptors){0};
	if (r <= 0)
		return r;
	if (json_array_size(list) > MANIFEST_DESCRIPTORS_MAX)
		return err_set(err, E_LIMIT, "%s: has %zu entries, at most %d are accepted", key,
			       json_array_size(list), MANIFEST_DESCRIPTORS_MAX);
	json_array_foreach (list, i, item) {
		struct descriptor d;

		snprintf(where, sizeof(where), "%s[%zu]", key, i);
		r = parse_descriptor(item, where, &d, err);
		if (r < 0)
			return r;
		descriptors_take(&parsed, &d);
	}
	*ret = parsed;
	parsed = (struct descriptors){0};
	return 0;
}

void build_value(struct json_builder *b, const char *key, json_t *value)
{
	if (!b->obj)
		b->obj = json_object();
	if (!value || !b->obj)
		b->failed = true;
	if (json_object_set_new(b->obj, key, value) < 0)
		b->failed = true;
}

void build_text(struct json_builder *b, const char *key, const char *text)
{
	if (text)
		build_value(b, key, json_string(text));
}

json_t *build_text_array(const struct strv *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->len; i++) {
		if (json_array_append_new(array, json_string(list->items[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

void build_texts(struct json_builder *b, const char *key, const struct strv *list)
{
	if (list->len)
		build_value(b, key, build_text_array(list));
}

void build_annotations(struct json_builder *b, const char *key, const struct annotations *a)
{
	struct json_builder map = {0};

	if (!a->len)
		return;
	for (size_t i = 0; i < a->len; i++)
		build_text(&map, a->items[i].key, a->items[i].value);
	build_value(b, key, build_end(&map));
}

void build_set(struct json_builder *b, const char *key, const struct strv *list)
{
	struct json_builder map = {0};

	if (!list->len)
		return;
	for (size_t i = 0; i < list->len; i++)
		build_value(&map, list->items[i], json_object());
	build_value(b, key, build_end(&map));
}

static json_t *build_platform(const struct platform *p)
{
	struct json_builder b = {0};

	build_text(&b, "architecture", p->architecture ? p->architecture : "");
	build_text(&b, "os", p->os ? p->os : "");
	build_text(&b, "variant", p->variant);
	build_text(&b, "os.version", p->os_version);
	build_texts(&b, "os.features", &p->os_features);
	return build_end(&b);
}

json_t *build_descriptor(const struct descriptor *d)
{
	struct json_builder b = {0};
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, &d->digest);
	build_text(&b, "mediaType", d->media_type);
	build_text(&b, "digest", digest);
	build_value(&b, "size", d->size > INT64_MAX ? NULL : json_integer((json_int_t)d->size));
	build_texts(&b, "urls", &d->urls);
	build_annotations(&b, "annotations", &d->annotations);
	build_text(&b, "data", d->data);
	build_text(&b, "artifactType", d->artifact_type);
	if (d->has_platform)
		build_value(&b, "platform", build_platform(&d->platform));
	return build_end(&b);
}

json_t *build_end(struct json_builder *b)
{
	json_t *obj = b->obj ? b->obj : json_object();
	bool failed = b->failed;

	*b = (struct json_builder){0};
	if (!failed)
		return obj;
	json_decref(obj);
	return NULL;
}

int build_write(struct buf *ret, json_t *value, size_t max)
{
	size_t before = ret->len;
	int r = value ? json_canonical(ret, value) : E_INVALID;

	json_decref(value);
	if (r == 0 && ret->len - before > max) {
		ret->len = before;
		ret->data[before] = '\0';
		r = E_LIMIT;
	}
	return r;
}
