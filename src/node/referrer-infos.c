/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include <nacre/image.h>
#include <nacre/manifest.h>

#include "base/mem.h"
#include "node/referrer-infos.h"

/* Anybody who may push can add referrers. */
enum { REFERRERS_MAX = 32, BYTES_MAX = 64 << 20 };

void referrer_infos_release(struct referrer_infos *infos)
{
	for (size_t i = 0; i < infos->len; i++)
		path_infos_release(&infos->sets[i]);
	free(infos->sets);
	*infos = (struct referrer_infos){0};
}

static void read_one(struct referrer_infos *ret, struct image_source *source,
		     const struct descriptor *referrer, const char *store_dir, size_t *bytes_left)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	cleanup_manifest struct manifest manifest = {0};
	cleanup_buf struct buf text = BUF_INIT(*bytes_left);
	struct path_infos set = {0};
	char digest[DIGEST_TEXT_MAX];
	struct err ignored = ERR_INIT;

	digest_format(digest, &referrer->digest);
	if (image_get_manifest(source, digest, &bytes, &ignored) < 0 ||
	    manifest_parse(&manifest, bytes.media_type, buf_slice(&bytes.bytes), &ignored) < 0 ||
	    manifest.layers.len != 1 ||
	    image_get_blob_bytes(source, &manifest.layers.items[0], *bytes_left, &text, &ignored) <
		    0)
		return;
	*bytes_left -= text.len;
	if (path_infos_parse(&set, store_dir, buf_slice(&text), &ignored) < 0)
		return;
	array_grow(ret->sets, ret->cap, ret->len + 1);
	ret->sets[ret->len++] = set;
}

int referrer_infos_read(struct referrer_infos *ret, struct image_source *source,
			const struct hash *subject, const char *store_dir, struct err *err)
{
	cleanup_descriptors struct descriptors list = {0};
	size_t bytes_left = BYTES_MAX;

	if (image_get_referrers(source, subject, MT_NIX_PATH_INFOS, &list, err) < 0)
		return err->code;
	for (size_t i = 0; i < list.len && i < REFERRERS_MAX && bytes_left; i++)
		read_one(ret, source, &list.items[i], store_dir, &bytes_left);
	return 0;
}
