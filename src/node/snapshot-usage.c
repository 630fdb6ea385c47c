/* SPDX-License-Identifier: Apache-2.0 */
#include <fts.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "node/snapshot-internal.h"

enum {
	SLOTS_MIN = 256,
	LINKED_MAX = 64 << 10, /* remembered at most: 2 MiB */
};

struct inode {
	dev_t dev;
	ino_t ino; /* 0: a free slot */
};

/* Files with several names that were counted: a hash table, at most half full. */
struct linked {
	struct inode *slots; /* owned */
	size_t len, n_slots; /* a power of two */
};

static struct inode *find(const struct linked *l, struct inode key)
{
	uint64_t hash =
		((uint64_t)key.ino ^ (uint64_t)key.dev << 40) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(hash >> 32) & (l->n_slots - 1);

	while (l->slots[i].ino && (l->slots[i].ino != key.ino || l->slots[i].dev != key.dev))
		i = (i + 1) & (l->n_slots - 1);
	return &l->slots[i];
}

static void grow(struct linked *l)
{
	struct linked larger = {.len = l->len, .n_slots = l->n_slots ? 2 * l->n_slots : SLOTS_MIN};

	larger.slots = xcalloc(larger.n_slots, sizeof(*larger.slots));
	for (size_t i = 0; i < l->n_slots; i++)
		if (l->slots[i].ino)
			*find(&larger, l->slots[i]) = l->slots[i];
	free(l->slots);
	*l = larger;
}

/* Of more than can be remembered each name counts: whoever makes them is charged for it. */
static bool is_counted(struct linked *l, const struct stat *st)
{
	const struct inode key = {st->st_dev, st->st_ino};
	struct inode *slot;

	if (S_ISDIR(st->st_mode) || st->st_nlink < 2 || !st->st_ino)
		return false;
	if (2 * l->len >= l->n_slots && l->len < LINKED_MAX)
		grow(l);
	slot = find(l, key);
	if (slot->ino)
		return true;
	if (l->len < LINKED_MAX) {
		*slot = key;
		l->len++;
	}
	return false;
}

int snapshot_measure(const char *dir, int64_t *ret_bytes, int64_t *ret_inodes, struct err *err)
{
	char *const roots[] = {(char *)(uintptr_t)dir, NULL};
	FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	struct linked linked = {0};
	int64_t bytes = 0, inodes = 0;
	FTSENT *e;

	if (!walk)
		return err_errno(err, "read %s", dir);
	while ((e = fts_read(walk))) {
		if (e->fts_info == FTS_DP || e->fts_info == FTS_NS ||
		    is_counted(&linked, e->fts_statp))
			continue;
		bytes += (int64_t)e->fts_statp->st_blocks * 512;
		inodes++;
	}
	fts_close(walk);
	free(linked.slots);
	*ret_bytes = bytes;
	*ret_inodes = inodes;
	return 0;
}
