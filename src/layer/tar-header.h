/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place that knows the header blocks of a canonical tar (SPEC nacre 2): the writer puts
 * them out, the reader writes them again and compares.
 */
#ifndef NACRE_LAYER_TAR_HEADER_H
#define NACRE_LAYER_TAR_HEADER_H

#include <nacre/event.h>
#include <nacre/storepath.h>
#include <nacre/tar.h>

enum {
	/* The longest name: store dir, base name, and 63 names of 255 bytes, each with a '/'. */
	TAR_NAME_MAX = STORE_DIR_MAX + 1 + STORE_BASE_MAX + NODE_DEPTH_MAX * (NODE_NAME_MAX + 1),
	/* pax records: two texts with their keys and lengths, and a size. */
	TAR_PAX_MAX = TAR_NAME_MAX + NODE_TARGET_MAX + 128,
	/* pax header, its records padded, main header. */
	TAR_HEADERS_MAX = 2 * TAR_BLOCK + (TAR_PAX_MAX / TAR_BLOCK + 1) * TAR_BLOCK,
	TAR_FIELD_TEXT = 100, /* bytes of the name and link fields */
};

/* The largest size that the octal field holds: 8 GiB - 1. */
#define TAR_FIELD_SIZE_MAX 077777777777ull

enum tar_entry_type {
	TAR_TYPE_FILE = '0',
	TAR_TYPE_SYMLINK = '2',
	TAR_TYPE_DIR = '5',
	TAR_TYPE_PAX = 'x'
};

struct tar_entry {
	enum tar_entry_type type;
	unsigned mode;
	struct slice name;   /* with the final '/' of a directory */
	struct slice target; /* of a symlink */
	uint64_t size;       /* of a file, bytes */
};

/* Writes the headers of an entry into `ret` (TAR_HEADERS_MAX bytes): the main one, and the pax
 * header before it where it is needed. Returns their length, a multiple of TAR_BLOCK. The name
 * is at most TAR_NAME_MAX bytes, the target NODE_TARGET_MAX. */
size_t tar_headers_format(uint8_t *ret, const struct tar_entry *e);

/* The fields of a main or pax header block, read without judgement of what need not be known. */
struct tar_fields {
	char type;
	unsigned mode;
	uint64_t size;
	struct slice name, target; /* into the block: up to 100 bytes, ended by a NUL or not */
};
/* 0, or E_INVALID: a number that is not octal. */
int tar_block_parse(struct tar_fields *ret, const uint8_t *block);

/* The name of the field of a main header that holds byte `offset`, for messages. Constant. */
const char *tar_field_name(size_t offset);

static inline size_t tar_padding(uint64_t size)
{
	return (size_t)(-size & (TAR_BLOCK - 1));
}

/* What a body needs: a directory, an executable file, …; -1: no entry of a body. */
static inline unsigned tar_body_mode(enum tar_entry_type type, bool executable)
{
	switch (type) {
	case TAR_TYPE_SYMLINK:
		return 0777;
	case TAR_TYPE_DIR:
		return 0555;
	default:
		return executable ? 0555 : 0444;
	}
}

#endif
