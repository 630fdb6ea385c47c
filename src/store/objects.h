/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects: immutable bytes, kept once whoever has them; private to src/store. A small one is a
 * row of the database, so that storing it costs no file and no fsync of its own.
 *
 * What is being received is an `incoming`: in memory while it is small, then a file in incoming/.
 * To become an object it is
 *
 * 	ended      nothing more comes; its digest is known
 * 	sealed     renamed within incoming/ to the name it will have as an object; linked under that
 * 	           name into objects/; the file and that directory fsynced
 * 	recorded   inside a transaction: a row names it, or the row of equal bytes is taken instead
 * 	settled    after the commit: its name in incoming/ goes, or both do when no row names it
 *
 * The name ends in random digits, so each file belongs to exactly one attempt, and nobody waits
 * for or trips over another one's. After a crash every unsettled attempt still has its name in
 * incoming/: cleaning up takes time in proportion to what was under way.
 */
#ifndef NACRE_STORE_OBJECTS_H
#define NACRE_STORE_OBJECTS_H

#include <nacre/absorb.h>

#include "store/store-internal.h"

enum object_kind {
	OBJECT_FRAMED = 1, /* a framed NAR */
	OBJECT_GLUE,       /* what turns one into a tar */
	OBJECT_OPAQUE,     /* blobs and documents as they came */
};

enum {
	OBJECT_INLINE_MAX = 8192, /* bytes; larger ones are files */
	OBJECT_FILE_MAX = 2 + 1 + 64 + 1 + 16 + 1,
};

struct incoming {
	struct sink sink;    /* appends */
	struct store *store; /* borrowed */
	struct hasher hasher;
	struct hash sha256; /* after incoming_end() */
	uint64_t size;      /* bytes written */
	uint8_t *buffer;    /* owned; what is not in the file yet */
	size_t buffered, buffer_size;
	int fd;                     /* owned; -1: everything is in the buffer */
	uint64_t written, started;  /* bytes in the file; of these, on their way to the disk */
	char name[OBJECT_FILE_MAX]; /* in incoming/; empty: none */
	char file[OBJECT_FILE_MAX]; /* below objects/ once sealed; empty: none */
	bool hash_given;            /* sha256 is set by who writes: it is not computed here */
	bool recorded;              /* a row names `file`, if its transaction commits */
};

void incoming_init(struct incoming *in, struct store *s);
/* Everything written so far can be read from in->fd afterwards. */
int incoming_to_file(struct incoming *in, struct err *err);
/* All is written: sets in->sha256, unless it was given. */
void incoming_end(struct incoming *in);
int incoming_seal(struct incoming *in, struct err *err);
/* ENOSPC: what is left of the disk is for the database, so that deleting and collecting, which need
 * some of it, still work. */
int room_check(struct store *s, struct err *err);
/* Inside a transaction; `in` is sealed. */
int incoming_record(struct incoming *in, struct conn *c, enum object_kind kind, int64_t *ret_id,
		    struct err *err);
/* `committed`: the transaction in which it was recorded is durable. */
void incoming_settle(struct incoming *in, bool committed);
/* Drops what was not settled. All-zero is nothing. */
void incoming_release(struct incoming *in);
#define cleanup_incoming __attribute__((cleanup(incoming_release)))

/* Removes what a crash left. */
int incoming_recover(struct store *s, struct err *err);
/* Makes the directories. */
int objects_prepare(struct store *s, struct err *err);

/* An object to be read. */
struct object {
	struct object_reader reader; /* see object_reader() */
	int64_t id;
	uint64_t size;
	struct hash sha256;
	int fd;        /* owned; -1: in memory */
	uint8_t *data; /* owned, or NULL */
};
#define OBJECT_INIT ((struct object){.fd = -1})
int object_open(struct store *s, struct conn *c, int64_t id, struct object *ret, struct err *err);
int object_open_hash(struct store *s, struct conn *c, const struct hash *sha256, struct object *ret,
		     struct err *err);
/* All `len` bytes at `offset`; E_INTERNAL if it is shorter. */
int object_pread(const struct object *o, uint64_t offset, void *buf, size_t len, struct err *err);
/* For src/layer; borrowed from `o`, which must stay where it is. */
struct object_reader *object_reader(struct object *o);
void object_release(struct object *o);
#define cleanup_object __attribute__((cleanup(object_release)))

#endif
