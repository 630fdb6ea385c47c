/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests: what parses is built again and parses to the same. Descriptors' data are decoded. */
#include <nacre/manifest.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_data(const struct descriptors *list)
{
	for (size_t i = 0; i < list->len; i++) {
		cleanup_buf struct buf out = {0};

		if (descriptor_data(&list->items[i], &out) == 0 && out.len != list->items[i].size)
			abort();
	}
}

static void check_build(const struct manifest *m)
{
	cleanup_buf struct buf first = BUF_INIT(MANIFEST_BYTES_MAX),
			       second = BUF_INIT(MANIFEST_BYTES_MAX);
	cleanup_manifest struct manifest again = {0};
	struct err err = ERR_INIT;
	int r = manifest_build(&first, m);

	if (r == E_LIMIT || r == E_UNSUPPORTED) /* a size past 2^53 - 1, another kind */
		return;
	if (r < 0 || manifest_parse(&again, NULL, buf_slice(&first), &err) < 0 ||
	    manifest_build(&second, &again) < 0 ||
	    !slice_equal(buf_slice(&first), buf_slice(&second)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = {NULL, MT_OCI_MANIFEST, MT_OCI_INDEX,
					    MT_OCI_ARTIFACT_MANIFEST};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		cleanup_manifest struct manifest m = {0};
		cleanup_platform struct platform host = {0};
		struct err err = ERR_INIT;
		int r = manifest_parse(&m, types[i], slice_make(data, size), &err);

		if (r != err.code || (r < 0 && (!err.text[0] || m.media_type)))
			abort();
		if (r < 0)
			continue;
		platform_host(&host);
		manifest_select(&m, &host);
		manifest_artifact_type(&m);
		try_data(&m.layers);
		check_build(&m);
	}
	return 0;
}
