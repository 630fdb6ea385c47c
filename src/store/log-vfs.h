/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer below SQLite that gathers what goes to its log; private to src/store.
 *
 * SQLite writes a log frame by frame, and each frame as a head of 24 bytes and a page: some 35
 * system calls for a small transaction. Here what follows on is kept in memory and written in one
 * piece: when the log is synced, read, measured or closed, when something is written elsewhere in
 * it, or when enough has gathered.
 *
 * Other connections read the log by descriptors of their own, but only as far as a commit has
 * published it, and SQLite publishes after the sync as long as `PRAGMA synchronous` is FULL. So
 * the connection that writes must have it, and it alone may use this layer. All other files go to
 * the layer below, untouched.
 *
 * An error of a write that was put off is told by the call that needs it written: for a commit, by
 * its sync.
 */
#ifndef NACRE_STORE_LOG_VFS_H
#define NACRE_STORE_LOG_VFS_H

#include <sqlite3.h>

#include <nacre/err.h>

struct log_vfs;

/* Tells SQLite of a layer of its own; it has to live as long as a connection uses it. */
int log_vfs_new(struct log_vfs **ret, struct err *err);
/* For sqlite3_open_v2(). Borrowed. */
const char *log_vfs_name(const struct log_vfs *v);
/* NULL is nothing. */
void log_vfs_free(struct log_vfs *v);

#endif
