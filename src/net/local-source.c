/* SPDX-License-Identifier: Apache-2.0 */
/* Store paths of a Nix store of this machine. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>

#include <nacre/tree.h>

#include "base/mem.h"
#include "net/path-source-internal.h"
#include "net/proof.h"

struct local_source {
	struct path_source source;
	struct nix_store *store; /* owned */
	char *root;              /* owned */
	struct trusted_keys trusted;
	char store_dir[STORE_DIR_MAX + 1];
};

static int local_query(struct path_source *self, struct slice hash_part, struct path_info *ret,
		       struct err *err)
{
	struct local_source *s = container_of(self, struct local_source, source);

	return nix_store_query_hash_part(s->store, hash_part, ret, err);
}

static int local_closure(struct path_source *self, const struct store_path *path,
			 struct path_infos *set, struct err *err)
{
	struct local_source *s = container_of(self, struct local_source, source);

	int r = nix_store_closure(s->store, path, set, err);

	return r < 0 ? r : path_trust_check(self, set, s->trusted.items, s->trusted.len, err);
}

int proven_dump(int dirfd, const struct path_info *info, struct node_sink *out, struct err *err)
{
	struct proof p;
	int r;

	proof_init(&p, info, out,
		   "was changed after it was registered: its NarHash is another one "
		   "(nix-store --verify-path)");
	r = tree_dump(dirfd, store_path_base(&info->path), &p.node_sink, err);
	proof_release(&p);
	return r;
}

static int local_dump(struct path_source *self, const struct path_info *info, struct node_sink *out,
		      struct err *err)
{
	struct local_source *s = container_of(self, struct local_source, source);

	return proven_dump(nix_store_dirfd(s->store), info, out, err);
}

static void local_free(struct path_source *self)
{
	struct local_source *s = container_of(self, struct local_source, source);

	nix_store_free(s->store);
	free(s->trusted.items);
	free(s->root);
	free(s);
}

int local_source_open(struct path_source **ret, const char *root,
		      const struct path_source_options *options, struct err *err)
{
	struct local_source *s = xcalloc(1, sizeof(*s));

	s->source = (struct path_source){
		.query = local_query,
		.closure = local_closure,
		.dump = local_dump,
		.free = local_free,
	};
	s->root = xstrdup(root);
	s->source.name = s->root;
	s->source.store_dir = s->store_dir;
	snprintf(s->store_dir, sizeof(s->store_dir), "%s",
		 options->store_dir ? options->store_dir : STORE_DIR_DEFAULT);
	if (nix_store_open(&s->store, root, s->store_dir, err) < 0) {
		free(s->root);
		free(s);
		return err->code;
	}
	trusted_keys_copy(&s->trusted, options);
	*ret = &s->source;
	return 0;
}

/* A link to a store path, or a file within one, in the local file system: as `nix` takes
 * ./result. */
int local_source_follow(struct path_source *self, const char *text, struct store_path *ret,
			struct err *err)
{
	cleanup_free char *real = NULL;
	char target[PATH_MAX];
	size_t dir_len = strlen(self->store_dir);
	ssize_t n;

	/* The first link may lead to a store path that is itself a symlink. */
	n = readlink(text, target, sizeof(target) - 1);
	if (n > 0) {
		target[n] = '\0';
		if (store_path_parse(ret, self->store_dir, slice_make(target, (size_t)n)) >= 0)
			return 0;
	}
	real = realpath(text, NULL);
	if (!real)
		return err_errno(err, "%s", text);
	if (strncmp(real, self->store_dir, dir_len) == 0 && real[dir_len] == '/') {
		size_t len = dir_len + 1 + strcspn(real + dir_len + 1, "/");

		if (store_path_parse(ret, self->store_dir, slice_make(real, len)) >= 0)
			return 0;
	}
	return err_set(err, E_USAGE, "%s is not in the store %s", text, self->store_dir);
}
