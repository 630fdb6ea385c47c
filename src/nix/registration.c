/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPEC nix-registration (Nix source src/libstore/store-api.cc decodeValidPathInfo), per path:
 * 	path LF [hash LF size LF] deriver LF number LF (reference LF)*
 * Whether hash and size are there is seen in the third line: a number of references or a deriver
 * is no hash.
 */
#include <nacre/closure.h>
#include <nacre/encode.h>

#include "base/mem.h"

struct lines {
	struct slice text;
	unsigned number; /* of the line last taken */
};

static int take_line(struct lines *l, struct slice *ret, struct err *err)
{
	const uint8_t *end = l->text.len ? memchr(l->text.data, '\n', l->text.len) : NULL;

	l->number++;
	if (!end)
		return err_set(err, E_INVALID, "registration, line %u: the text ends here",
			       l->number);
	*ret = slice_make(l->text.data, (size_t)(end - l->text.data));
	slice_advance(&l->text, ret->len + 1);
	return 0;
}

static int bad_line(const struct lines *l, const char *what, struct err *err)
{
	return err_set(err, E_INVALID, "registration, line %u: %s", l->number, what);
}

/* A hash is hex or "sha256:…"; a deriver is a path or empty. */
static bool is_hash(struct slice line, struct hash *ret)
{
	return hash_parse(ret, HASH_SHA256, line) >= 0;
}

static int parse_deriver(const struct lines *l, struct slice line, const char *store_dir,
			 struct path_info *info, struct err *err)
{
	struct store_path deriver;

	if (line.len == 0 || slice_equal_str(line, "unknown-deriver"))
		return 0;
	if (store_path_parse(&deriver, store_dir, line) < 0)
		return bad_line(l, "the deriver is not a path of this store dir", err);
	info->deriver = xstrdup(store_path_base(&deriver));
	return 0;
}

static int parse_references(struct lines *l, const char *store_dir, struct path_info *info,
			    struct err *err)
{
	struct slice line;
	uint64_t count;

	if (take_line(l, &line, err) < 0)
		return err->code;
	if (parse_u64(&count, line) < 0)
		return bad_line(l, "wanted the number of references", err);
	for (uint64_t i = 0; i < count; i++) {
		struct store_path ref;

		if (take_line(l, &line, err) < 0)
			return err->code;
		if (store_path_parse(&ref, store_dir, line) < 0)
			return bad_line(l, "a reference is not a path of this store dir", err);
		strv_add(&info->references, store_path_base(&ref));
	}
	strv_sort_unique(&info->references);
	return 0;
}

static int parse_one(struct lines *l, const char *store_dir, struct path_info *info,
		     struct err *err)
{
	struct slice line;

	if (take_line(l, &line, err) < 0)
		return err->code;
	if (store_path_parse(&info->path, store_dir, line) < 0)
		return bad_line(l, "not a path of this store dir", err);
	if (take_line(l, &line, err) < 0)
		return err->code;
	if (is_hash(line, &info->nar_hash)) {
		if (take_line(l, &line, err) < 0)
			return err->code;
		if (parse_u64(&info->nar_size, line) < 0 || info->nar_size == 0)
			return bad_line(l, "wanted the size of the NAR", err);
		if (take_line(l, &line, err) < 0)
			return err->code;
	}
	if (parse_deriver(l, line, store_dir, info, err) < 0)
		return err->code;
	return parse_references(l, store_dir, info, err);
}

int registration_parse(struct path_infos *ret, const char *store_dir, struct slice text,
		       struct err *err)
{
	struct lines l = {.text = text};
	struct path_infos set = {0};

	while (l.text.len) {
		struct path_info info = {0};

		if (parse_one(&l, store_dir, &info, err) < 0) {
			path_info_release(&info);
			path_infos_release(&set);
			return err->code;
		}
		path_infos_take(&set, &info);
	}
	*ret = set;
	return 0;
}
