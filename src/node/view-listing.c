/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <nacre/hash.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/view-listing.h"

static const char header[] = "nacre listing 1\n";

enum { LISTING_MAX = 1 << 30, HASH_BYTES = 32 };

/* An open directory of a walk. */
struct level {
	int fd;            /* owned */
	struct strv names; /* owned; sorted */
	size_t next;
};

struct walk {
	struct node_sink *out; /* borrowed */
	const char *root;      /* borrowed; for messages */
	size_t n_nodes;
	unsigned depth; /* open directories */
	struct level levels[NODE_DEPTH_MAX];
};

static int send(struct walk *w, enum node_event_type type, struct slice name,
		const struct node_event *more, struct err *err)
{
	struct node_event ev = more ? *more : (struct node_event){0};

	ev.type = type;
	ev.name = name;
	ev.depth = w->depth;
	return node_sink_event(w->out, &ev, err);
}

static int read_names(int fd, struct strv *ret)
{
	int copy = dup(fd);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int failed;

	if (!dir) {
		if (copy >= 0)
			close(copy);
		return -1;
	}
	while (errno = 0, (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			strv_add(ret, entry->d_name);
	failed = errno;
	closedir(dir);
	if (ret->len > 1)
		qsort(ret->items, ret->len, sizeof(*ret->items), strv_compare_items);
	errno = failed;
	return failed ? -1 : 0;
}

static int walk_directory(struct walk *w, int dirfd, const char *name, struct slice shown,
			  struct err *err)
{
	struct level *l = &w->levels[w->depth];

	if (w->depth >= NODE_DEPTH_MAX)
		return err_set(err, E_LIMIT, "%s has more than %d levels", w->root, NODE_DEPTH_MAX);
	if (send(w, NODE_DIRECTORY, shown, NULL, err) < 0)
		return err->code;
	*l = (struct level){0};
	l->fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (l->fd < 0)
		return err_errno(err, "open directory %s of %s", name, w->root);
	w->depth++;
	return read_names(l->fd, &l->names) < 0 ? err_errno(err, "read %s of %s", name, w->root)
						: 0;
}

static int walk_symlink(struct walk *w, int dirfd, const char *name, struct slice shown,
			struct err *err)
{
	char target[NODE_TARGET_MAX + 1];
	ssize_t n = readlinkat(dirfd, name, target, sizeof(target));
	struct node_event ev = {.data = slice_make(target, n > 0 ? (size_t)n : 0)};

	if (n < 0)
		return err_errno(err, "read symlink %s of %s", name, w->root);
	if (n > NODE_TARGET_MAX)
		return err_set(err, E_LIMIT, "symlink %s of %s is too long", name, w->root);
	return send(w, NODE_SYMLINK, shown, &ev, err);
}

static int walk_node(struct walk *w, int dirfd, const char *name, struct slice shown,
		     struct err *err)
{
	struct stat st;
	struct node_event ev = {0};

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(err, "%s of %s", name, w->root);
	w->n_nodes++;
	if (S_ISDIR(st.st_mode))
		return walk_directory(w, dirfd, name, shown, err);
	if (S_ISLNK(st.st_mode))
		return walk_symlink(w, dirfd, name, shown, err);
	if (!S_ISREG(st.st_mode))
		return err_set(err, E_UNSUPPORTED,
			       "%s of %s is neither file, directory nor symlink", name, w->root);
	ev.size = (uint64_t)st.st_size;
	ev.executable = (st.st_mode & S_IXUSR) != 0;
	if (send(w, NODE_REGULAR, shown, &ev, err) < 0)
		return err->code;
	return send(w, NODE_REGULAR_END, shown, &ev, err);
}

static void level_release(struct level *l)
{
	close_fd(&l->fd);
	strv_release(&l->names);
}

static int walk_all(struct walk *w, int dirfd, const char *name, struct err *err)
{
	int r = walk_node(w, dirfd, name, slice_make(NULL, 0), err);

	while (r >= 0 && w->depth) {
		struct level *l = &w->levels[w->depth - 1];

		if (l->next < l->names.len) {
			const char *child = l->names.items[l->next++];

			r = walk_node(w, l->fd, child, slice_str(child), err);
			continue;
		}
		level_release(l);
		w->depth--;
		r = send(w, NODE_DIRECTORY_END, slice_make(NULL, 0), NULL, err);
	}
	return r < 0 ? r : send(w, NODE_END, slice_make(NULL, 0), NULL, err);
}

int listing_walk(int dirfd, const char *name, struct node_sink *out, size_t *ret_nodes,
		 struct err *err)
{
	struct walk *w = xcalloc(1, sizeof(*w));
	int r;

	w->out = out;
	w->root = name;
	r = walk_all(w, dirfd, name, err);
	while (w->depth)
		level_release(&w->levels[--w->depth]);
	if (r >= 0)
		*ret_nodes = w->n_nodes;
	free(w);
	return r;
}

static int add_record(struct buf *b, char letter, const struct node_event *ev)
{
	uint8_t head[2] = {(uint8_t)letter, (uint8_t)ev->name.len};
	uint64_t size = htole64(ev->size);
	uint16_t target_len = htole16((uint16_t)ev->data.len);

	if (buf_add(b, head, sizeof(head)) < 0 || buf_add(b, ev->name.data, ev->name.len) < 0)
		return E_LIMIT;
	if (letter == 'f' || letter == 'x')
		return buf_add(b, &size, sizeof(size));
	if (letter != 'l')
		return 0;
	return buf_add(b, &target_len, sizeof(target_len)) < 0
		       ? E_LIMIT
		       : buf_add(b, ev->data.data, ev->data.len);
}

static int listing_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct buf *b = &container_of(self, struct listing_sink, node_sink)->text;
	struct hash hash;
	int r = 0;

	switch (ev->type) {
	case NODE_DIRECTORY:
		r = add_record(b, 'd', ev);
		break;
	case NODE_REGULAR:
		r = add_record(b, ev->executable ? 'x' : 'f', ev);
		break;
	case NODE_SYMLINK:
		r = add_record(b, 'l', ev);
		break;
	case NODE_DIRECTORY_END:
		r = buf_add(b, "e", 1);
		break;
	case NODE_END:
		hash_bytes(&hash, HASH_SHA256, b->data, b->len);
		r = buf_add(b, hash.bytes, HASH_BYTES);
		break;
	default:
		break;
	}
	return r < 0 ? err_set(err, E_LIMIT, "a listing is larger than %d bytes", LISTING_MAX) : 0;
}

void listing_sink_init(struct listing_sink *s)
{
	*s = (struct listing_sink){.node_sink = {.event = listing_event},
				   .text = BUF_INIT(LISTING_MAX)};
	buf_add_str(&s->text, header);
}

/* The next `len` bytes. */
static int take(struct slice *text, size_t len, struct slice *ret)
{
	if (text->len < len)
		return E_TRUNCATED;
	*ret = slice_make(text->data, len);
	slice_advance(text, len);
	return 0;
}

/* Reads one record. */
static int take_record(struct slice *text, struct node_event *ret)
{
	struct slice field;
	uint64_t size;
	uint16_t target_len;
	char letter;

	*ret = (struct node_event){0};
	if (take(text, 1, &field) < 0)
		return E_TRUNCATED;
	letter = (char)field.data[0];
	if (letter == 'e') {
		ret->type = NODE_DIRECTORY_END;
		return 0;
	}
	if (take(text, 1, &field) < 0 || take(text, field.data[0], &ret->name) < 0)
		return E_TRUNCATED;
	switch (letter) {
	case 'd':
		ret->type = NODE_DIRECTORY;
		return 0;
	case 'f':
	case 'x':
		if (take(text, sizeof(size), &field) < 0)
			return E_TRUNCATED;
		memcpy(&size, field.data, sizeof(size));
		ret->type = NODE_REGULAR;
		ret->executable = letter == 'x';
		ret->size = le64toh(size);
		return 0;
	case 'l':
		if (take(text, sizeof(target_len), &field) < 0)
			return E_TRUNCATED;
		memcpy(&target_len, field.data, sizeof(target_len));
		ret->type = NODE_SYMLINK;
		return take(text, le16toh(target_len), &ret->data);
	default:
		return E_INVALID;
	}
}

/* Sends the records of one whole tree. */
static int send_records(struct slice *text, struct node_sink *out, struct err *err)
{
	unsigned depth = 0;

	do {
		struct node_event ev;
		bool is_file;

		if (take_record(text, &ev) < 0 ||
		    (ev.type == NODE_DIRECTORY_END ? depth == 0 : depth >= NODE_DEPTH_MAX))
			return err_set(err, E_INVALID, "a listing is damaged");
		if (ev.type == NODE_DIRECTORY_END)
			depth--;
		ev.depth = depth;
		if (ev.type == NODE_DIRECTORY)
			depth++;
		is_file = ev.type == NODE_REGULAR;
		if (node_sink_event(out, &ev, err) < 0)
			return err->code;
		ev.type = NODE_REGULAR_END;
		if (is_file && node_sink_event(out, &ev, err) < 0)
			return err->code;
	} while (depth);
	return text->len ? err_set(err, E_INVALID, "a listing is damaged") : 0;
}

int listing_read(struct slice text, struct node_sink *out, struct err *err)
{
	struct node_event end = {.type = NODE_END};
	struct hash hash;

	if (text.len < sizeof(header) - 1 + HASH_BYTES || !slice_has_prefix(text, header))
		return err_set(err, E_INVALID, "a listing is damaged");
	text.len -= HASH_BYTES;
	hash_bytes(&hash, HASH_SHA256, text.data, text.len);
	if (memcmp(hash.bytes, text.data + text.len, HASH_BYTES) != 0)
		return err_set(err, E_INVALID, "a listing is damaged");
	slice_advance(&text, sizeof(header) - 1);
	if (send_records(&text, out, err) < 0)
		return err->code;
	return node_sink_event(out, &end, err);
}
