/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the snapshotter knows, in a database that survives kill -9 at any point. Each change is
 * durable when the function returns, or when the transaction around it ends. Threads: one at a
 * time; the caller locks.
 */
#ifndef NACRE_NODE_SNAPSHOT_STATE_H
#define NACRE_NODE_SNAPSHOT_STATE_H

#include <nacre/descriptor.h>
#include <nacre/hash.h>

struct snapshot_state;

enum snapshot_kind { SNAPSHOT_VIEW = 1, SNAPSHOT_ACTIVE = 2, SNAPSHOT_COMMITTED = 3 };

struct snapshot {
	int64_t id;        /* never used twice; names its directory */
	int64_t parent_id; /* 0: none */
	char *name;        /* owned */
	char *parent;      /* owned; "" without one */
	enum snapshot_kind kind;
	int64_t created_ns, updated_ns; /* since 1970 */
	int64_t size, inodes;           /* of a committed one */
	char *chain;         /* owned; chainID as "sha256:…" of a committed layer, or "" */
	bool is_store;       /* a store layer, proven */
	struct hash diff_id; /* of a store layer */
	bool has_paths;      /* an ordinary layer with places for store paths */
	struct hash paths;   /* names their record, as a diffID */
	char *uses;          /* owned; what is mounted in m/ for it: names with spaces between */
	struct annotations labels;
};
void snapshot_release(struct snapshot *s);
#define cleanup_snapshot __attribute__((cleanup(snapshot_release)))

int snapshot_state_open(struct snapshot_state **ret, const char *file, struct err *err);
void snapshot_state_free(struct snapshot_state *s);

int snapshot_state_begin(struct snapshot_state *s, struct err *err);
/* For what a sync of the whole file system will bring to the disk, or what may be forgotten: committed, it is whole or not at
 * all there after a crash of the machine, but not at once. */
int snapshot_state_begin_unsynced(struct snapshot_state *s, struct err *err);
/* Commits when `result` is not negative, else rolls back. Returns `result`, or the failure. */
int snapshot_state_end(struct snapshot_state *s, int result, struct err *err);

/* E_NOTFOUND. `ret` is overwritten. */
int snapshot_get(struct snapshot_state *s, const char *name, struct snapshot *ret, struct err *err);
int snapshot_get_id(struct snapshot_state *s, int64_t id, struct snapshot *ret, struct err *err);
/* The store layer with this chainID on this parent. E_NOTFOUND. */
int snapshot_find_store(struct snapshot_state *s, const char *chain, int64_t parent_id,
			struct snapshot *ret, struct err *err);
/* Sets the id and both times. E_EXISTS when the name is taken; E_INVALID when it is too long. Wherever labels are written:
 * E_LIMIT when they are too much to be listed. */
int snapshot_insert(struct snapshot_state *s, struct snapshot *snapshot, struct err *err);
/* An active one becomes committed under the name, with chain, size, inodes, paths and labels as in
 * `snapshot`. E_EXISTS. */
int snapshot_commit_row(struct snapshot_state *s, struct snapshot *snapshot, const char *name,
			struct err *err);
int snapshot_set_labels(struct snapshot_state *s, struct snapshot *snapshot, struct err *err);
/* What is mounted in m/ for it now. */
int snapshot_set_uses(struct snapshot_state *s, int64_t id, const char *uses, struct err *err);
/* E_CONFLICT when it has children. */
int snapshot_delete(struct snapshot_state *s, const struct snapshot *snapshot, struct err *err);
/* Those with a higher id than `after_id`, in the order of their ids (a new one has the highest), until `take` returns other
 * than 0: that is returned. */
int snapshot_each(struct snapshot_state *s, int64_t after_id,
		  int (*take)(void *data, const struct snapshot *snapshot, struct err *err),
		  void *data, struct err *err);
/* The snapshot of that id (0: none) and those it stands on, nearest first, without their labels.
 * `take` takes over the row. */
int snapshot_ancestors(struct snapshot_state *s, int64_t id,
		       int (*take)(void *data, struct snapshot *row), void *data, struct err *err);
/* Is anything of this name in m/ needed? */
int snapshot_mount_is_used(struct snapshot_state *s, const char *name, bool *ret, struct err *err);

/* The diffID of a list of store paths (by the sha256 of its text) that was computed before.
 * E_NOTFOUND. */
int snapshot_get_proof(struct snapshot_state *s, const char *list, struct hash *ret,
		       struct err *err);
int snapshot_put_proof(struct snapshot_state *s, const char *list, const struct hash *diff_id,
		       struct err *err);

#endif
