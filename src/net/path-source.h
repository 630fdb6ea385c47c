/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where store paths come from: a Nix store of this machine, a binary cache by URL, or a registry. What is
 * read is proven: a path's events go on, and the last one comes through only if NarHash and
 * NarSize are those of its path info.
 */
#ifndef NACRE_NET_PATH_SOURCE_H
#define NACRE_NET_PATH_SOURCE_H

#include <nacre/closure.h>
#include <nacre/event.h>

struct path_source {
	const char *name; /* for messages; valid as long as the source */
	const char *store_dir;
	/* Path info of one path, by its hash part. E_NOTFOUND. */
	int (*query)(struct path_source *self, struct slice hash_part, struct path_info *ret,
		     struct err *err);
	/* Adds the closure of a path. E_NOTFOUND names what is missing. */
	int (*closure)(struct path_source *self, const struct store_path *path,
		       struct path_infos *set, struct err *err);
	/* Sends a path. E_MISMATCH: its content is not what its path info says. */
	int (*dump)(struct path_source *self, const struct path_info *info, struct node_sink *out,
		    struct err *err);
	void (*free)(struct path_source *self);
};

struct path_source_options {
	const char *store_dir; /* borrowed; NULL: /nix/store, or what the cache says */
	const struct public_key
		*trusted; /* borrowed; with any, each path needs a signature by one, or a
					     content address that holds */
	size_t n_trusted;
	/* For registries; borrowed until path_source_open() returns. */
	const char *auth_file; /* NULL: where podman and docker keep credentials */
	bool insecure;         /* plain HTTP, or unverified TLS */
};

/* `where`: a URL (http://, https://, file://), or docker://HOST/REPOSITORY with package artifacts (SPEC
 * nacre 5), or the root directory of a Nix store ("/", or
 * that of `nix --store DIR`), or a file with a registration text (closureInfo,
 * exportReferencesGraph) about paths of this machine. NULL is "/". */
int path_source_open(struct path_source **ret, const char *where,
		     const struct path_source_options *options, struct err *err);
static inline void path_source_free(struct path_source *s)
{
	if (s)
		s->free(s);
}
static inline void path_source_free_ptr(struct path_source **s)
{
	path_source_free(*s);
}
#define cleanup_path_source __attribute__((cleanup(path_source_free_ptr)))

/* E_DENIED: a path is neither signed by one of the keys, nor has it a content address that gives its
 * name and that its content has (which is read for that). Without keys everything is trusted. */
int path_trust_check(struct path_source *from, const struct path_infos *set,
		     const struct public_key *keys, size_t n_keys, struct err *err);

/* A store path by the text that people write: a path, a base name, a hash part, or a path of a file
 * within a store path or a symlink to one (as `nix` takes it; local stores alone). */
int path_source_resolve(struct path_source *s, const char *text, struct store_path *ret,
			struct err *err);

#endif
