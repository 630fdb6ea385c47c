/* SPDX-License-Identifier: Apache-2.0 */
/* oci-archive: an image layout as one tar. */
#include <errno.h>
#include <libgen.h>

#include "base/fs.h"
#include "base/mem.h"
#include "oci/archive-internal.h"
#include "oci/layout-internal.h"
#include "oci/oci-internal.h"
#include "oci/tar-file.h"

struct archive_files {
	struct layout_files files;
	struct tar_file tar;
};

static int read_from_archive(struct layout_files *self, const char *path, uint64_t max,
			     struct sink *out, struct err *err)
{
	struct archive_files *f = container_of(self, struct archive_files, files);
	const struct tar_member *m;
	int r = tar_file_find(&f->tar, path, &m, err);

	if (r < 0)
		return r;
	if (m->size > max)
		return err_set(err, E_LIMIT, "has %llu bytes, at most %llu are expected",
			       (unsigned long long)m->size, (unsigned long long)max);
	return tar_file_read(&f->tar, m, out, err);
}

static void free_archive_files(struct layout_files *self)
{
	struct archive_files *f = container_of(self, struct archive_files, files);

	tar_file_release(&f->tar);
	free(f);
}

int image_archive_source(struct image_source **ret, const char *file, const char *tag,
			 struct err *err)
{
	struct archive_files *f = xcalloc(1, sizeof(*f));
	int r = tar_file_open(&f->tar, file, err);

	if (r < 0) {
		free(f);
		return r;
	}
	f->files = (struct layout_files){read_from_archive, free_archive_files};
	return layout_source_new(ret, file, tag, &f->files, err);
}

int archive_out_open(struct archive_out *o, const char *path, struct err *err)
{
	cleanup_free char *dir_copy = xstrdup(path), *base_copy = xstrdup(path);
	int r;

	*o = (struct archive_out){.dirfd = -1, .file = TEMP_FILE_INIT};
	if (path[0] == '\0' || path[strlen(path) - 1] == '/')
		return err_set(err, E_USAGE, "'%s' is not the name of a file", path);
	o->dirfd = open(dirname(dir_copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o->dirfd < 0)
		return err_errno(err, "open the directory of %s", path);
	o->base = xstrdup(basename(base_copy));
	r = temp_file_open(&o->file, o->dirfd, err);
	if (r >= 0)
		archive_writer_init(&o->writer, o->file.fd);
	return r < 0 ? err_wrap(err, "%s", path) : 0;
}

int archive_out_commit(struct archive_out *o, struct err *err)
{
	int r = archive_writer_finish(&o->writer, err);

	return r < 0 ? r : temp_file_commit(&o->file, o->dirfd, o->base, true, true, err);
}

void archive_out_release(struct archive_out *o)
{
	archive_writer_release(&o->writer);
	temp_file_release(&o->file);
	close_fd(&o->dirfd);
	free(o->base);
	o->base = NULL;
}

bool hash_list_contains(const struct hash_list *l, const struct hash *h)
{
	for (size_t i = 0; i < l->len; i++)
		if (hash_equal(&l->items[i], h))
			return true;
	return false;
}

void hash_list_add(struct hash_list *l, const struct hash *h)
{
	array_grow(l->items, l->cap, l->len + 1);
	l->items[l->len++] = *h;
}

void hash_list_release(struct hash_list *l)
{
	free(l->items);
	*l = (struct hash_list){0};
}

struct archive_dest {
	struct image_dest dest;
	char *name; /* owned */
	struct archive_out out;
	struct hash_list blobs; /* what is in it */
	bool has_sha512;        /* its directory is */
	struct layout_session session;
};

static struct archive_dest *from_dest(struct image_dest *self)
{
	return container_of(self, struct archive_dest, dest);
}

static int has_blob(struct image_dest *self, const struct descriptor *blob, struct err *err)
{
	return hash_list_contains(&from_dest(self)->blobs, &blob->digest);
}

/* Writes a member and proves it; drops it if it is wrong. */
static int write_member(struct archive_dest *d, const struct blob_id *want,
			struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	struct archive_writer *w = &d->out.writer;
	bool known = want->digest.algo != HASH_NONE;
	cleanup_verify_sink struct verify_sink verify = {0};
	char path[LAYOUT_PATH_MAX] = "";
	struct err ignored = ERR_INIT;
	int r;

	if (known)
		layout_blob_path(path, &want->digest);
	r = archive_writer_begin(w, known ? path : NULL, err);
	if (r < 0)
		return r;
	verify_sink_init(&verify, &want->digest, known ? (int64_t)want->size : DIGEST_SIZE_UNKNOWN,
			 &w->sink);
	r = from->produce(from, &verify.sink, err);
	if (r >= 0)
		r = sink_finish(&verify.sink, err);
	if (r >= 0 && hash_list_contains(&d->blobs, &verify.digest)) {
		r = archive_writer_drop(w, err); /* only now known to be there */
	} else if (r >= 0) {
		layout_blob_path(path, &verify.digest);
		hash_list_add(&d->blobs, &verify.digest);
		r = archive_writer_end(w, path, err);
	} else {
		archive_writer_drop(w, &ignored);
	}
	if (r >= 0)
		*ret = (struct blob_id){verify.digest, verify.bytes};
	return r;
}

static int write_blob(struct archive_dest *d, const struct blob_id *want,
		      struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	int r = 0;

	if (want->digest.algo == HASH_SHA512 && !d->has_sha512)
		r = archive_writer_add_dir(&d->out.writer, "blobs/sha512/", err);
	if (want->digest.algo == HASH_SHA512)
		d->has_sha512 = true;
	if (r >= 0)
		r = write_member(d, want, from, ret, err);
	return r < 0 ? err_wrap(err, "%s", d->name) : 0;
}

static int put_blob(struct image_dest *self, const struct descriptor *want,
		    struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	struct blob_id id = {0}, wanted = {want->digest, want->size};
	int r = write_blob(from_dest(self), &wanted, from, &id, err);

	if (r >= 0 && ret)
		*ret = id;
	return r;
}

static int put_manifest(struct image_dest *self, const struct manifest_bytes *manifest,
			const char *tag, struct err *err)
{
	struct archive_dest *d = from_dest(self);
	struct blob_id want = {manifest->digest, manifest->bytes.len}, id = {0};
	struct slice_producer p;
	int r = layout_session_add(&d->session, manifest, tag, err);

	if (r < 0)
		return err_wrap(err, "%s", d->name);
	if (hash_list_contains(&d->blobs, &manifest->digest))
		return 0;
	slice_producer_init(&p, buf_slice(&manifest->bytes));
	return write_blob(d, &want, &p.producer, &id, err);
}

static int finish(struct image_dest *self, struct err *err)
{
	struct archive_dest *d = from_dest(self);
	cleanup_buf struct buf index = BUF_INIT(LAYOUT_INDEX_MAX);
	int r = layout_session_write(&d->session, NULL, &index, err);

	if (r >= 0)
		r = archive_writer_add(&d->out.writer, "index.json", buf_slice(&index), err);
	if (r >= 0)
		r = archive_out_commit(&d->out, err);
	return r < 0 ? err_wrap(err, "%s", d->name) : 0;
}

static void free_dest(struct image_dest *self)
{
	struct archive_dest *d = from_dest(self);

	archive_out_release(&d->out);
	layout_session_release(&d->session);
	hash_list_release(&d->blobs);
	free(d->name);
	free(d);
}

static int start(struct archive_dest *d, struct err *err)
{
	struct archive_writer *w = &d->out.writer;
	int r = archive_writer_add(w, "oci-layout", slice_str(LAYOUT_FILE_TEXT), err);

	if (r >= 0)
		r = archive_writer_add_dir(w, "blobs/", err);
	if (r >= 0)
		r = archive_writer_add_dir(w, "blobs/sha256/", err);
	return r;
}

int image_archive_dest(struct image_dest **ret, const char *file, struct err *err)
{
	struct archive_dest *d = xcalloc(1, sizeof(*d));
	int r;

	d->name = xstrdup(file);
	d->dest = (struct image_dest){.name = d->name,
				      .has_blob = has_blob,
				      .put_blob = put_blob,
				      .put_manifest = put_manifest,
				      .finish = finish,
				      .free = free_dest};
	r = archive_out_open(&d->out, file, err);
	if (r >= 0)
		r = start(d, err);
	if (r < 0) {
		free_dest(&d->dest);
		return r;
	}
	*ret = &d->dest;
	return 0;
}
