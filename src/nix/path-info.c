/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include <nacre/pathinfo.h>

#include "base/mem.h"

void path_info_release(struct path_info *info)
{
	strv_release(&info->references);
	strv_release(&info->signatures);
	free(info->deriver);
	free(info->ca);
	*info = (struct path_info){0};
}

void path_info_copy(struct path_info *ret, const struct path_info *from)
{
	*ret = *from;
	strv_copy(&ret->references, &from->references);
	strv_copy(&ret->signatures, &from->signatures);
	ret->deriver = from->deriver ? xstrdup(from->deriver) : NULL;
	ret->ca = from->ca ? xstrdup(from->ca) : NULL;
}

/* Where `base` is, or belongs: the first item that is not before it. */
static size_t find_position(const struct path_infos *set, const char *base)
{
	size_t low = 0, high = set->len;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(store_path_base(&set->items[mid].path), base) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void path_infos_take(struct path_infos *set, struct path_info *info)
{
	size_t i = find_position(set, store_path_base(&info->path));

	if (i < set->len &&
	    strcmp(store_path_base(&set->items[i].path), store_path_base(&info->path)) == 0) {
		path_info_release(&set->items[i]);
	} else {
		array_grow(set->items, set->cap, set->len + 1);
		memmove(&set->items[i + 1], &set->items[i], (set->len - i) * sizeof(*set->items));
		set->len++;
	}
	set->items[i] = *info;
	*info = (struct path_info){0};
}

const struct path_info *path_infos_find(const struct path_infos *set, const char *base)
{
	size_t i = find_position(set, base);

	return i < set->len && strcmp(store_path_base(&set->items[i].path), base) == 0
		       ? &set->items[i]
		       : NULL;
}

void path_infos_release(struct path_infos *set)
{
	for (size_t i = 0; i < set->len; i++)
		path_info_release(&set->items[i]);
	free(set->items);
	*set = (struct path_infos){0};
}

/* SPEC nix-signature fingerprint (Nix source src/libstore/path-info.cc fingerprint) */
int path_info_fingerprint(struct buf *ret, const struct path_info *info)
{
	char hash[HASH_TEXT_MAX];
	int r;

	hash_format(hash, &info->nar_hash, HASH_NIX32);
	r = buf_addf(ret, "1;%s;%s;%" PRIu64 ";", info->path.text, hash, info->nar_size);
	for (size_t i = 0; r >= 0 && i < info->references.len; i++)
		r = buf_addf(ret, "%s%.*s/%s", i ? "," : "", (int)info->path.dir_len,
			     info->path.text, info->references.items[i]);
	return r;
}
