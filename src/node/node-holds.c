/* SPDX-License-Identifier: Apache-2.0 */
/* What others use of a node's store, see node-store.h. */
#include <errno.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/node-store.h"

enum { HOLD_NAME_MAX = 200, HOLD_BYTES_MAX = 64 << 20 };

static int open_holds(const struct node_store *s, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/holds", node_store_root(s));

	return open_made_dir(path, err);
}

static bool hold_name_is_valid(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= HOLD_NAME_MAX && name[0] != '.' &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
		       len;
}

int node_store_put_hold(struct node_store *s, const char *name, struct slice text, struct err *err)
{
	cleanup_fd int dir = open_holds(s, err);
	struct hold_line line;
	struct slice rest = text;

	if (dir < 0)
		return dir;
	if (!hold_name_is_valid(name))
		return err_set(err, E_INVALID, "'%s' cannot name a hold", name);
	while (rest.len)
		if (hold_next_line(&rest, &line) < 0)
			return err_set(err, E_INVALID, "a hold has a line that names nothing");
	return write_file_at(dir, name, text.data, text.len, true, err);
}

int node_store_remove_hold(struct node_store *s, const char *name, struct err *err)
{
	cleanup_fd int dir = open_holds(s, err);

	if (dir < 0)
		return dir;
	if (!hold_name_is_valid(name))
		return err_set(err, E_INVALID, "'%s' cannot name a hold", name);
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT
		       ? err_errno(err, "remove hold %s", name)
		       : 0;
}

static const char *const hold_words[] = {"image ", "layer ", "path "};

int hold_next_line(struct slice *text, struct hold_line *ret)
{
	const uint8_t *end = memchr(text->data, '\n', text->len);
	struct slice line = slice_make(text->data, end ? (size_t)(end - text->data) : text->len);

	slice_advance(text, line.len + (end ? 1 : 0));
	for (size_t i = 0; i < ARRAY_LEN(hold_words); i++) {
		if (!slice_has_prefix(line, hold_words[i]))
			continue;
		ret->kind = (enum hold_kind)i;
		slice_advance(&line, strlen(hold_words[i]));
		return hash_parse(&ret->hash, HASH_SHA256, line);
	}
	return E_INVALID;
}

/* A symlink, whose target lies in its inode: it is there as a whole or not at all, without a sync of its own. */
int node_store_hold_layer(struct node_store *s, const char *name, const struct hash *diff_id,
			  struct err *err)
{
	cleanup_fd int dir = open_holds(s, err);
	char target[HASH_TEXT_MAX], there[HASH_TEXT_MAX];
	ssize_t n;

	if (dir < 0)
		return dir;
	if (!hold_name_is_valid(name))
		return err_set(err, E_INVALID, "'%s' cannot name a hold", name);
	hash_format(target, diff_id, HASH_NIX32);
	n = readlinkat(dir, name, there, sizeof(there));
	if (n == (ssize_t)strlen(target) && memcmp(there, target, (size_t)n) == 0)
		return 0;
	if (symlinkat(target, dir, name) < 0 &&
	    (errno != EEXIST || unlinkat(dir, name, 0) < 0 || symlinkat(target, dir, name) < 0))
		return err_errno(err, "hold %s", name);
	return 1;
}

int hold_read(int holds, const char *name, struct buf *ret, struct err *err)
{
	char target[HASH_TEXT_MAX];
	ssize_t n = readlinkat(holds, name, target, sizeof(target));

	if (n < 0)
		return errno == EINVAL ? read_file_at(holds, name, HOLD_BYTES_MAX, ret, err)
				       : err_errno(err, "read hold %s", name);
	return buf_addf(ret, "layer %.*s\n", (int)n, target);
}
