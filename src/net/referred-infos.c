/* SPDX-License-Identifier: Apache-2.0 */
#include "net/referred-infos.h"

#include <string.h>

#include <nacre/image.h>
#include <nacre/manifest.h>

#include "base/mem.h"

int referred_infos_get(struct path_infos *ret, struct image_source *from,
		       const struct descriptor *referrer, const char *store_dir, size_t *left,
		       struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	cleanup_manifest struct manifest m = {0};
	cleanup_buf struct buf text = BUF_INIT(*left);
	char digest[DIGEST_TEXT_MAX];
	int r;

	digest_format(digest, &referrer->digest);
	r = image_get_manifest(from, digest, &bytes, err);
	if (r >= 0)
		r = manifest_parse(&m, bytes.media_type, buf_slice(&bytes.bytes), err);
	if (r >= 0 &&
	    (m.layers.len != 1 || strcmp(m.layers.items[0].media_type, MT_NIX_NARINFO) != 0))
		r = err_set(err, E_INVALID, "has no path infos");
	if (r >= 0)
		r = image_get_blob_bytes(from, &m.layers.items[0], *left, &text, err);
	*left -= text.len;
	return r < 0 ? r : path_infos_parse(ret, store_dir, buf_slice(&text), err);
}

void referred_info_add(struct path_info *info, const struct path_info *said)
{
	for (size_t i = 0; i < said->signatures.len; i++)
		strv_add(&info->signatures, said->signatures.items[i]);
	if (said->deriver && !info->deriver)
		info->deriver = xstrdup(said->deriver);
	if (!said->ca || info->ca)
		return;
	info->ca = xstrdup(said->ca);
	if (path_info_ca_matches(info) <= 0)
		free(take_ptr(info->ca));
}
