/* SPDX-License-Identifier: Apache-2.0 */
#include "net/transfer.h"

#include "base/mem.h"

struct transfer {
	struct image_source *from;
	struct image_dest *to;
	const struct transfer_options *options;
	struct hash *seen; /* owned; manifests done, sorted */
	size_t n_seen, cap_seen;
	struct transfer_result result;
};

/* Place of a manifest among those that were seen. */
static size_t seen_place(const struct transfer *t, const struct hash *digest, bool *ret_found)
{
	size_t low = 0, high = t->n_seen;

	*ret_found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = memcmp(&t->seen[mid], digest, sizeof(*digest));

		if (c == 0) {
			*ret_found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Notes a manifest that was not seen. Without this, ten small indexes that name each other twice
 * would be a thousand. */
static int note_manifest(struct transfer *t, const struct hash *digest, struct err *err)
{
	bool found;
	size_t i = seen_place(t, digest, &found);

	if (t->n_seen == TRANSFER_MANIFESTS_MAX)
		return err_set(err, E_LIMIT, "%s: more than %d manifests", t->from->name,
			       TRANSFER_MANIFESTS_MAX);
	array_grow(t->seen, t->cap_seen, t->n_seen + 1);
	memmove(t->seen + i + 1, t->seen + i, (t->n_seen - i) * sizeof(*t->seen));
	t->seen[i] = *digest;
	t->n_seen++;
	return 0;
}

/* A blob of the source. What passes is counted; the sink behind is finished by its owner. */
struct blob_copy {
	struct blob_producer producer;
	struct sink sink;
	struct sink *out;
	struct transfer *t;
	const struct descriptor *blob;
};

static int count_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct blob_copy *c = container_of(self, struct blob_copy, sink);
	struct transfer_observer *o = c->t->options->observer;
	int r = sink_write(c->out, data, len, err);

	if (r < 0)
		return r;
	c->t->result.bytes_sent += len;
	if (o && o->bytes)
		o->bytes(o, len);
	return 0;
}

static int produce_blob(struct blob_producer *self, struct sink *out, struct err *err)
{
	struct blob_copy *c = container_of(self, struct blob_copy, producer);

	c->out = out;
	return image_get_blob(c->t->from, c->blob, &c->sink, err);
}

static int copy_blob(struct transfer *t, const struct descriptor *blob, struct err *err)
{
	struct blob_copy c = {{produce_blob}, {.write = count_write}, NULL, t, blob};
	struct transfer_observer *o = t->options->observer;
	int r;

	/* SPEC image-spec layer.md non-distributable layers: they stay where their URLs say. An
	 * archive that is to be loaded as it is needs them all the same. */
	if (media_type_is_nondistributable(blob->media_type) && blob->urls.len &&
	    !t->to->images_only)
		return 0;
	r = image_has_blob(t->to, blob, err);
	if (r < 0)
		return r;
	if (o && o->blob)
		o->blob(o, blob, r > 0);
	if (r > 0) {
		t->result.blobs_present++;
		return 0;
	}
	r = image_put_blob(t->to, blob, &c.producer, NULL, err);
	if (r < 0)
		return r;
	t->result.blobs_sent++;
	return 0;
}

static int get_by_digest(struct image_source *from, const struct descriptor *d,
			 struct manifest_bytes *ret, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	char digest[DIGEST_TEXT_MAX];
	int r;

	digest_format(digest, &d->digest);
	r = image_get_manifest(from, digest, &bytes, err);
	if (r < 0)
		return r;
	if (bytes.bytes.len != d->size)
		return err_set(err, E_MISMATCH, "%s: manifest %s has %zu bytes, %llu were promised",
			       from->name, digest, bytes.bytes.len, (unsigned long long)d->size);
	*ret = bytes;
	bytes = (struct manifest_bytes){0};
	return 0;
}

static int copy_manifest(struct transfer *t, const struct manifest_bytes *bytes, const char *tag,
			 unsigned depth, struct err *err);
static int copy_by_digest(struct transfer *t, const struct descriptor *d, unsigned depth,
			  struct err *err);

static int refuse_other(const struct transfer *t, const struct manifest *m, struct err *err)
{
	if (strcmp(m->media_type, MT_DOCKER_MANIFEST_1) == 0 ||
	    strcmp(m->media_type, MT_DOCKER_MANIFEST_1_SIG) == 0)
		return err_set(err, E_UNSUPPORTED,
			       "%s is in Docker's first format (schema 1), which is not copied:"
			       " convert it before (skopeo copy --format oci)",
			       t->from->name);
	return err_set(err, E_UNSUPPORTED,
		       "%s: what a manifest of type '%.100s' needs is not known", t->from->name,
		       m->media_type);
}

/* What a manifest names, before it. */
static int copy_content(struct transfer *t, const struct manifest *m, unsigned depth,
			struct err *err)
{
	int r = 0;

	if (m->kind == MANIFEST_OTHER)
		return refuse_other(t, m, err);
	for (size_t i = 0; i < m->manifests.len && r >= 0; i++) {
		const struct descriptor *d = &m->manifests.items[i];

		r = media_type_is_manifest(d->media_type) ? copy_by_digest(t, d, depth + 1, err)
							  : copy_blob(t, d, err);
	}
	if (r >= 0 && m->has_config)
		r = copy_blob(t, &m->config, err);
	for (size_t i = 0; i < m->layers.len && r >= 0; i++)
		r = copy_blob(t, &m->layers.items[i], err);
	return r;
}

static bool was_seen(const struct transfer *t, const struct hash *digest)
{
	bool found;

	seen_place(t, digest, &found);
	return found;
}

static int copy_referrer(struct transfer *t, const struct descriptor *d, unsigned depth,
			 struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	struct err why = ERR_INIT;
	int r;

	if (was_seen(t, &d->digest))
		return 0;
	r = get_by_digest(t->from, d, &bytes, &why);
	if (r == E_NOTFOUND)
		return 0; /* lists kept by clients, as the fallback tag is, outlive what they list */
	if (r < 0) {
		*err = why;
		return r;
	}
	r = copy_manifest(t, &bytes, NULL, depth, err);
	if (r >= 0)
		t->result.referrers++;
	return r;
}

/* What refers to a manifest, behind it. */
static int copy_referrers(struct transfer *t, const struct hash *subject, unsigned depth,
			  struct err *err)
{
	cleanup_descriptors struct descriptors list = {0};
	int r;

	if (t->options->without_referrers || t->to->images_only)
		return 0;
	r = image_get_referrers(t->from, subject, NULL, &list, err);
	for (size_t i = 0; i < list.len && r >= 0; i++)
		r = copy_referrer(t, &list.items[i], depth + 1, err);
	return r;
}

/* Recursion: at most TRANSFER_DEPTH_MAX. */
static int copy_manifest(struct transfer *t, const struct manifest_bytes *bytes, const char *tag,
			 unsigned depth, struct err *err)
{
	cleanup_manifest struct manifest m = {0};
	struct manifest_bytes put = *bytes;
	int r = note_manifest(t, &bytes->digest, err);

	if (r < 0)
		return r;
	if (depth > TRANSFER_DEPTH_MAX)
		return err_set(err, E_LIMIT, "%s: manifests are nested deeper than %d",
			       t->from->name, TRANSFER_DEPTH_MAX);
	r = manifest_parse(&m, bytes->media_type, buf_slice(&bytes->bytes), err);
	if (r < 0)
		return err_wrap(err, "%s", t->from->name);
	put.parsed = &m;
	r = copy_content(t, &m, depth, err);
	if (r >= 0)
		r = image_put_manifest(t->to, &put, tag, err);
	if (r < 0)
		return r;
	t->result.manifests++;
	return copy_referrers(t, &bytes->digest, depth, err);
}

static int copy_by_digest(struct transfer *t, const struct descriptor *d, unsigned depth,
			  struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	int r;

	if (was_seen(t, &d->digest))
		return 0;
	r = get_by_digest(t->from, d, &bytes, err);
	return r < 0 ? r : copy_manifest(t, &bytes, NULL, depth, err);
}

static int no_member(const struct image_source *from, const struct manifest *index,
		     const struct platform *wanted, struct err *err)
{
	cleanup_buf struct buf text = {0}, there = {0};

	platform_format(&text, wanted);
	buf_add_str(&there, "");
	for (size_t i = 0; i < index->manifests.len && there.len < 300; i++) {
		if (!index->manifests.items[i].has_platform)
			continue;
		buf_add_str(&there, there.len ? ", " : "; there is: ");
		platform_format(&there, &index->manifests.items[i].platform);
	}
	return err_set(err, E_NOTFOUND,
		       "%s: there is no image for %s in the index%s (see --platform)", from->name,
		       (const char *)text.data, (const char *)there.data);
}

int transfer_resolve(struct image_source *from, const struct platform *platform,
		     struct manifest_bytes *ret, struct manifest *ret_parsed, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	cleanup_manifest struct manifest m = {0};
	int r = image_get_manifest(from, NULL, &bytes, err);

	for (unsigned depth = 0; r >= 0; depth++) {
		cleanup_manifest_bytes struct manifest_bytes member = {0};
		const struct descriptor *d;

		manifest_release(&m);
		r = manifest_parse(&m, bytes.media_type, buf_slice(&bytes.bytes), err);
		if (r < 0)
			return err_wrap(err, "%s", from->name);
		if (m.kind != MANIFEST_INDEX)
			break;
		if (depth == TRANSFER_DEPTH_MAX)
			return err_set(err, E_LIMIT, "%s: indexes are nested deeper than %d",
				       from->name, TRANSFER_DEPTH_MAX);
		d = manifest_select(&m, platform);
		if (!d)
			return no_member(from, &m, platform, err);
		r = get_by_digest(from, d, &member, err);
		if (r >= 0) {
			struct manifest_bytes swap = bytes;

			bytes = member;
			member = swap;
		}
	}
	if (r < 0)
		return r;
	*ret = bytes;
	*ret_parsed = m;
	bytes = (struct manifest_bytes){0};
	m = (struct manifest){0};
	return 0;
}

/* Is an image that stands alone for the platform that was asked for? One that does not say is. */
static int check_platform(struct image_source *from, const struct manifest *m,
			  const struct platform *wanted, struct err *err)
{
	cleanup_image_config struct image_config config = {0};
	cleanup_platform struct platform platform = {0};
	cleanup_buf struct buf bytes = BUF_INIT(IMAGE_CONFIG_BYTES_MAX), text = {0}, asked = {0};
	struct err ignored = ERR_INIT;
	int r;

	if (!m->has_config || (strcmp(m->config.media_type, MT_OCI_CONFIG) != 0 &&
			       strcmp(m->config.media_type, MT_DOCKER_CONFIG) != 0))
		return 0;
	r = image_get_blob_bytes(from, &m->config, IMAGE_CONFIG_BYTES_MAX, &bytes, err);
	if (r < 0)
		return r;
	if (image_config_parse(&config, buf_slice(&bytes), &ignored) < 0)
		return 0;
	image_config_platform(&platform, &config);
	if (platform_match(wanted, &platform) > 0)
		return 0;
	platform_format(&text, &platform);
	platform_format(&asked, wanted);
	return err_set(err, E_NOTFOUND, "%s: the image is for %s, not for %s", from->name,
		       (const char *)text.data, (const char *)asked.data);
}

int transfer_image(struct image_source *from, struct image_dest *to, const char *tag,
		   const struct transfer_options *options, struct transfer_result *ret,
		   struct err *err)
{
	struct transfer t = {.from = from, .to = to, .options = options};
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	cleanup_manifest struct manifest parsed = {0};
	cleanup_platform struct platform host = {0};
	int r;

	platform_host(&host);
	if (options->platform || to->images_only)
		r = transfer_resolve(from, options->platform ? options->platform : &host, &bytes,
				     &parsed, err);
	else
		r = image_get_manifest(from, NULL, &bytes, err);
	if (r >= 0 && options->platform)
		r = check_platform(from, &parsed, options->platform, err);
	if (r >= 0)
		r = copy_manifest(&t, &bytes, tag, 0, err);
	free(t.seen);
	if (r < 0)
		return r;
	t.result.digest = bytes.digest;
	*ret = t.result;
	return 0;
}
