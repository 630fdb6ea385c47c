/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node keeps on disk (SPEC nacre 7): each store path's content once, unpacked, under its
 * NarHash; each ordinary layer once, unpacked, under its diffID; manifests and configs as they
 * came.
 *
 * 	ROOT/paths/<NarHash in nix32>		the object itself: directory, file or symlink
 * 	ROOT/host/<NarHash in nix32>	where this machine's own Nix store has it (node-host.h)
 * 	ROOT/layers/<diffID in hex>/		an ordinary layer in overlay form
 * 	ROOT/layers/<diffID in hex>.paths	a store layer that was proven: "<base> <NarHash>" lines
 * 	ROOT/signed/<diffID in hex>	under which policy its paths were found to be signed
 * 	ROOT/blobs/<digest in hex>		manifests and configs
 * 	ROOT/blobs/<digest in hex>.config	of a manifest: the digest of its config
 * 	ROOT/blobs/<digest in hex>.index	of a manifest: "<index> <platform>" lines
 * 	ROOT/refs/<sha256 of the text>	the digest that a reference last named, and the text
 * 	ROOT/tmp/				what is under construction; swept when nobody works
 * 	ROOT/run/				containers
 * 	ROOT/mounts/				root file systems that stay mounted (mount.h)
 * 	ROOT/views/				metadata images and listings (view.h)
 * 	ROOT/holds/<NAME>			what others use (node_store_put_hold())
 * 	ROOT/trash/				what a collection is about to delete
 * 	ROOT/lock, ROOT/locks			see node_store_use(), node_store_lock_content()
 *
 * layers/, tmp/, trash/, run/<id>, mounts/<id> and snapshots/ are their owner's alone: what they hold has modes and owners as
 * an image or a container has them. What lies in paths/ is canonical.
 *
 * Nothing appears under its name before it is complete and verified: it is built in tmp/ and
 * renamed. Processes may share a root; where two make the same thing the first rename wins.
 */
#ifndef NACRE_NODE_STORE_H
#define NACRE_NODE_STORE_H

#include <sys/stat.h>

#include <nacre/descriptor.h>
#include <nacre/event.h>
#include <nacre/hash.h>
#include <nacre/storepath.h>

#include "base/fs.h"

struct node_store;

/* Creates what is missing. `root` is trusted. */
int node_store_open(struct node_store **ret, const char *root, struct err *err);
void node_store_free(struct node_store *s);
/* Opens a directory in it, created where it is missing, that nobody but its owner enters: files of images and containers lie
 * there as they are. A set-user-ID file of root's, made by whoever could make an image, must not be within reach of the
 * machine's other users. Those that an earlier version has made are changed. Returns a descriptor. */
int node_open_private_dir(const char *path, struct err *err);
/* The root, absolute; borrowed. */
const char *node_store_root(const struct node_store *s);

bool node_store_has_path(const struct node_store *s, const struct hash *nar_hash);
/* Where its content is: "ROOT/paths/<nix32>", or in the Nix store of this machine (node-host.h).
 * NULL: it is not here. Owned by the caller. */
char *node_store_path_file(const struct node_store *s, const struct hash *nar_hash);
/* lstat of a path that the store has. */
int node_store_stat_path(const struct node_store *s, const struct hash *nar_hash, struct stat *ret,
			 struct err *err);
/* Sends a path that the store has as events. */
int node_store_dump(const struct node_store *s, const struct hash *nar_hash, struct node_sink *out,
		    struct err *err);

/* Takes one path in: send its events to the sink, then finish, which computes the NarHash; it
 * becomes visible under it by publishing. Between the two comes one node_store_sync() for all
 * imports of a layer, so that a crash leaves no half path visible; one more brings the names to the disk. */
struct path_import;
struct path_import *path_import_new(struct node_store *s);
struct node_sink *path_import_sink(struct path_import *p);
/* Closes files and frees buffers; the sink is gone. */
void path_import_finish(struct path_import *p, struct hash *ret_nar_hash, uint64_t *ret_nar_size);
int path_import_publish(struct path_import *p, struct err *err);
/* Drops what was not published. */
void path_import_free(struct path_import *p);
/* Brings everything written and named so far to the disk. Nothing is acknowledged before. */
int node_store_sync(struct node_store *s, struct err *err);

/* One store path of a store layer. */
struct layer_path {
	char base[STORE_BASE_MAX + 1];
	struct hash nar_hash;
};

/* A store layer that was proven: its canonical tar has the diffID. */
struct layer_record {
	char store_dir[STORE_DIR_MAX + 1];
	struct layer_path *paths; /* owned */
	size_t len, cap;
};
void layer_record_release(struct layer_record *r);
/* E_NOTFOUND when there is none. */
int node_store_layer_record(const struct node_store *s, const struct hash *diff_id,
			    struct layer_record *ret, struct err *err);
int node_store_put_layer_record(struct node_store *s, const struct hash *diff_id,
				const struct layer_record *record, struct err *err);

/* Is node_store_has_path() true of all of them? A look at each. */
bool node_store_has_paths(const struct node_store *s, const struct layer_record *record);

/* A record that is written before the paths are proven to be the layer, and named once they are. Between the two comes a
 * node_store_sync(), as it does for the paths; where none has, naming syncs the file. */
struct staged_record {
	struct temp_file file;
	uint64_t sync; /* the number of that sync */
};
#define STAGED_RECORD_INIT ((struct staged_record){.file = TEMP_FILE_INIT})
int node_store_stage_record(struct node_store *s, const struct layer_record *record,
			    struct staged_record *ret, struct err *err);
/* The name is on the disk after the next node_store_sync(). */
int node_store_name_record(struct node_store *s, const struct hash *diff_id,
			   struct staged_record *staged, struct err *err);
void staged_record_release(struct staged_record *staged);
#define cleanup_staged_record __attribute__((cleanup(staged_record_release)))

/* The layer's paths, which were proven to be it, were found to be signed under a policy (the hash of its
 * keys, see node-signatures.c); the last policy counts. */
int node_store_put_signed(struct node_store *s, const struct hash *diff_id,
			  const struct hash *policy, struct err *err);
bool node_store_was_signed(const struct node_store *s, const struct hash *diff_id,
			   const struct hash *policy);

bool node_store_has_layer(const struct node_store *s, const struct hash *diff_id);
char *node_store_layer_dir(const struct node_store *s, const struct hash *diff_id);
/* Unpacks an ordinary layer from a blob and checks its diffID (E_MISMATCH). */
int node_store_unpack_layer(struct node_store *s, int blob_fd, const struct hash *diff_id,
			    struct err *err);

/* What is needed of an image's manifest to find the rest: the digest of its config, beside the
 * manifest, so that a large one need not be parsed each time. E_NOTFOUND. */
int node_store_put_config_of(struct node_store *s, const struct hash *manifest,
			     const struct hash *config, struct err *err);
int node_store_get_config_of(const struct node_store *s, const struct hash *manifest,
			     struct hash *ret, struct err *err);
/* Which index has this manifest as its member for a platform ("os/architecture"), noted beside it, so that
 * while a tag names the index neither is read again. What was noted last is kept, NODE_INDEXES_MAX. */
enum { NODE_INDEXES_MAX = 16 };
int node_store_put_index_of(struct node_store *s, const struct hash *manifest,
			    const struct hash *index, const struct platform *platform,
			    struct err *err);
bool node_store_is_member(const struct node_store *s, const struct hash *manifest,
			  const struct hash *index, const struct platform *platform);
/* 1: some index has it for this platform; 0: for others alone; E_NOTFOUND: nothing is noted. */
int node_store_member_for(const struct node_store *s, const struct hash *manifest,
			  const struct platform *platform);

/* Small documents. */
int node_store_put_blob(struct node_store *s, const struct hash *digest, struct slice data,
			struct err *err);
/* Verified against the digest. */
int node_store_get_blob(const struct node_store *s, const struct hash *digest, struct buf *ret,
			struct err *err);
int node_store_put_ref(struct node_store *s, const char *ref, const struct hash *digest,
		       struct err *err);
int node_store_get_ref(const struct node_store *s, const char *ref, struct hash *ret,
		       struct err *err);

/* Whoever brings something here, or is about to name what is here, holds this until a reference, a
 * container, a mount or a hold names it: no collection runs meanwhile. Returns a descriptor to close.
 * It waits for a collection to mark and move (not for it to delete). */
int node_store_use(struct node_store *s, struct err *err);
/* For the collection: waits until nobody uses the store so. */
int node_store_use_alone(struct node_store *s, struct err *err);

/* Waits until no other thread or process works on the content with this hash (a layer by its diffID), so
 * that it is fetched once: look again whether it is here afterwards. Returns a descriptor to close.
 * Take one at a time. */
int node_store_lock_content(struct node_store *s, const struct hash *hash, struct err *err);
/* The same for many at a time, which never waits: so two that want the same things cannot wait for each
 * other. Returns a descriptor that holds what is locked by it, to close. */
int node_store_open_locks(struct node_store *s, struct err *err);
/* 1: locked; 0: somebody works on it. */
int node_store_try_lock(int locks, const struct hash *hash, struct err *err);

/* Keeps what `text` names until the hold is removed; replaces one of the same name (at most 200
 * characters of [A-Za-z0-9._-], not beginning with a dot). Lines: "image sha256:<hex>" (its manifest),
 * "layer sha256:<diffID in hex>" (a directory, or a record with its paths), "path <NarHash in nix32>".
 * E_INVALID for any other. */
int node_store_put_hold(struct node_store *s, const char *name, struct slice text, struct err *err);
/* The same for one layer: 1, and it is on the disk, whole, after the next node_store_sync(); 0: it was there. */
int node_store_hold_layer(struct node_store *s, const char *name, const struct hash *diff_id,
			  struct err *err);
/* Missing is no error. */
int node_store_remove_hold(struct node_store *s, const char *name, struct err *err);
/* Takes one line off a hold's text. E_INVALID. */
enum hold_kind { HOLD_IMAGE, HOLD_LAYER, HOLD_PATH };
struct hold_line {
	enum hold_kind kind;
	struct hash hash;
};
int hold_next_line(struct slice *text, struct hold_line *ret);
/* A hold's text, out of the open directory of holds. */
int hold_read(int holds, const char *name, struct buf *ret, struct err *err);

/* A fresh file in tmp/ without a name; the caller closes it. */
int node_store_temp_fd(struct node_store *s, struct err *err);

#endif
