/* SPDX-License-Identifier: Apache-2.0 */
/* Drives any decoder: members one after another, magic numbers, limits, and errors that say
 * where. */
#include "codec/codec-internal.h"

#include <inttypes.h>

#include "base/mem.h"

struct decoder {
	struct sink sink;
	enum codec codec;
	const struct codec_decoder_ops *ops; /* NULL: pass on */
	void *state;                         /* owned */
	uint8_t *buffer;                     /* owned, CODEC_BUFFER bytes */
	struct sink *out;                    /* borrowed */
	struct codec_limits limits;
	uint64_t offset;   /* bytes of input taken */
	uint64_t produced; /* bytes of output */
	bool begun;        /* the state was begun once */
	bool in_member;
	uint64_t members;   /* complete ones */
	uint64_t pad_bytes; /* zeros since the last member */
	uint8_t head[CODEC_MAGIC_MAX];
	size_t head_len; /* bytes of the next member's magic number seen so far */
};

static int check_limits(const struct decoder *d, size_t more, struct err *err)
{
	uint64_t total = d->produced + more;
	uint64_t by_ratio;

	if (d->limits.max_output && total > d->limits.max_output)
		return err_set(err, E_LIMIT,
			       "%s: decompresses to more than the %" PRIu64
			       " bytes allowed (after %" PRIu64 " bytes of input)",
			       codec_name(d->codec), d->limits.max_output, d->offset);
	if (!d->limits.max_ratio || total <= CODEC_RATIO_FREE ||
	    mul_checked(&by_ratio, d->offset, (uint64_t)d->limits.max_ratio) < 0)
		return 0;
	if (total > by_ratio)
		return err_set(err, E_LIMIT,
			       "%s: decompresses to more than %" PRIu32
			       " times its size (after %" PRIu64 " bytes of input)",
			       codec_name(d->codec), d->limits.max_ratio, d->offset);
	return 0;
}

static int emit(struct decoder *d, const void *data, size_t len, struct err *err)
{
	int r;

	if (!len)
		return 0;
	r = check_limits(d, len, err);
	if (r < 0)
		return r;
	d->produced += len;
	return sink_write(d->out, data, len, err);
}

static int fail(const struct decoder *d, int code, const char *why, struct err *err)
{
	/* A codec knows its own limits alone. */
	if (code == E_LIMIT && d->limits.max_window)
		why = "decompressing needs more memory than may be used for it here,";
	return err_set(err, (enum err_code)code, "%s: %s at byte %" PRIu64 " of the input",
		       codec_name(d->codec), why, d->offset);
}

static int bad_magic(const struct decoder *d, struct err *err)
{
	return fail(d, E_INVALID,
		    d->members ? "garbage behind the end" : "wrong magic number, not this format",
		    err);
}

/* Where a step's output goes. */
struct room {
	uint8_t *at;
	size_t len, made;
};

/* One step with `in`, and what is made of it. Returns what the codec does, 2: go on with the same
 * room, 3: it is stuck. */
enum { STEP_ON = 2, STEP_STUCK };
static int member_step(struct decoder *d, struct slice *in, struct room *room, const char **ret_why)
{
	struct codec_io io = {
		.in = in->data, .in_len = in->len, .out = room->at, .out_len = room->len};
	int step = d->ops->step(d->state, &io);
	size_t taken = in->len - io.in_len;

	room->made = room->len - io.out_len;
	*ret_why = io.why;
	slice_advance(in, taken);
	d->offset += taken;
	if (step)
		return step;
	if (!taken && !room->made)
		return in->len ? STEP_STUCK : 0;
	return !in->len && room->made < room->len ? 0 : STEP_ON;
}

static int step_result(const struct decoder *d, int step, const char *why, struct err *err)
{
	if (step == STEP_STUCK)
		return fail(d, E_INVALID, "the decoder is stuck", err);
	return step < 0 ? fail(d, step, why, err) : step;
}

/* Gives `in` to the member. Returns 1 when the member is complete (with input left or not), 0
 * when all was taken. */
static int member_bytes(struct decoder *d, struct slice *in, struct err *err)
{
	struct room room = {.at = d->buffer, .len = CODEC_BUFFER};
	int step = STEP_ON;

	while (step == STEP_ON) {
		const char *why;
		int r;

		step = member_step(d, in, &room, &why);
		/* What came out before an error is still checked against the limits first: a
		 * bomb is a bomb. */
		r = emit(d, d->buffer, room.made, err);
		if (r == 0)
			r = step_result(d, step, why, err);
		if (r < 0)
			return r;
	}
	return step;
}

static int begin_member(struct decoder *d, struct err *err)
{
	const char *why = "cannot begin";
	struct slice head = slice_make(d->head, d->head_len);
	int r = d->ops->begin(d->state, d->limits.max_window, &why);

	d->begun = true;
	if (r < 0)
		return fail(d, r, why, err);
	d->in_member = true;
	d->head_len = 0;
	d->pad_bytes = 0;
	d->offset -= head.len;
	r = member_bytes(d, &head, err);
	if (r > 0)
		return fail(d, E_INVALID, "a member that is only a magic number", err);
	return r;
}

/* Between members: takes padding and the next magic number from `in`; begins the member when the
 * latter is complete. */
static int between_members(struct decoder *d, struct slice *in, struct err *err)
{
	const struct codec_decoder_ops *ops = d->ops;

	if (ops->single && d->members)
		return bad_magic(d, err);
	while (d->head_len < ops->magic_len && in->len) {
		if (ops->padding && d->members && !d->head_len && in->data[0] == 0) {
			d->pad_bytes++;
		} else {
			d->head[d->head_len++] = in->data[0];
			if (!ops->magic(d->head, d->head_len) ||
			    (ops->padding && d->pad_bytes % ops->padding))
				return bad_magic(d, err);
		}
		slice_advance(in, 1);
		d->offset++;
	}
	return d->head_len == ops->magic_len ? begin_member(d, err) : 0;
}

static int decoder_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct decoder *d = container_of(self, struct decoder, sink);
	struct slice in = slice_make(data, len);
	int r;

	if (!d->ops) {
		d->offset += len;
		return emit(d, data, len, err);
	}
	while (in.len) {
		r = d->in_member ? member_bytes(d, &in, err) : between_members(d, &in, err);
		if (r < 0)
			return r;
		if (r > 0) {
			d->in_member = false;
			d->members++;
		}
	}
	return 0;
}

static int check_end(const struct decoder *d, struct err *err)
{
	if (!d->ops)
		return 0;
	if (d->in_member || d->head_len || !d->members)
		return fail(d, E_TRUNCATED, "the stream ends too early,", err);
	return d->ops->padding && d->pad_bytes % d->ops->padding ? bad_magic(d, err) : 0;
}

static int decoder_finish(struct sink *self, struct err *err)
{
	struct decoder *d = container_of(self, struct decoder, sink);
	int r = check_end(d, err);

	return r < 0 ? r : sink_finish(d->out, err);
}

int decoder_new(struct sink **ret, enum codec c, struct sink *out,
		const struct codec_limits *limits, struct err *err)
{
	const struct codec_decoder_ops *ops = codec_decoder_ops(c);
	struct decoder *d;

	if (!ops && c != CODEC_NONE)
		return err_set(err, E_UNSUPPORTED, "cannot decompress this format (%s)",
			       codec_name(c));
	if (ops && ops->load && ops->load(err) < 0)
		return err->code;
	d = xcalloc(1, sizeof(*d));
	d->sink = (struct sink){decoder_write, decoder_finish};
	d->codec = c;
	d->ops = ops;
	d->out = out;
	if (limits)
		d->limits = *limits;
	if (ops) {
		d->state = xcalloc(1, ops->state_size);
		d->buffer = xmalloc(CODEC_BUFFER);
	}
	*ret = &d->sink;
	return 0;
}

void decoder_free(struct sink *s)
{
	struct decoder *d;

	if (!s)
		return;
	d = container_of(s, struct decoder, sink);
	if (d->begun)
		d->ops->release(d->state);
	free(d->state);
	free(d->buffer);
	free(d);
}

/* ---- The other way round ---- */

struct decode_reader {
	struct sink nowhere;
	struct sink *decoder; /* owned */
	decode_input *input;
	void *arg;       /* borrowed */
	uint8_t *block;  /* owned, DECODE_INPUT bytes */
	struct slice in; /* what is left of the block */
	bool is_full;    /* the member may have more output without more input */
	bool ended;      /* the input */
};

/* A magic number makes no output, and all else goes to the reader's own memory. */
static int nowhere_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	(void)self, (void)data, (void)len;
	return err_set(err, E_INTERNAL, "the head of a stream made output");
}

int decode_reader_new(struct decode_reader **ret, enum codec c, decode_input *input, void *arg,
		      const struct codec_limits *limits, struct err *err)
{
	struct decode_reader *d;
	int r;

	if (c == CODEC_NONE)
		return err_set(err, E_UNSUPPORTED, "this is not compressed");
	d = xcalloc(1, sizeof(*d));
	d->nowhere.write = nowhere_write;
	d->input = input;
	d->arg = arg;
	r = decoder_new(&d->decoder, c, &d->nowhere, limits, err);
	if (r < 0) {
		free(d);
		return r;
	}
	d->block = xmalloc(DECODE_INPUT);
	*ret = d;
	return 0;
}

void decode_reader_free(struct decode_reader *d)
{
	if (!d)
		return;
	decoder_free(d->decoder);
	free(d->block);
	free(d);
}

static int next_block(struct decode_reader *d, struct err *err)
{
	size_t got;
	int r = d->input(d->arg, d->block, &got, err);

	if (r < 0)
		return r;
	d->in = slice_make(d->block, got);
	d->ended = !got;
	return 0;
}

/* One step of the member into `room`. */
static int read_member(struct decode_reader *reader, struct decoder *d, struct room *room,
		       struct err *err)
{
	const char *why;
	int r, step = member_step(d, &reader->in, room, &why);

	r = check_limits(d, room->made, err);
	if (r == 0)
		r = step_result(d, step, why, err);
	if (r < 0)
		return r;
	d->produced += room->made;
	reader->is_full = step == STEP_ON;
	if (step == 1) {
		d->in_member = false;
		d->members++;
	}
	return 0;
}

int decode_reader_read(struct decode_reader *d, void *buf, size_t len, size_t *ret_got,
		       struct err *err)
{
	struct decoder *decoder = container_of(d->decoder, struct decoder, sink);
	size_t got = 0;
	int r = 0;

	while (r == 0 && got < len && !d->ended) {
		struct room room = {.at = (uint8_t *)buf + got, .len = len - got};

		if (!d->in.len && !d->is_full)
			r = next_block(d, err);
		else if (decoder->in_member)
			r = read_member(d, decoder, &room, err);
		else
			r = between_members(decoder, &d->in, err);
		got += room.made;
		if (r == 0 && d->ended)
			r = check_end(decoder, err);
	}
	if (r < 0)
		return r;
	*ret_got = got;
	return 0;
}
