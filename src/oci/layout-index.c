/* SPDX-License-Identifier: Apache-2.0 */
/* index.json and oci-layout, read and written: SPEC image-spec image-layout.md */
#include "base/mem.h"
#include "oci/layout-internal.h"
#include "oci/oci-internal.h"

int layout_file_check(struct slice text, struct err *err)
{
	cleanup_json json_t *doc = NULL;
	const char *version = NULL;
	int r = json_parse(&doc, text, 4096, err);

	if (r >= 0)
		r = json_get_text(doc, "", "imageLayoutVersion", true, &version, err);
	if (r < 0)
		return err_wrap(err, "oci-layout");
	if (strncmp(version, "1.", 2) != 0)
		return err_set(err, E_UNSUPPORTED,
			       "oci-layout: version '%.20s' is not supported (1.x is)", version);
	return 0;
}

void layout_blob_path(char *ret, const struct hash *digest)
{
	char hex[HASH_TEXT_MAX];

	hash_format_bare(hex, digest, HASH_HEX);
	snprintf(ret, LAYOUT_PATH_MAX, "blobs/%s/%s", hash_algo_name(digest->algo), hex);
}

int layout_index_parse(struct layout_index *ret, struct slice text, struct err *err)
{
	cleanup_layout_index struct layout_index x = {0};
	json_t *list;
	int r = json_parse(&x.doc, text, LAYOUT_INDEX_MAX, err);

	if (r < 0)
		return err_wrap(err, "index.json");
	if (!json_is_object(x.doc))
		return err_set(err, E_INVALID, "index.json: must be a JSON object");
	r = json_get_array(x.doc, "", "manifests", true, &list, err);
	if (r >= 0)
		r = parse_descriptors(x.doc, "manifests", &x.entries, err);
	if (r < 0)
		return err_wrap(err, "index.json");
	*ret = x;
	x = (struct layout_index){0};
	return 0;
}

void layout_index_release(struct layout_index *x)
{
	json_decref(x->doc);
	descriptors_release(&x->entries);
	*x = (struct layout_index){0};
}

static const char *tag_of(const struct descriptor *d)
{
	return annotations_get(&d->annotations, ANNOTATION_REF_NAME);
}

/* Is the entry there for another's sake: a referrer, or the index of the referrers of an image? */
static bool is_secondary(const struct descriptor *d)
{
	const char *tag = tag_of(d);

	if (!tag)
		return d->artifact_type != NULL;
	return strncmp(tag, "sha256-", 7) == 0 || strncmp(tag, "sha512-", 7) == 0;
}

/* "; it has: a, b, …", cut. */
static void list_tags(const struct layout_index *x, struct buf *ret)
{
	const char *before = "; it has: ";

	for (size_t i = 0; i < x->entries.len && ret->len < 300; i++) {
		const char *tag = tag_of(&x->entries.items[i]);

		if (!tag || is_secondary(&x->entries.items[i]))
			continue;
		buf_addf(ret, "%s%.200s", before, tag);
		before = ", ";
	}
	buf_add_str(ret, ret->len >= 300 ? ", …" : "");
}

/* The only tagged image, else the only one at all. */
static int find_only(const struct layout_index *x, const struct descriptor **ret, struct err *err)
{
	const struct descriptor *tagged = NULL, *untagged = NULL;
	size_t n_tagged = 0, n_untagged = 0;
	cleanup_buf struct buf tags = {0};

	for (size_t i = 0; i < x->entries.len; i++) {
		const struct descriptor *d = &x->entries.items[i];

		if (is_secondary(d))
			continue;
		if (tag_of(d)) {
			tagged = d;
			n_tagged++;
		} else {
			untagged = d;
			n_untagged++;
		}
	}
	if (n_tagged + n_untagged == 0)
		return err_set(err, E_NOTFOUND, "there is no image in it");
	if (n_tagged > 1 || (n_tagged == 0 && n_untagged > 1)) {
		list_tags(x, &tags);
		return err_set(err, E_USAGE, "there are %zu images in it: name one by its tag%s",
			       n_tagged + n_untagged, (const char *)tags.data);
	}
	*ret = n_tagged ? tagged : untagged;
	return 0;
}

int layout_index_find(const struct layout_index *x, const char *tag, const struct descriptor **ret,
		      struct err *err)
{
	cleanup_buf struct buf tags = {0};

	if (!tag)
		return find_only(x, ret, err);
	for (size_t i = 0; i < x->entries.len; i++) {
		const char *name = tag_of(&x->entries.items[i]);

		if (name && strcmp(name, tag) == 0) {
			*ret = &x->entries.items[i];
			return 0;
		}
	}
	list_tags(x, &tags);
	return err_set(err, E_NOTFOUND, "there is no image '%.200s' in it%s", tag,
		       (const char *)tags.data);
}

static void add_named(struct layout_session *s, const struct hash *digest)
{
	array_grow(s->named, s->cap_named, s->n_named + 1);
	s->named[s->n_named++] = *digest;
}

int layout_session_add(struct layout_session *s, const struct manifest_bytes *m, const char *tag,
		       struct err *err)
{
	cleanup_manifest struct manifest own = {0};
	const struct manifest *parsed = manifest_bytes_parse(m, &own, err);
	struct descriptor d;

	if (!parsed)
		return err->code;
	for (size_t i = 0; i < parsed->manifests.len; i++)
		add_named(s, &parsed->manifests.items[i].digest);
	descriptor_make(&d, parsed->media_type, &m->digest, m->bytes.len);
	if (parsed->has_subject) {
		/* SPEC dist-1.1 listing referrers: what a descriptor in the list says. */
		const char *type = manifest_artifact_type(parsed);

		d.artifact_type = *type ? xstrdup(type) : NULL;
		annotations_copy(&d.annotations, &parsed->annotations);
	}
	descriptors_take(&s->manifests, &d);
	strv_add(&s->tags, tag ? tag : "");
	return 0;
}

void layout_session_release(struct layout_session *s)
{
	descriptors_release(&s->manifests);
	strv_release(&s->tags);
	free(s->named);
	*s = (struct layout_session){0};
}

static int compare_hashes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct hash));
}

/* What the session names, sorted; owned by the caller. */
static struct hash *sorted_names(const struct layout_session *s)
{
	struct hash *names = xcalloc(s->n_named + 1, sizeof(*names));

	if (s->n_named)
		memcpy(names, s->named, s->n_named * sizeof(*names));
	qsort(names, s->n_named, sizeof(*names), compare_hashes);
	return names;
}

/* Does the entry give way to a new one of this digest and tag? One that has the tag does, and one
 * of the same digest without a tag: it would say nothing more. */
static bool is_replaced(json_t *entry, const char *digest, const char *tag)
{
	json_t *annotations = json_object_get(entry, "annotations");
	const char *old_tag = json_string_value(json_object_get(annotations, ANNOTATION_REF_NAME));
	const char *old_digest = json_string_value(json_object_get(entry, "digest"));

	if (old_tag)
		return strcmp(old_tag, tag) == 0;
	return strcmp(old_digest, digest) == 0;
}

static bool is_listed(json_t *list, const char *digest)
{
	json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry) {
		const char *old = json_string_value(json_object_get(entry, "digest"));

		if (strcmp(old, digest) == 0)
			return true;
	}
	return false;
}

static int list_manifest(json_t *list, const struct descriptor *d, const char *tag)
{
	struct descriptor entry;
	char digest[DIGEST_TEXT_MAX];
	json_t *value;

	digest_format(digest, &d->digest);
	if (!*tag && is_listed(list, digest))
		return 0;
	for (size_t i = json_array_size(list); i > 0; i--)
		if (is_replaced(json_array_get(list, i - 1), digest, tag))
			json_array_remove(list, i - 1);
	descriptor_copy(&entry, d);
	if (*tag)
		annotations_set(&entry.annotations, ANNOTATION_REF_NAME, tag);
	value = build_descriptor(&entry);
	descriptor_release(&entry);
	if (!value)
		return E_INVALID;
	return json_array_append_new(list, value) < 0 ? E_NOMEM : 0;
}

static json_t *new_index(void)
{
	return json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType", MT_OCI_INDEX,
			 "manifests");
}

int layout_session_write(const struct layout_session *s, const struct layout_index *old,
			 struct buf *ret, struct err *err)
{
	cleanup_json json_t *doc = old ? json_deep_copy(old->doc) : new_index();
	cleanup_free struct hash *names = sorted_names(s);
	cleanup_free char *text = NULL;
	json_t *list = json_object_get(doc, "manifests");
	int r = 0;

	for (size_t i = 0; i < s->manifests.len && r >= 0; i++) {
		const struct descriptor *d = &s->manifests.items[i];
		const char *tag = s->tags.items[i];

		/* A tagged one that comes under its digest as well is listed once. */
		if (*tag || !bsearch(&d->digest, names, s->n_named, sizeof(*names), compare_hashes))
			r = list_manifest(list, d, tag);
	}
	if (r < 0)
		return err_set(err, r, "index.json: %s",
			       r == E_INVALID ? "the tag is not UTF-8" : "out of memory");
	/* Not canonical JSON: what others put into the document may have no such form. */
	text = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
	if (!text)
		return err_set(err, E_NOMEM, "index.json: out of memory");
	r = buf_add_str(ret, text);
	return r < 0 ? err_set(err, r, "index.json: would be larger than the limit") : 0;
}
