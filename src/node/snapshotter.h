/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A containerd snapshotter over the node store: what containerd.services.snapshots.v1.Snapshots
 * asks for. Ordinary snapshots are as under overlayfs. A store layer that the node has, or can get,
 * is not unpacked: it is proven against the layer's chainID and stands as a committed snapshot
 * without a directory. Whatever is above such layers is mounted as one overlay, whose lowest layer
 * is a metadata image (view.h).
 *
 *	ROOT/snapshots/state.db		names, parents, labels
 *	ROOT/snapshots/s/<id>/fs	what an ordinary snapshot holds; .../work
 *	ROOT/snapshots/m/<digest>	where metadata images are mounted
 *	ROOT/snapshots/trash/		what Cleanup is about to delete
 *
 * Errors: E_NOTFOUND, E_EXISTS, E_INVALID, E_CONFLICT (containerd's failed precondition) as
 * containerd's own snapshotters have them. Threads: any. All state is in the database and the
 * kernel: killed at any point, the next one goes on.
 */
#ifndef NACRE_NODE_SNAPSHOTTER_H
#define NACRE_NODE_SNAPSHOTTER_H

#include "node/grpc.h"
#include "node/image-registry.h"
#include "node/node-sources.h"
#include "node/snapshot-state.h"
#include "node/view.h"

struct snapshotter;

/* As many calls may be at work at once: those that fetch layers leave room for others as long as there are no fewer. */
enum { SNAPSHOT_CALLS = 64 };

struct snapshotter_options {
	struct node_store *store;     /* borrowed */
	struct node_sources *sources; /* borrowed; NULL: only what is there counts */
	/* Borrowed; NULL: the labels that say where an image is from are not looked at. Without
	 * containerd writing these labels, whoever made the image could. */
	const struct image_registries *registries;
	enum view_kind kind;
};

/* The one mount of a snapshot. */
struct snapshot_mount {
	const char *type; /* "bind" or "overlay" */
	char *source;     /* owned */
	struct strv options;
};
void snapshot_mount_release(struct snapshot_mount *m);
#define cleanup_snapshot_mount __attribute__((cleanup(snapshot_mount_release)))

/* E_CONFLICT when another process serves the root. */
int snapshotter_new(struct snapshotter **ret, const struct snapshotter_options *options,
		    struct err *err);
void snapshotter_free(struct snapshotter *s);

#define SNAPSHOT_NO_REBASE                                                                        \
	"this snapshotter does not rebase: take \"rebase\" out of the capabilities of its proxy " \
	"plugin in containerd's configuration"

/* Of Prepare and View; all borrowed. */
struct snapshot_request {
	enum snapshot_kind kind; /* SNAPSHOT_ACTIVE: Prepare; SNAPSHOT_VIEW: View */
	const char *key;
	const char *parent; /* "": none */
	const struct annotations *labels;
};
/* E_EXISTS also when the labels ask for a store layer that is there now: then a committed snapshot has the label
 * "containerd.io/snapshot.ref". */
int snapshotter_prepare(struct snapshotter *s, const struct snapshot_request *request,
			struct snapshot_mount *ret, struct err *err);
int snapshotter_mounts(struct snapshotter *s, const char *key, struct snapshot_mount *ret,
		       struct err *err);
int snapshotter_commit(struct snapshotter *s, const char *name, const char *key,
		       const struct annotations *labels, struct err *err);
/* Forgets it; cleanup deletes. */
int snapshotter_remove(struct snapshotter *s, const char *key, struct err *err);
int snapshotter_stat(struct snapshotter *s, const char *key, struct snapshot *ret, struct err *err);
/* `mask`: "labels" or "labels.KEY"; empty: all labels. */
int snapshotter_update(struct snapshotter *s, const char *key, const struct annotations *labels,
		       const struct strv *mask, struct snapshot *ret, struct err *err);
/* As snapshot_each(). */
int snapshotter_list(struct snapshotter *s, int64_t after_id,
		     int (*take)(void *data, const struct snapshot *row, struct err *err),
		     void *data, struct err *err);
int snapshotter_usage(struct snapshotter *s, const char *key, int64_t *ret_bytes,
		      int64_t *ret_inodes, struct err *err);
/* Deletes what was removed, and unmounts metadata images that nothing needs. */
int snapshotter_cleanup(struct snapshotter *s, struct err *err);

struct snapshotter_stats {
	uint64_t layers_answered; /* store layers that containerd need not fetch */
	uint64_t layers_declined; /* left to containerd, for the reason that was logged */
};
void snapshotter_stats(struct snapshotter *s, struct snapshotter_stats *ret);

/* For grpc_server_options and metrics_listener_options; their data is the snapshotter. */
void snapshotter_observe(void *data, size_t method, const struct grpc_call *call, int64_t us);
void snapshotter_format_metrics(void *data, struct buf *text);
/* < 0: the database or the disk does not do its part. */
int snapshotter_check(void *data, struct err *err);

/* The methods of the service, for grpc_server_options; their data is the snapshotter. */
extern const struct grpc_method snapshot_methods[];

#endif
