/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything is created (O_EXCL, mkdirat, symlinkat: none follows or replaces anything) as a
 * single component of a directory that this writer itself has created and holds open. Files without
 * room for a hole are left to restore-pool.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "nix/node-check.h"
#include "nix/restore-pool.h"
#include "nix/tree-path.h"

enum {
	HOLE_MIN = 64 << 10, /* zeros that become a hole, bytes */
	PIECE = 4 << 10,     /* zeros are looked for in pieces of this size */
	PATH_TEXT_MAX = 800, /* of ERR_TEXT_MAX */
};

struct tree_writer {
	struct node_sink node_sink;
	struct tree_restore_options options;
	int dirfd;  /* borrowed */
	char *path; /* owned; of the root, relative to dirfd */
	struct tree_top top;
	struct node_check check;
	struct restore_pool *pool;                /* owned */
	bool created;                             /* the root */
	unsigned depth;                           /* number of open directories */
	struct restore_dir *dirs[NODE_DEPTH_MAX]; /* owned */
	bool is_pooled;                           /* the open file: the pool makes it */
	int file;                                 /* owned; -1: none */
	bool executable;                          /* the open file */
	uint64_t offset; /* in the open file: what was given to the system or is a hole */
	uint64_t zeros;  /* behind `offset`: zeros that came last and were not written */
};

static const uint8_t zero_piece[PIECE];

/* The path of the node at `depth`, for messages. */
static const char *path_text(const struct tree_writer *w, unsigned depth, char ret[PATH_TEXT_MAX])
{
	int used = snprintf(ret, PATH_TEXT_MAX, "%s%s", w->path, depth ? "/" : "");

	if (used < PATH_TEXT_MAX)
		node_check_path(&w->check, depth, ret + used, (size_t)(PATH_TEXT_MAX - used));
	return ret;
}

static int fail_errno(const struct tree_writer *w, const char *what, unsigned depth,
		      struct err *err)
{
	char path[PATH_TEXT_MAX];
	int saved = errno;

	path_text(w, depth, path);
	errno = saved;
	return err_errno(err, "%s %s", what, path);
}

static int parent_fd(const struct tree_writer *w)
{
	return w->depth ? restore_dir_fd(w->dirs[w->depth - 1]) : w->top.dirfd;
}

static const char *node_name(const struct tree_writer *w, const struct node_event *ev)
{
	return ev->depth ? node_check_name(&w->check, ev) : w->top.name;
}

static int make_directory(struct tree_writer *w, const struct node_event *ev, struct err *err)
{
	const char *name = node_name(w, ev);
	int parent = parent_fd(w);
	int fd;

	/* Others are kept out of a canonical directory until it is complete. */
	if (mkdirat(parent, name, w->options.canonical ? 0700 : 0777) < 0)
		return fail_errno(w, "create directory", ev->depth, err);
	w->created = true;
	fd = safe_openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fail_errno(w, "open directory", ev->depth, err);
	w->dirs[w->depth] = restore_dir_new(w->depth ? w->dirs[w->depth - 1] : NULL,
					    w->depth ? name : w->path, fd);
	w->depth++;
	return 0;
}

static int end_directory(struct tree_writer *w)
{
	restore_dir_end(w->pool, w->dirs[--w->depth]);
	return 0;
}

static int make_symlink(struct tree_writer *w, const struct node_event *ev, struct err *err)
{
	char target[NODE_TARGET_MAX + 1]; /* its length was checked */

	memcpy(target, ev->data.data, ev->data.len);
	target[ev->data.len] = '\0';
	if (symlinkat(target, parent_fd(w), node_name(w, ev)) < 0)
		return fail_errno(w, "create symlink", ev->depth, err);
	w->created = true;
	if (w->options.canonical && utimensat(parent_fd(w), node_name(w, ev),
					      restore_canonical_times, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_errno(w, "set the time of symlink", ev->depth, err);
	return 0;
}

static int make_file(struct tree_writer *w, const struct node_event *ev, struct err *err)
{
	w->is_pooled = w->depth && ev->size < RESTORE_SMALL_MAX;
	if (w->is_pooled)
		return restore_pool_begin(w->pool, w->dirs[w->depth - 1], node_name(w, ev),
					  ev->size, ev->executable, err);
	w->file = restore_create_file(parent_fd(w), node_name(w, ev), ev->executable,
				      w->options.canonical);
	if (w->file < 0)
		return fail_errno(w, "create file", ev->depth, err);
	w->created = true;
	w->executable = ev->executable;
	w->offset = w->zeros = 0;
	return 0;
}

static int write_at(struct tree_writer *w, const uint8_t *data, size_t len, struct err *err)
{
	while (len) {
		ssize_t n = pwrite(w->file, data, len, (off_t)w->offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(w, "write", w->depth, err);
		data += n;
		len -= (size_t)n;
		w->offset += (uint64_t)n;
	}
	return 0;
}

/* Zeros that were held back turn out to be too few for a hole, or enough. */
static int settle_zeros(struct tree_writer *w, struct err *err)
{
	uint64_t left = w->zeros;

	w->zeros = 0;
	if (left >= HOLE_MIN) {
		w->offset += left;
		return 0;
	}
	while (left) {
		size_t n = left < PIECE ? (size_t)left : PIECE;

		if (write_at(w, zero_piece, n, err) < 0)
			return err->code;
		left -= n;
	}
	return 0;
}

/* The length of the zeros, or of what is not zeros, at the front of `s`, in whole pieces (the
 * last may be shorter). */
static size_t run_length(struct slice s, bool *ret_zeros)
{
	size_t len = 0;

	while (len < s.len) {
		size_t n = s.len - len < PIECE ? s.len - len : PIECE;
		bool zeros = s.data[len] == 0 && memcmp(s.data + len, zero_piece, n) == 0;

		if (len == 0)
			*ret_zeros = zeros;
		else if (*ret_zeros != zeros)
			break;
		len += n;
	}
	return len;
}

/* Contents of a file that is large enough to have holes: runs of zeros are held back until their
 * length is known. */
static int write_sparse(struct tree_writer *w, struct slice data, struct err *err)
{
	size_t due = 0; /* at the front of data: bytes to be written before `at` */
	size_t at = 0;

	while (at < data.len) {
		bool zeros = false;
		size_t n = run_length(slice_make(data.data + at, data.len - at), &zeros);

		/* A short run in the middle is written with what is around it. */
		if (!zeros || (at && at + n < data.len && n < HOLE_MIN)) {
			if (w->zeros && settle_zeros(w, err) < 0)
				return err->code;
			due += n;
			at += n;
			continue;
		}
		if (write_at(w, data.data + at - due, due, err) < 0)
			return err->code;
		due = 0;
		w->zeros += n;
		at += n;
	}
	return write_at(w, data.data + at - due, due, err);
}

static int write_content(struct tree_writer *w, const struct node_event *ev, struct err *err)
{
	if (w->is_pooled) {
		restore_pool_content(w->pool, ev->data);
		return 0;
	}
	if (ev->size < HOLE_MIN)
		return write_at(w, ev->data.data, ev->data.len, err);
	return write_sparse(w, ev->data, err);
}

static int end_file(struct tree_writer *w, struct err *err)
{
	if (w->is_pooled)
		return 0;
	if (w->zeros >= HOLE_MIN) {
		if (ftruncate(w->file, (off_t)(w->offset + w->zeros)) < 0)
			return fail_errno(w, "set the size of", w->depth, err);
	} else if (settle_zeros(w, err) < 0) {
		return err->code;
	}
	if (restore_finish_file(w->file, w->executable, w->options.canonical) < 0)
		return fail_errno(w, "set the mode and time of", w->depth, err);
	close_fd(&w->file);
	return 0;
}

/* One syncfs() for the whole tree: an fsync() a node would cost a journal commit each. */
static int make_durable(struct tree_writer *w, struct err *err)
{
	cleanup_fd int fd = -1;

	if (!w->options.durable)
		return 0;
	fd = openat(w->top.dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) < 0)
		return fail_errno(w, "sync", 0, err);
	return 0;
}

static int finish(struct tree_writer *w, struct err *err)
{
	return restore_pool_finish(w->pool, err) < 0 ? err->code : make_durable(w, err);
}

static int tree_writer_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct tree_writer *w = container_of(self, struct tree_writer, node_sink);

	if (!w->top.name[0] && tree_top_open(&w->top, w->dirfd, w->path, err) < 0)
		return err_wrap(err, "restore %s", w->path);
	if (node_check_event(&w->check, ev, err) < 0)
		return err_wrap(err, "restore %s", w->path);
	switch (ev->type) {
	case NODE_DIRECTORY:
		return make_directory(w, ev, err);
	case NODE_REGULAR:
		return make_file(w, ev, err);
	case NODE_CONTENT:
		return write_content(w, ev, err);
	case NODE_REGULAR_END:
		return end_file(w, err);
	case NODE_SYMLINK:
		return make_symlink(w, ev, err);
	case NODE_DIRECTORY_END:
		return end_directory(w);
	case NODE_END:
		return finish(w, err);
	}
	return 0;
}

struct tree_writer *tree_writer_new(int dirfd, const char *name,
				    const struct tree_restore_options *options)
{
	struct tree_writer *w = xcalloc(1, sizeof(*w));

	w->node_sink.event = tree_writer_event;
	w->options = *options;
	w->pool = restore_pool_new(options->canonical);
	w->dirfd = dirfd;
	w->path = xstrdup(name);
	w->top.owned = w->file = -1;
	return w;
}

struct node_sink *tree_writer_node_sink(struct tree_writer *w)
{
	return &w->node_sink;
}

bool tree_writer_created(struct tree_writer *w)
{
	restore_pool_stop(w->pool);
	return w->created;
}

void tree_writer_free(struct tree_writer *w)
{
	if (!w)
		return;
	restore_pool_stop(w->pool);
	while (w->depth)
		restore_dir_end(w->pool, w->dirs[--w->depth]);
	restore_pool_free(w->pool);
	close_fd(&w->file);
	tree_top_release(&w->top);
	free(w->path);
	free(w);
}
