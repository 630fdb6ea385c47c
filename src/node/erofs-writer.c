/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/erofs-internal.h"

/* SPEC erofs super block */
enum {
	SUPER_MAGIC = (int)0xe0f5e1e2,
	COMPAT_CHECKSUM = 1 << 0,
	COMPAT_MTIME = 1 << 1, /* compact inodes have the time of the build as their mtime */
	INCOMPAT_CHUNKED_FILE = 1 << 2,
	BLOCK_BITS = 12,
	BUILD_TIME = 1,
	ROOT_OFFSET = 1184, /* behind the shared xattr; its number has 16 bits */
	XATTR_INDEX_TRUSTED = 4,
};

static const char metacopy_name[] = "overlay.metacopy"; /* behind "trusted." */

struct erofs_writer {
	struct node_sink sink;
	struct erofs_out out;
	uint8_t block0[EROFS_BLOCK];
	size_t block0_len; /* in use */
	uint64_t n_inodes;
	struct erofs_tree top; /* the directories above the paths; its leaves are paths */
	struct erofs_tree path;
	char *data_name;   /* owned; of the path */
	struct slice name; /* of the path in its directory; in `top_path` */
	char *top_path;    /* owned */
	uint32_t above;    /* the directory that holds the path */
	uint32_t dir;      /* the one that is open, in the path's tree */
	unsigned depth;    /* of what comes next */
	bool in_path, root_done;
};

static int writer_event(struct node_sink *self, const struct node_event *ev, struct err *err);

static int add_top_directory(struct erofs_writer *w, uint32_t parent, struct slice name,
			     uint32_t *ret, struct err *err)
{
	struct erofs_entry entry = {.name = name, .type = EROFS_FT_DIR};
	struct erofs_node *n;

	if (erofs_tree_add(&w->top, parent, &entry, ret, err) < 0)
		return err->code;
	n = &w->top.nodes[*ret];
	n->plain = true;
	w->n_inodes++;
	if (w->block0_len + EROFS_EXTENDED_SIZE <= EROFS_BLOCK) {
		n->pos = w->block0_len;
		w->block0_len += EROFS_EXTENDED_SIZE;
		return 0;
	}
	n->pos = erofs_align(w->out.pos > EROFS_BLOCK ? w->out.pos : EROFS_BLOCK,
			     EROFS_EXTENDED_SIZE);
	return erofs_out_zeros_to(&w->out, n->pos + EROFS_EXTENDED_SIZE, err);
}

struct erofs_writer *erofs_writer_new(int fd)
{
	struct erofs_writer *w = xcalloc(1, sizeof(*w));
	struct err ignored = ERR_INIT;
	uint32_t root;

	w->sink.event = writer_event;
	w->out.fd = fd;
	w->block0_len = ROOT_OFFSET;
	w->top.directory_mode = 0755;
	w->path.directory_mode = 0555;
	add_top_directory(w, 0, slice_str(""), &root, &ignored); /* has room */
	w->top.parent_pos = w->top.nodes[root].pos;
	return w;
}

void erofs_writer_free(struct erofs_writer *w)
{
	if (!w)
		return;
	erofs_tree_release(&w->top);
	erofs_tree_release(&w->path);
	free(w->data_name);
	free(w->top_path);
	free(w);
}

struct node_sink *erofs_writer_node_sink(struct erofs_writer *w)
{
	return &w->sink;
}

static bool name_is_valid(struct slice name)
{
	return name.len > 0 && name.len <= NODE_NAME_MAX && !slice_equal_str(name, ".") &&
	       !slice_equal_str(name, "..") && !memchr(name.data, '/', name.len) &&
	       !memchr(name.data, '\0', name.len);
}

/* The directory `name` in `dir`, made if it is missing. */
static int find_top_directory(struct erofs_writer *w, uint32_t dir, struct slice name,
			      uint32_t *ret, struct err *err)
{
	for (uint32_t i = w->top.nodes[dir].first_child; i; i = w->top.nodes[i].next)
		if (w->top.nodes[i].plain &&
		    slice_equal(erofs_node_name(&w->top, &w->top.nodes[i]), name)) {
			*ret = i;
			return 0;
		}
	return add_top_directory(w, dir, name, ret, err);
}

static int find_above(struct erofs_writer *w, const char *path, struct err *err)
{
	const char *rest = path;

	w->above = 0;
	while (*rest == '/') {
		size_t len = strcspn(rest + 1, "/");
		struct slice name = slice_make(rest + 1, len);

		if (!name_is_valid(name))
			break;
		rest += 1 + len;
		if (!*rest) {
			w->name = name;
			return 0;
		}
		if (find_top_directory(w, w->above, name, &w->above, err) < 0)
			return err->code;
	}
	return err_set(err, E_INVALID, "'%s' cannot be in an image", path);
}

int erofs_writer_path(struct erofs_writer *w, const char *path, const char *data_name,
		      struct err *err)
{
	if (w->in_path)
		return err_set(err, E_INTERNAL, "%s: the path before it is not complete", path);
	if (!name_is_valid(slice_str(data_name)))
		return err_set(err, E_INVALID, "'%s' cannot name content", data_name);
	free(w->top_path);
	free(w->data_name);
	w->top_path = xstrdup(path);
	w->data_name = xstrdup(data_name);
	erofs_tree_clear(&w->path);
	w->path.data_name = w->data_name;
	w->depth = 0;
	w->dir = 0;
	w->in_path = true;
	w->root_done = false;
	return find_above(w, w->top_path, err);
}

/* Everything of the path is known: it goes into the image. */
static int end_path(struct erofs_writer *w, struct err *err)
{
	struct erofs_tree *t = &w->path;
	struct erofs_entry entry = {.name = w->name};
	uint32_t leaf;
	uint64_t end;

	for (size_t i = 0; i < t->len; i++)
		if (t->nodes[i].type == EROFS_FT_REG_FILE && t->nodes[i].size &&
		    t->nodes[i].redirect_len > EROFS_REDIRECT_MAX)
			return err_set(err, E_LIMIT,
				       "%s: a file's path is longer than the %d bytes that "
				       "overlayfs follows",
				       w->top_path, EROFS_REDIRECT_MAX);
	t->parent_pos = w->top.nodes[w->above].pos;
	end = erofs_tree_place(t, EROFS_BLOCK > w->out.pos ? EROFS_BLOCK : w->out.pos);
	if (erofs_tree_emit(t, &w->out, err) < 0 || erofs_out_zeros_to(&w->out, end, err) < 0)
		return err->code;
	entry.type = t->nodes[0].type;
	if (erofs_tree_add(&w->top, w->above, &entry, &leaf, err) < 0)
		return err->code;
	w->top.nodes[leaf].pos = t->nodes[0].pos;
	w->n_inodes += t->len;
	w->in_path = false;
	return 0;
}

/* Names are valid and in order; the root has none. */
static bool event_is_valid(const struct erofs_writer *w, const struct node_event *ev)
{
	const struct erofs_tree *t = &w->path;
	uint32_t last;

	if (!w->in_path || ev->depth != w->depth || ev->depth >= NODE_DEPTH_MAX)
		return false;
	if (ev->depth == 0)
		return !w->root_done && ev->name.len == 0;
	last = t->nodes[w->dir].last_child;
	return name_is_valid(ev->name) &&
	       (!last || slice_compare(erofs_node_name(t, &t->nodes[last]), ev->name) < 0);
}

static int add_node(struct erofs_writer *w, const struct node_event *ev, uint8_t type,
		    struct err *err)
{
	struct erofs_entry entry = {.name = ev->name, .type = type};
	uint32_t node;

	if (type == EROFS_FT_SYMLINK)
		entry.target = ev->data;
	if (!event_is_valid(w, ev) || entry.target.len > NODE_TARGET_MAX ||
	    (type == EROFS_FT_SYMLINK && entry.target.len == 0))
		return err_set(err, E_INVALID, "%s: not a valid tree", w->top_path);
	if (erofs_tree_add(&w->path, w->dir, &entry, &node, err) < 0)
		return err_wrap(err, "%s", w->top_path);
	w->root_done = true;
	if (type == EROFS_FT_REG_FILE) {
		w->path.nodes[node].size = ev->size;
		w->path.nodes[node].executable = ev->executable;
	}
	if (type == EROFS_FT_DIR) {
		w->dir = node;
		w->depth++;
	}
	return 0;
}

static int writer_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct erofs_writer *w = container_of(self, struct erofs_writer, sink);

	switch (ev->type) {
	case NODE_DIRECTORY:
		return add_node(w, ev, EROFS_FT_DIR, err);
	case NODE_REGULAR:
		return add_node(w, ev, EROFS_FT_REG_FILE, err);
	case NODE_SYMLINK:
		return add_node(w, ev, EROFS_FT_SYMLINK, err);
	case NODE_DIRECTORY_END:
		if (w->depth == 0)
			return err_set(err, E_INVALID, "%s: not a valid tree", w->top_path);
		w->depth--;
		w->dir = w->path.nodes[w->dir].parent;
		return 0;
	case NODE_END:
		if (!w->in_path || w->depth || !w->root_done)
			return err_set(err, E_INVALID, "not a whole tree");
		return end_path(w, err);
	default: /* contents stay where they are */
		return 0;
	}
}

static int compare_children(const void *a, const void *b, void *tree)
{
	const struct erofs_tree *t = tree;

	return slice_compare(erofs_node_name(t, &t->nodes[*(const uint32_t *)a]),
			     erofs_node_name(t, &t->nodes[*(const uint32_t *)b]));
}

/* Sorts the children of a directory above the paths. */
static int sort_directory(struct erofs_tree *t, uint32_t dir, struct err *err)
{
	cleanup_free uint32_t *children = NULL;
	uint32_t *link = &t->nodes[dir].first_child;
	size_t n = 0, cap = 0;

	for (uint32_t i = *link; i; i = t->nodes[i].next) {
		array_grow(children, cap, n + 1);
		children[n++] = i;
	}
	if (n)
		qsort_r(children, n, sizeof(*children), compare_children, t);
	for (size_t i = 0; i < n; i++) {
		if (i && compare_children(&children[i - 1], &children[i], t) == 0) {
			bool nested =
				t->nodes[children[i]].plain || t->nodes[children[i - 1]].plain;
			struct slice name = erofs_node_name(t, &t->nodes[children[i]]);

			return err_set(err, nested ? E_CONFLICT : E_EXISTS, "%.*s is %s",
				       (int)name.len, (const char *)name.data,
				       nested ? "a store path and holds another" : "there twice");
		}
		*link = children[i];
		link = &t->nodes[children[i]].next;
	}
	*link = 0;
	return 0;
}

static int write_at(struct erofs_writer *w, uint64_t pos, const void *data, size_t len,
		    struct err *err)
{
	if (pos < EROFS_BLOCK)
		memcpy(w->block0 + pos, data, len);
	else if (pwrite(w->out.fd, data, len, (off_t)pos) != (ssize_t)len)
		return err_errno(err, "write a metadata image");
	return 0;
}

/* The entries, then the inodes that point to them. */
static int emit_top(struct erofs_writer *w, struct err *err)
{
	struct erofs_tree *t = &w->top;
	uint8_t inode[EROFS_EXTENDED_SIZE];

	for (uint32_t i = 0; i < t->len; i++) {
		struct erofs_node *n = &t->nodes[i];
		uint64_t end;

		if (!n->plain)
			continue;
		if (sort_directory(t, i, err) < 0)
			return err->code;
		n->size = erofs_directory_size(t, i);
		end = (n->size + EROFS_BLOCK - 1) / EROFS_BLOCK;
		n->blocks_pos = erofs_align(w->out.pos, EROFS_BLOCK);
		if (erofs_out_zeros_to(&w->out, n->blocks_pos, err) < 0 ||
		    erofs_directory_emit(t, i, 0, end, &w->out, err) < 0 ||
		    erofs_out_zeros_to(&w->out, n->blocks_pos + end * EROFS_BLOCK, err) < 0)
			return err->code;
	}
	if (erofs_out_flush(&w->out, err) < 0)
		return err->code;
	for (uint32_t i = 0; i < t->len; i++) {
		size_t len = t->nodes[i].plain ? erofs_inode_encode(t, &t->nodes[i], inode) : 0;

		if (len && write_at(w, t->nodes[i].pos, inode, len, err) < 0)
			return err->code;
	}
	return 0;
}

/* CRC-32C without the final inversion (SPEC erofs checksum); over one block, so bit by bit will
 * do. */
static uint32_t crc32c(const uint8_t *data, size_t len)
{
	uint32_t crc = UINT32_MAX;

	while (len--) {
		crc ^= *data++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return crc;
}

static int emit_block0(struct erofs_writer *w, struct err *err)
{
	uint8_t *super = w->block0 + EROFS_SUPER_OFFSET;
	uint8_t *xattr = w->block0 + EROFS_SHARED_XATTR_OFFSET;

	xattr[0] = sizeof(metacopy_name) - 1;
	xattr[1] = XATTR_INDEX_TRUSTED;
	memcpy(xattr + 4, metacopy_name, sizeof(metacopy_name) - 1);
	put_le32(super, (uint32_t)SUPER_MAGIC);
	put_le32(super + 8, COMPAT_CHECKSUM | COMPAT_MTIME);
	super[12] = BLOCK_BITS;
	put_le16(super + 14, ROOT_OFFSET / EROFS_SLOT);
	put_le64(super + 16, w->n_inodes);
	put_le64(super + 24, BUILD_TIME);
	put_le32(super + 36, (uint32_t)(w->out.pos / EROFS_BLOCK));
	put_le32(super + 80, INCOMPAT_CHUNKED_FILE);
	put_le32(super + 4, crc32c(super, EROFS_BLOCK - EROFS_SUPER_OFFSET));
	return pwrite(w->out.fd, w->block0, EROFS_BLOCK, 0) == EROFS_BLOCK
		       ? 0
		       : err_errno(err, "write a metadata image");
}

int erofs_writer_finish(struct erofs_writer *w, uint64_t *ret_size_bytes, struct err *err)
{
	if (w->in_path)
		return err_set(err, E_INTERNAL, "%s is not complete", w->top_path);
	if (erofs_out_zeros_to(&w->out, EROFS_BLOCK, err) < 0 || emit_top(w, err) < 0 ||
	    emit_block0(w, err) < 0)
		return err->code;
	*ret_size_bytes = w->out.pos;
	return 0;
}
