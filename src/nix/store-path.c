/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/encode.h>
#include <nacre/storepath.h>

/* SPEC nix-store-path: the characters of a name. */
static bool is_name_char(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("+-._?=", c));
}

/* "." and "..", alone or before a '-', are refused (Nix 2.21 and later). */
static bool is_dotty(struct slice name)
{
	size_t dots = 0;

	while (dots < name.len && dots < 3 && name.data[dots] == '.')
		dots++;
	if (dots == 0 || dots > 2)
		return false;
	return dots == name.len || name.data[dots] == '-';
}

static int name_check(struct slice name)
{
	if (name.len == 0 || name.len > STORE_NAME_MAX || is_dotty(name))
		return E_INVALID;
	for (size_t i = 0; i < name.len; i++)
		if (!is_name_char(name.data[i]))
			return E_INVALID;
	return 0;
}

int store_dir_check(struct slice dir)
{
	size_t component = 0; /* where the current one begins */

	if (dir.len < 2 || dir.len > STORE_DIR_MAX || dir.data[0] != '/')
		return E_INVALID;
	for (size_t i = 1; i <= dir.len; i++) {
		struct slice name;

		if (i < dir.len && dir.data[i] != '/') {
			if (dir.data[i] <= 0x20 || dir.data[i] >= 0x7f)
				return E_INVALID;
			continue;
		}
		name = slice_make(dir.data + component + 1, i - component - 1);
		if (name.len == 0 || slice_equal_str(name, ".") || slice_equal_str(name, ".."))
			return E_INVALID;
		component = i;
	}
	return 0;
}

int store_hash_part_check(struct slice hash)
{
	if (hash.len != STORE_HASH_LEN)
		return E_INVALID;
	for (size_t i = 0; i < hash.len; i++)
		if (!nix32_is_char((char)hash.data[i]))
			return E_INVALID;
	return 0;
}

int store_base_check(struct slice base)
{
	if (base.len < STORE_HASH_LEN + 2 || base.data[STORE_HASH_LEN] != '-' ||
	    store_hash_part_check(slice_make(base.data, STORE_HASH_LEN)) < 0)
		return E_INVALID;
	slice_advance(&base, STORE_HASH_LEN + 1);
	return name_check(base);
}

static int make_checked(struct store_path *ret, struct slice dir, struct slice base)
{
	if (store_base_check(base) < 0)
		return E_INVALID;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->text, dir.data, dir.len);
	ret->text[dir.len] = '/';
	memcpy(ret->text + dir.len + 1, base.data, base.len);
	ret->dir_len = (uint16_t)dir.len;
	return 0;
}

int store_path_make(struct store_path *ret, const char *store_dir, struct slice base)
{
	struct slice dir = slice_str(store_dir);

	return store_dir_check(dir) < 0 ? E_INVALID : make_checked(ret, dir, base);
}

int store_path_parse(struct store_path *ret, const char *store_dir, struct slice text)
{
	struct slice dir = slice_str(store_dir);

	if (!slice_has_prefix(text, store_dir) || text.len <= dir.len ||
	    text.data[dir.len] != '/' || store_dir_check(dir) < 0)
		return E_INVALID;
	slice_advance(&text, dir.len + 1);
	return make_checked(ret, dir, text);
}

int store_path_parse_any(struct store_path *ret, struct slice text)
{
	const uint8_t *slash = text.len ? memrchr(text.data, '/', text.len) : NULL;
	struct slice dir;

	if (!slash)
		return E_INVALID;
	dir = slice_make(text.data, (size_t)(slash - text.data));
	if (store_dir_check(dir) < 0)
		return E_INVALID;
	slice_advance(&text, dir.len + 1);
	return make_checked(ret, dir, text);
}
