/* SPDX-License-Identifier: Apache-2.0 */
/* What all sources and destinations share, see nacre/transport.h. */
#include <nacre/transport.h>

#include "base/mem.h"
#include "oci/oci-internal.h"

void manifest_bytes_release(struct manifest_bytes *m)
{
	buf_release(&m->bytes);
	free(m->media_type);
	*m = (struct manifest_bytes){0};
}

const struct manifest *manifest_bytes_parse(const struct manifest_bytes *m, struct manifest *own,
					    struct err *err)
{
	if (m->parsed)
		return m->parsed;
	return manifest_parse(own, m->media_type, buf_slice(&m->bytes), err) < 0 ? NULL : own;
}

int image_get_blob_bytes(struct image_source *s, const struct descriptor *blob, size_t max,
			 struct buf *ret, struct err *err)
{
	cleanup_buf struct buf bytes = BUF_INIT(max ? max : 1);
	char digest[DIGEST_TEXT_MAX];
	struct buf_sink to;
	int r;

	if (blob->size > max) {
		digest_format(digest, &blob->digest);
		return err_set(err, E_LIMIT, "%s: %s has %llu bytes, at most %zu are read", s->name,
			       digest, (unsigned long long)blob->size, max);
	}
	/* What is in the descriptor need not be fetched. */
	r = descriptor_data(blob, &bytes);
	if (r < 0) {
		buf_sink_init(&to, &bytes);
		r = s->get_blob(s, blob, &to.sink, err);
		if (r < 0)
			return r;
	}
	r = buf_add(ret, bytes.data, bytes.len);
	return r < 0 ? err_set(err, r, "%s: a blob of %zu bytes is too large", s->name, bytes.len)
		     : 0;
}

static int produce_slice(struct blob_producer *self, struct sink *out, struct err *err)
{
	struct slice_producer *p = container_of(self, struct slice_producer, producer);

	return sink_write(out, p->bytes.data, p->bytes.len, err);
}

void slice_producer_init(struct slice_producer *p, struct slice bytes)
{
	*p = (struct slice_producer){{produce_slice}, bytes};
}

int image_put_blob_bytes(struct image_dest *d, const char *media_type, struct slice bytes,
			 struct blob_id *ret, struct err *err)
{
	struct slice_producer p;
	cleanup_descriptor struct descriptor want = {0};
	struct blob_id id = {.size = bytes.len};
	int r;

	hash_bytes(&id.digest, HASH_SHA256, bytes.data, bytes.len);
	descriptor_make(&want, media_type, &id.digest, id.size);
	slice_producer_init(&p, bytes);
	r = d->has_blob(d, &want, err);
	if (r == 0)
		r = d->put_blob(d, &want, &p.producer, NULL, err);
	if (r >= 0 && ret)
		*ret = id;
	return r < 0 ? r : 0;
}

int image_put_manifest_built(struct image_dest *d, const struct manifest *m, const char *tag,
			     struct blob_id *ret, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {.bytes = BUF_INIT(MANIFEST_BYTES_MAX),
							      .media_type = xstrdup(m->media_type)};
	int r = manifest_build(&bytes.bytes, m);

	if (r < 0)
		return err_set(err, r, "%s: the manifest cannot be written: %s", d->name,
			       r == E_LIMIT ? "it would be too large"
					    : "a text in it is not UTF-8");
	hash_bytes(&bytes.digest, HASH_SHA256, bytes.bytes.data, bytes.bytes.len);
	bytes.parsed = m;
	r = d->put_manifest(d, &bytes, tag, err);
	if (r >= 0 && ret)
		*ret = (struct blob_id){bytes.digest, bytes.bytes.len};
	return r < 0 ? r : 0;
}
