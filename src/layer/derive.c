/* SPDX-License-Identifier: Apache-2.0 */
/* Reads framed NARs back: whole, and as the layer of a name that came later. */
#include <nacre/nar.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/sinks.h"
#include "layer/layer-digest.h"

static int fd_read(struct object_reader *self, uint64_t offset, void *buf, size_t len,
		   struct err *err)
{
	struct fd_object_reader *r = container_of(self, struct fd_object_reader, reader);
	ssize_t n = pread_full(r->fd, buf, len, offset);

	if (n < 0)
		return err_errno(err, "read an object");
	return (size_t)n == len
		       ? 0
		       : err_set(err, E_TRUNCATED, "an object is shorter than it should be");
}

void fd_object_reader_init(struct fd_object_reader *r, int fd)
{
	*r = (struct fd_object_reader){.reader = {fd_read}, .fd = fd};
}

/* Told of each frame, decoded. */
struct frame_visitor {
	int (*frame)(struct frame_visitor *self, const struct frame *f, struct slice raw,
		     struct slice stored, struct err *err);
};

struct buffers {
	uint8_t *raw, *stored;         /* owned */
	struct frame_decoder *decoder; /* owned */
};

static int read_frame(struct object_reader *object, const struct frame *f, uint64_t offset,
		      struct buffers *b, struct err *err)
{
	if (f->raw_size == 0 || f->raw_size > FRAME_RAW_MAX || f->stored_size > FRAME_STORED_MAX)
		return err_set(err, E_INVALID, "the table of frames is damaged");
	if (object->read(object, offset, b->stored, f->stored_size, err) < 0)
		return err->code;
	if (frame_decode(b->decoder, slice_make(b->stored, f->stored_size), b->raw, f->raw_size) <
	    0)
		return err_set(err, E_INVALID, "a frame of a stored NAR is damaged");
	return 0;
}

static int visit_frames(const struct framed_nar *nar, struct frame_visitor *visitor,
			struct err *err)
{
	struct buffers b = {xmalloc(FRAME_RAW_MAX), xmalloc(FRAME_STORED_MAX), frame_decoder_new()};
	uint64_t offset = 0;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < nar->frames->len; i++) {
		const struct frame *f = &nar->frames->items[i];

		r = read_frame(nar->object, f, offset, &b, err);
		if (r >= 0)
			r = visitor->frame(visitor, f, slice_make(b.raw, f->raw_size),
					   slice_make(b.stored, f->stored_size), err);
		offset += f->stored_size;
	}
	frame_decoder_free(b.decoder);
	free(b.raw);
	free(b.stored);
	return r;
}

struct copy_visitor {
	struct frame_visitor visitor;
	struct sink *out;
};

static int copy_frame(struct frame_visitor *self, const struct frame *f, struct slice raw,
		      struct slice stored, struct err *err)
{
	struct copy_visitor *v = container_of(self, struct copy_visitor, visitor);

	(void)f, (void)stored;
	return sink_write(v->out, raw.data, raw.len, err);
}

int nar_object_decode(const struct framed_nar *nar, struct sink *out, struct err *err)
{
	struct copy_visitor v = {{copy_frame}, out};

	return visit_frames(nar, &v.visitor, err);
}

struct derivation {
	struct frame_visitor visitor;
	struct node_sink node_sink;
	struct nar_decoder decoder;
	struct layer_digest *layer; /* owned */
	struct hash_sink hash;      /* of the NAR */
};

static int derive_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct derivation *d = container_of(self, struct derivation, node_sink);

	return layer_digest_event(d->layer, ev, err);
}

static int derive_frame(struct frame_visitor *self, const struct frame *f, struct slice raw,
			struct slice stored, struct err *err)
{
	struct derivation *d = container_of(self, struct derivation, visitor);

	/* The content's event ends the glue before it, so that the bulk frame comes behind. */
	if (sink_write(&d->decoder.sink, raw.data, raw.len, err) < 0 ||
	    sink_write(&d->hash.sink, raw.data, raw.len, err) < 0)
		return err->code;
	if (f->kind == FRAME_BULK)
		layer_digest_bulk(d->layer, f->raw_size, stored);
	return 0;
}

static int check_nar_hash(struct derivation *d, const struct hash *want, struct err *err)
{
	struct hash got;

	if (!want)
		return 0;
	hash_sink_final(&d->hash, &got);
	if (!hash_equal(&got, want))
		return err_set(err, E_MISMATCH,
			       "the stored NAR does not have its NarHash any more: it was damaged");
	return 0;
}

int derive_layer(const struct framed_nar *nar, const struct store_path *path, struct sink *glue_out,
		 struct layer_object *ret, struct err *err)
{
	struct derivation d = {.visitor = {derive_frame}, .node_sink = {derive_event}};
	struct framer_options framing = {0};
	char store_dir[STORE_DIR_MAX + 1];
	int r;

	snprintf(store_dir, sizeof(store_dir), "%.*s", (int)path->dir_len, path->text);
	/* Without a pool: bulk frames are told of beside the queue. */
	framing.queue = frame_queue_new(NULL);
	d.layer = layer_digest_new(glue_out, store_dir, store_path_base(path), &framing, false);
	nar_decoder_init(&d.decoder, &d.node_sink);
	hash_sink_init(&d.hash, HASH_SHA256, NULL);
	r = visit_frames(nar, &d.visitor, err);
	if (r >= 0)
		r = sink_finish(&d.decoder.sink, err);
	if (r >= 0)
		r = check_nar_hash(&d, nar->nar_hash, err);
	if (r >= 0)
		r = layer_digest_finish(d.layer, ret, err);
	hash_sink_release(&d.hash);
	nar_decoder_release(&d.decoder);
	layer_digest_free(d.layer);
	frame_queue_free(framing.queue);
	return r;
}
