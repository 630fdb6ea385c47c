/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass computes everything: the events go to a NAR writer and to a tar writer, each of them
 * hashed and framed. Only the NAR's framer compresses bulk; its frames are those of the layer too,
 * and the two framers cut at the same events and share a queue, so the layer's frames come out in
 * their order.
 */
#include <nacre/absorb.h>
#include <nacre/nar.h>
#include <nacre/tar.h>

#include "base/mem.h"
#include "layer/framer.h"
#include "layer/layer-digest.h"

struct nar_side {
	struct frame_sink frame_sink;
	struct framer *framer;     /* owned */
	struct nar_writer *writer; /* owned */
	struct hash_sink raw;      /* between writer and framer */
	struct hash_sink stored;   /* in front of the caller's sink */
	struct frames frames;
};

struct absorb {
	struct node_sink node_sink;
	struct frame_queue *queue; /* owned */
	struct nar_side nar;
	struct layer_digest *layer; /* owned; NULL without a name */
	struct err not_layerable;   /* code 0: is layerable */
};

static int take_nar_frame(struct frame_sink *self, enum frame_kind kind, size_t raw_size,
			  struct slice stored, struct err *err)
{
	struct absorb *a = container_of(self, struct absorb, nar.frame_sink);
	struct frame frame = {kind, (uint32_t)raw_size, (uint32_t)stored.len};

	frames_add(&a->nar.frames, frame);
	if (kind == FRAME_BULK && a->layer && !a->not_layerable.code)
		layer_digest_bulk(a->layer, raw_size, stored);
	return sink_write(&a->nar.stored.sink, stored.data, stored.len, err);
}

/* A path with a name that runtimes would misread has no layer, but it has a NAR. */
static int layer_event(struct absorb *a, const struct node_event *ev, struct err *err)
{
	struct err local = ERR_INIT;

	if (!a->layer || a->not_layerable.code)
		return 0;
	if (layer_digest_event(a->layer, ev, &local) >= 0)
		return 0;
	if (local.code == E_UNSUPPORTED)
		a->not_layerable = local;
	else
		*err = local;
	return local.code == E_UNSUPPORTED ? 0 : local.code;
}

static int absorb_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct absorb *a = container_of(self, struct absorb, node_sink);
	enum frame_kind kind = frame_kind_of(ev);

	/* Both runs end before bytes of the new kind: the bulk that ends is the NAR's, the glue
	 * that ends the layer's. */
	if (framer_set_kind(a->nar.framer, kind, err) < 0)
		return err->code;
	if (layer_event(a, ev, err) < 0)
		return err->code;
	if (node_sink_event(nar_writer_node_sink(a->nar.writer), ev, err) < 0)
		return err->code;
	if (ev->type != NODE_END)
		return 0;
	return framer_end_run(a->nar.framer, err) < 0 ? err->code
						      : frame_queue_flush(a->queue, err);
}

struct absorb *absorb_new(struct sink *nar_out, struct sink *glue_out, const char *store_dir,
			  const char *base, const struct absorb_options *options)
{
	static const struct absorb_options none;
	const struct absorb_options *o = options ? options : &none;
	struct absorb *a = xcalloc(1, sizeof(*a));
	struct framer_options framing = {.supply = o->supply, .supplied = FRAME_BULK};

	a->node_sink.event = absorb_event;
	a->nar.frame_sink.frame = take_nar_frame;
	a->queue = framing.queue = frame_queue_new(o->pool);
	a->nar.framer = framer_new(&a->nar.frame_sink, &framing);
	hash_sink_init(&a->nar.raw, HASH_SHA256, framer_sink(a->nar.framer));
	hash_sink_init(&a->nar.stored, HASH_SHA256, nar_out);
	a->nar.writer = nar_writer_new(&a->nar.raw.sink);
	if (base)
		a->layer = layer_digest_new(glue_out, store_dir, base, &framing, o->unnamed);
	return a;
}

struct node_sink *absorb_node_sink(struct absorb *a)
{
	return &a->node_sink;
}

void absorb_nar(struct absorb *a, struct nar_object *ret)
{
	*ret = (struct nar_object){.frames = a->nar.frames};
	a->nar.frames = (struct frames){0};
	named_bytes_of(&a->nar.raw, &ret->nar);
	named_bytes_of(&a->nar.stored, &ret->zstd);
}

int absorb_layer(struct absorb *a, struct layer_object *ret, struct err *err)
{
	if (a->not_layerable.code) {
		*err = a->not_layerable;
		return err->code;
	}
	return layer_digest_finish(a->layer, ret, err);
}

void absorb_free(struct absorb *a)
{
	if (!a)
		return;
	framer_free(a->nar.framer);
	nar_writer_free(a->nar.writer);
	hash_sink_release(&a->nar.raw);
	hash_sink_release(&a->nar.stored);
	frames_release(&a->nar.frames);
	layer_digest_free(a->layer);
	frame_queue_free(a->queue);
	free(a);
}

void nar_object_release(struct nar_object *o)
{
	frames_release(&o->frames);
	*o = (struct nar_object){0};
}

void layer_object_release(struct layer_object *o)
{
	frames_release(&o->frames);
	*o = (struct layer_object){0};
}
