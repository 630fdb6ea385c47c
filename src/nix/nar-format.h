/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokens of a NAR as literal bytes. A token is a string: its length as a 64-bit
 * little-endian number, its bytes, and zeros up to a multiple of 8 (SPEC nix-nar). Private to
 * the reader and the writer.
 */
#ifndef NACRE_NIX_NAR_FORMAT_H
#define NACRE_NIX_NAR_FORMAT_H

#include <stdint.h>

#define NAR_Z7 "\0\0\0\0\0\0\0"

#define NAR_MAGIC      "\x0d" NAR_Z7 "nix-archive-1\0\0\0"
#define NAR_OPEN       "\x01" NAR_Z7 "(" NAR_Z7
#define NAR_CLOSE      "\x01" NAR_Z7 ")" NAR_Z7
#define NAR_TYPE       "\x04" NAR_Z7 "type\0\0\0\0"
#define NAR_REGULAR    "\x07" NAR_Z7 "regular\0"
#define NAR_DIRECTORY  "\x09" NAR_Z7 "directory" NAR_Z7
#define NAR_SYMLINK    "\x07" NAR_Z7 "symlink\0"
#define NAR_EXECUTABLE "\x0a" NAR_Z7 "executable\0\0\0\0\0\0"
#define NAR_EMPTY      "\0" NAR_Z7
#define NAR_CONTENTS   "\x08" NAR_Z7 "contents"
#define NAR_TARGET     "\x06" NAR_Z7 "target\0\0"
#define NAR_ENTRY      "\x05" NAR_Z7 "entry\0\0\0"
#define NAR_NAME       "\x04" NAR_Z7 "name\0\0\0\0"
#define NAR_NODE       "\x04" NAR_Z7 "node\0\0\0\0"

/* A file's size is limited so that neither its padding nor an off_t overflows. */
#define NAR_SIZE_MAX ((uint64_t)INT64_MAX)

/* The number of zeros behind `len` bytes. */
static inline unsigned nar_padding(uint64_t len)
{
	return (unsigned)(-len & 7);
}

static inline uint64_t nar_get_number(const uint8_t *p)
{
	uint64_t n = 0;

	for (int i = 7; i >= 0; i--)
		n = n << 8 | p[i];
	return n;
}

static inline void nar_put_number(uint8_t *p, uint64_t n)
{
	for (int i = 0; i < 8; i++, n >>= 8)
		p[i] = (uint8_t)n;
}

#endif
