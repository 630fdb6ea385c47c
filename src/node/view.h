/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: the root file system of an image out of the node store, in as few mounts as the kernel
 * allows (SPEC nacre 7). Two with EROFS and data-only lower layers; one bind mount a path where
 * that is missing.
 *
 * A view is a list of store paths (each with the directory of the node store, or of the host's own
 * Nix store, that holds its content) plus directories of ordinary layers above them, topmost first.
 * Content that is in a view must stay where it is as long as the view is mounted.
 *
 * There are two ways to use it:
 *
 *	view_mount(&spec, "/mnt", &mounts, err)		all at once, at a place of this machine
 *	...
 *	view_umount("/mnt", err)
 *
 *	view_prepare(&spec, "/var/lib/x/7/meta", &mounts, err)	the metadata image alone; who mounts
 *	mount -t overlay overlay -o <mounts.options> /somewhere	the overlay, and where, is another's
 *
 * All state is the kernel's: what crashes leaves either a whole view or none, and view_umount()
 * needs nothing but the target. Loop devices free themselves. Threads: any, at the same time; a
 * mount blocks while it reads what it does not have in its cache.
 */
#ifndef NACRE_NODE_VIEW_H
#define NACRE_NODE_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include <nacre/buf.h>
#include <nacre/hash.h>

enum view_kind {
	VIEW_AUTO,       /* the first of these that works here */
	VIEW_EROFS_FILE, /* EROFS from a file (Linux 6.12), overlay with a data-only lower (6.5) */
	VIEW_EROFS_LOOP, /* the same on a loop device */
	VIEW_BIND,       /* one read-only bind mount a path */
};
extern const char *const view_kind_names[]; /* "auto", "erofs-file", "erofs-loop", "bind", NULL */
/* 0, or E_USAGE for a name that is none of them. */
int view_kind_parse(enum view_kind *ret, const char *name);

struct view_path {
	const char *path;     /* borrowed; "/nix/store/…": where it appears */
	const char *content;  /* borrowed; absolute: the file, directory or symlink that it is */
	struct hash nar_hash; /* of the content: what is known of it is kept under this name.
				 All-zero: unknown, nothing is kept */
};

struct view_spec {
	const struct view_path *paths; /* borrowed; in any order */
	size_t n_paths;
	/* Borrowed; instead of `paths` (NULL, with n_paths of them): the metadata image that was made of
	 * them, and the directory of all contents. Not for VIEW_BIND. */
	const char *image, *data_dir;
	const char *const *layers; /* borrowed; unpacked ordinary layers, topmost first; above the
				      store paths */
	size_t n_layers;
	const char *upper, *work; /* borrowed; both NULL: read-only */
	const char *cache; /* borrowed; directory (created) for metadata images and listings */
	enum view_kind kind;
	bool is_volatile; /* the upper directory need not survive a crash of the machine */
};

struct view_mounts {
	enum view_kind kind; /* what was used; never VIEW_AUTO */
	size_t n_mounts;     /* in all: 2, or 1 + paths */
	char *reason;        /* owned; why VIEW_AUTO did not take a better kind; or NULL */
	struct strv options; /* of the one overlay mount, for mount(2) or a snapshotter's answer;
				empty from view_mount() */
	char *image;         /* owned; the metadata image in the cache, or NULL */
};
#define cleanup_view_mounts __attribute__((cleanup(view_mounts_release)))

/* Which kind VIEW_AUTO is here for a cache in this directory, found by mounting a small view in a
 * name space of its own. `ret_reason`: why the better kinds are not (owned by the caller; NULL:
 * none is better). */
int view_probe(const char *cache, enum view_kind *ret, char **ret_reason, struct err *err);

/* Mounts the view at `target`, an existing directory, atomically: on failure nothing is mounted.
 * E_LIMIT when a name is too long for overlayfs or there are more than 500 layers; E_UNSUPPORTED
 * when the kernel lacks what `kind` asks for. */
int view_mount(const struct view_spec *spec, const char *target, struct view_mounts *ret,
	       struct err *err);

/* Mounts the metadata image alone, at `erofs_dir` (an existing directory; nothing is done where a
 * metadata image is mounted already), and gives the options of the overlay that makes the view.
 * Without store paths nothing is mounted. E_UNSUPPORTED where EROFS cannot be mounted; whether the
 * kernel has data-only layers is for view_probe() to say, once: with VIEW_BIND take view_mount(). */
int view_prepare(const struct view_spec *spec, const char *erofs_dir, struct view_mounts *ret,
		 struct err *err);

/* Unmounts what view_mount() or view_prepare() made at `target`, all of it; also after a crash or
 * by another process. E_NOTFOUND when nothing is mounted there, E_CONFLICT when it is not a view,
 * or it is in use. */
int view_umount(const char *target, struct err *err);

void view_mounts_release(struct view_mounts *m);

/* Tests: never use the mount API's "lowerdir+" (Linux 6.7). */
void view_force_old_options(bool on);

#endif
