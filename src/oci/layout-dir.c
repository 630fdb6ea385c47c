/* SPDX-License-Identifier: Apache-2.0 */
/* The image layout as a directory. Nothing in it is believed: names are made of parsed digests
 * alone, no symlink is followed, and what is read is proven. */
#include <dirent.h>
#include <errno.h>
#include <sys/file.h>

#include "base/fs.h"
#include "base/mem.h"
#include "oci/layout-internal.h"
#include "oci/oci-internal.h"

enum {
	COPY_SIZE = 256 << 10,
	OPEN_TRIES = 100, /* of a layout that others begin and remove meanwhile */
};

struct dir_files {
	struct layout_files files;
	int dirfd; /* owned */
};

/* A regular file below the layout, or < 0. */
static int open_file(int dirfd, const char *path, uint64_t *ret_size, struct err *err)
{
	/* O_NONBLOCK: a fifo must not make us wait for its writer. */
	cleanup_fd int fd = safe_openat(dirfd, path, O_RDONLY | O_NONBLOCK, 0);
	struct stat st;

	if (fd < 0)
		return err_errno(err, "open");
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, E_INVALID, "is not a regular file");
	*ret_size = (uint64_t)st.st_size;
	return take_fd(&fd);
}

/* Whether a file is there with just these bytes: then it need not be written and synced again. */
static bool is_there(int dirfd, const char *path, struct slice bytes)
{
	cleanup_buf struct buf text = BUF_INIT(bytes.len);
	struct err ignored = ERR_INIT;
	cleanup_fd int fd = -1;
	uint64_t size;

	fd = open_file(dirfd, path, &size, &ignored);
	return fd >= 0 && size == bytes.len && read_fd(fd, bytes.len, &text, &ignored) >= 0 &&
	       slice_equal(buf_slice(&text), bytes);
}

static int read_from_dir(struct layout_files *self, const char *path, uint64_t max,
			 struct sink *out, struct err *err)
{
	struct dir_files *f = container_of(self, struct dir_files, files);
	cleanup_free uint8_t *buffer = xmalloc(COPY_SIZE);
	cleanup_fd int fd = -1;
	uint64_t size;

	fd = open_file(f->dirfd, path, &size, err);
	if (fd < 0)
		return fd;
	if (size > max)
		return err_set(err, E_LIMIT, "has %llu bytes, at most %llu are expected",
			       (unsigned long long)size, (unsigned long long)max);
	for (;;) {
		ssize_t n = read_full(fd, buffer, COPY_SIZE);
		int r;

		if (n < 0)
			return err_errno(err, "read");
		if (n == 0)
			return 0;
		r = sink_write(out, buffer, (size_t)n, err);
		if (r < 0)
			return r;
	}
}

static void free_dir_files(struct layout_files *self)
{
	struct dir_files *f = container_of(self, struct dir_files, files);

	close_fd(&f->dirfd);
	free(f);
}

int image_layout_source(struct image_source **ret, const char *dir, const char *tag,
			struct err *err)
{
	struct dir_files *f;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "open the image layout %s", dir);
	f = xcalloc(1, sizeof(*f));
	f->files = (struct layout_files){read_from_dir, free_dir_files};
	f->dirfd = fd;
	return layout_source_new(ret, dir, tag, &f->files, err);
}

struct dir_dest {
	struct image_dest dest;
	char *name; /* owned */
	int dirfd;  /* owned; locked while index.json is written */
	int marker; /* owned; `oci-layout`, with a shared lock as long as this may write blobs */
	bool fresh; /* the layout was begun here and nothing in it has a name yet */
	struct layout_session session;
};

static struct dir_dest *from_dest(struct image_dest *self)
{
	return container_of(self, struct dir_dest, dest);
}

static int has_blob(struct image_dest *self, const struct descriptor *blob, struct err *err)
{
	struct dir_dest *d = from_dest(self);
	char path[LAYOUT_PATH_MAX];
	struct err ignored = ERR_INIT;
	uint64_t size;
	int fd;

	layout_blob_path(path, &blob->digest);
	fd = open_file(d->dirfd, path, &size, &ignored);
	if (fd < 0)
		return 0; /* what is wrong with it, writing it will tell */
	close(fd);
	return size == blob->size;
}

/* The directory `name` in `dirfd`, made where it is missing; never through a symlink. */
static int open_subdir(int dirfd, const char *name, struct err *err)
{
	int fd;

	if (mkdirat(dirfd, name, 0777) < 0 && errno != EEXIST)
		return err_errno(err, "create the directory %s", name);
	fd = safe_openat(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
	return fd < 0 ? err_errno(err, "open the directory %s", name) : fd;
}

static int open_blobs(struct dir_dest *d, enum hash_algo algo, struct err *err)
{
	cleanup_fd int blobs = open_subdir(d->dirfd, "blobs", err);

	return blobs < 0 ? blobs : open_subdir(blobs, hash_algo_name(algo), err);
}

/* Writes what comes from `from`, proves it against `want`, and gives it its name. */
static int write_blob(struct dir_dest *d, const struct blob_id *want, struct blob_producer *from,
		      struct blob_id *ret, struct err *err)
{
	bool known = want->digest.algo != HASH_NONE;
	cleanup_temp_file struct temp_file file = TEMP_FILE_INIT;
	cleanup_verify_sink struct verify_sink verify = {0};
	cleanup_fd int blobs = open_blobs(d, known ? want->digest.algo : HASH_SHA256, err);
	struct fd_sink to;
	char hex[HASH_TEXT_MAX];
	int r;

	if (blobs < 0)
		return blobs;
	r = temp_file_open(&file, blobs, err);
	if (r < 0)
		return r;
	fd_sink_init(&to, file.fd, "a blob");
	verify_sink_init(&verify, &want->digest, known ? (int64_t)want->size : DIGEST_SIZE_UNKNOWN,
			 &to.sink);
	r = from->produce(from, &verify.sink, err);
	if (r >= 0)
		r = sink_finish(&verify.sink, err);
	if (r < 0)
		return r;
	hash_format_bare(hex, &verify.digest, HASH_HEX);
	r = temp_file_commit(&file, blobs, hex, true, true, err);
	if (r >= 0)
		*ret = (struct blob_id){verify.digest, verify.bytes};
	return r;
}

static int put_blob(struct image_dest *self, const struct descriptor *want,
		    struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	struct dir_dest *d = from_dest(self);
	struct blob_id id = {0}, wanted = {want->digest, want->size};
	int r = write_blob(d, &wanted, from, &id, err);

	if (r < 0)
		return err_wrap(err, "%s", d->name);
	if (ret)
		*ret = id;
	return 0;
}

static int put_manifest(struct image_dest *self, const struct manifest_bytes *manifest,
			const char *tag, struct err *err)
{
	struct dir_dest *d = from_dest(self);
	struct blob_id want = {manifest->digest, manifest->bytes.len}, id = {0};
	char path[LAYOUT_PATH_MAX];
	struct slice_producer p;
	int r = 0;

	layout_blob_path(path, &manifest->digest);
	slice_producer_init(&p, buf_slice(&manifest->bytes));
	if (!is_there(d->dirfd, path, buf_slice(&manifest->bytes)))
		r = write_blob(d, &want, &p.producer, &id, err);
	if (r >= 0)
		r = layout_session_add(&d->session, manifest, tag, err);
	return r < 0 ? err_wrap(err, "%s", d->name) : 0;
}

/* index.json as it stands, if there is one. */
static int read_index(struct dir_dest *d, struct layout_index *ret, bool *ret_found,
		      struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(LAYOUT_INDEX_MAX);
	cleanup_fd int fd = -1;
	struct err why = ERR_INIT;
	uint64_t size;
	int r;

	fd = open_file(d->dirfd, "index.json", &size, &why);
	*ret_found = fd >= 0;
	if (fd == E_NOTFOUND)
		return 0;
	if (fd < 0) {
		*err = why;
		return err_wrap(err, "index.json");
	}
	r = read_fd(fd, LAYOUT_INDEX_MAX, &text, err);
	return r < 0 ? r : layout_index_parse(ret, buf_slice(&text), err);
}

static int update_index(struct dir_dest *d, struct err *err)
{
	cleanup_layout_index struct layout_index old = {0};
	cleanup_buf struct buf text = BUF_INIT(LAYOUT_INDEX_MAX);
	bool found;
	int r = read_index(d, &old, &found, err);

	if (r >= 0)
		r = layout_session_write(&d->session, found ? &old : NULL, &text, err);
	if (r >= 0 && !is_there(d->dirfd, "index.json", buf_slice(&text)))
		r = write_file_at(d->dirfd, "index.json", text.data, text.len, true, err);
	return r;
}

static int finish(struct image_dest *self, struct err *err)
{
	struct dir_dest *d = from_dest(self);
	int r;

	/* Two that finish at once must not lose each other's images. */
	if (flock(d->dirfd, LOCK_EX) < 0)
		return err_errno(err, "lock %s", d->name);
	r = update_index(d, err);
	if (r >= 0)
		d->fresh = false;
	flock(d->dirfd, LOCK_UN);
	return r < 0 ? err_wrap(err, "%s", d->name) : 0;
}

static void remove_blobs(int blobs, const char *algo)
{
	int fd = openat(blobs, algo, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		close_fd(&fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			unlinkat(fd, entry->d_name, 0);
	closedir(dir);
	unlinkat(blobs, algo, AT_REMOVEDIR);
}

/* Whether `name` is what `fd` has open. */
static bool is_same(int fd, int dirfd, const char *name, int flags)
{
	struct stat ours, now;

	return fstat(fd, &ours) == 0 && fstatat(dirfd, name, &now, flags) == 0 &&
	       ours.st_dev == now.st_dev && ours.st_ino == now.st_ino;
}

/* Whether the marker is still the one that this has locked. */
static bool has_marker(const struct dir_dest *d)
{
	return is_same(d->marker, d->dirfd, "oci-layout", AT_SYMLINK_NOFOLLOW);
}

/* A layout that never got an image is removed again, unless somebody else finished one in it or is
 * about to: he counts on blobs that he found here, too, so that all of them stay. */
static void remove_fresh(struct dir_dest *d)
{
	cleanup_fd int blobs = -1;

	if (flock(d->marker, LOCK_EX | LOCK_NB) < 0 || flock(d->dirfd, LOCK_EX) < 0)
		return;
	if (!has_marker(d) || faccessat(d->dirfd, "index.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		flock(d->dirfd, LOCK_UN);
		return;
	}
	blobs = openat(d->dirfd, "blobs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (blobs >= 0) {
		remove_blobs(blobs, "sha256");
		remove_blobs(blobs, "sha512");
		unlinkat(d->dirfd, "blobs", AT_REMOVEDIR);
	}
	unlinkat(d->dirfd, "oci-layout", 0);
	/* Only if it is empty now. */
	rmdir(d->name);
}

static void free_dest(struct image_dest *self)
{
	struct dir_dest *d = from_dest(self);

	if (d->fresh)
		remove_fresh(d);
	layout_session_release(&d->session);
	close_fd(&d->marker);
	close_fd(&d->dirfd);
	free(d->name);
	free(d);
}

/* Makes the marker of a layout where there is none. */
static int make_marker(struct dir_dest *d, struct err *err)
{
	struct err why = ERR_INIT;
	int r;

	if (faccessat(d->dirfd, "oci-layout", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	r = write_file_at(d->dirfd, "oci-layout", LAYOUT_FILE_TEXT, strlen(LAYOUT_FILE_TEXT), false,
			  &why);
	if (r == E_EXISTS)
		return 0;
	if (r < 0) {
		*err = why;
		return r;
	}
	/* Not in a directory where blobs are already: they belong to somebody. */
	d->fresh = faccessat(d->dirfd, "blobs", F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	return 0;
}

/* Opens the layout, or begins it. E_NOTFOUND: whoever had begun it was just removing it. */
static int open_dest(struct dir_dest *d, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(4096);
	uint64_t size;
	int r = make_dirs_at(AT_FDCWD, d->name, err);

	if (r < 0)
		return r;
	d->dirfd = open(d->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->dirfd < 0)
		return err_errno(err, "open the directory");
	r = make_marker(d, err);
	if (r < 0) /* what the error is in a directory that is gone depends on the file system */
		return is_same(d->dirfd, AT_FDCWD, d->name, 0) ? r : E_NOTFOUND;
	d->marker = open_file(d->dirfd, "oci-layout", &size, err);
	if (d->marker < 0)
		return err_wrap(err, "oci-layout");
	/* From here on nobody removes what is in it. */
	if (flock(d->marker, LOCK_SH) < 0)
		return err_errno(err, "lock oci-layout");
	if (!has_marker(d))
		return err_set(err, E_NOTFOUND, "oci-layout: was removed meanwhile");
	r = read_fd(d->marker, 4096, &text, err);
	return r < 0 ? r : layout_file_check(buf_slice(&text), err);
}

int image_layout_dest(struct image_dest **ret, const char *dir, struct err *err)
{
	struct dir_dest *d = xcalloc(1, sizeof(*d));
	struct err why;
	int r, tries = 0;

	d->name = xstrdup(dir);
	d->dirfd = d->marker = -1;
	d->dest = (struct image_dest){.name = d->name,
				      .has_blob = has_blob,
				      .put_blob = put_blob,
				      .put_manifest = put_manifest,
				      .finish = finish,
				      .free = free_dest};
	do {
		close_fd(&d->marker);
		close_fd(&d->dirfd);
		d->fresh = false;
		why = ERR_INIT;
		r = open_dest(d, &why);
	} while (r == E_NOTFOUND && ++tries < OPEN_TRIES);
	if (r < 0) {
		*err = why;
		err_wrap(err, "%s", dir);
		free_dest(&d->dest);
		return r;
	}
	*ret = &d->dest;
	return 0;
}
