/* SPDX-License-Identifier: Apache-2.0 */
/* A source of images over the files of a layout, wherever they are. */
#include <nacre/encode.h>

#include "base/mem.h"
#include "oci/layout-internal.h"

/* What refers to what, found once. */
struct referrer {
	struct hash subject;
	struct descriptor manifest;
};

struct layout_source {
	struct image_source source;
	char *name, *tag;           /* owned; tag may be NULL */
	struct layout_files *files; /* owned */
	struct layout_index index;
	struct referrer *referrers; /* owned */
	size_t n_referrers, cap_referrers;
	bool referrers_known;
};

static struct layout_source *from_source(struct image_source *self)
{
	return container_of(self, struct layout_source, source);
}

static int read_blob(struct layout_source *s, const struct hash *digest, uint64_t size,
		     struct sink *out, struct err *err)
{
	cleanup_verify_sink struct verify_sink verify;
	char path[LAYOUT_PATH_MAX];
	int r;

	layout_blob_path(path, digest);
	verify_sink_init(&verify, digest, (int64_t)size, out);
	r = s->files->read(s->files, path, size, &verify.sink, err);
	if (r >= 0)
		r = sink_finish(&verify.sink, err);
	if (r == E_LIMIT)
		err->code = r = E_MISMATCH; /* larger than its descriptor says */
	return r < 0 ? err_wrap(err, "%s: %s", s->name, path) : 0;
}

static int get_blob(struct image_source *self, const struct descriptor *blob, struct sink *out,
		    struct err *err)
{
	return read_blob(from_source(self), &blob->digest, blob->size, out, err);
}

/* A manifest by digest. `media_type` may be NULL: what the document says. */
static int read_manifest(struct layout_source *s, const struct hash *digest, const char *media_type,
			 struct manifest_bytes *ret, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes m = {.bytes = BUF_INIT(MANIFEST_BYTES_MAX),
							  .digest = *digest};
	cleanup_manifest struct manifest parsed = {0};
	cleanup_verify_sink struct verify_sink verify;
	char path[LAYOUT_PATH_MAX];
	struct buf_sink to;
	int r;

	layout_blob_path(path, digest);
	buf_sink_init(&to, &m.bytes);
	verify_sink_init(&verify, digest, DIGEST_SIZE_UNKNOWN, &to.sink);
	r = s->files->read(s->files, path, MANIFEST_BYTES_MAX, &verify.sink, err);
	if (r >= 0)
		r = sink_finish(&verify.sink, err);
	if (r >= 0)
		r = manifest_parse(&parsed, media_type, buf_slice(&m.bytes), err);
	if (r < 0)
		return err_wrap(err, "%s: %s", s->name, path);
	m.media_type = take_ptr(parsed.media_type);
	*ret = m;
	m = (struct manifest_bytes){0};
	return 0;
}

static int get_manifest(struct image_source *self, const char *ref, struct manifest_bytes *ret,
			struct err *err)
{
	struct layout_source *s = from_source(self);
	const struct descriptor *d;
	const char *tag = ref ? ref : s->tag;
	struct hash digest;
	int r;

	if (tag && digest_parse(&digest, slice_str(tag)) == 0)
		return read_manifest(s, &digest, NULL, ret, err);
	r = layout_index_find(&s->index, tag, &d, err);
	if (r < 0)
		return err_wrap(err, "%s", s->name);
	if (!media_type_is_manifest(d->media_type))
		return err_set(err, E_UNSUPPORTED, "%s: '%.100s' is no image", s->name,
			       d->media_type);
	return read_manifest(s, &d->digest, d->media_type, ret, err);
}

/* By what index.json says, without reading the manifest. */
static int resolve(struct image_source *self, struct hash *ret, struct err *err)
{
	const struct layout_source *s = from_source(self);
	const struct descriptor *d;

	if (s->tag && digest_parse(ret, slice_str(s->tag)) == 0)
		return 0;
	if (layout_index_find(&s->index, s->tag, &d, err) < 0)
		return err_wrap(err, "%s", s->name);
	*ret = d->digest;
	return 0;
}

static void note_referrer(struct layout_source *s, const struct hash *subject,
			  const struct descriptor *manifest)
{
	array_grow(s->referrers, s->cap_referrers, s->n_referrers + 1);
	s->referrers[s->n_referrers].subject = *subject;
	descriptor_copy(&s->referrers[s->n_referrers].manifest, manifest);
	s->n_referrers++;
}

/* The digest that a tag of the referrers tag schema stands for. */
static bool parse_referrers_tag(const char *tag, struct hash *ret)
{
	char text[DIGEST_TEXT_MAX];

	if (!tag || strlen(tag) != 7 + 64 || tag[6] != '-')
		return false;
	snprintf(text, sizeof(text), "%.6s:%s", tag, tag + 7);
	return digest_parse(ret, slice_str(text)) == 0;
}

/* Notes what one entry of index.json tells about referrers. Entries that cannot be read are not
 * ours to complain about here: they are in nobody's way. */
static void look_at(struct layout_source *s, const struct descriptor *entry)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	cleanup_manifest struct manifest m = {0};
	const char *tag = annotations_get(&entry->annotations, ANNOTATION_REF_NAME);
	struct err ignored = ERR_INIT;
	struct descriptor d;
	struct hash subject;

	if (entry->size > MANIFEST_BYTES_MAX || !media_type_is_manifest(entry->media_type))
		return;
	if (read_manifest(s, &entry->digest, entry->media_type, &bytes, &ignored) < 0 ||
	    manifest_parse(&m, entry->media_type, buf_slice(&bytes.bytes), &ignored) < 0)
		return;
	if (m.kind == MANIFEST_INDEX && parse_referrers_tag(tag, &subject)) {
		for (size_t i = 0; i < m.manifests.len; i++)
			note_referrer(s, &subject, &m.manifests.items[i]);
		return;
	}
	if (!m.has_subject)
		return;
	descriptor_make(&d, m.media_type, &entry->digest, bytes.bytes.len);
	if (*manifest_artifact_type(&m))
		d.artifact_type = xstrdup(manifest_artifact_type(&m));
	annotations_copy(&d.annotations, &m.annotations);
	note_referrer(s, &m.subject.digest, &d);
	descriptor_release(&d);
}

static int compare_entries(const void *a, const void *b)
{
	const struct descriptor *x = *(const struct descriptor *const *)a;
	const struct descriptor *y = *(const struct descriptor *const *)b;
	int c = memcmp(&x->digest, &y->digest, sizeof(x->digest));

	return c ? c : (x > y) - (x < y);
}

static int compare_referrers(const void *a, const void *b)
{
	const struct referrer *x = a, *y = b;
	int c = memcmp(&x->subject, &y->subject, sizeof(x->subject));

	return c ? c : memcmp(&x->manifest.digest, &y->manifest.digest, sizeof(x->subject));
}

/* Reads every manifest in index.json once, however often it is listed. */
static void find_referrers(struct layout_source *s)
{
	size_t n = s->index.entries.len;
	cleanup_free const struct descriptor **entries = xcalloc(n + 1, sizeof(*entries));

	for (size_t i = 0; i < n; i++)
		entries[i] = &s->index.entries.items[i];
	qsort(entries, n, sizeof(*entries), compare_entries);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || !hash_equal(&entries[i]->digest, &entries[i - 1]->digest))
			look_at(s, entries[i]);
	if (s->n_referrers)
		qsort(s->referrers, s->n_referrers, sizeof(*s->referrers), compare_referrers);
	s->referrers_known = true;
}

static int get_referrers(struct image_source *self, const struct hash *subject,
			 const char *artifact_type, struct descriptors *ret, struct err *err)
{
	struct layout_source *s = from_source(self);

	if (!s->referrers_known)
		find_referrers(s);
	for (size_t i = 0; i < s->n_referrers; i++) {
		const struct referrer *f = &s->referrers[i];
		struct descriptor copy;

		if (!hash_equal(&f->subject, subject) ||
		    (i && compare_referrers(f, f - 1) == 0)) /* by tag and by subject */
			continue;
		if (artifact_type && (!f->manifest.artifact_type ||
				      strcmp(f->manifest.artifact_type, artifact_type) != 0))
			continue;
		descriptor_copy(&copy, &f->manifest);
		descriptors_take(ret, &copy);
	}
	return 0;
}

static void free_source(struct image_source *self)
{
	struct layout_source *s = from_source(self);

	for (size_t i = 0; i < s->n_referrers; i++)
		descriptor_release(&s->referrers[i].manifest);
	free(s->referrers);
	layout_index_release(&s->index);
	s->files->free(s->files);
	free(s->name);
	free(s->tag);
	free(s);
}

static int read_small(struct layout_files *files, const char *path, size_t max, struct buf *ret,
		      struct err *err)
{
	struct buf_sink to;
	int r;

	buf_sink_init(&to, ret);
	r = files->read(files, path, max, &to.sink, err);
	return r < 0 ? err_wrap(err, "%s", path) : 0;
}

static int load(struct layout_source *s, struct err *err)
{
	cleanup_buf struct buf marker = BUF_INIT(4096), index = BUF_INIT(LAYOUT_INDEX_MAX);
	int r = read_small(s->files, "oci-layout", 4096, &marker, err);

	if (r == E_NOTFOUND)
		return err_set(err, E_NOTFOUND, "is not an OCI image layout: has no oci-layout");
	if (r >= 0)
		r = layout_file_check(buf_slice(&marker), err);
	if (r >= 0)
		r = read_small(s->files, "index.json", LAYOUT_INDEX_MAX, &index, err);
	return r < 0 ? r : layout_index_parse(&s->index, buf_slice(&index), err);
}

int layout_source_new(struct image_source **ret, const char *name, const char *tag,
		      struct layout_files *files, struct err *err)
{
	struct layout_source *s = xcalloc(1, sizeof(*s));
	int r;

	s->name = xstrdup(name);
	s->tag = tag ? xstrdup(tag) : NULL;
	s->files = files;
	s->source = (struct image_source){.name = s->name,
					  .get_manifest = get_manifest,
					  .get_blob = get_blob,
					  .get_referrers = get_referrers,
					  .resolve = resolve,
					  .free = free_source};
	r = load(s, err);
	if (r < 0) {
		err_wrap(err, "%s", name);
		free_source(&s->source);
		return r;
	}
	*ret = &s->source;
	return 0;
}
