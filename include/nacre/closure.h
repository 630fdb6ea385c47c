/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closures from what Nix leaves on disk: its database (read-only, schema 10) and the registration
 * text of `closureInfo` / `exportReferencesGraph`. Caches by URL are in src/net.
 */
#ifndef NACRE_CLOSURE_H
#define NACRE_CLOSURE_H

#include <nacre/pathinfo.h>

/* A Nix store on this machine. The root is "/" or the directory that `--store DIR` (chroot stores:
 * DIR/nix/store, DIR/nix/var/nix/db) uses. */
struct nix_store;
/* E_NOTFOUND when there is no database, E_UNSUPPORTED for another schema. Opens read-only and never
 * creates, writes or locks out Nix (a database in WAL mode whose -shm cannot be written is read as
 * immutable only if no -wal is present). */
NACRE_API int nix_store_open(struct nix_store **ret, const char *root, const char *store_dir,
			     struct err *err);
NACRE_API void nix_store_free(struct nix_store *s);
/* By store path. E_NOTFOUND when it is not valid. */
NACRE_API int nix_store_query(struct nix_store *s, const struct store_path *path,
			      struct path_info *ret, struct err *err);
/* By the 32 characters of the hash part. */
NACRE_API int nix_store_query_hash_part(struct nix_store *s, struct slice hash_part,
					struct path_info *ret, struct err *err);
/* Adds the closure of `path`. Iterative. */
NACRE_API int nix_store_closure(struct nix_store *s, const struct store_path *path,
				struct path_infos *set, struct err *err);
/* A directory descriptor of the physical store directory; borrowed. Dump a path with tree_dump(fd,
 * base name). */
NACRE_API int nix_store_dirfd(const struct nix_store *s);

/* Parses a registration text (per path: path, [hash, size,] deriver, number of references,
 * references), as written by `nix-store --dump-db`, `closureInfo`'s "registration" (with hash and
 * size) or `exportReferencesGraph` (without: nar_hash stays HASH_NONE). E_INVALID with the line
 * number. */
NACRE_API int registration_parse(struct path_infos *ret, const char *store_dir, struct slice text,
				 struct err *err);

/* Checks that each reference of each path is in the set: 0, or E_NOTFOUND naming the first that is
 * missing and who needs it. */
NACRE_API int path_infos_check_closed(const struct path_infos *set, struct err *err);
/* Height of each path in the reference graph, self references aside (0: no others). `ret` has
 * set->len items, in the order of the set. E_INVALID for a cycle. Iterative. */
NACRE_API int path_infos_heights(const struct path_infos *set, uint32_t *ret, struct err *err);

#endif
