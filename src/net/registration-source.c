/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Store paths of this machine that a registration text names (closureInfo,
 * exportReferencesGraph): what there is within a Nix build, where no database can be read. Where
 * the text has no NarHash, the paths are hashed first.
 */
#include <fcntl.h>

#include <nacre/nar.h>
#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/sinks.h"
#include "net/path-source-internal.h"

enum { REGISTRATION_MAX = 256 << 20 };

struct registration_source {
	struct path_source source;
	struct path_infos known;
	char *file; /* owned */
	struct trusted_keys trusted;
	char store_dir[STORE_DIR_MAX + 1];
	int dirfd; /* owned: of the store dir */
};

static int find_hash_part(const struct registration_source *s, struct slice hash_part,
			  const struct path_info **ret, struct err *err)
{
	for (size_t i = 0; i < s->known.len; i++)
		if (slice_equal(store_path_hash_part(&s->known.items[i].path), hash_part)) {
			*ret = &s->known.items[i];
			return 0;
		}
	return err_set(err, E_NOTFOUND, "%.*s is not in %s", (int)hash_part.len,
		       (const char *)hash_part.data, s->file);
}

static int registration_query(struct path_source *self, struct slice hash_part,
			      struct path_info *ret, struct err *err)
{
	struct registration_source *s = container_of(self, struct registration_source, source);
	const struct path_info *info;

	if (find_hash_part(s, hash_part, &info, err) < 0)
		return err->code;
	path_info_copy(ret, info);
	return 0;
}

/* Copies a path, if it is new, and lists its references. */
static int visit(const struct registration_source *s, const char *base, struct path_infos *set,
		 struct strv *pending, struct err *err)
{
	const struct path_info *info = path_infos_find(&s->known, base);
	struct path_info copy;

	if (path_infos_find(set, base))
		return 0;
	if (!info)
		return err_set(err, E_NOTFOUND, "%s is not in %s", base, s->file);
	path_info_copy(&copy, info);
	path_infos_take(set, &copy);
	for (size_t i = 0; i < info->references.len; i++)
		strv_add(pending, info->references.items[i]);
	return 0;
}

static int registration_closure(struct path_source *self, const struct store_path *path,
				struct path_infos *set, struct err *err)
{
	struct registration_source *s = container_of(self, struct registration_source, source);
	cleanup_strv struct strv pending = {0};

	strv_add(&pending, store_path_base(path));
	while (pending.len) {
		cleanup_free char *base = pending.items[--pending.len];

		if (visit(s, base, set, &pending, err) < 0)
			return err->code;
	}
	return path_trust_check(self, set, s->trusted.items, s->trusted.len, err);
}

static int registration_dump(struct path_source *self, const struct path_info *info,
			     struct node_sink *out, struct err *err)
{
	struct registration_source *s = container_of(self, struct registration_source, source);

	return proven_dump(s->dirfd, info, out, err);
}

static void registration_free(struct path_source *self)
{
	struct registration_source *s = container_of(self, struct registration_source, source);

	path_infos_release(&s->known);
	close_fd(&s->dirfd);
	free(s->trusted.items);
	free(s->file);
	free(s);
}

static int hash_path(int dirfd, struct path_info *info, struct err *err)
{
	return tree_hash(dirfd, store_path_base(&info->path), HASH_SHA256, &info->nar_hash,
			 &info->nar_size, err);
}

static int load(struct registration_source *s, struct err *err)
{
	cleanup_buf struct buf text = {0};

	if (read_file_at(AT_FDCWD, s->file, REGISTRATION_MAX, &text, err) < 0 ||
	    registration_parse(&s->known, s->store_dir, buf_slice(&text), err) < 0)
		return err->code;
	s->dirfd = open(s->store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd < 0)
		return err_errno(err, "open %s", s->store_dir);
	for (size_t i = 0; i < s->known.len; i++)
		if (s->known.items[i].nar_hash.algo == HASH_NONE &&
		    hash_path(s->dirfd, &s->known.items[i], err) < 0)
			return err->code;
	return 0;
}

int registration_source_open(struct path_source **ret, const char *file,
			     const struct path_source_options *options, struct err *err)
{
	struct registration_source *s = xcalloc(1, sizeof(*s));

	s->dirfd = -1;
	s->file = xstrdup(file);
	snprintf(s->store_dir, sizeof(s->store_dir), "%s",
		 options->store_dir ? options->store_dir : STORE_DIR_DEFAULT);
	trusted_keys_copy(&s->trusted, options);
	s->source = (struct path_source){
		.name = s->file,
		.store_dir = s->store_dir,
		.query = registration_query,
		.closure = registration_closure,
		.dump = registration_dump,
		.free = registration_free,
	};
	if (load(s, err) < 0) {
		registration_free(&s->source);
		return err_wrap(err, "%s", file);
	}
	*ret = &s->source;
	return 0;
}
