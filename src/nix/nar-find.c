/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <sys/stat.h>

#include <nacre/nar.h>

#include "base/fs.h"
#include "base/mem.h"
#include "nix/node-select.h"

CLEANUP_FUNC(struct nar_reader, nar_reader_free)

/* Headers of many small nodes come with one read; what lies behind contents that were skipped is
 * read afresh. */
enum { BLOCK = 32 << 10 };

struct scan {
	int fd;
	struct nar_reader *reader; /* borrowed */
	uint64_t offset;           /* in the file, of what is read next */
	uint64_t end;              /* of the file; INT64_MAX where it does not say */
	struct slice input;
	uint8_t block[BLOCK];
};

static int scan_begin(struct scan *s, int fd, struct nar_reader *reader, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(err, "stat the NAR");
	s->fd = fd;
	s->reader = reader;
	s->end = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : INT64_MAX;
	return 0;
}

static int truncated(uint64_t end, const char *expected, struct err *err)
{
	return err_set(err, E_TRUNCATED,
		       "truncated NAR: it ends at offset %" PRIu64 ", expected %s", end, expected);
}

static int refill(struct scan *s, struct err *err)
{
	ssize_t n = pread_full(s->fd, s->block, sizeof(s->block), s->offset);

	if (n < 0)
		return err_errno(err, "read the NAR at offset %" PRIu64, s->offset);
	if (n == 0)
		return truncated(s->offset, nar_reader_expected(s->reader), err);
	s->input = slice_make(s->block, (size_t)n);
	s->offset += (uint64_t)n;
	return 0;
}

/* Goes to the end of the contents that the reader is about to see. */
static int skip_contents(struct scan *s, uint64_t left, struct err *err)
{
	uint64_t buffered = left < s->input.len ? left : s->input.len;

	slice_advance(&s->input, (size_t)buffered);
	if (s->offset > s->end || left - buffered > s->end - s->offset)
		return truncated(s->end, "contents", err);
	s->offset += left - buffered;
	if (nar_reader_skip(s->reader, left) < 0)
		return err_set(err, E_INTERNAL, "cannot skip contents of a NAR");
	return 0;
}

/* The next event that is not NODE_CONTENT. */
static int next_event(struct scan *s, struct node_event *ret, struct err *err)
{
	for (;;) {
		uint64_t left = nar_reader_content_left(s->reader);
		int r;

		if (left && skip_contents(s, left, err) < 0)
			return err->code;
		r = nar_reader_step(s->reader, &s->input, ret);
		if (r < 0)
			return err_set(err, r, "malformed NAR at offset %" PRIu64 ": expected %s",
				       nar_reader_offset(s->reader),
				       nar_reader_expected(s->reader));
		if (r > 0)
			return 0;
		if (refill(s, err) < 0)
			return err->code;
	}
}

static int scan(struct scan *s, struct node_sink *out, struct err *err)
{
	struct node_event ev = {0};

	while (ev.type != NODE_END)
		if (next_event(s, &ev, err) < 0 || node_sink_event(out, &ev, err) < 0)
			return err->code;
	if (s->input.len || s->offset < s->end)
		return err_set(err, E_INVALID,
			       "trailing bytes behind the end of the NAR at offset %" PRIu64,
			       nar_reader_offset(s->reader));
	return 0;
}

int nar_scan(int fd, struct node_sink *out, struct err *err)
{
	CLEANUP(nar_reader_free) struct nar_reader *reader = nar_reader_new();
	cleanup_free struct scan *s = xcalloc(1, sizeof(*s));

	if (scan_begin(s, fd, reader, err) < 0)
		return err->code;
	return scan(s, out, err);
}

static int found(const struct scan *s, const struct node_event *ev, struct nar_member *ret,
		 struct err *err)
{
	/* Contents that reach past the end of the file are not there. */
	if (ev->nar_offset > s->end || ev->size > s->end - ev->nar_offset)
		return truncated(s->end, "contents", err);
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

int nar_find(int fd, const char *path, struct nar_member *ret, struct err *err)
{
	CLEANUP(nar_reader_free) struct nar_reader *reader = nar_reader_new();
	cleanup_free struct scan *s = xcalloc(1, sizeof(*s));
	struct node_path at;
	struct node_event ev = {0};
	int r = 0;

	if (node_path_init(&at, path, err) < 0 || scan_begin(s, fd, reader, err) < 0)
		return err->code;
	while (r == 0) {
		if (next_event(s, &ev, err) < 0)
			return err->code;
		r = node_path_step(&at, &ev);
	}
	if (r < 0)
		return err_set(err, r, "the NAR has no \"%s\"", path);
	return found(s, &ev, ret, err);
}
