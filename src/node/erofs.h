/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes EROFS images that hold metadata only (SPEC nacre 7): directories, symlinks and empty files
 * as they are; every other file as a hole of its size that carries the xattrs by which overlayfs
 * finds its content in a data-only lower layer (trusted.overlay.metacopy, trusted.overlay.redirect).
 * Owner 0:0, mtime 1, modes 0555, 0444 and 0777 as in store layers; directories above the store
 * paths 0755.
 *
 * The image is a function of the paths and events alone. Paths are written as they come; what is
 * kept in memory is one path's tree at a time, and one name a path.
 *
 *	struct erofs_writer *w = erofs_writer_new(fd);
 *	r = erofs_writer_path(w, "/nix/store/h8p…-hello", "<NarHash>", err);
 *	r = tree_dump(dirfd, "…", erofs_writer_node_sink(w), err);	for each path
 *	r = erofs_writer_finish(w, &size, err);
 *	erofs_writer_free(w);
 *
 * Layout of an image, in blocks of 4096 bytes: block 0 holds the superblock (at 1024), the one shared
 * xattr and the inodes of the root and the directories above the paths; then, path by path,
 * inodes in pre-order (compact ones of 32 bytes; extended ones where a size or link count asks for
 * it) with their xattrs and the last piece of small directories and symlinks, then whole blocks of
 * large directories; at the end the entries of the directories above the paths.
 * (SPEC erofs: Linux Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h.)
 */
#ifndef NACRE_NODE_EROFS_H
#define NACRE_NODE_EROFS_H

#include <nacre/event.h>

enum {
	/* Of a file in the data-only layer, with its first '/': overlayfs looks it up as a path. */
	EROFS_REDIRECT_MAX = 4095,
	EROFS_NODES_MAX = 16 << 20, /* in one store path */
};

struct erofs_writer;

/* `fd` is borrowed: an empty, seekable file. */
struct erofs_writer *erofs_writer_new(int fd);
void erofs_writer_free(struct erofs_writer *w);

/* Begins a store path at the absolute `path`, in any order; its content lies under `data_name` in a
 * data-only layer. Its events go to the sink, ending with NODE_END; contents are passed over. E_EXISTS
 * for a path that was given before, E_CONFLICT for one in or above another, E_INVALID for a path
 * that is none. */
int erofs_writer_path(struct erofs_writer *w, const char *path, const char *data_name,
		      struct err *err);
/* It checks its events (E_INVALID). E_LIMIT: a file's path is too long for overlayfs, or there are
 * too many files. */
struct node_sink *erofs_writer_node_sink(struct erofs_writer *w);
/* Completes the image; `fd` is not synced. */
int erofs_writer_finish(struct erofs_writer *w, uint64_t *ret_size_bytes, struct err *err);

#endif
