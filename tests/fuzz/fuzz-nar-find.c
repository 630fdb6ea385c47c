/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random access agrees with reading all: the input is a path, a newline and a NAR. If the NAR is
 * well formed, nar_find() finds exactly what a reader passes under that path.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include <nacre/buf.h>
#include <nacre/nar.h>

#include "base/fs.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define check(condition)                                                                \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

/* Looks for `path` among the events; the path so far is kept as text. */
struct search {
	struct node_sink sink;
	const char *path;
	struct buf at;
	struct node_event found; /* type 0: not found; slices are not valid */
};

static bool same_path(const char *a, const char *b)
{
	for (;;) {
		size_t n;

		a += strspn(a, "/");
		b += strspn(b, "/");
		n = strcspn(a, "/");
		if (n != strcspn(b, "/") || memcmp(a, b, n) != 0)
			return false;
		if (n == 0)
			return true;
		a += n;
		b += n;
	}
}

static int search_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct search *s = container_of(self, struct search, sink);
	size_t before = s->at.len;

	if (ev->type == NODE_DIRECTORY_END) {
		while (s->at.len && s->at.data[s->at.len - 1] != '/')
			s->at.len--;
		s->at.len -= s->at.len > 0;
	}
	if (ev->type != NODE_DIRECTORY && ev->type != NODE_REGULAR && ev->type != NODE_SYMLINK)
		return 0;
	buf_add_str(&s->at, ev->depth ? "/" : "");
	buf_add(&s->at, ev->name.data, ev->name.len);
	if (same_path((const char *)s->at.data, s->path))
		s->found = *ev;
	if (ev->type != NODE_DIRECTORY) {
		s->at.len = before;
		s->at.data[before] = '\0';
	}
	return 0;
}

static bool has_dots(const char *path)
{
	for (const char *p = path; *p; p += strcspn(p, "/")) {
		size_t n;

		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (n && n <= 2 && memcmp(p, "..", n) == 0)
			return true;
	}
	return false;
}

static void compare(const char *path, const uint8_t *nar, size_t size)
{
	struct search s = {.sink = {search_event}, .path = path};
	cleanup_fd int fd = memfd_create("nar", MFD_CLOEXEC);
	struct err err = ERR_INIT, find_err = ERR_INIT;
	struct nar_member m = {0};
	struct nar_decoder d;
	int whole, found;

	check(write_full(fd, nar, size) == 0);
	nar_decoder_init(&d, &s.sink);
	whole = sink_write(&d.sink, nar, size, &err);
	if (whole == 0)
		whole = sink_finish(&d.sink, &err);
	nar_decoder_release(&d);
	found = nar_find(fd, path, &m, &find_err);
	check(found == find_err.code);
	if (has_dots(path)) {
		check(found == E_INVALID);
	} else if (whole == 0) {
		check(found == (s.found.type ? 0 : E_NOTFOUND));
		check(m.type == s.found.type);
		check(m.size == s.found.size && m.executable == s.found.executable);
		check(m.offset == s.found.nar_offset);
	}
	buf_release(&s.at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = size ? memchr(data, '\n', size) : NULL;
	cleanup_free char *path = NULL;

	if (!newline)
		return 0;
	path = xstrndup((const char *)data, (size_t)(newline - data));
	newline++;
	compare(path, newline, size - (size_t)(newline - data));
	return 0;
}
