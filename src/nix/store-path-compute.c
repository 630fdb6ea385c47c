/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPEC nix-store-path:
 * 	path  = store dir "/" nix32(fold20(sha256(type ":sha256:" hex(inner) ":" store dir ":" name))) "-" name
 * 	type  = "text" {":" ref} | "source" {":" ref} [":self"] | "output:out"
 * (Nix source src/libstore/store-dir-config.cc makeStorePath, makeType)
 */
#include <nacre/encode.h>
#include <nacre/storepath.h>

enum { FOLDED = 20, TYPE_MAX = 64 << 20 };

static int make_path(struct store_path *ret, const char *store_dir, struct slice type,
		     const struct hash *inner, const char *name)
{
	char hex[2 * HASH_SIZE_MAX + 1], base[STORE_BASE_MAX + 1];
	uint8_t folded[FOLDED] = {0};
	struct hasher hasher;
	struct hash full;
	const char *const parts[] = {":sha256:", hex, ":", store_dir, ":", name};

	if (strlen(name) > STORE_NAME_MAX)
		return E_INVALID;
	hash_format_bare(hex, inner, HASH_HEX);
	hasher_init(&hasher, HASH_SHA256);
	hasher_update(&hasher, type.data, type.len);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		hasher_update(&hasher, parts[i], strlen(parts[i]));
	hasher_final(&hasher, &full);
	hasher_release(&hasher);
	for (size_t i = 0; i < hash_size(full.algo); i++)
		folded[i % FOLDED] ^= full.bytes[i];
	nix32_encode(base, folded, FOLDED);
	snprintf(base + STORE_HASH_LEN, sizeof(base) - STORE_HASH_LEN, "-%s", name);
	return store_path_make(ret, store_dir, slice_str(base));
}

/* Appends ":<store dir>/<ref>" for each reference, sorted, then ":self". */
static int add_refs(struct buf *type, const char *store_dir, const struct store_refs *refs)
{
	cleanup_strv struct strv sorted = {0};

	if (refs && refs->refs)
		strv_copy(&sorted, refs->refs);
	strv_sort_unique(&sorted);
	for (size_t i = 0; i < sorted.len; i++) {
		int r;

		if (store_base_check(slice_str(sorted.items[i])) < 0)
			return E_INVALID;
		r = buf_addf(type, ":%s/%s", store_dir, sorted.items[i]);
		if (r < 0)
			return r;
	}
	return refs && refs->self ? buf_add_str(type, ":self") : 0;
}

static bool has_refs(const struct store_refs *refs)
{
	return refs && (refs->self || (refs->refs && refs->refs->len));
}

static int path_with_refs(struct store_path *ret, const char *kind, const char *store_dir,
			  const char *name, const struct hash *inner, const struct store_refs *refs)
{
	cleanup_buf struct buf type = BUF_INIT(TYPE_MAX);
	int r = buf_add_str(&type, kind);

	if (r >= 0)
		r = add_refs(&type, store_dir, refs);
	return r < 0 ? r : make_path(ret, store_dir, buf_slice(&type), inner, name);
}

int store_path_text(struct store_path *ret, const char *store_dir, const char *name,
		    const struct hash *content, const struct store_refs *refs)
{
	if (content->algo != HASH_SHA256 || (refs && refs->self))
		return E_INVALID;
	return path_with_refs(ret, "text", store_dir, name, content, refs);
}

int store_path_fixed(struct store_path *ret, const char *store_dir, const char *name,
		     enum ca_method method, const struct hash *content,
		     const struct store_refs *refs)
{
	static const char *const prefixes[] = {[CA_FLAT] = "", [CA_NAR] = "r:", [CA_GIT] = "git:"};
	char hex[2 * HASH_SIZE_MAX + 1], text[2 * HASH_SIZE_MAX + 40];
	struct hash inner;

	if (method == CA_TEXT || content->algo == HASH_NONE)
		return E_INVALID;
	if (method == CA_NAR && content->algo == HASH_SHA256)
		return path_with_refs(ret, "source", store_dir, name, content, refs);
	if (has_refs(refs))
		return E_INVALID;
	hash_format_bare(hex, content, HASH_HEX);
	snprintf(text, sizeof(text), "fixed:out:%s%s:%s:", prefixes[method],
		 hash_algo_name(content->algo), hex);
	hash_bytes(&inner, HASH_SHA256, text, strlen(text));
	return make_path(ret, store_dir, slice_str("output:out"), &inner, name);
}
