/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/view-internal.h"

#define PROBE_TEXT "nacre"

/* A view of one file, read through. */
static int probe_in(const char *dir, const char *cache, struct view_mounts *mounts, struct err *err)
{
	cleanup_free char *content = xasprintf("%s/file", dir);
	struct view_path path = {.path = "/nix/store/probe", .content = content};
	struct view_spec spec = {.paths = &path, .n_paths = 1, .cache = cache};
	cleanup_buf struct buf text = {0};
	cleanup_fd int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int tree = -1;

	if (dirfd < 0)
		return err_errno(err, "open %s", dir);
	if (write_file_at(dirfd, "file", PROBE_TEXT, strlen(PROBE_TEXT), true, err) < 0)
		return err->code;
	tree = view_build(&spec, mounts, err);
	if (tree < 0)
		return tree;
	if (read_file_at(tree, path.path + 1, 64, &text, err) < 0)
		return err->code;
	if (!slice_equal_str(buf_slice(&text), PROBE_TEXT))
		return err_set(err, E_UNSUPPORTED, "a view does not show what is in it");
	return 0;
}

int view_probe(const char *cache, enum view_kind *ret, char **ret_reason, struct err *err)
{
	cleanup_view_mounts struct view_mounts mounts = {0};
	cleanup_free char *absolute = NULL, *dir = NULL;
	struct err ignored = ERR_INIT;
	int r;

	if (make_dirs_at(AT_FDCWD, cache, err) < 0)
		return err->code;
	absolute = realpath(cache, NULL);
	dir = absolute ? xasprintf("%s/.probe-XXXXXX", absolute) : NULL;
	if (!dir || !mkdtemp(dir))
		return err_errno(err, "create a directory in %s", cache);
	r = probe_in(dir, absolute, &mounts, err);
	tree_remove(AT_FDCWD, dir, &ignored);
	if (r < 0)
		return r;
	*ret = mounts.kind;
	*ret_reason = take_ptr(mounts.reason);
	return 0;
}
