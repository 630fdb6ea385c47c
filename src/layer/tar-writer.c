/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/tar-header.h"

#include "base/mem.h"
#include "nix/node-check.h"

struct tar_writer {
	struct node_sink node_sink;
	struct sink *out;                  /* borrowed */
	char store_dir[STORE_DIR_MAX + 1]; /* without its leading '/' */
	char base[STORE_BASE_MAX + 1];     /* of the last path */
	struct node_check check;
	bool in_path;
	uint64_t offset; /* bytes written */
	char name[TAR_NAME_MAX + 1];
	size_t name_len;
	size_t dir_len[NODE_DEPTH_MAX +
		       1]; /* of the name of the open directory at a depth, with '/' */
	uint8_t headers[TAR_HEADERS_MAX];
};

static int put(struct tar_writer *w, const void *data, size_t len, struct err *err)
{
	w->offset += len;
	return sink_write(w->out, data, len, err);
}

static int put_entry(struct tar_writer *w, const struct tar_entry *e, struct err *err)
{
	return put(w, w->headers, tar_headers_format(w->headers, e), err);
}

/* One directory for each ancestor, from the top. */
int tar_writer_preamble(struct tar_writer *w, struct err *err)
{
	size_t len = strlen(w->store_dir);
	char name[STORE_DIR_MAX + 2];

	for (size_t i = 1; i <= len; i++) {
		struct tar_entry e = {.type = TAR_TYPE_DIR, .mode = 0755};

		if (i < len && w->store_dir[i] != '/')
			continue;
		memcpy(name, w->store_dir, i);
		name[i] = '/';
		e.name = slice_make(name, i + 1);
		if (put_entry(w, &e, err) < 0)
			return err->code;
	}
	return 0;
}

int tar_writer_path(struct tar_writer *w, const char *base, struct err *err)
{
	if (w->in_path || store_base_check(slice_str(base)) < 0 || strcmp(base, w->base) <= 0)
		return err_set(err, E_INVALID, "write layer: %s is out of order", base);
	snprintf(w->base, sizeof(w->base), "%s", base);
	w->name_len = (size_t)snprintf(w->name, sizeof(w->name), "%s/%s", w->store_dir, base);
	w->check = (struct node_check){0};
	w->in_path = true;
	return 0;
}

/* Makes w->name the name of the node that `ev` begins, with a '/' if it is a directory. */
static int set_name(struct tar_writer *w, const struct node_event *ev, struct err *err)
{
	size_t len;

	if (ev->depth == 0) {
		len = strlen(w->store_dir) + 1 + strlen(w->base);
	} else {
		if (slice_has_prefix(ev->name, ".wh.")) {
			char path[512];

			node_check_path(&w->check, ev->depth, path, sizeof(path));
			return err_set(err, E_UNSUPPORTED,
				       "%s/%s cannot be in a layer: runtimes take names that begin "
				       "with .wh. for whiteouts",
				       w->base, path);
		}
		len = w->dir_len[ev->depth - 1];
		memcpy(w->name + len, ev->name.data, ev->name.len);
		len += ev->name.len;
	}
	if (ev->type == NODE_DIRECTORY) {
		w->name[len++] = '/';
		w->dir_len[ev->depth] = len;
	}
	w->name_len = len;
	return 0;
}

static int put_node(struct tar_writer *w, const struct node_event *ev, struct err *err)
{
	struct tar_entry e = {0};

	if (set_name(w, ev, err) < 0)
		return err->code;
	e.name = slice_make(w->name, w->name_len);
	e.type = ev->type == NODE_DIRECTORY ? TAR_TYPE_DIR
		 : ev->type == NODE_SYMLINK ? TAR_TYPE_SYMLINK
					    : TAR_TYPE_FILE;
	e.mode = tar_body_mode(e.type, ev->executable);
	if (ev->type == NODE_SYMLINK)
		e.target = ev->data;
	if (ev->type == NODE_REGULAR)
		e.size = ev->size;
	return put_entry(w, &e, err);
}

static int tar_writer_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	static const uint8_t zeros[TAR_BLOCK];
	struct tar_writer *w = container_of(self, struct tar_writer, node_sink);

	if (!w->in_path)
		return err_set(err, E_INVALID, "write layer: no path was begun");
	if (node_check_event(&w->check, ev, err) < 0)
		return err_wrap(err, "write layer");
	switch (ev->type) {
	case NODE_DIRECTORY:
	case NODE_REGULAR:
	case NODE_SYMLINK:
		return put_node(w, ev, err);
	case NODE_CONTENT:
		return put(w, ev->data.data, ev->data.len, err);
	case NODE_REGULAR_END:
		return put(w, zeros, tar_padding(ev->size), err);
	case NODE_END:
		w->in_path = false;
		return 0;
	case NODE_DIRECTORY_END:
		return 0;
	}
	return 0;
}

int tar_writer_trailer(struct tar_writer *w, struct err *err)
{
	static const uint8_t zeros[TAR_TRAILER_SIZE];

	if (w->in_path)
		return err_set(err, E_INVALID, "write layer: %s is not complete", w->base);
	return put(w, zeros, sizeof(zeros), err);
}

struct tar_writer *tar_writer_new(struct sink *out, const char *store_dir)
{
	struct tar_writer *w = xcalloc(1, sizeof(*w));

	w->node_sink.event = tar_writer_event;
	w->out = out;
	snprintf(w->store_dir, sizeof(w->store_dir), "%s", store_dir + 1);
	return w;
}

struct node_sink *tar_writer_node_sink(struct tar_writer *w)
{
	return &w->node_sink;
}

uint64_t tar_writer_offset(const struct tar_writer *w)
{
	return w->offset;
}

void tar_writer_free(struct tar_writer *w)
{
	free(w);
}
