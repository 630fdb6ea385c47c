/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files, relative to directory descriptors. All descriptors are O_CLOEXEC; EINTR and short
 * transfers are handled here.
 */
#ifndef NACRE_BASE_FS_H
#define NACRE_BASE_FS_H

#include <fcntl.h>
#include <sys/stat.h>

#include <nacre/buf.h>
#include <nacre/err.h>

/* Opens `path` below `dirfd` without ever following a symlink or leaving `dirfd` (openat2
 * RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS; without openat2, component by
 * component with O_NOFOLLOW). Returns a descriptor or -1 with errno. `path` is relative and not
 * empty. */
int safe_openat(int dirfd, const char *path, int flags, mode_t mode);
/* Tests force the fallback. */
void safe_openat_force_fallback(bool on);

/* All `len` bytes, or < 0 with errno set. */
int write_full(int fd, const void *data, size_t len);
/* Reads until `len` bytes or the end; returns the number of bytes, or -1 with errno. */
ssize_t read_full(int fd, void *data, size_t len);
ssize_t pread_full(int fd, void *data, size_t len, uint64_t offset);

/* Reads a whole file of at most `max` bytes into `ret` (E_LIMIT). */
int read_file_at(int dirfd, const char *path, size_t max, struct buf *ret, struct err *err);
/* Reads a descriptor to its end, at most `max` bytes. */
int read_fd(int fd, size_t max, struct buf *ret, struct err *err);

/* Creates the directories of `path` that are missing (mode 0777 by umask). */
int make_dirs_at(int dirfd, const char *path, struct err *err);
/* The same, and opens it; the caller closes it. */
int open_made_dir(const char *path, struct err *err);

/* A file under construction in `dirfd`: nothing is visible under its final name before
 * temp_file_commit(). Uses O_TMPFILE where it works, else a name ".tmp-…". All-zero is not
 * initialised; use TEMP_FILE_INIT. */
struct temp_file {
	int fd;        /* owned; -1: none */
	int dirfd;     /* borrowed */
	char name[40]; /* empty with O_TMPFILE */
};
#define TEMP_FILE_INIT ((struct temp_file){.fd = -1, .dirfd = -1})
int temp_file_open(struct temp_file *t, int dirfd, struct err *err);
/* Gives the file its name in `dirfd` (which must be on the same file system): `durable` fsyncs the
 * file before and the directory after. If `replace` is false and the name exists, E_EXISTS. */
int temp_file_commit(struct temp_file *t, int dirfd, const char *name, bool replace, bool durable,
		     struct err *err);
/* Drops what was not committed. */
void temp_file_release(struct temp_file *t);
#define cleanup_temp_file __attribute__((cleanup(temp_file_release)))

/* A file without a name, for what is too large for memory, in $TMPDIR or /var/tmp. Returns a
 * descriptor (owned by the caller) or < 0. */
int scratch_file(struct err *err);

/* write-temp, fsync, rename, fsync the directory: the one way to write a small file durably. */
int write_file_at(int dirfd, const char *name, const void *data, size_t len, bool replace,
		  struct err *err);

/* A sink that writes to a descriptor (borrowed). `what` names it in errors (borrowed). */
struct fd_sink {
	struct sink sink;
	int fd;
	const char *what;
};
void fd_sink_init(struct fd_sink *s, int fd, const char *what);

/* Copies a descriptor to its end into a sink, with a buffer of 256 KiB. */
int copy_fd_to_sink(int fd, const char *what, struct sink *out, struct err *err);

#endif
