/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk with an explicit stack: one descriptor and one sorted run of names for each open
 * directory, at most NODE_DEPTH_MAX. A node's kind comes with its name from the directory, so a
 * file costs open, stat, read and close and a symlink one call. Whatever was found is checked
 * again on the opened descriptor, because the tree may change.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include <nacre/buf.h>
#include <nacre/nar.h>
#include <nacre/tree.h>

#include "base/buffer-sink.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/thread-sink.h"
#include "nix/dump-ahead.h"

enum {
	BLOCK = 256 << 10,
	SPARSE_MIN = 1 << 20,  /* below this, holes are not worth looking for */
	MOVE_MAX = 1 << 30,    /* in one call */
	DIRECT_MIN = 64 << 10, /* below this, a copy is cheaper than a write for itself */
	NAMES_MAX = 256 << 20, /* of all open directories, bytes with their NULs */
	PATH_TEXT_MAX = 800,   /* of ERR_TEXT_MAX */
	AHEAD_MIN = 8,         /* files that are worth waking a thread for */
	AHEAD_AFTER = 2048,    /* entries: a smaller tree is not worth having one */
	OPEN_FLAGS = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
};

/* Where contents go past the writer, behind what it has written, so that they are copied less. */
struct direct {
	struct nar_writer *writer;
	struct room *room;          /* NULL: the kernel moves large contents to fd */
	struct buffer_sink *buffer; /* between the writer and fd */
	int fd;
};

/* A name in a directory. `key` is its first eight bytes, big-endian: it decides most
 * comparisons. */
struct entry {
	uint64_t key;
	uint32_t name; /* where it begins in the names */
	uint8_t type;  /* DT_… */
};

struct level {
	int fd;           /* owned */
	size_t names_len; /* of the names before this directory's were added */
	size_t first;     /* its entries: first..end */
	size_t end;
	size_t next;
};

/* Entries [first, end). */
struct range {
	size_t first, end;
};

/* Of a run of files in a directory, a thread reads the second half while the first is dumped. A run never
 * reaches over a directory, so nothing is asked for or left over when another one is gone into. */
struct ahead {
	bool is_wanted;
	unsigned seen;             /* entries so far, up to AHEAD_AFTER */
	struct dump_ahead *thread; /* owned; NULL: not needed so far */
	struct range asked, read;  /* being read; read. Empty: none */
	size_t looked;             /* up to this entry nothing more is to be asked for */
	const struct ahead_batch *batch;
};

struct dump {
	struct node_sink *out; /* borrowed */
	const char *root;      /* borrowed; for messages */
	struct buf names;      /* NUL-terminated, of all open directories */
	struct entry *entries; /* owned */
	size_t entries_cap;
	unsigned depth; /* number of open directories */
	struct level levels[NODE_DEPTH_MAX];
	uint8_t *block;        /* owned; BLOCK bytes */
	struct direct *direct; /* borrowed; NULL: contents are read and sent as events */
	uint8_t *zeros;        /* owned; BLOCK bytes; NULL before the first hole */
	struct ahead ahead;
};

/* What is dumped at the moment. */
struct node {
	int dirfd;
	const char *name; /* for the system */
	struct slice event_name;
	unsigned type; /* DT_… */
	unsigned depth;
};

static void dump_release(struct dump *d)
{
	dump_ahead_free(d->ahead.thread);
	while (d->depth)
		close_fd(&d->levels[--d->depth].fd);
	buf_release(&d->names);
	free(d->entries);
	free(d->block);
	free(d->zeros);
}

static const char *entry_name(const struct dump *d, const struct entry *e)
{
	return (const char *)d->names.data + e->name;
}

/* The path of the node that is dumped at the moment, for messages; cut if it is very long. */
static const char *path_text(const struct dump *d, char ret[PATH_TEXT_MAX])
{
	int used = snprintf(ret, PATH_TEXT_MAX, "%s", d->root);

	for (unsigned i = 0; i < d->depth && used < PATH_TEXT_MAX; i++) {
		const struct level *l = &d->levels[i];

		if (l->next > l->first)
			used += snprintf(ret + used, (size_t)(PATH_TEXT_MAX - used), "/%s",
					 entry_name(d, &d->entries[l->next - 1]));
	}
	return ret;
}

static int fail(const struct dump *d, int code, const char *what, struct err *err)
{
	char path[PATH_TEXT_MAX];

	return err_set(err, code, "%s %s", path_text(d, path), what);
}

static int changed(const struct dump *d, struct err *err)
{
	return fail(d, E_CONFLICT, "changed while it was read", err);
}

/* A system call failed. What was there a moment ago and now is not, or is of another kind, has
 * changed. */
static int fail_errno(const struct dump *d, const char *what, struct err *err)
{
	char path[PATH_TEXT_MAX];
	int saved = errno;

	if (d->depth && (saved == ENOENT || saved == ELOOP || saved == ENOTDIR))
		return changed(d, err);
	path_text(d, path);
	errno = saved;
	return err_errno(err, "%s %s", what, path);
}

static int unsupported(const struct dump *d, mode_t mode, struct err *err)
{
	const char *kind = S_ISFIFO(mode)   ? "is a fifo"
			   : S_ISSOCK(mode) ? "is a socket"
			   : S_ISCHR(mode)  ? "is a character device"
			   : S_ISBLK(mode)  ? "is a block device"
					    : "is of an unknown type";
	char what[128];

	snprintf(what, sizeof(what),
		 "%s: only files, directories and symlinks can be in a store path", kind);
	return fail(d, E_UNSUPPORTED, what, err);
}

static ssize_t read_at(int fd, void *data, size_t len, uint64_t offset)
{
	ssize_t n;

	do
		n = pread(fd, data, len, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n;
}

static int send_content(struct dump *d, struct node_event *ev, const void *data, size_t len,
			struct err *err)
{
	ev->type = NODE_CONTENT;
	ev->data = slice_make(data, len);
	return node_sink_event(d->out, ev, err);
}

static int skip_content(struct dump *d, uint64_t len, struct err *err)
{
	return nar_writer_skip(d->direct->writer, len) < 0
		       ? err_set(err, E_INTERNAL, "the NAR writer lost count")
		       : 0;
}

static struct room *direct_room(const struct dump *d)
{
	return d->direct ? d->direct->room : NULL;
}

/* What was read is in the room, or else in the block. */
static int send_read(struct dump *d, struct node_event *ev, size_t len, struct err *err)
{
	if (!direct_room(d))
		return send_content(d, ev, d->block, len, err);
	return skip_content(d, len, err) < 0 ? err->code : room_fill(direct_room(d), len, err);
}

/* Sends a file's bytes [offset, end) as events. At the end of the file one byte more is asked for,
 * so that the last read also shows whether it has grown. */
static int read_data(struct dump *d, int fd, struct node_event *ev, uint64_t offset, uint64_t end,
		     struct err *err)
{
	bool to_end = end == ev->size;

	for (;;) {
		uint64_t left = end - offset;
		uint8_t *to = d->block;
		size_t room = direct_room(d) ? room_find(d->direct->room, &to) : BLOCK;
		size_t want = left < room ? (size_t)left + to_end : room;
		ssize_t n = want ? read_at(fd, to, want, offset) : 0;

		if (n < 0)
			return fail_errno(d, "read", err);
		if ((uint64_t)n > left || (n == 0 && left))
			return changed(d, err);
		if (n && send_read(d, ev, (size_t)n, err) < 0)
			return err->code;
		offset += (uint64_t)n;
		/* A read that gave less than it was asked for has seen the end. */
		if (offset == end && ((size_t)n < want || !to_end))
			return 0;
	}
}

/* Lets the kernel move as much of [*offset, end) as it will; what is left is to be read. */
static int move_data(struct dump *d, int fd, uint64_t *offset, uint64_t end, struct err *err)
{
	if (buffer_sink_flush(d->direct->buffer, err) < 0)
		return err->code;
	while (*offset < end) {
		uint64_t left = end - *offset;
		off_t at = (off_t)*offset;
		ssize_t n =
			sendfile(d->direct->fd, fd, &at, left < MOVE_MAX ? (size_t)left : MOVE_MAX);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
			break; /* not between these two */
		if (n < 0)
			return err_errno(err, "write the NAR");
		if (n == 0)
			break; /* the file has shrunk: reading will say so */
		if (skip_content(d, (uint64_t)n, err) < 0)
			return err->code;
		*offset += (uint64_t)n;
	}
	return 0;
}

static int send_data(struct dump *d, int fd, struct node_event *ev, uint64_t offset, uint64_t end,
		     struct err *err)
{
	if (d->direct && !d->direct->room && end - offset >= DIRECT_MIN &&
	    move_data(d, fd, &offset, end, err) < 0)
		return err->code;
	return read_data(d, fd, ev, offset, end, err);
}

static int send_zeros(struct dump *d, struct node_event *ev, uint64_t len, struct err *err)
{
	if (!d->zeros)
		d->zeros = xcalloc(1, BLOCK);
	while (len) {
		size_t n = len < BLOCK ? (size_t)len : BLOCK;

		if (send_content(d, ev, d->zeros, n, err) < 0)
			return err->code;
		len -= n;
	}
	return 0;
}

/* A file with holes: the holes are not read, which would fill the page cache with zeros. */
static int send_sparse(struct dump *d, int fd, struct node_event *ev, struct err *err)
{
	uint64_t offset = 0, size = ev->size;
	struct stat st;

	while (offset < size) {
		off_t data = lseek(fd, (off_t)offset, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO) /* a hole up to the end */
			data = (off_t)size;
		if (data < 0) /* the file system knows no holes */
			return send_data(d, fd, ev, offset, size, err);
		if ((uint64_t)data > size)
			return changed(d, err);
		if (send_zeros(d, ev, (uint64_t)data - offset, err) < 0)
			return err->code;
		offset = (uint64_t)data;
		if (offset == size)
			break;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole <= data || (uint64_t)hole > size)
			return changed(d, err);
		if (send_data(d, fd, ev, offset, (uint64_t)hole, err) < 0)
			return err->code;
		offset = (uint64_t)hole;
	}
	if (fstat(fd, &st) < 0)
		return fail_errno(d, "stat", err);
	return (uint64_t)st.st_size == size ? 0 : changed(d, err);
}

static int end_regular(struct dump *d, struct node_event *ev, struct err *err)
{
	ev->type = NODE_REGULAR_END;
	ev->data = slice_make(NULL, 0);
	return node_sink_event(d->out, ev, err);
}

static int dump_regular(struct dump *d, const struct node *node, struct err *err)
{
	cleanup_fd int fd = openat(node->dirfd, node->name, OPEN_FLAGS);
	struct node_event ev = {
		.type = NODE_REGULAR, .depth = node->depth, .name = node->event_name};
	struct stat st;
	int r;

	if (fd < 0)
		return fail_errno(d, "open", err);
	if (fstat(fd, &st) < 0)
		return fail_errno(d, "stat", err);
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? changed(d, err) : unsupported(d, st.st_mode, err);
	ev.executable = st.st_mode & S_IXUSR;
	ev.size = (uint64_t)st.st_size;
	if (node_sink_event(d->out, &ev, err) < 0)
		return err->code;
	ev.name = slice_make(NULL, 0);
	if (ev.size > BLOCK) /* an advice: no harm if it is not taken */
		posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if (ev.size >= SPARSE_MIN && (uint64_t)st.st_blocks < ev.size / 512)
		r = send_sparse(d, fd, &ev, err);
	else
		r = send_data(d, fd, &ev, 0, ev.size, err);
	if (r < 0)
		return r;
	return end_regular(d, &ev, err);
}

/* ---- files that were read ahead ---------------------------------------------------------------------- */

static int dump_read(struct dump *d, const struct node *node, const struct ahead_file *file,
		     struct err *err)
{
	struct node_event ev = {.type = NODE_REGULAR,
				.depth = node->depth,
				.name = node->event_name,
				.executable = file->executable,
				.size = file->content.len};

	if (node_sink_event(d->out, &ev, err) < 0)
		return err->code;
	ev.name = slice_make(NULL, 0);
	if (ev.size && send_content(d, &ev, file->content.data, file->content.len, err) < 0)
		return err->code;
	return end_regular(d, &ev, err);
}

/* The files from `first` on: how far they go without a directory between them. */
static size_t find_run(const struct dump *d, const struct level *l, size_t first)
{
	size_t end = first;

	while (end < l->end && end - first < (size_t)2 * DUMP_AHEAD_FILES &&
	       (d->entries[end].type == DT_REG || d->entries[end].type == DT_LNK))
		end++;
	return end;
}

static void ask_ahead(struct dump *d, const struct level *l, size_t first)
{
	struct ahead *a = &d->ahead;
	size_t end = find_run(d, l, first), files = 0;
	struct range half = {first + (end - first) / 2, end};
	struct ahead_batch *batch;

	a->looked = end > first ? end : first + 1;
	if (end - first < (size_t)2 * AHEAD_MIN)
		return;
	if (!a->thread)
		a->thread = dump_ahead_new();
	a->is_wanted = a->thread;
	if (!a->thread)
		return;
	batch = dump_ahead_next(a->thread);
	batch->n = half.end - half.first;
	for (size_t i = 0; i < batch->n; i++) {
		const struct entry *e = &d->entries[half.first + i];
		bool is_file = e->type == DT_REG;

		batch->files[i].name = is_file ? entry_name(d, e) : NULL;
		files += is_file;
	}
	if (files < AHEAD_MIN)
		return;
	a->asked = half;
	dump_ahead_begin(a->thread, l->fd);
}

/* The entry, if it was read; NULL if not. Called for each one in turn. */
static const struct ahead_file *find_ahead(struct dump *d, const struct level *l, size_t entry)
{
	struct ahead *a = &d->ahead;

	if (!a->is_wanted)
		return NULL;
	if (a->seen < AHEAD_AFTER) {
		a->seen++;
		return NULL;
	}
	if (a->asked.end && entry == a->asked.first) {
		a->batch = dump_ahead_end(a->thread);
		a->read = a->asked;
		a->asked = (struct range){0};
		ask_ahead(d, l, a->read.end);
	} else if (entry >= a->looked) {
		ask_ahead(d, l, entry);
	}
	if (entry < a->read.first || entry >= a->read.end ||
	    !a->batch->files[entry - a->read.first].is_read)
		return NULL;
	return &a->batch->files[entry - a->read.first];
}

/* Another directory's entries come next. */
static void forget_ahead(struct ahead *a)
{
	a->read = (struct range){0};
	a->looked = 0;
}

static int dump_symlink(struct dump *d, const struct node *node, struct err *err)
{
	char target[NODE_TARGET_MAX + 1];
	ssize_t n = readlinkat(node->dirfd, node->name, target, sizeof(target));
	struct node_event ev = {
		.type = NODE_SYMLINK, .depth = node->depth, .name = node->event_name};

	if (n < 0 && errno == EINVAL)
		return changed(d, err);
	if (n < 0)
		return fail_errno(d, "read symlink", err);
	if (n > NODE_TARGET_MAX)
		return fail(d, E_LIMIT, "has a target of more than 4095 bytes", err);
	ev.data = slice_make(target, (size_t)n);
	return node_sink_event(d->out, &ev, err);
}

static uint64_t name_key(const char *name, size_t len)
{
	uint64_t key = 0;

	for (size_t i = 0; i < 8; i++)
		key = key << 8 | (i < len ? (uint8_t)name[i] : 0);
	return key;
}

static int compare_entries(const void *a, const void *b, void *names)
{
	const struct entry *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return strcmp((const char *)names + x->name, (const char *)names + y->name);
}

static int add_entry(struct dump *d, struct level *l, const struct dirent64 *de, struct err *err)
{
	size_t len = strlen(de->d_name);
	int r;

	if (len <= 2 && memcmp(de->d_name, "..", len) == 0)
		return 0;
	if (l->end == d->entries_cap) {
		size_t cap = d->entries_cap ? d->entries_cap * 2 : 256;
		struct entry *grown = reallocarray(d->entries, cap, sizeof(*grown));

		if (!grown)
			return fail(d, E_NOMEM, "has too many entries for this machine's memory",
				    err);
		d->entries = grown;
		d->entries_cap = cap;
	}
	d->entries[l->end] = (struct entry){
		.key = name_key(de->d_name, len),
		.name = (uint32_t)d->names.len,
		.type = de->d_type,
	};
	r = buf_add(&d->names, de->d_name, len + 1);
	if (r < 0)
		return fail(d, r, "has too many entries", err);
	l->end++;
	return 0;
}

static int read_entries(struct dump *d, struct level *l, struct err *err)
{
	for (;;) {
		ssize_t n = getdents64(l->fd, d->block, BLOCK);

		if (n < 0)
			return fail_errno(d, "read directory", err);
		if (n == 0)
			break;
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *de = (const void *)(d->block + at);

			if (add_entry(d, l, de, err) < 0)
				return err->code;
			at += de->d_reclen;
		}
	}
	if (l->end > l->first)
		qsort_r(d->entries + l->first, l->end - l->first, sizeof(*d->entries),
			compare_entries, d->names.data);
	return 0;
}

static int dump_directory(struct dump *d, const struct node *node, struct err *err)
{
	cleanup_fd int fd = openat(node->dirfd, node->name, OPEN_FLAGS | O_DIRECTORY);
	struct node_event ev = {
		.type = NODE_DIRECTORY, .depth = node->depth, .name = node->event_name};
	struct level *l = &d->levels[d->depth];

	if (fd < 0)
		return fail_errno(d, "open directory", err);
	if (node_sink_event(d->out, &ev, err) < 0)
		return err->code;
	*l = (struct level){.fd = take_fd(&fd), .names_len = d->names.len};
	if (d->depth)
		l->first = l[-1].end;
	l->end = l->next = l->first;
	d->depth++;
	forget_ahead(&d->ahead);
	return read_entries(d, l, err);
}

static unsigned type_of_mode(mode_t mode)
{
	return IFTODT(mode);
}

static int dump_node(struct dump *d, struct node *node, struct err *err)
{
	struct stat st;

	/* SPEC nix-nar depth < 64 */
	if (node->depth >= NODE_DEPTH_MAX)
		return fail(d, E_LIMIT, "is nested too deep: a store path has at most 63 levels",
			    err);
	if (node->type == DT_UNKNOWN) { /* the root, or a file system that does not say */
		if (fstatat(node->dirfd, node->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return fail_errno(d, "stat", err);
		node->type = type_of_mode(st.st_mode);
	}
	switch (node->type) {
	case DT_REG:
		return dump_regular(d, node, err);
	case DT_DIR:
		return dump_directory(d, node, err);
	case DT_LNK:
		return dump_symlink(d, node, err);
	default: /* is not even opened: that may do things */
		return unsupported(d, DTTOIF(node->type), err);
	}
}

/* The next step of the innermost directory: its next entry, or its end. */
static int dump_next(struct dump *d, struct err *err)
{
	struct level *l = &d->levels[d->depth - 1];
	const struct ahead_file *read;
	const struct entry *e;
	struct node node = {.dirfd = l->fd, .depth = d->depth};

	if (l->next == l->end) {
		struct node_event ev = {.type = NODE_DIRECTORY_END, .depth = d->depth - 1};

		close_fd(&l->fd);
		d->names.len = l->names_len;
		d->depth--;
		forget_ahead(&d->ahead);
		return node_sink_event(d->out, &ev, err);
	}
	e = &d->entries[l->next];
	node.name = entry_name(d, e);
	node.event_name = slice_str(node.name);
	node.type = e->type;
	l->next++;
	/* A directory that changes while it is read may show a name twice. */
	if (l->next - 1 > l->first && strcmp(entry_name(d, e - 1), node.name) == 0)
		return changed(d, err);
	read = find_ahead(d, l, l->next - 1);
	return read ? dump_read(d, &node, read, err) : dump_node(d, &node, err);
}

/* A slash at the end would make the system follow a symlink. */
static char *without_slashes(const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	return xstrndup(path, len);
}

static int dump_tree(int dirfd, const char *path, struct node_sink *out, struct direct *direct,
		     struct err *err)
{
	cleanup_free struct dump *d = xcalloc(1, sizeof(*d));
	cleanup_free char *name = without_slashes(path);
	struct node root = {.dirfd = dirfd, .name = name, .type = DT_UNKNOWN};
	struct node_event end = {.type = NODE_END};
	int r;

	d->out = out;
	d->direct = direct;
	d->ahead.is_wanted = direct;
	d->root = name;
	d->names = BUF_INIT(NAMES_MAX);
	d->block = xmalloc(BLOCK);
	r = dump_node(d, &root, err);
	while (r >= 0 && d->depth)
		r = dump_next(d, err);
	dump_release(d);
	return r < 0 ? r : node_sink_event(out, &end, err);
}

int tree_dump(int dirfd, const char *name, struct node_sink *out, struct err *err)
{
	return dump_tree(dirfd, name, out, NULL, err);
}

int tree_dump_nar(int dirfd, const char *name, int out_fd, struct err *err)
{
	cleanup_buffer_sink struct buffer_sink buffer;
	struct fd_sink fd_sink;
	struct direct direct = {.fd = out_fd, .buffer = &buffer};
	struct stat st;
	int r;

	fd_sink_init(&fd_sink, out_fd, "the NAR");
	buffer_sink_init(&buffer, &fd_sink.sink, BLOCK);
	/* From file to file the kernel copies page by page, and slower than whole blocks are
	 * written (docs/performance.md). */
	if (fstat(out_fd, &st) == 0 && S_ISREG(st.st_mode))
		direct.room = &buffer.room;
	direct.writer = nar_writer_new(&buffer.sink);
	r = dump_tree(dirfd, name, nar_writer_node_sink(direct.writer), &direct, err);
	if (r >= 0)
		r = buffer_sink_flush(&buffer, err);
	nar_writer_free(direct.writer);
	return r;
}

int tree_hash(int dirfd, const char *name, enum hash_algo algo, struct hash *ret,
	      uint64_t *ret_size_bytes, struct err *err)
{
	struct hash_sink hash;
	struct thread_sink thread;
	struct direct direct = {.fd = -1, .room = &thread.room};
	int r;

	hash_sink_init(&hash, algo, NULL);
	thread_sink_init(&thread, &hash.sink);
	direct.writer = nar_writer_new(&thread.sink);
	r = dump_tree(dirfd, name, nar_writer_node_sink(direct.writer), &direct, err);
	if (r >= 0)
		r = sink_finish(&thread.sink, err);
	if (r >= 0) {
		hash_sink_final(&hash, ret);
		*ret_size_bytes = hash.bytes;
	}
	nar_writer_free(direct.writer);
	thread_sink_release(&thread);
	hash_sink_release(&hash);
	return r;
}
