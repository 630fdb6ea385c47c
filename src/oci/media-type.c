/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/manifest.h>

#include "base/mem.h"

static bool is_one_of(const char *text, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(text, list[i]) == 0)
			return true;
	return false;
}

bool media_type_is_index(const char *media_type)
{
	static const char *const list[] = {MT_OCI_INDEX, MT_DOCKER_LIST};

	return is_one_of(media_type, list, ARRAY_LEN(list));
}

bool media_type_is_manifest(const char *media_type)
{
	static const char *const list[] = {MT_OCI_MANIFEST, MT_OCI_ARTIFACT_MANIFEST,
					   MT_DOCKER_MANIFEST, MT_DOCKER_MANIFEST_1,
					   MT_DOCKER_MANIFEST_1_SIG};

	return is_one_of(media_type, list, ARRAY_LEN(list)) || media_type_is_index(media_type);
}

bool media_type_is_nondistributable(const char *media_type)
{
	static const char *const list[] = {MT_OCI_LAYER_ND, MT_OCI_LAYER_ND_GZIP,
					   MT_OCI_LAYER_ND_ZSTD, MT_DOCKER_FOREIGN_GZIP};

	return is_one_of(media_type, list, ARRAY_LEN(list));
}

bool media_type_is_layer(const char *media_type)
{
	static const char *const list[] = {MT_OCI_LAYER,         MT_OCI_LAYER_GZIP,
					   MT_OCI_LAYER_ZSTD,    MT_DOCKER_LAYER,
					   MT_DOCKER_LAYER_GZIP, MT_DOCKER_LAYER_ZSTD};

	return is_one_of(media_type, list, ARRAY_LEN(list)) ||
	       media_type_is_nondistributable(media_type);
}

bool media_type_is_nar(const char *media_type)
{
	static const char *const list[] = {MT_NIX_NAR, MT_NIX_NAR_ZSTD, MT_NIX_NAR_GZIP,
					   MT_NIX_NAR_XZ};

	return is_one_of(media_type, list, ARRAY_LEN(list));
}

/* RFC 6838, 4.2: restricted-name. */
static bool is_restricted_name(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];
		bool alnum =
			(c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (!alnum && (i == 0 || !memchr("!#$&-^_.+", c, 9)))
			return false;
	}
	return s.len > 0 && s.len <= 127;
}

int media_type_parse(char *ret, struct slice header)
{
	const uint8_t *end = header.len ? memchr(header.data, ';', header.len) : NULL;
	const uint8_t *slash;
	size_t type_len;

	if (end)
		header.len = (size_t)(end - header.data);
	while (header.len && (header.data[0] == ' ' || header.data[0] == '\t'))
		slice_advance(&header, 1);
	while (header.len &&
	       (header.data[header.len - 1] == ' ' || header.data[header.len - 1] == '\t'))
		header.len--;
	slash = header.len ? memchr(header.data, '/', header.len) : NULL;
	if (!slash)
		return E_INVALID;
	type_len = (size_t)(slash - header.data);
	if (!is_restricted_name(slice_make(header.data, type_len)) ||
	    !is_restricted_name(slice_make(slash + 1, header.len - type_len - 1)))
		return E_INVALID;
	memcpy(ret, header.data, header.len);
	ret[header.len] = '\0';
	return 0;
}
