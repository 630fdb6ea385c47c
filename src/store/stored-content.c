/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "store/gather.h"
#include "store/stored-content.h"

enum {
	OPEN_OBJECTS = 8, /* of one content at a time */
	ENCODE_LEVEL = 1, /* made anew for each reader: fast rather than small */
	NO_SEGMENT = -1,
};

struct open_object {
	struct object object;
	uint32_t index; /* into splice.objects */
	uint64_t used;  /* when last */
	bool open;
};

struct content {
	struct content *older, *newer; /* under the store's contents_lock */
	uint64_t began;
	struct store *store; /* borrowed */
	enum content_form form;
	uint64_t size;
	struct hash digest;
	char *coding;         /* owned */
	struct object object; /* CONTENT_OBJECT */

	struct splice splice;
	struct splice_index index;
	struct open_object open[OPEN_OBJECTS];
	uint64_t uses;

	/* The frame that was decoded last. */
	struct frame_decoder *decoder; /* owned */
	uint8_t *raw, *stored;         /* owned; FRAME_RAW_MAX and FRAME_STORED_MAX bytes */
	int64_t raw_segment;           /* or NO_SEGMENT */

	/* CONTENT_ENCODED: output that was not read yet, and where in the stream it begins. */
	struct sink *encoder; /* owned */
	struct buf out;
	struct buf_sink out_sink;
	size_t out_taken;
	uint64_t out_offset;
	size_t next_segment;
	bool finished;
};

/* Puts `c` behind `older` in the store's list, which is sorted by age; NULL: as the newest. */
static void content_link(struct content *c, struct content *older)
{
	struct store *s = c->store;

	pthread_mutex_lock(&s->contents_lock);
	c->began = older ? older->began : ++s->contents_clock;
	c->older = older ? older : s->contents_newest;
	c->newer = c->older ? c->older->newer : s->contents_oldest;
	*(c->older ? &c->older->newer : &s->contents_oldest) = c;
	*(c->newer ? &c->newer->older : &s->contents_newest) = c;
	pthread_mutex_unlock(&s->contents_lock);
}

static struct content *content_alloc(struct store *s)
{
	struct content *c = xcalloc(1, sizeof(*c));

	c->store = s;
	c->object = OBJECT_INIT;
	c->raw_segment = NO_SEGMENT;
	return c;
}

struct content *content_new(struct store *s)
{
	struct content *c = content_alloc(s);

	content_link(c, NULL);
	return c;
}

static void content_unlink(struct content *c)
{
	struct store *s = c->store;

	pthread_mutex_lock(&s->contents_lock);
	*(c->older ? &c->older->newer : &s->contents_oldest) = c->newer;
	*(c->newer ? &c->newer->older : &s->contents_newest) = c->older;
	pthread_mutex_unlock(&s->contents_lock);
}

uint64_t contents_oldest(struct store *s)
{
	uint64_t began;

	pthread_mutex_lock(&s->contents_lock);
	began = s->contents_oldest ? s->contents_oldest->began : UINT64_MAX;
	pthread_mutex_unlock(&s->contents_lock);
	return began;
}

void content_free(struct content *c)
{
	if (!c)
		return;
	content_unlink(c);
	object_release(&c->object);
	for (size_t i = 0; i < OPEN_OBJECTS; i++)
		if (c->open[i].open)
			object_release(&c->open[i].object);
	if (c->form != CONTENT_OBJECT)
		splice_index_release(&c->index);
	splice_release(&c->splice);
	frame_decoder_free(c->decoder);
	encoder_free(c->encoder);
	buf_release(&c->out);
	free(c->raw);
	free(c->stored);
	free(c->coding);
	free(c);
}

int content_set_object(struct content *c, struct conn *conn, int64_t object, struct err *err)
{
	int r = object_open(c->store, conn, object, &c->object, err);

	if (r < 0)
		return r;
	c->form = CONTENT_OBJECT;
	c->size = c->object.size;
	c->digest = c->object.sha256;
	return 0;
}

void content_set_splice(struct content *c, enum content_form form, struct splice *splice)
{
	c->form = form;
	c->splice = *splice;
	*splice = (struct splice){0};
	splice_index_init(&c->index, &c->splice);
	c->size = form == CONTENT_SPLICE    ? c->splice.size
		  : form == CONTENT_DECODED ? c->splice.raw_size
					    : CONTENT_SIZE_UNKNOWN;
}

int content_set_encoded(struct content *c, enum codec codec, struct splice *splice, struct err *err)
{
	content_set_splice(c, CONTENT_ENCODED, splice);
	c->out = BUF_INIT(8 * FRAME_RAW_MAX); /* one frame, and what the encoder had held back */
	buf_sink_init(&c->out_sink, &c->out);
	return encoder_new(&c->encoder, codec, ENCODE_LEVEL, &c->out_sink.sink, err);
}

void content_set_digest(struct content *c, const struct hash *digest)
{
	c->digest = *digest;
}

void content_set_coding(struct content *c, const char *coding)
{
	free(c->coding);
	c->coding = coding ? xstrdup(coding) : NULL;
}

uint64_t content_size(const struct content *c)
{
	return c->size;
}

const struct hash *content_digest(const struct content *c)
{
	return &c->digest;
}

const char *content_coding(const struct content *c)
{
	return c->coding;
}

/* The object of a segment if it is open. */
static struct object *find_open(struct content *c, uint32_t index)
{
	for (size_t i = 0; i < OPEN_OBJECTS; i++) {
		struct open_object *o = &c->open[i];

		if (o->open && o->index == index) {
			o->used = ++c->uses;
			return &o->object;
		}
	}
	return NULL;
}

/* Opens the object of a segment in place of the one that was used least recently. */
static int open_object(struct content *c, uint32_t index, struct object **ret, struct err *err)
{
	struct open_object *slot = &c->open[0];
	struct conn *conn;
	int r;

	for (size_t i = 1; i < OPEN_OBJECTS; i++)
		if (c->open[i].used < slot->used)
			slot = &c->open[i];
	if (slot->open)
		object_release(&slot->object);
	slot->open = false;
	conn = db_reader(c->store->db, err);
	if (!conn)
		return err->code;
	r = object_open_hash(c->store, conn, &c->splice.objects[index], &slot->object, err);
	db_reader_done(c->store->db, conn);
	if (r < 0)
		return r;
	slot->open = true;
	slot->index = index;
	slot->used = ++c->uses;
	*ret = &slot->object;
	return 0;
}

static int object_of(struct content *c, uint32_t index, struct object **ret, struct err *err)
{
	*ret = find_open(c, index);
	return *ret ? 0 : open_object(c, index, ret, err);
}

/* Bytes of a segment as they are stored. */
static int segment_read(struct content *c, size_t i, uint64_t offset, void *buf, size_t len,
			struct err *err)
{
	const struct splice_segment *seg = &c->splice.segments[i];
	struct object *o;
	int r;

	if (seg->object == SPLICE_INLINE) {
		memcpy(buf, c->splice.bytes.data + seg->offset + offset, len);
		return 0;
	}
	r = object_of(c, seg->object, &o, err);
	return r < 0 ? r : object_pread(o, seg->offset + offset, buf, len, err);
}

/* Makes c->raw the decoded bytes of a segment. */
static int segment_decode(struct content *c, size_t i, struct err *err)
{
	const struct splice_segment *seg = &c->splice.segments[i];
	int r;

	if (c->raw_segment == (int64_t)i)
		return 0;
	if (!c->decoder) {
		c->decoder = frame_decoder_new();
		c->raw = xmalloc(FRAME_RAW_MAX);
		c->stored = xmalloc(FRAME_STORED_MAX);
	}
	if (seg->stored_size > FRAME_STORED_MAX || seg->raw_size > FRAME_RAW_MAX)
		return err_set(err, E_INTERNAL, "a frame is larger than frames are");
	c->raw_segment = NO_SEGMENT;
	r = segment_read(c, i, 0, c->stored, seg->stored_size, err);
	if (r < 0)
		return r;
	r = frame_decode(c->decoder, slice_make(c->stored, seg->stored_size), c->raw,
			 seg->raw_size);
	if (r < 0)
		return err_set(err, E_INTERNAL, "a stored frame cannot be decoded");
	c->raw_segment = (int64_t)i;
	return 0;
}

/* Some of the decoded bytes: up to the end of the segment that holds `offset`. */
static int decoded_read_some(struct content *c, uint64_t offset, void *buf, size_t len,
			     size_t *ret_got, struct err *err)
{
	size_t i = splice_index_find(&c->index, true, offset);
	uint64_t within;
	int r;

	if (i >= c->splice.n_segments)
		return err_set(err, E_INTERNAL, "a splice is shorter than its size");
	within = offset - c->index.raw[i];
	if (len > c->splice.segments[i].raw_size - within)
		len = (size_t)(c->splice.segments[i].raw_size - within);
	r = segment_decode(c, i, err);
	if (r >= 0)
		memcpy(buf, c->raw + within, len);
	*ret_got = len;
	return r;
}

/* Stored bytes of segment i, in `to` at the latest after gather_finish(). */
static int segment_gather(struct content *c, struct gather *g, size_t i, uint64_t within,
			  const struct iovec *to, struct err *err)
{
	const struct splice_segment *seg = &c->splice.segments[i];
	struct object *o;
	int r = 0;

	if (seg->object == SPLICE_INLINE) {
		memcpy(to->iov_base, c->splice.bytes.data + seg->offset + within, to->iov_len);
		return 0;
	}
	o = find_open(c, seg->object);
	if (!o) {
		/* Opening one may close another, of which something is still to be read. */
		r = gather_finish(g, err);
		if (r >= 0)
			r = open_object(c, seg->object, &o, err);
	}
	return r < 0 ? r : gather_add(g, o, seg->offset + within, to, err);
}

/* All of the stored bytes, which are within the splice's size. */
static int splice_read(struct content *c, uint64_t offset, uint8_t *buf, size_t len,
		       struct err *err)
{
	size_t i = splice_index_find(&c->index, false, offset);
	struct gather g;
	int r = 0;

	gather_init(&g);
	for (; len && r >= 0; i++) {
		uint64_t within, left;
		struct iovec to;

		if (i >= c->splice.n_segments)
			return err_set(err, E_INTERNAL, "a splice is shorter than its size");
		within = offset - c->index.stored[i];
		left = c->splice.segments[i].stored_size - within;
		to = (struct iovec){buf, left < len ? (size_t)left : len};
		r = segment_gather(c, &g, i, within, &to, err);
		offset += to.iov_len;
		buf += to.iov_len;
		len -= to.iov_len;
	}
	return r < 0 ? r : gather_finish(&g, err);
}

/* Feeds the encoder until there is output or everything went in. */
static int encode_more(struct content *c, struct err *err)
{
	int r = 0;

	buf_reset(&c->out);
	c->out_taken = 0;
	while (r >= 0 && c->out.len == 0 && !c->finished) {
		size_t i = c->next_segment;

		if (i == c->splice.n_segments) {
			c->finished = true;
			return sink_finish(c->encoder, err);
		}
		r = segment_decode(c, i, err);
		if (r >= 0)
			r = sink_write(c->encoder, c->raw, c->splice.segments[i].raw_size, err);
		c->next_segment++;
	}
	return r;
}

static int encoded_read_some(struct content *c, uint64_t offset, void *buf, size_t len,
			     size_t *ret_got, struct err *err)
{
	int r = 0;

	if (offset != c->out_offset)
		return err_set(err, E_USAGE, "this content can only be read from start to end");
	if (c->out_taken == c->out.len)
		r = encode_more(c, err);
	if (r < 0)
		return r;
	if (len > c->out.len - c->out_taken)
		len = c->out.len - c->out_taken;
	memcpy(buf, c->out.data + c->out_taken, len);
	c->out_taken += len;
	c->out_offset += len;
	*ret_got = len;
	return 0;
}

int content_read(struct content *c, uint64_t offset, void *buf, size_t len, size_t *ret_got,
		 struct err *err)
{
	size_t got = 0, n = 0;
	int r = 0;

	if (c->form != CONTENT_ENCODED) {
		if (offset >= c->size)
			len = 0;
		else if (len > c->size - offset)
			len = (size_t)(c->size - offset);
	}
	if (c->form == CONTENT_OBJECT && len) {
		r = object_pread(&c->object, offset, buf, len, err);
		got = len;
	}
	if (c->form == CONTENT_SPLICE && len) {
		r = splice_read(c, offset, buf, len, err);
		got = len;
	}
	while (r >= 0 && got < len) {
		r = (c->form == CONTENT_ENCODED ? encoded_read_some : decoded_read_some)(
			c, offset + got, (uint8_t *)buf + got, len - got, &n, err);
		if (r >= 0 && n == 0)
			break;
		got += n;
	}
	if (r < 0)
		return r;
	*ret_got = got;
	return 0;
}

int content_file(struct content *c, uint64_t offset, uint64_t len, uint64_t *ret_file_offset,
		 uint64_t *ret_len)
{
	struct err ignored = ERR_INIT;
	const struct splice_segment *seg;
	struct object *o = &c->object;
	uint64_t left = c->size - offset, begin = offset;

	if (c->form > CONTENT_SPLICE || offset >= c->size)
		return -1;
	if (c->form == CONTENT_SPLICE) {
		size_t i = splice_index_find(&c->index, false, offset);

		seg = &c->splice.segments[i];
		if (seg->object == SPLICE_INLINE || object_of(c, seg->object, &o, &ignored) < 0)
			return -1; /* whoever reads it then is told why */
		begin = seg->offset + (offset - c->index.stored[i]);
		left = seg->stored_size - (offset - c->index.stored[i]);
		/* Frames that follow each other there are one piece. */
		while (left < len && ++i < c->splice.n_segments && seg[1].object == seg->object &&
		       seg[1].offset == seg->offset + seg->stored_size)
			left += (++seg)->stored_size;
	}
	if (o->fd < 0)
		return -1;
	*ret_file_offset = begin;
	*ret_len = left < len ? left : len;
	return o->fd;
}

int content_copy(struct content *c, struct sink *out, struct err *err)
{
	enum { CHUNK = 256 << 10 };
	cleanup_free uint8_t *buf = xmalloc(CHUNK);
	uint64_t offset = 0;
	size_t got = 1;
	int r = 0;

	while (r >= 0 && got) {
		r = content_read(c, offset, buf, CHUNK, &got, err);
		if (r >= 0)
			r = sink_write(out, buf, got, err);
		offset += got;
	}
	return r < 0 ? r : 0;
}

int content_hash(struct content *c, enum hash_algo algo, struct hash *ret, struct err *err)
{
	struct hash_sink sink;
	int r;

	hash_sink_init(&sink, algo, NULL);
	r = content_copy(c, &sink.sink, err);
	if (r >= 0)
		hash_sink_final(&sink, ret);
	hash_sink_release(&sink);
	return r;
}

void splice_copy(struct splice *ret, const struct splice *from)
{
	*ret = *from;
	if (from->n_objects)
		ret->objects = xmemdup(from->objects, from->n_objects * sizeof(*from->objects));
	if (from->n_segments)
		ret->segments = xmemdup(from->segments, from->n_segments * sizeof(*from->segments));
	ret->cap_objects = from->n_objects;
	ret->cap_segments = from->n_segments;
	ret->bytes = BUF_INIT(from->bytes.max);
	if (from->bytes.len)
		ret->bytes.data = xmemdup(from->bytes.data, from->bytes.len);
	ret->bytes.len = ret->bytes.cap = from->bytes.len;
}

bool content_has_encoded(const struct content *c)
{
	return c->form == CONTENT_DECODED;
}

int content_encoded(struct content *c, enum codec codec, struct content **ret, struct err *err)
{
	CLEANUP(content_free) struct content *encoded = NULL;
	struct splice splice;
	int r = 0;

	if (!content_has_encoded(c) || (codec != CODEC_ZSTD && codec != CODEC_GZIP))
		return err_set(err, E_UNSUPPORTED, "not stored in frames");
	encoded = content_alloc(c->store);
	content_link(encoded, c); /* holds what `c` holds, should `c` go first */
	splice_copy(&splice, &c->splice);
	if (codec == CODEC_ZSTD)
		content_set_splice(encoded, CONTENT_SPLICE, &splice);
	else
		r = content_set_encoded(encoded, codec, &splice, err);
	if (r < 0)
		return r;
	*ret = take_ptr(encoded);
	return 0;
}
