/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/erofs-internal.h"

/* SPEC erofs i_format: bit 0 is the inode's version, bits 1 to 3 the layout of its data. */
enum { LAYOUT_PLAIN = 0, LAYOUT_INLINE = 2, LAYOUT_CHUNKS = 4 };
enum { VERSION_COMPACT = 0, VERSION_EXTENDED = 1 };

enum {
	DIRENT_SIZE = 12,
	XATTR_HEADER_SIZE = 12,
	XATTR_ENTRY_SIZE = 4,
	XATTR_INDEX_TRUSTED = 4,
	CHUNK_BITS_MIN = 12,
	CHUNK_BITS_MAX = 12 + 31,
	CHUNK_ENTRY_SIZE = 4,
	TEXT_MAX = 1 << 30,
};

static const char redirect_name[] = "overlay.redirect"; /* behind "trusted." */

void put_le16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

void put_le32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

void put_le64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

int erofs_out_flush(struct erofs_out *o, struct err *err)
{
	if (o->len && write_full(o->fd, o->data, o->len) < 0)
		return err_errno(err, "write a metadata image");
	o->len = 0;
	return 0;
}

int erofs_out_write(struct erofs_out *o, const void *data, size_t len, struct err *err)
{
	const uint8_t *from = data;

	while (len) {
		size_t n = sizeof(o->data) - o->len < len ? sizeof(o->data) - o->len : len;

		memcpy(o->data + o->len, from, n);
		o->len += n;
		o->pos += n;
		from += n;
		len -= n;
		if (o->len == sizeof(o->data) && erofs_out_flush(o, err) < 0)
			return err->code;
	}
	return 0;
}

int erofs_out_zeros_to(struct erofs_out *o, uint64_t pos, struct err *err)
{
	static const uint8_t zeros[EROFS_BLOCK];

	while (o->pos < pos) {
		uint64_t n = pos - o->pos < sizeof(zeros) ? pos - o->pos : sizeof(zeros);

		if (erofs_out_write(o, zeros, n, err) < 0)
			return err->code;
	}
	return 0;
}

void erofs_tree_clear(struct erofs_tree *t)
{
	t->len = 0;
	buf_reset(&t->text);
}

void erofs_tree_release(struct erofs_tree *t)
{
	free(t->nodes);
	buf_release(&t->text);
	*t = (struct erofs_tree){0};
}

struct slice erofs_node_name(const struct erofs_tree *t, const struct erofs_node *n)
{
	return slice_make(t->text.data + n->text, n->name_len);
}

static int tree_reserve(struct erofs_tree *t, struct err *err)
{
	size_t cap = t->cap ? 2 * t->cap : 64;
	struct erofs_node *nodes;

	if (t->len < t->cap)
		return 0;
	if (t->len >= EROFS_NODES_MAX)
		return err_set(err, E_LIMIT, "more than %d files in one store path",
			       EROFS_NODES_MAX);
	nodes = realloc(t->nodes, cap * sizeof(*nodes));
	if (!nodes)
		return err_set(err, E_NOMEM, "no memory for a tree of %zu files", cap);
	t->nodes = nodes;
	t->cap = cap;
	return 0;
}

int erofs_tree_add(struct erofs_tree *t, uint32_t parent, const struct erofs_entry *entry,
		   uint32_t *ret, struct err *err)
{
	struct erofs_node *n, *up;

	t->text.max = TEXT_MAX;
	if (tree_reserve(t, err) < 0)
		return err->code;
	n = &t->nodes[t->len];
	*n = (struct erofs_node){
		.parent = parent,
		.text = (uint32_t)t->text.len,
		.name_len = (uint8_t)entry->name.len,
		.type = entry->type,
		.size = entry->target.len,
	};
	if (buf_add(&t->text, entry->name.data, entry->name.len) < 0 ||
	    buf_add(&t->text, entry->target.data, entry->target.len) < 0)
		return err_set(err, E_LIMIT, "more than %d bytes of names in one store path",
			       TEXT_MAX);
	*ret = (uint32_t)t->len++;
	if (*ret == 0) {
		n->redirect_len = t->data_name ? 1 + (uint32_t)strlen(t->data_name) : 0;
		return 0;
	}
	up = &t->nodes[parent];
	n->redirect_len = up->redirect_len + 1 + n->name_len;
	if (up->last_child)
		t->nodes[up->last_child].next = *ret;
	else
		up->first_child = *ret;
	up->last_child = *ret;
	up->n_directories += entry->type == EROFS_FT_DIR;
	return 0;
}

/* The entries of a directory in the order of their names, which is bytewise: "." and ".." are not
 * always first. */
struct entries {
	const struct erofs_tree *tree;
	uint32_t dir, child;
	unsigned dots; /* how many of "." and ".." have passed */
};

struct named_inode {
	struct slice name;
	uint64_t pos; /* of its inode */
	uint8_t type;
};

static bool entries_next(struct entries *it, struct named_inode *ret)
{
	const struct erofs_tree *t = it->tree;
	const struct erofs_node *dir = &t->nodes[it->dir], *child = &t->nodes[it->child];
	struct slice dot = slice_make("..", it->dots + 1);

	if (it->dots < 2 && (!it->child || slice_compare(dot, erofs_node_name(t, child)) < 0)) {
		uint64_t up = it->dir == 0 ? t->parent_pos : t->nodes[dir->parent].pos;

		*ret = (struct named_inode){dot, it->dots == 0 ? dir->pos : up, EROFS_FT_DIR};
		it->dots++;
		return true;
	}
	if (!it->child)
		return false;
	*ret = (struct named_inode){erofs_node_name(t, child), child->pos, child->type};
	it->child = child->next;
	return true;
}

static struct entries entries_of(const struct erofs_tree *t, uint32_t dir)
{
	return (struct entries){.tree = t, .dir = dir, .child = t->nodes[dir].first_child};
}

uint64_t erofs_directory_size(const struct erofs_tree *t, uint32_t dir)
{
	struct entries it = entries_of(t, dir);
	uint64_t full = 0, used = 0;
	struct named_inode e;

	while (entries_next(&it, &e)) {
		size_t need = DIRENT_SIZE + e.name.len;

		if (used + need > EROFS_BLOCK) {
			full += EROFS_BLOCK;
			used = 0;
		}
		used += need;
	}
	return full + used;
}

/* SPEC erofs directories: a block is an array of entries, then their names without NULs. Returns
 * how many bytes of the block are used. */
static size_t block_encode(const struct named_inode *entries, size_t n, uint8_t block[EROFS_BLOCK])
{
	size_t name_pos = n * DIRENT_SIZE;

	memset(block, 0, EROFS_BLOCK);
	for (size_t i = 0; i < n; i++) {
		uint8_t *dirent = block + i * DIRENT_SIZE;

		put_le64(dirent, entries[i].pos / EROFS_SLOT);
		put_le16(dirent + 8, (uint16_t)name_pos);
		dirent[10] = entries[i].type;
		memcpy(block + name_pos, entries[i].name.data, entries[i].name.len);
		name_pos += entries[i].name.len;
	}
	return name_pos;
}

int erofs_directory_emit(const struct erofs_tree *t, uint32_t dir, uint64_t first, uint64_t end,
			 struct erofs_out *out, struct err *err)
{
	struct named_inode batch[EROFS_BLOCK / (DIRENT_SIZE + 1) + 1];
	struct entries it = entries_of(t, dir);
	bool more = entries_next(&it, &batch[0]);
	uint8_t block[EROFS_BLOCK];

	for (uint64_t i = 0; more && i < end; i++) {
		size_t n = 0, used = 0, len;

		while (more && used + DIRENT_SIZE + batch[n].name.len <= EROFS_BLOCK) {
			used += DIRENT_SIZE + batch[n].name.len;
			more = entries_next(&it, &batch[++n]);
		}
		len = block_encode(batch, n, block);
		if (i >= first && erofs_out_write(out, block, more ? EROFS_BLOCK : len, err) < 0)
			return err->code;
		batch[0] = batch[n];
	}
	return 0;
}

/* A file whose content overlayfs takes from elsewhere. */
static bool is_hole(const struct erofs_node *n)
{
	return n->type == EROFS_FT_REG_FILE && n->size > 0;
}

static unsigned chunk_bits(uint64_t size)
{
	unsigned bits = CHUNK_BITS_MIN;

	while (bits < CHUNK_BITS_MAX && (UINT64_C(1) << bits) < size)
		bits++;
	return bits;
}

static uint64_t chunks_size(const struct erofs_node *n)
{
	unsigned bits = chunk_bits(n->size);

	return is_hole(n) ? (((n->size - 1) >> bits) + 1) * CHUNK_ENTRY_SIZE : 0;
}

static uint32_t link_count(const struct erofs_node *n)
{
	return n->type == EROFS_FT_DIR ? 2 + n->n_directories : 1;
}

static size_t inode_size(const struct erofs_node *n)
{
	return n->size > UINT32_MAX || link_count(n) > UINT16_MAX ? EROFS_EXTENDED_SIZE
								  : EROFS_COMPACT_SIZE;
}

static size_t redirect_entry_size(const struct erofs_node *n)
{
	return erofs_align(XATTR_ENTRY_SIZE + sizeof(redirect_name) - 1 + n->redirect_len, 4);
}

/* The header, the number of the shared metacopy, the redirect. */
static size_t xattrs_size(const struct erofs_node *n)
{
	return is_hole(n) ? XATTR_HEADER_SIZE + 4 + redirect_entry_size(n) : 0;
}

/* How much of its data stands behind the inode itself: what follows the last whole block, unless
 * inode and that would not fit into one block together. */
static size_t tail_size(const struct erofs_node *n)
{
	size_t tail = n->size % EROFS_BLOCK;

	if (n->type == EROFS_FT_REG_FILE || n->plain || inode_size(n) + tail > EROFS_BLOCK)
		return 0;
	return tail;
}

/* Whole blocks, the last one padded where there is no tail behind the inode. */
static uint64_t blocks_size(const struct erofs_node *n)
{
	if (n->type == EROFS_FT_REG_FILE)
		return 0;
	return erofs_align(n->size - tail_size(n), EROFS_BLOCK);
}

static unsigned data_layout(const struct erofs_node *n)
{
	if (is_hole(n))
		return LAYOUT_CHUNKS;
	return tail_size(n) ? LAYOUT_INLINE : LAYOUT_PLAIN;
}

static uint16_t node_mode(const struct erofs_tree *t, const struct erofs_node *n)
{
	switch (n->type) {
	case EROFS_FT_DIR:
		return 0040000 | t->directory_mode;
	case EROFS_FT_SYMLINK:
		return 0120777;
	default:
		return n->executable ? 0100555 : 0100444;
	}
}

size_t erofs_inode_encode(const struct erofs_tree *t, const struct erofs_node *n, uint8_t *ret)
{
	bool extended = inode_size(n) == EROFS_EXTENDED_SIZE;
	unsigned version = extended ? VERSION_EXTENDED : VERSION_COMPACT;
	/* SPEC erofs i_xattr_icount: the header, then units of four bytes, less one. */
	size_t xattrs = xattrs_size(n);
	uint32_t data = is_hole(n) ? chunk_bits(n->size) - CHUNK_BITS_MIN
				   : (uint32_t)(n->blocks_pos / EROFS_BLOCK);

	memset(ret, 0, EROFS_EXTENDED_SIZE);
	put_le16(ret, (uint16_t)(version | data_layout(n) << 1));
	put_le16(ret + 2, xattrs ? (uint16_t)((xattrs - XATTR_HEADER_SIZE) / 4 + 1) : 0);
	put_le16(ret + 4, node_mode(t, n));
	put_le32(ret + 16, data);
	put_le32(ret + 20, (uint32_t)(n->pos / EROFS_SLOT));
	if (extended) {
		put_le64(ret + 8, n->size);
		put_le64(ret + 32, 1); /* mtime */
		put_le32(ret + 44, link_count(n));
	} else {
		put_le16(ret + 6, (uint16_t)link_count(n));
		put_le32(ret + 8, (uint32_t)n->size);
	}
	return inode_size(n);
}

static size_t body_size(const struct erofs_node *n)
{
	return inode_size(n) + xattrs_size(n) + chunks_size(n) + tail_size(n);
}

uint64_t erofs_tree_place(struct erofs_tree *t, uint64_t pos)
{
	pos = erofs_align(pos, EROFS_SLOT);
	for (size_t i = 0; i < t->len; i++) {
		struct erofs_node *n = &t->nodes[i];
		size_t together;

		if (n->type == EROFS_FT_DIR)
			n->size = erofs_directory_size(t, (uint32_t)i);
		together = inode_size(n) + tail_size(n);
		/* An inode and its tail never lie across the end of a block. */
		if (pos % EROFS_BLOCK + together > EROFS_BLOCK)
			pos = erofs_align(pos, EROFS_BLOCK);
		n->pos = pos;
		pos = erofs_align(pos + body_size(n), EROFS_SLOT);
	}
	for (size_t i = 0; i < t->len; i++) {
		if (!blocks_size(&t->nodes[i]))
			continue;
		pos = erofs_align(pos, EROFS_BLOCK);
		t->nodes[i].blocks_pos = pos;
		pos += blocks_size(&t->nodes[i]);
	}
	return pos;
}

/* "/<data name>/<path below the root>" */
static void redirect_format(const struct erofs_tree *t, const struct erofs_node *n, char *ret)
{
	size_t at = n->redirect_len;

	for (; n != t->nodes; n = &t->nodes[n->parent]) {
		at -= n->name_len;
		memcpy(ret + at, t->text.data + n->text, n->name_len);
		ret[--at] = '/';
	}
	memcpy(ret + 1, t->data_name, at - 1);
	ret[0] = '/';
}

static int emit_xattrs(const struct erofs_tree *t, const struct erofs_node *n,
		       struct erofs_out *out, struct err *err)
{
	uint8_t data[XATTR_HEADER_SIZE + 4 + XATTR_ENTRY_SIZE + sizeof(redirect_name) +
		     EROFS_REDIRECT_MAX + 4] = {0};
	uint8_t *entry = data + XATTR_HEADER_SIZE + 4;

	data[4] = 1; /* one shared xattr: metacopy */
	put_le32(data + XATTR_HEADER_SIZE, EROFS_SHARED_XATTR_OFFSET / 4);
	entry[0] = sizeof(redirect_name) - 1;
	entry[1] = XATTR_INDEX_TRUSTED;
	put_le16(entry + 2, (uint16_t)n->redirect_len);
	memcpy(entry + XATTR_ENTRY_SIZE, redirect_name, sizeof(redirect_name) - 1);
	redirect_format(t, n, (char *)entry + XATTR_ENTRY_SIZE + sizeof(redirect_name) - 1);
	return erofs_out_write(out, data, xattrs_size(n), err);
}

/* All chunks are holes. */
static int emit_chunks(const struct erofs_node *n, struct erofs_out *out, struct err *err)
{
	static const uint8_t hole[CHUNK_ENTRY_SIZE] = {0xff, 0xff, 0xff, 0xff};

	for (uint64_t left = chunks_size(n); left; left -= sizeof(hole))
		if (erofs_out_write(out, hole, sizeof(hole), err) < 0)
			return err->code;
	return 0;
}

static int emit_data(const struct erofs_tree *t, const struct erofs_node *n, uint64_t from,
		     uint64_t end, struct erofs_out *out, struct err *err)
{
	if (n->type == EROFS_FT_SYMLINK)
		return erofs_out_write(out, t->text.data + n->text + n->name_len + from, end - from,
				       err);
	return erofs_directory_emit(t, (uint32_t)(n - t->nodes), from / EROFS_BLOCK,
				    (end + EROFS_BLOCK - 1) / EROFS_BLOCK, out, err);
}

static int emit_inode(const struct erofs_tree *t, const struct erofs_node *n, struct erofs_out *out,
		      struct err *err)
{
	uint8_t inode[EROFS_EXTENDED_SIZE];
	size_t len = erofs_inode_encode(t, n, inode);

	if (erofs_out_zeros_to(out, n->pos, err) < 0 || erofs_out_write(out, inode, len, err) < 0)
		return err->code;
	if (is_hole(n) && (emit_xattrs(t, n, out, err) < 0 || emit_chunks(n, out, err) < 0))
		return err->code;
	return tail_size(n) ? emit_data(t, n, n->size - tail_size(n), n->size, out, err) : 0;
}

int erofs_tree_emit(const struct erofs_tree *t, struct erofs_out *out, struct err *err)
{
	for (size_t i = 0; i < t->len; i++)
		if (emit_inode(t, &t->nodes[i], out, err) < 0)
			return err->code;
	for (size_t i = 0; i < t->len; i++) {
		const struct erofs_node *n = &t->nodes[i];

		if (n->blocks_pos && (erofs_out_zeros_to(out, n->blocks_pos, err) < 0 ||
				      emit_data(t, n, 0, n->size - tail_size(n), out, err) < 0))
			return err->code;
	}
	return 0;
}
