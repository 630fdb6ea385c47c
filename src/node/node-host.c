/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/node-host.h"

enum { ROOT_NAME_LEN = 32, PATH_TEXT_MAX = 4096 };

bool node_host_has(struct nix_store *host, const char *store_dir, const struct layer_path *path)
{
	cleanup_path_info struct path_info info = {0};
	struct store_path whole;
	struct err ignored = ERR_INIT;

	return store_path_make(&whole, store_dir, slice_str(path->base)) >= 0 &&
	       nix_store_query(host, &whole, &info, &ignored) >= 0 &&
	       hash_equal(&info.nar_hash, &path->nar_hash);
}

/* Replaces whatever link is there. */
static int put_link(const char *leads_to, const char *at, struct err *err)
{
	cleanup_free char *temp = xasprintf("%s.tmp-%d", at, gettid());

	if ((unlink(temp) < 0 && errno != ENOENT) || symlink(leads_to, temp) < 0 ||
	    rename(temp, at) < 0)
		return err_errno(err, "link %s", at);
	return 0;
}

static char *state_file(const char *host_root, const char *name)
{
	return xasprintf("%s/nix/var/nix/%s", strcmp(host_root, "/") == 0 ? "" : host_root, name);
}

/* SPEC nix gcroots/auto: a link to a link outside of the store that leads to a store path. */
static int add_root(const char *host_root, const char *link, struct err *err)
{
	cleanup_free char *dir = state_file(host_root, "gcroots/auto");
	cleanup_free char *name = NULL;
	char text[HASH_TEXT_MAX];
	struct hash hash;

	hash_bytes(&hash, HASH_SHA256, link, strlen(link));
	hash_format_bare(text, &hash, HASH_NIX32);
	text[ROOT_NAME_LEN] = '\0';
	name = xasprintf("%s/%s", dir, text);
	if (make_dirs_at(AT_FDCWD, dir, err) < 0)
		return err->code;
	return put_link(link, name, err);
}

/*
 * SPEC nix gc.lock: a collection of Nix's has it to itself from before it reads the roots until it has deleted. False: one is
 * under way, and may not have seen the newest. While *ret_lock is held (-1: there is none that could be had), none begins.
 */
static bool lock_out_collector(const char *host_root, int *ret_lock)
{
	cleanup_free char *name = state_file(host_root, "gc.lock");

	*ret_lock = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return *ret_lock < 0 || flock(*ret_lock, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

/* Unless somebody else has adopted the path meanwhile: then it is theirs. */
static void drop_root(const char *root, const char *link)
{
	if (access(link, F_OK) < 0)
		unlink(root);
}

int node_host_adopt(struct node_store *store, struct nix_store *host, const char *host_root,
		    const char *store_dir, const struct layer_path *path, struct err *err)
{
	cleanup_free char *proc = xasprintf("/proc/self/fd/%d", nix_store_dirfd(host));
	cleanup_free char *dir = xasprintf("%s/host", node_store_root(store));
	cleanup_free char *logical = xasprintf("%s/%s", store_dir, path->base);
	cleanup_free char *physical = NULL, *link = NULL, *root = NULL;
	char store_at[PATH_TEXT_MAX], name[HASH_TEXT_MAX];
	cleanup_fd int lock = -1;
	ssize_t n;

	if (!node_host_has(host, store_dir, path))
		return 0;
	n = readlink(proc, store_at, sizeof(store_at) - 1);
	if (n < 0 || make_dirs_at(AT_FDCWD, dir, err) < 0)
		return n < 0 ? err_errno(err, "where the store is") : err->code;
	store_at[n] = '\0';
	hash_format_bare(name, &path->nar_hash, HASH_NIX32);
	physical = xasprintf("%s/%s", store_at, path->base);
	link = xasprintf("%s/%s", dir, name);
	root = xasprintf("%s.root", link);
	if (put_link(logical, root, err) < 0 || add_root(host_root, root, err) < 0)
		return err->code;
	/* A collection of Nix's that begins from here on keeps it; one that ran before may have taken it, and one that
	 * runs may be about to. */
	if (!lock_out_collector(host_root, &lock) || !node_host_has(host, store_dir, path) ||
	    access(physical, F_OK) < 0) {
		drop_root(root, link);
		return 0;
	}
	return put_link(physical, link, err) < 0 ? err->code : 1;
}
