/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC image-spec manifest.md, image-index.md; SPEC docker-v2-2 */
#include "base/mem.h"
#include "oci/oci-internal.h"

static bool is_schema_1(const char *media_type)
{
	return strcmp(media_type, MT_DOCKER_MANIFEST_1) == 0 ||
	       strcmp(media_type, MT_DOCKER_MANIFEST_1_SIG) == 0;
}

static enum manifest_kind kind_of(const char *media_type)
{
	if (media_type_is_index(media_type))
		return MANIFEST_INDEX;
	return media_type_is_manifest(media_type) && !is_schema_1(media_type) ? MANIFEST_IMAGE
									      : MANIFEST_OTHER;
}

/* The media type of a document that does not say it, where the transport does not either. One that
 * could be taken for an image and for an index is refused: two readers must not see two images
 * behind one digest. */
static const char *guess_media_type(const json_t *doc)
{
	bool index = json_is_array(json_object_get(doc, "manifests"));
	bool image = json_is_object(json_object_get(doc, "config"));

	if (index == image)
		return NULL;
	return index ? MT_OCI_INDEX : MT_OCI_MANIFEST;
}

static int find_media_type(const json_t *doc, const char *told, char **ret, struct err *err)
{
	char checked[MEDIA_TYPE_MAX + 1];
	const char *said = NULL;
	int r = json_get_text(doc, "", "mediaType", false, &said, err);

	if (r < 0)
		return r;
	if (said && *said && told && strcmp(said, told) != 0)
		return err_set(err, E_INVALID,
			       "mediaType: the manifest says '%.100s' and was given as '%.100s'",
			       said, told);
	if (!said || !*said)
		said = told ? told : guess_media_type(doc);
	if (!said)
		return err_set(
			err, E_INVALID,
			"mediaType: is missing, and the document is neither clearly an image "
			"manifest nor clearly an index");
	if (media_type_parse(checked, slice_str(said)) < 0 || strcmp(checked, said) != 0)
		return err_set(err, E_INVALID, "mediaType: '%.100s' is not a media type", said);
	*ret = xstrdup(said);
	return 0;
}

/* Members that would make the document the other kind too (CVE-2021-41190). */
static int check_unambiguous(const struct manifest *m, const json_t *doc, struct err *err)
{
	bool image = json_object_get(doc, "config") || json_object_get(doc, "layers");
	bool index = json_object_get(doc, "manifests");

	if (m->kind == MANIFEST_INDEX && image)
		return err_set(err, E_INVALID, "an index must not have 'config' or 'layers'");
	if (m->kind == MANIFEST_IMAGE && index)
		return err_set(err, E_INVALID, "an image manifest must not have 'manifests'");
	return 0;
}

static int check_schema_version(const struct manifest *m, const json_t *doc, struct err *err)
{
	uint64_t version = 0;
	int r;

	if (m->kind == MANIFEST_OTHER || strcmp(m->media_type, MT_OCI_ARTIFACT_MANIFEST) == 0)
		return 0;
	r = json_get_size(doc, "", "schemaVersion", true, &version, err);
	if (r >= 0 && version != 2)
		return err_set(err, E_INVALID, "schemaVersion: must be 2");
	return r < 0 ? r : 0;
}

/* What all kinds have in common. */
static int parse_common(struct manifest *m, const json_t *doc, struct err *err)
{
	const char *text = NULL;
	int r = json_get_text(doc, "", "artifactType", false, &text, err);

	if (r < 0)
		return r;
	m->artifact_type = text && *text ? xstrdup(text) : NULL;
	r = parse_descriptor_member(doc, "subject", false, &m->subject, err);
	if (r < 0)
		return r;
	m->has_subject = r > 0;
	return parse_annotations(doc, "", "annotations", &m->annotations, err);
}

static int parse_content(struct manifest *m, const json_t *doc, struct err *err)
{
	bool artifact = strcmp(m->media_type, MT_OCI_ARTIFACT_MANIFEST) == 0;
	int r;

	if (m->kind == MANIFEST_INDEX) {
		json_t *list;

		r = json_get_array(doc, "", "manifests", true, &list, err);
		return r < 0 ? r : parse_descriptors(doc, "manifests", &m->manifests, err);
	}
	if (artifact)
		return parse_descriptors(doc, "blobs", &m->layers, err);
	r = parse_descriptor_member(doc, "config", true, &m->config, err);
	if (r < 0)
		return r;
	m->has_config = true;
	return parse_descriptors(doc, "layers", &m->layers, err);
}

static int fill(struct manifest *m, const char *told, const json_t *doc, struct err *err)
{
	int r;

	if (!json_is_object(doc))
		return err_set(err, E_INVALID, "a manifest must be a JSON object");
	r = find_media_type(doc, told, &m->media_type, err);
	if (r < 0)
		return r;
	m->kind = kind_of(m->media_type);
	r = check_unambiguous(m, doc, err);
	if (r >= 0)
		r = check_schema_version(m, doc, err);
	/* What the members of another kind of document mean is not known; but a subject and an
	 * artifactType, if there are any, mean the same. */
	if (r >= 0)
		r = parse_common(m, doc, err);
	if (r >= 0 && m->kind != MANIFEST_OTHER)
		r = parse_content(m, doc, err);
	return r;
}

int manifest_parse(struct manifest *ret, const char *media_type, struct slice bytes,
		   struct err *err)
{
	cleanup_manifest struct manifest m = {0};
	cleanup_json json_t *doc = NULL;
	int r;

	if (media_type && !*media_type)
		media_type = NULL;
	r = json_parse(&doc, bytes, MANIFEST_BYTES_MAX, err);
	if (r < 0)
		return err_wrap(err, "manifest");
	r = fill(&m, media_type, doc, err);
	if (r < 0)
		return err_wrap(err, "manifest");
	*ret = m;
	m = (struct manifest){0};
	return 0;
}

/* Does a document of JSON say that it is of another type? */
static bool says_another_type(const char *media_type, struct slice bytes)
{
	cleanup_json json_t *doc = NULL;
	struct err ignored = ERR_INIT;
	const char *said;

	if (json_parse(&doc, bytes, MANIFEST_BYTES_MAX, &ignored) < 0)
		return false;
	said = json_string_value(json_object_get(doc, "mediaType"));
	return said && *said && strcmp(said, media_type) != 0;
}

static bool may_be_opaque(const char *media_type, struct slice bytes)
{
	char checked[MEDIA_TYPE_MAX + 1];

	return media_type && media_type_parse(checked, slice_str(media_type)) == 0 &&
	       strcmp(checked, media_type) == 0 && kind_of(media_type) == MANIFEST_OTHER &&
	       bytes.len > 0 && bytes.len <= MANIFEST_BYTES_MAX &&
	       !says_another_type(media_type, bytes);
}

int manifest_parse_any(struct manifest *ret, const char *media_type, struct slice bytes,
		       struct err *err)
{
	struct err why = ERR_INIT;
	int r = manifest_parse(ret, media_type, bytes, &why);

	if (r < 0 && may_be_opaque(media_type, bytes)) {
		*ret = (struct manifest){.kind = MANIFEST_OTHER, .media_type = xstrdup(media_type)};
		return 0;
	}
	if (r < 0)
		*err = why;
	return r;
}

void manifest_release(struct manifest *m)
{
	free(m->media_type);
	free(m->artifact_type);
	descriptor_release(&m->config);
	descriptors_release(&m->layers);
	descriptors_release(&m->manifests);
	descriptor_release(&m->subject);
	annotations_release(&m->annotations);
	*m = (struct manifest){0};
}

const char *manifest_artifact_type(const struct manifest *m)
{
	if (m->artifact_type)
		return m->artifact_type;
	return m->has_config ? m->config.media_type : "";
}

const struct descriptor *manifest_select(const struct manifest *index,
					 const struct platform *wanted)
{
	const struct descriptor *best = NULL;
	int best_score = 0;

	for (size_t i = 0; i < index->manifests.len; i++) {
		const struct descriptor *d = &index->manifests.items[i];
		int score = d->has_platform ? platform_match(wanted, &d->platform) : 0;

		if (score > best_score) {
			best = d;
			best_score = score;
		}
	}
	return best;
}

static json_t *build_list(const struct descriptors *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->len; i++) {
		json_t *item = build_descriptor(&list->items[i]);

		if (!item || json_array_append_new(array, item) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

int manifest_build(struct buf *ret, const struct manifest *m)
{
	struct json_builder b = {0};
	bool index = media_type_is_index(m->media_type);

	if (kind_of(m->media_type) == MANIFEST_OTHER ||
	    strcmp(m->media_type, MT_OCI_ARTIFACT_MANIFEST) == 0)
		return E_UNSUPPORTED;
	build_value(&b, "schemaVersion", json_integer(2));
	build_text(&b, "mediaType", m->media_type);
	build_text(&b, "artifactType", m->artifact_type);
	if (!index)
		build_value(&b, "config", build_descriptor(&m->config));
	build_value(&b, index ? "manifests" : "layers",
		    build_list(index ? &m->manifests : &m->layers));
	if (m->has_subject)
		build_value(&b, "subject", build_descriptor(&m->subject));
	build_annotations(&b, "annotations", &m->annotations);
	return build_write(ret, build_end(&b), MANIFEST_BYTES_MAX);
}
