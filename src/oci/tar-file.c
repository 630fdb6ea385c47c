/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tar-file.h"

#include <errno.h>

#include "base/fs.h"
#include "base/mem.h"
#include "codec/codec.h"
#include "oci/libarchive.h"

enum { BLOCK = 256 << 10 };

static void release_member(struct tar_member *m)
{
	free(m->name);
	free(m->link);
}

void tar_file_release(struct tar_file *t)
{
	for (size_t i = 0; i < t->n_members; i++)
		release_member(&t->members[i]);
	free(t->members);
	close_fd(&t->fd);
	*t = (struct tar_file){.fd = -1};
}

/* Names in a tar are what somebody wrote: takes "./" and double "/" out of `name`, resolves it
 * against the directory of `base` (NULL: the top), and gives NULL for one that would leave the top.
 * It is compared with other such names and never used for a file. */
static char *clean_name(const char *base, const char *name)
{
	cleanup_strv struct strv parts = {0};
	cleanup_free char *whole = NULL;
	cleanup_buf struct buf out = BUF_INIT(2 * TAR_NAME_MAX);
	const char *slash = base ? strrchr(base, '/') : NULL;

	whole = slash ? xasprintf("%.*s/%s", (int)(slash - base), base, name) : xstrdup(name);
	for (const char *p = whole; *p;) {
		size_t len = strcspn(p, "/");

		if (len == 2 && memcmp(p, "..", 2) == 0) {
			if (!parts.len)
				return NULL;
			free(parts.items[--parts.len]);
			parts.items[parts.len] = NULL;
		} else if (len && !(len == 1 && *p == '.')) {
			strv_add_slice(&parts, slice_make(p, len));
		}
		p += len + (p[len] == '/');
	}
	for (size_t i = 0; i < parts.len; i++)
		if (buf_addf(&out, "%s%s", i ? "/" : "", parts.items[i]) < 0)
			return NULL;
	return parts.len ? buf_take_str(&out) : NULL;
}

/* Where libarchive reads. */
struct scan {
	int fd;
	uint64_t offset;
	uint8_t block[BLOCK];
};

static la_ssize_t scan_read(struct archive *a, void *data, const void **ret)
{
	struct scan *s = data;
	ssize_t n = pread_full(s->fd, s->block, sizeof(s->block), s->offset);

	if (n < 0) {
		archive_set_error(a, errno, "%s", strerror(errno));
		return -1;
	}
	s->offset += (uint64_t)n;
	*ret = s->block;
	return n;
}

static la_int64_t scan_skip(struct archive *a, void *data, la_int64_t request)
{
	struct scan *s = data;
	struct stat st;
	uint64_t left;

	/* Not past the end: a cut archive must be seen as one. */
	if (request <= 0 || fstat(s->fd, &st) < 0 || (uint64_t)st.st_size <= s->offset)
		return 0;
	left = (uint64_t)st.st_size - s->offset;
	if ((uint64_t)request > left)
		request = (la_int64_t)left;
	s->offset += (uint64_t)request;
	return request;
}

/* A member as it will be found, or nothing: what is neither file nor link is of no use here. */
static void note_member(struct tar_file *t, struct archive *a, struct archive_entry *entry)
{
	const char *name = archive_entry_pathname(entry);
	const char *hard = archive_entry_hardlink(entry);
	const char *soft = archive_entry_symlink(entry);
	struct tar_member m = {.order = t->n_members};

	if (!name || strlen(name) > TAR_NAME_MAX || archive_entry_sparse_count(entry) > 0)
		return;
	if (!hard && archive_entry_filetype(entry) != AE_IFREG &&
	    archive_entry_filetype(entry) != AE_IFLNK)
		return;
	m.name = clean_name(NULL, name);
	if (!m.name)
		return;
	if (hard)
		m.link = clean_name(NULL, hard);
	else if (archive_entry_filetype(entry) == AE_IFLNK)
		m.link = clean_name(m.name, soft && strlen(soft) <= TAR_NAME_MAX ? soft : "");
	else if (archive_entry_size_is_set(entry) && archive_entry_size(entry) >= 0)
		m.size = (uint64_t)archive_entry_size(entry);
	if ((hard || archive_entry_filetype(entry) == AE_IFLNK) && !m.link) {
		free(m.name); /* leads out of the archive */
		return;
	}
	/* What the format reader has taken so far: its headers. */
	m.offset = (uint64_t)archive_filter_bytes(a, 0);
	array_grow(t->members, t->cap_members, t->n_members + 1);
	t->members[t->n_members++] = m;
}

static int scan_members(struct tar_file *t, struct archive *a, struct err *err)
{
	struct archive_entry *entry;
	size_t seen = 0;
	int r;

	while ((r = archive_read_next_header(a, &entry)) == ARCHIVE_OK || r == ARCHIVE_WARN) {
		if (++seen > TAR_MEMBERS_MAX)
			return err_set(err, E_LIMIT, "the archive has more than %d members",
				       TAR_MEMBERS_MAX);
		note_member(t, a, entry);
	}
	if (r == ARCHIVE_EOF)
		return 0;
	return err_set(err, E_INVALID, "is not a tar, or a broken one: %s",
		       archive_error_string(a) ? archive_error_string(a) : "unknown error");
}

static int compare_members(const void *a, const void *b)
{
	const struct tar_member *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : (x->order > y->order) - (x->order < y->order);
}

/* As unpacking would: of members with the same name the last stays. */
static void drop_duplicates(struct tar_file *t)
{
	size_t kept = 0;

	if (t->n_members)
		qsort(t->members, t->n_members, sizeof(*t->members), compare_members);
	for (size_t i = 0; i < t->n_members; i++) {
		if (i + 1 < t->n_members && strcmp(t->members[i].name, t->members[i + 1].name) == 0)
			release_member(&t->members[i]);
		else
			t->members[kept++] = t->members[i];
	}
	t->n_members = kept;
}

static int scan_file(struct tar_file *t, struct err *err)
{
	struct archive *a;
	struct scan *s;
	int r = libarchive_load(err);

	if (r < 0)
		return r;
	a = archive_read_new();
	if (!a)
		abort();
	s = xcalloc(1, sizeof(*s));
	s->fd = t->fd;
	archive_read_support_format_tar(a);
	archive_read_set_read_callback(a, scan_read);
	archive_read_set_skip_callback(a, scan_skip);
	archive_read_set_callback_data(a, s);
	if (archive_read_open1(a) != ARCHIVE_OK)
		r = err_set(err, E_INVALID, "is not a tar: %s", archive_error_string(a));
	else
		r = scan_members(t, a, err);
	archive_read_free(a);
	free(s);
	drop_duplicates(t);
	return r;
}

/* Replaces t->fd by what it unpacks to. */
static int unpack(struct tar_file *t, enum codec codec, struct err *err)
{
	const struct codec_limits limits = {.max_ratio = TAR_RATIO_MAX};
	cleanup_fd int to_fd = scratch_file(err);
	struct sink *decoder;
	struct fd_sink to;
	int r;

	if (to_fd < 0)
		return to_fd;
	fd_sink_init(&to, to_fd, "a temporary file (see TMPDIR)");
	r = decoder_new(&decoder, codec, &to.sink, &limits, err);
	if (r < 0)
		return r;
	r = copy_fd_to_sink(t->fd, "the archive", decoder, err);
	if (r >= 0)
		r = sink_finish(decoder, err);
	decoder_free(decoder);
	if (r < 0)
		return r;
	close_fd(&t->fd);
	t->fd = take_fd(&to_fd);
	return 0;
}

static int open_regular(struct tar_file *t, const char *path, struct err *err)
{
	struct stat st;

	t->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (t->fd < 0 || fstat(t->fd, &st) < 0)
		return err_errno(err, "open %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, E_USAGE,
			       "%s: is not a regular file (archives of images are read in any "
			       "order; save a stream to a file first)",
			       path);
	return 0;
}

int tar_file_open(struct tar_file *ret, const char *path, struct err *err)
{
	cleanup_tar_file struct tar_file t = {.fd = -1};
	uint8_t head[8];
	enum codec codec;
	ssize_t n;
	int r = open_regular(&t, path, err);

	if (r < 0)
		return r;
	n = pread_full(t.fd, head, sizeof(head), 0);
	if (n < 0)
		return err_errno(err, "read %s", path);
	codec = codec_sniff(slice_make(head, (size_t)n));
	if (codec != CODEC_NONE)
		r = unpack(&t, codec, err);
	if (r >= 0)
		r = scan_file(&t, err);
	if (r < 0)
		return err_wrap(err, "%s", path);
	*ret = t;
	t = (struct tar_file){.fd = -1};
	return 0;
}

static const struct tar_member *find_member(const struct tar_file *t, const char *name)
{
	struct tar_member key = {.name = (char *)name};
	size_t low = 0, high = t->n_members;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(t->members[mid].name, key.name);

		if (c == 0)
			return &t->members[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

int tar_file_find(const struct tar_file *t, const char *name, const struct tar_member **ret,
		  struct err *err)
{
	cleanup_free char *clean = strlen(name) <= TAR_NAME_MAX ? clean_name(NULL, name) : NULL;
	const struct tar_member *m = clean ? find_member(t, clean) : NULL;

	for (int i = 0; m && m->link; i++) {
		if (i == TAR_LINKS_MAX)
			return err_set(err, E_INVALID, "%.200s: too many links", name);
		m = find_member(t, m->link);
	}
	if (!m)
		return err_set(err, E_NOTFOUND, "%.200s: is not in the archive", name);
	*ret = m;
	return 0;
}

int tar_file_read(const struct tar_file *t, const struct tar_member *m, struct sink *out,
		  struct err *err)
{
	cleanup_free uint8_t *block = xmalloc(BLOCK);
	uint64_t done = 0;

	while (done < m->size) {
		size_t len = m->size - done < BLOCK ? (size_t)(m->size - done) : BLOCK;
		ssize_t n = pread_full(t->fd, block, len, m->offset + done);
		int r;

		if (n < 0)
			return err_errno(err, "%.200s: read", m->name);
		if ((size_t)n < len)
			return err_set(err, E_TRUNCATED, "%.200s: the archive ends within it",
				       m->name);
		r = sink_write(out, block, len, err);
		if (r < 0)
			return r;
		done += len;
	}
	return 0;
}

int tar_file_peek(const struct tar_file *t, const struct tar_member *m, void *ret, size_t len,
		  struct err *err)
{
	ssize_t n;

	if (len > m->size)
		len = (size_t)m->size;
	n = pread_full(t->fd, ret, len, m->offset);
	return n < 0 ? err_errno(err, "%.200s: read", m->name) : (int)n;
}

int tar_file_read_small(const struct tar_file *t, const char *name, size_t max, struct buf *ret,
			struct err *err)
{
	const struct tar_member *m;
	struct buf_sink to;
	int r = tar_file_find(t, name, &m, err);

	if (r < 0)
		return r;
	if (m->size > max)
		return err_set(err, E_LIMIT, "%.200s: has %llu bytes, at most %zu are expected",
			       name, (unsigned long long)m->size, max);
	buf_sink_init(&to, ret);
	return tar_file_read(t, m, &to.sink, err);
}
