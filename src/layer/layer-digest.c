/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/buf.h>
#include <nacre/tar.h>

#include "base/mem.h"
#include "layer/layer-digest.h"

/* Counts what passes and, unless nobody wants its name, hashes it. */
struct name_sink {
	struct sink sink;
	struct sink *next; /* or NULL */
	struct hasher hasher;
	uint64_t bytes;
	bool unnamed;
};

struct layer_digest {
	struct frame_sink frame_sink;
	struct framer *framer;     /* owned; leaves bulk out */
	struct tar_writer *writer; /* owned */
	struct name_sink raw;      /* between writer and framer */
	struct name_sink stored;   /* the whole framed layer */
	struct hash_sink glue;     /* in front of the caller's sink */
	struct frames frames;
	struct buf preamble, preamble_stored;
	char store_dir[STORE_DIR_MAX + 1];
	char base[STORE_BASE_MAX + 1];
	bool begun;
};

static void name_add(struct name_sink *s, const void *data, size_t len)
{
	s->bytes += len;
	if (!s->unnamed)
		hasher_update(&s->hasher, data, len);
}

static int name_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct name_sink *s = container_of(self, struct name_sink, sink);

	name_add(s, data, len);
	return s->next ? sink_write(s->next, data, len, err) : 0;
}

static void name_init(struct name_sink *s, bool unnamed, struct sink *next)
{
	*s = (struct name_sink){.sink = {.write = name_write}, .next = next, .unnamed = unnamed};
	hasher_init(&s->hasher, HASH_SHA256);
}

static void name_final(struct name_sink *s, struct named_bytes *ret)
{
	*ret = (struct named_bytes){.size = s->bytes};
	if (!s->unnamed)
		hasher_final(&s->hasher, &ret->digest);
}

static int take_frame(struct frame_sink *self, enum frame_kind kind, size_t raw_size,
		      struct slice stored, struct err *err)
{
	struct layer_digest *l = container_of(self, struct layer_digest, frame_sink);
	struct frame frame = {kind, (uint32_t)raw_size, (uint32_t)stored.len};

	frames_add(&l->frames, frame);
	name_add(&l->stored, stored.data, stored.len);
	return sink_write(&l->glue.sink, stored.data, stored.len, err);
}

struct layer_digest *layer_digest_new(struct sink *glue_out, const char *store_dir,
				      const char *base, const struct framer_options *framing,
				      bool unnamed)
{
	struct layer_digest *l = xcalloc(1, sizeof(*l));
	struct framer_options options = *framing;

	l->frame_sink.frame = take_frame;
	options.leave_out_bulk = true; /* comes from the NAR, compressed */
	options.supplied = FRAME_GLUE;
	l->framer = framer_new(&l->frame_sink, &options);
	name_init(&l->raw, unnamed, framer_sink(l->framer));
	name_init(&l->stored, unnamed, NULL);
	hash_sink_init(&l->glue, HASH_SHA256, glue_out);
	l->writer = tar_writer_new(&l->raw.sink, store_dir);
	snprintf(l->store_dir, sizeof(l->store_dir), "%s", store_dir);
	snprintf(l->base, sizeof(l->base), "%s", base);
	return l;
}

/* Preamble and trailer are runs of their own: they are hashed, but are not in the glue object. */
static void put_outside(struct layer_digest *l, const struct buf *raw, const struct buf *stored)
{
	name_add(&l->raw, raw->data, raw->len);
	name_add(&l->stored, stored->data, stored->len);
}

static int begin(struct layer_digest *l, struct err *err)
{
	l->begun = true;
	layer_preamble(&l->preamble, &l->preamble_stored, l->store_dir);
	put_outside(l, &l->preamble, &l->preamble_stored);
	return tar_writer_path(l->writer, l->base, err);
}

int layer_digest_event(struct layer_digest *l, const struct node_event *ev, struct err *err)
{
	if (!l->begun && begin(l, err) < 0)
		return err->code;
	if (framer_set_kind(l->framer, frame_kind_of(ev), err) < 0 ||
	    node_sink_event(tar_writer_node_sink(l->writer), ev, err) < 0)
		return err->code;
	return ev->type == NODE_END ? framer_end_run(l->framer, err) : 0;
}

void layer_digest_bulk(struct layer_digest *l, size_t raw_size, struct slice stored)
{
	frames_add(&l->frames,
		   (struct frame){FRAME_BULK, (uint32_t)raw_size, (uint32_t)stored.len});
	name_add(&l->stored, stored.data, stored.len);
}

void named_bytes_of(struct hash_sink *s, struct named_bytes *ret)
{
	ret->size = s->bytes;
	hash_sink_final(s, &ret->digest);
}

int layer_digest_finish(struct layer_digest *l, struct layer_object *ret, struct err *err)
{
	cleanup_buf struct buf raw = {0};
	cleanup_buf struct buf stored = {0};

	*ret = (struct layer_object){.body_size = l->raw.bytes - l->preamble.len};
	layer_trailer(&raw, &stored);
	put_outside(l, &raw, &stored);
	name_final(&l->raw, &ret->tar);
	name_final(&l->stored, &ret->zstd);
	named_bytes_of(&l->glue, &ret->glue);
	ret->frames = l->frames;
	l->frames = (struct frames){0};
	return 0;
}

void layer_digest_free(struct layer_digest *l)
{
	if (!l)
		return;
	framer_free(l->framer);
	tar_writer_free(l->writer);
	hasher_release(&l->raw.hasher);
	hasher_release(&l->stored.hasher);
	hash_sink_release(&l->glue);
	frames_release(&l->frames);
	buf_release(&l->preamble);
	buf_release(&l->preamble_stored);
	free(l);
}

/* One run of glue, as raw bytes and as frames. */
struct run {
	struct frame_sink frame_sink;
	struct buf *stored; /* borrowed */
};

static int take_run_frame(struct frame_sink *self, enum frame_kind kind, size_t raw_size,
			  struct slice stored, struct err *err)
{
	struct run *r = container_of(self, struct run, frame_sink);

	(void)kind, (void)raw_size, (void)err;
	return buf_add(r->stored, stored.data, stored.len);
}

static void frame_run(const struct buf *raw, struct buf *stored)
{
	struct run run = {{take_run_frame}, stored};
	struct framer_options options = {.queue = frame_queue_new(NULL)};
	struct framer *framer = framer_new(&run.frame_sink, &options);
	struct err none = ERR_INIT; /* memory alone is touched, and little of it */

	if (sink_write(framer_sink(framer), raw->data, raw->len, &none) >= 0)
		framer_end_run(framer, &none);
	framer_free(framer);
	frame_queue_free(options.queue);
}

void layer_preamble(struct buf *raw, struct buf *stored, const char *store_dir)
{
	struct buf_sink sink;
	struct tar_writer *w;
	struct err none = ERR_INIT;

	buf_sink_init(&sink, raw);
	w = tar_writer_new(&sink.sink, store_dir);
	tar_writer_preamble(w, &none);
	tar_writer_free(w);
	frame_run(raw, stored);
}

void layer_trailer(struct buf *raw, struct buf *stored)
{
	static const uint8_t zeros[TAR_TRAILER_SIZE];

	buf_add(raw, zeros, sizeof(zeros));
	frame_run(raw, stored);
}
