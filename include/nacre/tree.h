/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File trees as event source and event sink. The caller's path to the top of a tree is trusted
 * as far as its last component; names from the outside never reach the kernel as paths:
 * everything below is done one component at a time, relative to the descriptor of a directory
 * that was opened or created before. Opening is openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
 * where something was created or is removed, and O_NOFOLLOW everywhere, so no symlink is ever
 * followed and nothing outside the tree is touched. Nothing here recurses; at most
 * NODE_DEPTH_MAX + 2 descriptors are open at a time, and those of 16 directories for each batch of
 * small files (at most 9). Threads: each object belongs to one thread at a time.
 */
#ifndef NACRE_TREE_H
#define NACRE_TREE_H

#include <nacre/event.h>
#include <nacre/hash.h>

/* Sends the object `name` of directory `dirfd` (AT_FDCWD and a path are fine; a symlink is
 * dumped as a symlink) to `out`, as `nix-store --dump` sees it: executable is S_IXUSR. Holes of
 * sparse files are sent as zeros without being read. E_CONFLICT for a file whose size changes
 * while it is read, for what vanishes or changes its kind meanwhile, and for files that have
 * contents but no size (/proc); E_UNSUPPORTED for sockets, devices and fifos, which are never
 * opened; E_LIMIT for a tree of 64 levels or more. Also what `out` says. */
NACRE_API int tree_dump(int dirfd, const char *name, struct node_sink *out, struct err *err);

/* The same as a NAR to a descriptor (blocking; borrowed), buffered; large contents go to what is not
 * a file without being copied through this process, so what changes in the tree before a pipe's
 * reader has read it may show in the NAR. */
NACRE_API int tree_dump_nar(int dirfd, const char *name, int out_fd, struct err *err);

/* The hash and the size of the same NAR. What was read is hashed in a thread while more is read, and
 * small files of large directories are read by one more, in memory of 2 MiB. */
NACRE_API int tree_hash(int dirfd, const char *name, enum hash_algo algo, struct hash *ret,
			uint64_t *ret_size_bytes, struct err *err);

struct tree_restore_options {
	bool canonical; /* store modes and mtime 1: 0555 / 0444; else as `nix-store --restore`: 0777
			   / 0666 by umask */
	bool durable;   /* everything is on disk when NODE_END has been handled: one syncfs() */
};

/* An event sink that creates the object `name` in directory `dirfd`, which must not exist there
 * (E_EXISTS, also for a dangling symlink). It checks its events (E_INVALID, E_LIMIT). On failure
 * what was created stays: remove it with tree_remove(). `dirfd` is borrowed until free,
 * `options` only for the call. Regions of zeros from about 64 KiB on become holes; nothing is
 * allocated for a size of more than 64 KiB that is only announced. With `canonical`, a directory is
 * 0700 until it is complete. Small files are made by a few threads, once there are many: a failure of
 * one is reported by a later event, NODE_END at the latest, and nothing is complete before that. */
struct tree_writer;
NACRE_API struct tree_writer *tree_writer_new(int dirfd, const char *name,
					      const struct tree_restore_options *options);
NACRE_API struct node_sink *tree_writer_node_sink(struct tree_writer *w);
/* Whether it has created the object, so that, after a failure, there is something of its own to
 * remove. Nothing more is made from now on, whether it had ended or not. */
NACRE_API bool tree_writer_created(struct tree_writer *w);
NACRE_API void tree_writer_free(struct tree_writer *w);

/* Removes `name` in `dirfd` with all below it, however deep, never following a symlink, making
 * directories writable first. Missing is no error. What is mounted somewhere in it is not
 * entered, and makes it fail. What cannot be removed is passed over: all else goes, and the first
 * failure is returned. */
NACRE_API int tree_remove(int dirfd, const char *name, struct err *err);

#endif
