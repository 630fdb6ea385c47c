/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/log-vfs.h"

enum { GATHER_MAX = 128 << 10 }; /* bytes */

struct log_vfs {
	sqlite3_vfs vfs; /* below is pAppData */
	char name[40];
};

/* The file below follows in memory. */
struct log_file {
	sqlite3_file file;
	sqlite3_file *below;
	uint8_t *data; /* owned; GATHER_MAX bytes, from the first write on */
	size_t len;
	sqlite3_int64 offset; /* of data */
};

static sqlite3_vfs *vfs_below(sqlite3_vfs *vfs)
{
	return vfs->pAppData;
}

static struct log_file *log_of(sqlite3_file *file)
{
	return container_of(file, struct log_file, file);
}

/* What could not be written is dropped: SQLite takes the transaction back, and writes there anew.
 */
static int log_flush(struct log_file *log)
{
	size_t len = log->len;

	log->len = 0;
	return len ? log->below->pMethods->xWrite(log->below, log->data, (int)len, log->offset)
		   : SQLITE_OK;
}

static int log_close(sqlite3_file *file)
{
	struct log_file *log = log_of(file);
	int rc;

	/* Whatever was to last is synced, and so written, already. */
	log_flush(log);
	rc = log->below->pMethods->xClose(log->below);
	free(log->data);
	log->data = NULL;
	return rc;
}

static int log_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 offset)
{
	struct log_file *log = log_of(file);
	int rc = log_flush(log);

	return rc == SQLITE_OK ? log->below->pMethods->xRead(log->below, buf, len, offset) : rc;
}

static int log_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset)
{
	struct log_file *log = log_of(file);
	int rc = SQLITE_OK;

	if (len < 0)
		return SQLITE_MISUSE;
	if (offset != log->offset + (sqlite3_int64)log->len || (size_t)len > GATHER_MAX - log->len)
		rc = log_flush(log);
	if (rc != SQLITE_OK)
		return rc;
	if ((size_t)len > GATHER_MAX)
		return log->below->pMethods->xWrite(log->below, data, len, offset);
	if (!log->data)
		log->data = xmalloc(GATHER_MAX);
	if (log->len == 0)
		log->offset = offset;
	memcpy(log->data + log->len, data, (size_t)len);
	log->len += (size_t)len;
	return SQLITE_OK;
}

static int log_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	struct log_file *log = log_of(file);
	int rc = log_flush(log);

	return rc == SQLITE_OK ? log->below->pMethods->xTruncate(log->below, size) : rc;
}

static int log_sync(sqlite3_file *file, int flags)
{
	struct log_file *log = log_of(file);
	int rc = log_flush(log);

	return rc == SQLITE_OK ? log->below->pMethods->xSync(log->below, flags) : rc;
}

static int log_size(sqlite3_file *file, sqlite3_int64 *ret)
{
	struct log_file *log = log_of(file);
	int rc = log_flush(log);

	return rc == SQLITE_OK ? log->below->pMethods->xFileSize(log->below, ret) : rc;
}

static int log_lock(sqlite3_file *file, int level)
{
	struct log_file *log = log_of(file);

	return log->below->pMethods->xLock(log->below, level);
}

static int log_unlock(sqlite3_file *file, int level)
{
	struct log_file *log = log_of(file);

	return log->below->pMethods->xUnlock(log->below, level);
}

static int log_reserved(sqlite3_file *file, int *ret)
{
	struct log_file *log = log_of(file);

	return log->below->pMethods->xCheckReservedLock(log->below, ret);
}

static int log_control(sqlite3_file *file, int op, void *arg)
{
	struct log_file *log = log_of(file);

	return log->below->pMethods->xFileControl(log->below, op, arg);
}

static int log_sector(sqlite3_file *file)
{
	struct log_file *log = log_of(file);

	return log->below->pMethods->xSectorSize(log->below);
}

static int log_traits(sqlite3_file *file)
{
	struct log_file *log = log_of(file);

	return log->below->pMethods->xDeviceCharacteristics(log->below);
}

/* Version 1: what a file without shared memory and mapping has. */
static const sqlite3_io_methods log_methods = {
	.iVersion = 1,
	.xClose = log_close,
	.xRead = log_read,
	.xWrite = log_write,
	.xTruncate = log_truncate,
	.xSync = log_sync,
	.xFileSize = log_size,
	.xLock = log_lock,
	.xUnlock = log_unlock,
	.xCheckReservedLock = log_reserved,
	.xFileControl = log_control,
	.xSectorSize = log_sector,
	.xDeviceCharacteristics = log_traits,
};

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
		    int *ret_flags)
{
	sqlite3_vfs *below = vfs_below(vfs);
	struct log_file *log = log_of(file);
	int rc;

	if (!(flags & SQLITE_OPEN_WAL))
		return below->xOpen(below, name, file, flags, ret_flags);
	*log = (struct log_file){.below = (sqlite3_file *)(log + 1)};
	rc = below->xOpen(below, name, log->below, flags, ret_flags);
	if (rc == SQLITE_OK)
		log->file.pMethods = &log_methods;
	return rc;
}

int log_vfs_new(struct log_vfs **ret, struct err *err)
{
	sqlite3_vfs *below = sqlite3_vfs_find(NULL);
	struct log_vfs *v;
	int rc;

	if (!below)
		return err_set(err, E_INTERNAL, "database: SQLite has no way to files");
	v = xcalloc(1, sizeof(*v));
	snprintf(v->name, sizeof(v->name), "nacre-%p", (void *)v);
	/* What is not about opening is done by the functions below, which do not look at theirs. */
	v->vfs = *below;
	v->vfs.pNext = NULL;
	v->vfs.zName = v->name;
	v->vfs.pAppData = below;
	v->vfs.szOsFile = (int)sizeof(struct log_file) + below->szOsFile;
	v->vfs.xOpen = vfs_open;
	rc = sqlite3_vfs_register(&v->vfs, 0);
	if (rc != SQLITE_OK) {
		free(v);
		return err_set(err, E_INTERNAL, "database: %s", sqlite3_errstr(rc));
	}
	*ret = v;
	return 0;
}

const char *log_vfs_name(const struct log_vfs *v)
{
	return v->name;
}

void log_vfs_free(struct log_vfs *v)
{
	if (!v)
		return;
	sqlite3_vfs_unregister(&v->vfs);
	free(v);
}
