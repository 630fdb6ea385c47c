/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <sys/stat.h>

#include <nacre/nar.h>

#include "base/fs.h"
#include "base/mem.h"

CLEANUP_FUNC(struct nar_reader, nar_reader_free)

/* Headers of many small nodes come with one read; what lies behind contents that were skipped is read afresh. */
enum { BLOCK = 32 << 10 };

struct find {
	int fd;
	struct nar_reader *reader;
	const char *path; /* as asked for, for messages */
	const char *rest; /* components still to be entered; borrowed from `path` */
	unsigned depth;   /* of the node that rest's first component names; the root has 0 */
	uint64_t offset;  /* in the file, of what is read next */
	uint64_t end;     /* of the file; INT64_MAX where it does not say */
	struct slice input;
	uint8_t block[BLOCK];
};

static struct slice next_component(const char *rest)
{
	return slice_make(rest, strcspn(rest, "/"));
}

static void skip_slashes(struct find *f)
{
	f->rest += strspn(f->rest, "/");
}

static int check_path(const char *path, struct err *err)
{
	for (const char *p = path; *p;) {
		struct slice name;

		p += strspn(p, "/");
		name = next_component(p);
		if (slice_equal_str(name, ".") || slice_equal_str(name, ".."))
			return err_set(err, E_INVALID,
				       "\"%s\": \".\" and \"..\" have no meaning in a NAR", path);
		p += name.len;
	}
	return 0;
}

static int truncated(uint64_t end, const char *expected, struct err *err)
{
	return err_set(err, E_TRUNCATED,
		       "truncated NAR: it ends at offset %" PRIu64 ", expected %s", end, expected);
}

static int refill(struct find *f, struct err *err)
{
	ssize_t n = pread_full(f->fd, f->block, sizeof(f->block), f->offset);

	if (n < 0)
		return err_errno(err, "read the NAR at offset %" PRIu64, f->offset);
	if (n == 0)
		return truncated(f->offset, nar_reader_expected(f->reader), err);
	f->input = slice_make(f->block, (size_t)n);
	f->offset += (uint64_t)n;
	return 0;
}

/* Goes to the end of the contents that the reader is about to see. */
static int skip_contents(struct find *f, uint64_t left, struct err *err)
{
	uint64_t buffered = left < f->input.len ? left : f->input.len;

	slice_advance(&f->input, (size_t)buffered);
	if (f->offset > f->end || left - buffered > f->end - f->offset)
		return truncated(f->end, "contents", err);
	f->offset += left - buffered;
	return nar_reader_skip(f->reader, left) < 0
		       ? err_set(err, E_INTERNAL, "cannot skip contents of a NAR")
		       : 0;
}

static int next_event(struct find *f, struct node_event *ret, struct err *err)
{
	for (;;) {
		uint64_t left = nar_reader_content_left(f->reader);
		int r;

		if (left && skip_contents(f, left, err) < 0)
			return err->code;
		r = nar_reader_step(f->reader, &f->input, ret);
		if (r < 0)
			return err_set(err, r, "malformed NAR at offset %" PRIu64 ": expected %s",
				       nar_reader_offset(f->reader),
				       nar_reader_expected(f->reader));
		if (r > 0)
			return 0;
		if (refill(f, err) < 0)
			return err->code;
	}
}

static int not_found(const struct find *f, struct err *err)
{
	return err_set(err, E_NOTFOUND, "the NAR has no \"%s\"", f->path);
}

static int found(const struct find *f, const struct node_event *ev, struct nar_member *ret,
		 struct err *err)
{
	/* Contents that reach past the end of the file are not there. */
	if (ev->nar_offset > f->end || ev->size > f->end - ev->nar_offset)
		return truncated(f->end, "contents", err);
	*ret = (struct nar_member){
		.type = ev->type,
		.executable = ev->executable,
		.offset = ev->nar_offset,
		.size = ev->size,
	};
	if (ev->type == NODE_SYMLINK)
		memcpy(ret->target, ev->data.data, ev->data.len);
	return 0;
}

/* One event on the way: 1 found, 0 go on. */
static int look(struct find *f, const struct node_event *ev, struct nar_member *ret,
		struct err *err)
{
	struct slice want = next_component(f->rest);
	int order;

	switch (ev->type) {
	case NODE_DIRECTORY:
	case NODE_REGULAR:
	case NODE_SYMLINK:
		if (ev->depth != f->depth)
			return 0;
		order = ev->depth ? slice_compare(ev->name, want) : 0;
		if (order > 0) /* names are sorted: it would have come */
			return not_found(f, err);
		if (order < 0)
			return 0;
		if (ev->depth)
			f->rest += want.len;
		skip_slashes(f);
		if (!*f->rest)
			return found(f, ev, ret, err) < 0 ? err->code : 1;
		if (ev->type != NODE_DIRECTORY)
			return not_found(f, err);
		f->depth++;
		return 0;
	case NODE_DIRECTORY_END:
		/* The directory that should have had it is over. */
		return ev->depth + 1 == f->depth ? not_found(f, err) : 0;
	default:
		return 0;
	}
}

static int find_end(struct find *f, struct err *err)
{
	struct stat st;

	if (fstat(f->fd, &st) < 0)
		return err_errno(err, "stat the NAR");
	f->end = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : INT64_MAX;
	return 0;
}

int nar_find(int fd, const char *path, struct nar_member *ret, struct err *err)
{
	CLEANUP(nar_reader_free) struct nar_reader *reader = nar_reader_new();
	cleanup_free struct find *f = xcalloc(1, sizeof(*f));
	int r = check_path(path, err);

	f->fd = fd;
	f->reader = reader;
	f->path = f->rest = path;
	if (r == 0)
		r = find_end(f, err);
	while (r == 0) {
		struct node_event ev;

		r = next_event(f, &ev, err);
		if (r == 0)
			r = look(f, &ev, ret, err);
	}
	return r < 0 ? r : 0;
}
