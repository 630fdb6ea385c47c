/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archives of images, read and written. A tar that others wrote is scanned once with libarchive for
 * where its members are, and then read at those places: nothing is ever extracted, so no name in it
 * means anything to the file system. A compressed one is unpacked into an unnamed temporary file
 * first.
 */
#ifndef NACRE_OCI_TAR_FILE_H
#define NACRE_OCI_TAR_FILE_H

#include <nacre/buf.h>
#include <nacre/sink.h>

enum {
	TAR_MEMBERS_MAX = 1 << 18,
	TAR_NAME_MAX = 4096,  /* bytes */
	TAR_LINKS_MAX = 16,   /* one after another */
	TAR_RATIO_MAX = 2000, /* a compressed archive that grows more is refused; gzip: 1032 */
};

struct tar_member {
	char *name;   /* owned; relative, without "." and ".." and double "/" */
	char *link;   /* owned; of a link, the name of the member it stands for; else NULL */
	size_t order; /* in the archive */
	uint64_t offset, size; /* bytes */
};

struct tar_file {
	int fd;                     /* owned */
	struct tar_member *members; /* owned; sorted by name, unique: the last of a name counts */
	size_t n_members, cap_members;
};

/* The file must be a regular one. E_INVALID: is not a tar, or is broken. */
int tar_file_open(struct tar_file *ret, const char *path, struct err *err);
void tar_file_release(struct tar_file *t);
#define cleanup_tar_file __attribute__((cleanup(tar_file_release)))

/* A file by its name, links followed. E_NOTFOUND, E_INVALID (links in a circle). Borrowed. */
int tar_file_find(const struct tar_file *t, const char *name, const struct tar_member **ret,
		  struct err *err);
/* Writes it to `out` without finishing it. */
int tar_file_read(const struct tar_file *t, const struct tar_member *m, struct sink *out,
		  struct err *err);
/* Its first bytes, at most `len`; their number. */
int tar_file_peek(const struct tar_file *t, const struct tar_member *m, void *ret, size_t len,
		  struct err *err);
/* Find and read, at most `max` bytes (E_LIMIT). */
int tar_file_read_small(const struct tar_file *t, const char *name, size_t max, struct buf *ret,
			struct err *err);

/*
 * Writes a tar into a seekable file, deterministically: ustar, owner 0, time 0, mode 0644; a pax
 * header for a name of more than 100 bytes, base-256 for a size of 8 GiB and more. A member's
 * size and name need not be known before its content:
 *
 * 	archive_writer_begin(&w, NULL, err); sink_write(&w.sink, …); archive_writer_end(&w, name, err);
 */
struct archive_writer {
	struct sink sink; /* of the member that was begun */
	int fd;           /* borrowed */
	uint64_t start;   /* offset of the member that was begun; before it, the tar is complete */
	uint64_t header;  /* offset of its header, behind a pax header */
	uint64_t size;    /* of its content so far */
	char *name;       /* owned; if it was told at the beginning */
};
void archive_writer_init(struct archive_writer *w, int fd);
/* `name` NULL: will be told at the end and has at most 100 bytes. */
int archive_writer_begin(struct archive_writer *w, const char *name, struct err *err);
int archive_writer_end(struct archive_writer *w, const char *name, struct err *err);
/* Drops the member that was begun. */
int archive_writer_drop(struct archive_writer *w, struct err *err);
/* A whole member. */
int archive_writer_add(struct archive_writer *w, const char *name, struct slice content,
		       struct err *err);
int archive_writer_add_dir(struct archive_writer *w, const char *name, struct err *err);
/* Writes the end of the tar. */
int archive_writer_finish(struct archive_writer *w, struct err *err);
void archive_writer_release(struct archive_writer *w);

#endif
