/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/node-gc.h"

enum { REF_BYTES_MAX = 64 << 10 };

void node_refs_release(struct node_refs *r)
{
	for (size_t i = 0; i < r->len; i++) {
		free(r->items[i].text);
		free(r->items[i].file);
	}
	free(r->items);
	*r = (struct node_refs){0};
}

/* "<digest> <text>", or the digest alone. */
static int read_ref(struct node_refs *refs, int dirfd, const char *name, struct err *err)
{
	cleanup_buf struct buf text = {0};
	struct node_ref ref = {0};
	struct stat st;
	struct err why = ERR_INIT;
	const uint8_t *space;
	size_t len;
	int r;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_errno(err, "read refs/%s", name);
	r = read_file_at(dirfd, name, REF_BYTES_MAX, &text, &why);
	if (r == E_NOTFOUND)
		return 0;
	if (r < 0) {
		*err = why;
		return err_wrap(err, "read refs/%s", name);
	}
	space = memchr(text.data, ' ', text.len);
	len = space ? (size_t)(space - text.data) : text.len;
	if (hash_parse(&ref.digest, HASH_NONE, slice_make(text.data, len)) < 0)
		return err_set(err, E_INVALID, "refs/%s is damaged: remove it", name);
	ref.used_s = st.st_mtime;
	ref.file = xstrdup(name);
	if (space)
		ref.text = xstrndup((const char *)space + 1, text.len - len - 1);
	array_grow(refs->items, refs->cap, refs->len + 1);
	refs->items[refs->len++] = ref;
	return 0;
}

static int compare_refs(const void *a, const void *b)
{
	const struct node_ref *x = a, *y = b;

	return strcmp(x->text ? x->text : x->file, y->text ? y->text : y->file);
}

int node_refs_list(struct node_refs *ret, const struct node_store *store, struct err *err)
{
	cleanup_node_refs struct node_refs refs = {0};
	cleanup_free char *path = xasprintf("%s/refs", node_store_root(store));
	DIR *dir = opendir(path);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return err_errno(err, "open %s", path);
	while (r >= 0 && (errno = 0, entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			r = read_ref(&refs, dirfd(dir), entry->d_name, err);
	if (r >= 0 && errno)
		r = err_errno(err, "read %s", path);
	closedir(dir);
	if (r < 0)
		return r;
	if (refs.len > 1)
		qsort(refs.items, refs.len, sizeof(*refs.items), compare_refs);
	*ret = refs;
	refs = (struct node_refs){0};
	return 0;
}

int node_store_remove_ref(struct node_store *store, const char *ref, struct err *err)
{
	cleanup_node_refs struct node_refs refs = {0};

	if (node_refs_list(&refs, store, err) < 0)
		return err->code;
	for (size_t i = 0; i < refs.len; i++) {
		cleanup_free char *path =
			xasprintf("%s/refs/%s", node_store_root(store), refs.items[i].file);

		if (!refs.items[i].text || strcmp(refs.items[i].text, ref) != 0)
			continue;
		return unlink(path) < 0 ? err_errno(err, "remove %s", path) : 0;
	}
	return err_set(err, E_NOTFOUND, "%s is not on this node", ref);
}

uint64_t node_usage(int dirfd, const char *name)
{
	cleanup_free char *path = xasprintf("/proc/self/fd/%d/%s", dirfd, name);
	char *paths[] = {path, NULL};
	FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	uint64_t bytes = 0;
	FTSENT *entry;

	while (walk && (entry = fts_read(walk)))
		if (entry->fts_info != FTS_DP && entry->fts_info != FTS_ERR &&
		    entry->fts_info != FTS_NS && entry->fts_statp)
			bytes += (uint64_t)entry->fts_statp->st_blocks * 512;
	if (walk)
		fts_close(walk);
	return bytes;
}
