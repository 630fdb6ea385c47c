/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/image.h>
#include <nacre/tar.h>

#include "base/mem.h"
#include "codec/codec.h"
#include "layer/framer.h"
#include "layer/root-layer.h"

/* Passes bytes on, but not the end: whose sink it is finishes it. */
struct keep_open {
	struct sink sink;
	struct sink *next; /* borrowed */
};

/* tar bytes -> hash (diffID) -> frames, or an encoder, or nothing -> out */
struct layer_writer {
	struct node_sink node_sink;
	struct frame_sink frame_sink;
	struct keep_open out;
	struct frame_queue *queue; /* owned; IMAGE_ZSTD */
	struct framer *framer;     /* owned; the same */
	struct sink *encoder;      /* owned; IMAGE_GZIP */
	struct hash_sink hash;
	struct tar_writer *tar; /* owned */
};

static int keep_open_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	return sink_write(container_of(self, struct keep_open, sink)->next, data, len, err);
}

static int put_frame(struct frame_sink *self, enum frame_kind kind, size_t raw_size,
		     struct slice stored, struct err *err)
{
	struct layer_writer *w = container_of(self, struct layer_writer, frame_sink);

	(void)kind, (void)raw_size;
	return sink_write(w->out.next, stored.data, stored.len, err);
}

/* The preamble, each body and the trailer are runs of their own. */
static int end_run(struct layer_writer *w, struct err *err)
{
	return w->framer ? framer_end_run(w->framer, err) : 0;
}

static int writer_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct layer_writer *w = container_of(self, struct layer_writer, node_sink);

	if (w->framer && framer_set_kind(w->framer, frame_kind_of(ev), err) < 0)
		return err->code;
	if (node_sink_event(tar_writer_node_sink(w->tar), ev, err) < 0)
		return err->code;
	return ev->type == NODE_END ? end_run(w, err) : 0;
}

/* Sets up what takes the uncompressed bytes. */
static int open_encoding(struct layer_writer *w, enum image_compression compression,
			 struct frame_pool *pool, struct sink **ret, struct err *err)
{
	struct framer_options options = {0};

	*ret = w->out.next;
	if (compression == IMAGE_ZSTD) {
		w->frame_sink.frame = put_frame;
		w->queue = options.queue = frame_queue_new(pool);
		w->framer = framer_new(&w->frame_sink, &options);
		*ret = framer_sink(w->framer);
	} else if (compression == IMAGE_GZIP) {
		if (encoder_new(&w->encoder, CODEC_GZIP, 0, &w->out.sink, err) < 0)
			return err->code;
		*ret = w->encoder;
	}
	return 0;
}

static int writer_new(struct layer_writer **ret, struct sink *out,
		      enum image_compression compression, struct frame_pool *pool, struct err *err)
{
	struct layer_writer *w = xcalloc(1, sizeof(*w));
	struct sink *raw;

	w->node_sink.event = writer_event;
	w->out = (struct keep_open){{.write = keep_open_write}, out};
	if (open_encoding(w, compression, pool, &raw, err) < 0) {
		free(w);
		return err->code;
	}
	hash_sink_init(&w->hash, HASH_SHA256, raw);
	*ret = w;
	return 0;
}

int layer_writer_new(struct layer_writer **ret, struct sink *out, const char *store_dir,
		     enum image_compression compression, struct frame_pool *pool, struct err *err)
{
	struct layer_writer *w = NULL;

	if (writer_new(&w, out, compression, pool, err) < 0)
		return err->code;
	w->tar = tar_writer_new(&w->hash.sink, store_dir);
	if (tar_writer_preamble(w->tar, err) < 0 || end_run(w, err) < 0) {
		layer_writer_free(w);
		return err->code;
	}
	*ret = w;
	return 0;
}

int layer_writer_path(struct layer_writer *w, const char *base, struct err *err)
{
	return tar_writer_path(w->tar, base, err);
}

struct node_sink *layer_writer_node_sink(struct layer_writer *w)
{
	return &w->node_sink;
}

static int finish_encoding(struct layer_writer *w, struct hash *ret_diff_id, struct err *err)
{
	if (end_run(w, err) < 0 || (w->queue && frame_queue_flush(w->queue, err) < 0) ||
	    (w->encoder && sink_finish(w->encoder, err) < 0))
		return err->code;
	hash_sink_final(&w->hash, ret_diff_id);
	return 0;
}

int layer_writer_end(struct layer_writer *w, struct hash *ret_diff_id, struct err *err)
{
	return tar_writer_trailer(w->tar, err) < 0 ? err->code
						   : finish_encoding(w, ret_diff_id, err);
}

void layer_writer_free(struct layer_writer *w)
{
	if (!w)
		return;
	framer_free(w->framer);
	frame_queue_free(w->queue);
	if (w->encoder)
		encoder_free(w->encoder);
	tar_writer_free(w->tar);
	hash_sink_release(&w->hash);
	free(w);
}

/* Tells content that is bulk from the rest: one body, as that of a store path. */
struct root_visitor {
	struct root_layer_visitor visitor;
	struct layer_writer *w;
};

static int root_piece(struct root_layer_visitor *self, struct slice bytes, enum root_piece kind,
		      struct err *err)
{
	struct layer_writer *w = container_of(self, struct root_visitor, visitor)->w;
	bool bulk = kind == ROOT_CONTENT && bytes.len >= FRAME_BULK_MIN;

	if (w->framer && framer_set_kind(w->framer, bulk ? FRAME_BULK : FRAME_GLUE, err) < 0)
		return err->code;
	/* The trailer is a run of its own. */
	if (kind == ROOT_TRAILER && end_run(w, err) < 0)
		return err->code;
	return sink_write(&w->hash.sink, bytes.data, bytes.len, err);
}

int root_layer_encode(const struct root_layer *r, enum image_compression compression,
		      struct sink *out, struct hash *ret_diff_id, struct err *err)
{
	struct root_visitor v = {.visitor = {root_piece}};
	int result;

	if (writer_new(&v.w, out, compression, NULL, err) < 0)
		return err->code;
	result = root_layer_visit(r, &v.visitor, err);
	if (result >= 0)
		result = finish_encoding(v.w, ret_diff_id, err);
	layer_writer_free(v.w);
	return result;
}
