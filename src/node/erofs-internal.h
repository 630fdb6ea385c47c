/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees on their way into an EROFS image: collected, placed (every inode gets its address), then
 * emitted in the order of their addresses. Used by erofs-tree.c and erofs-writer.c.
 */
#ifndef NACRE_NODE_EROFS_INTERNAL_H
#define NACRE_NODE_EROFS_INTERNAL_H

#include <nacre/buf.h>

#include "node/erofs.h"

enum {
	EROFS_BLOCK = 4096,
	EROFS_SLOT = 32, /* inode numbers count these from the start of the image */
	EROFS_COMPACT_SIZE = 32,
	EROFS_EXTENDED_SIZE = 64,
	EROFS_SUPER_OFFSET = 1024,
	EROFS_SHARED_XATTR_OFFSET = 1152, /* behind the superblock */
};

/* On-disk file types of directory entries. */
enum { EROFS_FT_REG_FILE = 1, EROFS_FT_DIR = 2, EROFS_FT_SYMLINK = 7 };

struct erofs_node {
	uint64_t size;       /* file: bytes; symlink: of the target; directory: of its entries */
	uint64_t pos;        /* of the inode, in bytes from the start of the image */
	uint64_t blocks_pos; /* of the whole blocks; 0: none */
	uint32_t parent, first_child, last_child, next; /* 0: none */
	uint32_t text;          /* where its name begins; a symlink's target stands behind it */
	uint32_t n_directories; /* children */
	uint32_t redirect_len;
	uint8_t name_len;
	uint8_t type; /* EROFS_FT_… */
	bool executable;
	bool plain; /* its data stands in whole blocks only */
};

/* nodes[0] is the root. */
struct erofs_tree {
	struct erofs_node *nodes; /* owned; in pre-order where a path's events made it */
	size_t len, cap;
	struct buf text;       /* names, targets */
	const char *data_name; /* borrowed; of the root, in the data layer */
	uint64_t parent_pos; /* of the directory that holds the root; its own for the root of all */
	uint16_t directory_mode;
};

/* A file under construction, written in order. */
struct erofs_out {
	int fd; /* borrowed */
	uint64_t pos;
	size_t len; /* of what waits in `data` */
	uint8_t data[64 << 10];
};

void put_le16(uint8_t *p, uint16_t v);
void put_le32(uint8_t *p, uint32_t v);
void put_le64(uint8_t *p, uint64_t v);

int erofs_out_write(struct erofs_out *o, const void *data, size_t len, struct err *err);
int erofs_out_zeros_to(struct erofs_out *o, uint64_t pos, struct err *err);
int erofs_out_flush(struct erofs_out *o, struct err *err);

void erofs_tree_clear(struct erofs_tree *t);
void erofs_tree_release(struct erofs_tree *t);
/* Appends a node as the last child of `parent` (the first node is the root; 0 then). */
struct erofs_entry {
	struct slice name;
	struct slice target; /* of a symlink */
	uint8_t type;        /* EROFS_FT_… */
};
int erofs_tree_add(struct erofs_tree *t, uint32_t parent, const struct erofs_entry *entry,
		   uint32_t *ret, struct err *err);
struct slice erofs_node_name(const struct erofs_tree *t, const struct erofs_node *n);

/* Bytes of a directory's entries, "." and ".." included. */
uint64_t erofs_directory_size(const struct erofs_tree *t, uint32_t dir);
/* Writes the blocks first…end of a directory; the last one is cut where it ends. */
int erofs_directory_emit(const struct erofs_tree *t, uint32_t dir, uint64_t first, uint64_t end,
			 struct erofs_out *out, struct err *err);
/* An inode without data behind it; returns its size. `ret` has EROFS_EXTENDED_SIZE bytes. */
size_t erofs_inode_encode(const struct erofs_tree *t, const struct erofs_node *n, uint8_t *ret);

/* Gives every node of a path its address, from `pos` on, and returns where the next may begin. */
uint64_t erofs_tree_place(struct erofs_tree *t, uint64_t pos);
int erofs_tree_emit(const struct erofs_tree *t, struct erofs_out *out, struct err *err);

static inline uint64_t erofs_align(uint64_t pos, uint64_t unit)
{
	return (pos + unit - 1) / unit * unit;
}

#endif
