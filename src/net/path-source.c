/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "net/path-source-internal.h"

static bool is_url(const char *where)
{
	return strncmp(where, "http://", 7) == 0 || strncmp(where, "https://", 8) == 0 ||
	       strncmp(where, "file://", 7) == 0;
}

int path_source_open(struct path_source **ret, const char *where,
		     const struct path_source_options *options, struct err *err)
{
	struct stat st;

	if (!where)
		where = "/";
	if (is_url(where))
		return cache_source_open(ret, where, options, err);
	if (strncmp(where, PACKAGE_SOURCE_PREFIX, strlen(PACKAGE_SOURCE_PREFIX)) == 0)
		return package_source_open(ret, where, options, err);
	if (strstr(where, "://"))
		return err_set(err, E_USAGE,
			       "'%s': wanted the root of a Nix store, a registration file, or "
			       "http://, https://, file:// or docker://REPOSITORY",
			       where);
	if (stat(where, &st) == 0 && S_ISREG(st.st_mode))
		return registration_source_open(ret, where, options, err);
	return local_source_open(ret, where, options, err);
}

int path_source_resolve(struct path_source *s, const char *text, struct store_path *ret,
			struct err *err)
{
	struct slice t = slice_str(text);
	struct path_info info;

	if (store_path_parse(ret, s->store_dir, t) >= 0 ||
	    store_path_make(ret, s->store_dir, t) >= 0)
		return 0;
	if (store_hash_part_check(t) >= 0) {
		if (s->query(s, t, &info, err) < 0)
			return err->code;
		*ret = info.path;
		path_info_release(&info);
		return 0;
	}
	if (strchr(text, '/') || access(text, F_OK) == 0)
		return local_source_follow(s, text, ret, err);
	return err_set(err, E_USAGE, "'%s' is not a store path of %s", text, s->store_dir);
}
