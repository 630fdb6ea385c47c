/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File trees as event source and event sink. Paths from the outside never reach the kernel as they
 * come: everything is done relative to directory descriptors, component by component, with
 * openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) (a plain openat(O_NOFOLLOW) of single components
 * where the kernel lacks it), so no symlink is ever followed and nothing outside the target is
 * touched.
 */
#ifndef NACRE_TREE_H
#define NACRE_TREE_H

#include <nacre/event.h>

/* Sends the object `name` of directory `dirfd` (AT_FDCWD and a path are fine for a trusted name; a
 * symlink is dumped as a symlink) to `out`, as `nix-store --dump` sees it: executable is S_IXUSR;
 * sockets, devices and fifos are E_UNSUPPORTED. A file that changes its size while it is read is
 * E_CONFLICT. Holes of sparse files are read as zeros. */
NACRE_API int tree_dump(int dirfd, const char *name, struct node_sink *out, struct err *err);

struct tree_restore_options {
	bool canonical; /* store modes and mtime 1: 0555 / 0444; else as `nix-store --restore`: 0777
			   / 0666 by umask */
	bool durable;   /* fsync every file and directory */
};

/* An event sink that creates the object `name` in directory `dirfd`, which must not exist there
 * (E_EXISTS). On failure what was created stays: remove it with tree_remove(). `dirfd` is borrowed
 * until free. Regions of zeros of 64 KiB and more become holes. */
struct tree_writer;
NACRE_API struct tree_writer *tree_writer_new(int dirfd, const char *name,
					      const struct tree_restore_options *options);
NACRE_API struct node_sink *tree_writer_node_sink(struct tree_writer *w);
NACRE_API void tree_writer_free(struct tree_writer *w);

/* Removes `name` in `dirfd` with all below it, never following a symlink, making directories
 * writable first. Missing is no error. */
NACRE_API int tree_remove(int dirfd, const char *name, struct err *err);

#endif
