/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/nar.h>

#include "base/mem.h"
#include "nix/nar-format.h"
#include "nix/node-check.h"

struct nar_writer {
	struct node_sink node_sink;
	struct sink *out; /* borrowed */
	uint64_t offset;  /* bytes written */
	uint64_t size;    /* of the open file */
	struct node_check check;
	size_t len;
	/* The bytes of one event that are not contents: at most 12 tokens, a name and a target. */
	uint8_t buf[512 + NODE_NAME_MAX + NODE_TARGET_MAX];
};

#define PUT(w, tokens) put((w), (tokens), sizeof(tokens) - 1)

static void put(struct nar_writer *w, const void *data, size_t len)
{
	memcpy(w->buf + w->len, data, len);
	w->len += len;
}

static void put_number(struct nar_writer *w, uint64_t n)
{
	nar_put_number(w->buf + w->len, n);
	w->len += 8;
}

static void put_padding(struct nar_writer *w, uint64_t len)
{
	put(w, NAR_Z7, nar_padding(len));
}

static void put_string(struct nar_writer *w, struct slice s)
{
	put_number(w, s.len);
	put(w, s.data, s.len);
	put_padding(w, s.len);
}

static void put_begin(struct nar_writer *w, const struct node_event *ev)
{
	if (ev->depth == 0) {
		PUT(w, NAR_MAGIC NAR_OPEN NAR_TYPE);
	} else {
		PUT(w, NAR_ENTRY NAR_OPEN NAR_NAME);
		put_string(w, ev->name);
		PUT(w, NAR_NODE NAR_OPEN NAR_TYPE);
	}
	switch (ev->type) {
	case NODE_DIRECTORY:
		PUT(w, NAR_DIRECTORY);
		break;
	case NODE_SYMLINK:
		PUT(w, NAR_SYMLINK NAR_TARGET);
		put_string(w, ev->data);
		break;
	default:
		PUT(w, NAR_REGULAR);
		if (ev->executable)
			PUT(w, NAR_EXECUTABLE NAR_EMPTY);
		PUT(w, NAR_CONTENTS);
		put_number(w, ev->size);
		break;
	}
}

/* Closes the node whose parent is the directory that is open now, if any. */
static void put_end(struct nar_writer *w)
{
	if (w->check.dirs)
		PUT(w, NAR_CLOSE NAR_CLOSE);
	else
		PUT(w, NAR_CLOSE);
}

static int flush(struct nar_writer *w, struct err *err)
{
	size_t len = w->len;

	w->len = 0;
	w->offset += len;
	return sink_write(w->out, w->buf, len, err);
}

static int nar_writer_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct nar_writer *w = container_of(self, struct nar_writer, node_sink);

	if (node_check_event(&w->check, ev, err) < 0)
		return err_wrap(err, "write NAR");
	switch (ev->type) {
	case NODE_DIRECTORY:
	case NODE_REGULAR:
		put_begin(w, ev);
		w->size = ev->size;
		break;
	case NODE_SYMLINK:
		put_begin(w, ev);
		put_end(w);
		break;
	case NODE_CONTENT:
		w->offset += ev->data.len;
		return sink_write(w->out, ev->data.data, ev->data.len, err);
	case NODE_REGULAR_END:
		put_padding(w, w->size);
		put_end(w);
		break;
	case NODE_DIRECTORY_END:
		put_end(w);
		break;
	case NODE_END:
		break;
	}
	return flush(w, err);
}

struct nar_writer *nar_writer_new(struct sink *out)
{
	struct nar_writer *w = xcalloc(1, sizeof(*w));

	w->node_sink.event = nar_writer_event;
	w->out = out;
	return w;
}

struct node_sink *nar_writer_node_sink(struct nar_writer *w)
{
	return &w->node_sink;
}

int nar_writer_skip(struct nar_writer *w, uint64_t len)
{
	if (w->check.place != NODE_IN_FILE || len > w->check.left)
		return E_USAGE;
	w->check.left -= len;
	w->offset += len;
	return 0;
}

uint64_t nar_writer_offset(const struct nar_writer *w)
{
	return w->offset;
}

void nar_writer_free(struct nar_writer *w)
{
	free(w);
}
