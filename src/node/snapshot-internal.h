/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by snapshotter.c, snapshot-mounts.c and snapshot-layer.c. */
#ifndef NACRE_NODE_SNAPSHOT_INTERNAL_H
#define NACRE_NODE_SNAPSHOT_INTERNAL_H

#include <nacre/storepath.h>

#include "node/snapshot-ahead.h"
#include "node/snapshot-metrics.h"
#include "node/snapshotter.h"
#include <pthread.h>

#define SNAPSHOT_REF          "containerd.io/snapshot.ref"
#define SNAPSHOT_PARENT_CHAIN "containerd.io/snapshot/parent-chain-id"

/* The path infos that refer to the image that was asked for last: its layers come one after another. */
struct said_of_image {
	char *image; /* owned; "<manifest's digest> <reference>"; NULL: none */
	struct referrer_infos infos;
};
void said_of_image_release(struct said_of_image *said);

/* What the layers of a chain hold: snapshot-below.c. All-zero: nothing is known. */
struct snapshot_seen {
	int64_t top;                       /* the id of the uppermost */
	char store_dir[STORE_DIR_MAX + 1]; /* where there are paths */
	struct seen_path *slots;           /* owned; a hash table of n_slots, a power of two */
	size_t n_paths, n_slots;
	int64_t *ordinary; /* owned; the ids of ordinary layers */
	size_t n_ordinary, cap_ordinary;
};
enum { SEEN_NAME_SIZE = 16, SEEN_CONTENT_SIZE = 32 };
void snapshot_seen_release(struct snapshot_seen *seen);

/* Calls that may wait for the network, which a slow source can make as long as it likes: only so many at a time, or they would
 * take all of SNAPSHOT_CALLS, and no container would start any more. snapshot-turns.c. All bytes 0 but the lock: none. */
struct snapshot_turns {
	pthread_mutex_t lock; /* guards what follows */
	struct cond over;
	size_t n_inside, n_waiting;
};
enum {
	SNAPSHOT_TURNS = 8, /* calls that fetch at the same time: the memory of this process */
	SNAPSHOT_TURNS_WAITING = 40, /* and that wait to do so */
};
_Static_assert(SNAPSHOT_TURNS + SNAPSHOT_TURNS_WAITING <= SNAPSHOT_CALLS - 16,
	       "there is always somebody for the other calls");
/* Waits for a turn, unless too many do already: E_LIMIT. */
int snapshot_turn_take(struct snapshot_turns *turns, struct err *err);
void snapshot_turn_end(struct snapshot_turns *turns);

struct snapshotter {
	struct snapshotter_options o;
	char *dir;                    /* owned; ROOT/snapshots */
	int lock_fd;                  /* owned; held as long as this process serves */
	struct snapshot_state *state; /* owned; under `lock` */
	struct snapshot_turns turns;  /* one is taken before any lock */
	/* Taken in this order. `fetching` alone is held while the network is waited for. */
	pthread_mutex_t fetching; /* o.sources, said */
	pthread_mutex_t views;    /* what is mounted in m/ */
	pthread_mutex_t lock;
	struct said_of_image said;
	struct snapshot_ahead ahead;
	struct snapshot_seen seen; /* of the chain that was asked for last; under `lock` */
	bool has_views;            /* one overlay can hold store paths here */
	char *why_no_views;        /* owned, or NULL */
	bool has_index;            /* overlay has the option "index" */
	bool is_one_disk;          /* syncing the node's store syncs `state` */
	struct snapshot_metrics metrics;
};

/* A snapshot's ancestors, nearest first. */
struct snapshot_chain {
	struct snapshot *items; /* owned */
	size_t len, cap;
};
void snapshot_chain_release(struct snapshot_chain *c);
#define cleanup_snapshot_chain __attribute__((cleanup(snapshot_chain_release)))
/* The snapshot of that id (0: none) and all it stands on. Under `lock`. */
int snapshot_chain_load(struct snapshotter *s, int64_t id, struct snapshot_chain *ret,
			struct err *err);
/* What names the record of its store paths. */
const struct hash *snapshot_record_of(const struct snapshot *row);
/* Its directory of files. Owned by the caller. */
char *snapshot_fs(const struct snapshotter *s, int64_t id);

/* What a directory takes: bytes on the disk and inodes, each once however many names it has. */
int snapshot_measure(const char *dir, int64_t *ret_bytes, int64_t *ret_inodes, struct err *err);

/* The store paths of a chain. */
struct chain_paths {
	struct view_path *items; /* owned */
	size_t len, cap;
	struct strv strings;
};

/* How a snapshot is mounted on its ancestors: its overlay, and what is mounted in m/ for it. mount(2)
 * takes a page of options and the kernel 500 layers: what is too much is mounted there first, as
 * overlays ("stacks") of the lowest layers, which may be layers of one more overlay. */
struct mount_plan {
	struct chain_paths paths;
	struct strv layers; /* ordinary ones, topmost first */
	size_t n_top;       /* those that are in the overlay itself; the rest is in stacks */
	struct strv
		names;   /* what is mounted in m/: stacks, topmost first; else the metadata image */
	struct buf uses; /* the names, with spaces between */
	bool has_stacks;
};
void mount_plan_release(struct mount_plan *p);
#define cleanup_mount_plan __attribute__((cleanup(mount_plan_release)))
/* E_IO when a store path is gone. Under `lock`. */
int mount_plan_make(struct snapshotter *s, const struct snapshot_chain *chain,
		    struct mount_plan *ret, struct err *err);

/* The mount of an active snapshot or view. Under `views`. */
int snapshot_mount_make(struct snapshotter *s, const struct snapshot *row,
			const struct mount_plan *plan, struct snapshot_mount *ret, struct err *err);

/* 1: the layer that the labels ask for is there, committed. 0: it is left to containerd; `why` (of
 * ERR_TEXT_MAX) says the reason, or "" when the labels name no store paths. */
int snapshot_answer_layer(struct snapshotter *s, const char *parent,
			  const struct annotations *labels, char *why, struct err *err);

/* Where they are not: brings those here that can be had, from the sources, then from the registry that the labels
 * name. 1: all are here; 0: some cannot be had; `why` (of ERR_TEXT_MAX) says what failed, or "". Negative when the
 * node's own store fails. */
int snapshot_fetch_paths(struct snapshotter *s, const struct layer_record *record,
			 const struct annotations *labels, char *why, struct err *err);

/* A view has all store paths at the bottom. That is the image only where nothing below the layer is at
 * one of its places. 1: so it is; 0: not, `why` says so. */
int snapshot_check_below(struct snapshotter *s, int64_t parent_id,
			 const struct layer_record *record, char *why, struct err *err);
/* The diffID of the record's paths, all of which are here: once computed, remembered. */
int snapshot_prove_record(struct snapshotter *s, const struct layer_record *record,
			  struct hash *ret, struct err *err);

/* With require_signatures: E_DENIED unless all paths of the record are signed, as the sources, the image's
 * registry (where it may be asked) or an earlier check say. The record is proven to have the diffID. */
int snapshot_check_signatures(struct snapshotter *s, const struct annotations *labels,
			      const struct hash *diff_id, const struct layer_record *record,
			      struct err *err);

/* Places for store paths in a layer of nix-snapshotter's: snapshot-places.c. */
struct places {
	char store_dir[STORE_DIR_MAX + 1];
	bool is_claimed;   /* the labels say so */
	struct strv bases; /* sorted */
};
void places_release(struct places *p);
#define cleanup_places __attribute__((cleanup(places_release)))
/* What the labels say, without bases. E_INVALID for what cannot be. */
int snapshot_places_claims(struct places *ret, const struct annotations *labels, struct err *err);
/* Before an unpacked layer is committed: store paths for which it has places become part of the row,
 * the places go. E_CONFLICT, E_DENIED: the labels want them, and they cannot be had. */
int snapshot_take_places(struct snapshotter *s, struct snapshot *row, struct err *err);

/* The name of the hold that keeps a store layer's content. `ret` has 64 bytes. */
void snapshot_hold_name(char *ret, int64_t id);

#endif
