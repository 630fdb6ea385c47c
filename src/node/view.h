/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: the root file system of an image out of the node store, in as few mounts as the kernel
 * allows (SPEC nacre 7). Two with EROFS and data-only lower layers; one bind mount a path where
 * that is missing.
 *
 * A view is a list of store paths (each with the directory of the node store, or of the host's own
 * Nix store, that holds its content) plus directories of ordinary layers above them, topmost first.
 */
#ifndef NACRE_NODE_VIEW_H
#define NACRE_NODE_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include <nacre/err.h>

enum view_kind {
	VIEW_AUTO,       /* the first of these that works here */
	VIEW_EROFS_FILE, /* EROFS from a file (Linux 6.12), overlay with a data-only lower (6.5) */
	VIEW_EROFS_LOOP, /* the same on a loop device */
	VIEW_BIND,       /* one read-only bind mount a path */
};
extern const char *const view_kind_names[]; /* "auto", "erofs-file", "erofs-loop", "bind", NULL */

struct view_path {
	const char *path;    /* "/nix/store/…": where it appears */
	const char *content; /* where its content is on this machine: a file, directory or symlink */
};

struct view_spec {
	const struct view_path *paths; /* borrowed; sorted by path */
	size_t n_paths;
	const char *const *layers; /* borrowed; unpacked ordinary layers, topmost first */
	size_t n_layers;
	const char *upper, *work; /* NULL: read-only */
	const char *cache;        /* directory for metadata images, kept by digest */
	enum view_kind kind;
};

/* What a mount(2) of the last step needs, for those who mount elsewhere (a snapshotter's answer). */
struct view_mounts {
	char *erofs;    /* owned; mount point of the metadata image, or NULL */
	char *options;  /* owned; of the one overlay mount */
	enum view_kind kind;
	unsigned n_mounts; /* in all */
};

/* Which kind VIEW_AUTO is here, with the reason why the better ones are not (owned text, NULL: none).
 * Probed by trying, once per process. */
enum view_kind view_probe(char **ret_reason);
/* Mounts the view at `target`. On failure nothing stays mounted. */
int view_mount(const struct view_spec *spec, const char *target, struct view_mounts *ret,
	       struct err *err);
/* Unmounts what view_mount() made at `target`, all of it; also after a crash or by another process. */
int view_umount(const char *target, struct err *err);
void view_mounts_release(struct view_mounts *m);

#endif
