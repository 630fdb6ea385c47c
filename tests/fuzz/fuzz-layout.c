/* SPDX-License-Identifier: Apache-2.0 */
/* index.json and oci-layout: read, searched, and written again with one more image. */
#include "base/mem.h"
#include "oci/layout-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_update(const struct layout_index *x)
{
	static const char manifest[] =
		"{\"schemaVersion\":2,\"config\":{\"mediaType\":\"a/b\",\"size\":2,\"digest\":"
		"\"" OCI_EMPTY_DIGEST "\"},\"layers\":[]}";
	struct manifest_bytes m = {.media_type = (char *)MT_OCI_MANIFEST};
	cleanup_buf struct buf text = BUF_INIT(LAYOUT_INDEX_MAX);
	cleanup_layout_index struct layout_index again = {0};
	struct layout_session s = {0};
	const struct descriptor *d;
	struct err err = ERR_INIT;

	buf_add_str(&m.bytes, manifest);
	hash_bytes(&m.digest, HASH_SHA256, manifest, strlen(manifest));
	if (layout_session_add(&s, &m, "fuzz", &err) < 0 ||
	    layout_session_write(&s, x, &text, &err) < 0 ||
	    layout_index_parse(&again, buf_slice(&text), &err) < 0 ||
	    layout_index_find(&again, "fuzz", &d, &err) < 0 || !hash_equal(&d->digest, &m.digest))
		abort();
	layout_session_release(&s);
	buf_release(&m.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_layout_index struct layout_index x = {0};
	const struct descriptor *d = NULL;
	struct err err = ERR_INIT;
	int r;

	layout_file_check(slice_make(data, size), &err);
	err = ERR_INIT;
	r = layout_index_parse(&x, slice_make(data, size), &err);
	if (r != err.code)
		abort();
	if (r < 0)
		return 0;
	layout_index_find(&x, NULL, &d, &err);
	layout_index_find(&x, "latest", &d, &err);
	/* One entry fewer than the limit leaves room for ours. */
	if (x.entries.len < MANIFEST_DESCRIPTORS_MAX)
		check_update(&x);
	return 0;
}
