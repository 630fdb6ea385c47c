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
	return err_set(err, (enum err_code)code, "%s: %s at byte %" PRIu64 " of the input",
		       codec_name(d->codec), why, d->offset);
}

static int bad_magic(const struct decoder *d, struct err *err)
{
	return fail(d, E_INVALID,
		    d->members ? "garbage behind the end" : "wrong magic number, not this format",
		    err);
}

/* Gives `in` to the member. Returns 1 when the member is complete (with input left or not), 0
 * when all was taken. */
static int member_bytes(struct decoder *d, struct slice *in, struct err *err)
{
	for (;;) {
		struct codec_io io = {.in = in->data,
				      .in_len = in->len,
				      .out = d->buffer,
				      .out_len = CODEC_BUFFER};
		size_t taken, made;
		int r, step = d->ops->step(d->state, &io);

		taken = in->len - io.in_len;
		made = CODEC_BUFFER - io.out_len;
		slice_advance(in, taken);
		d->offset += taken;
		/* What came out before an error is still checked against the limits first: a
		 * bomb is a bomb. */
		r = emit(d, d->buffer, made, err);
		if (r < 0)
			return r;
		if (step < 0)
			return fail(d, step, io.why, err);
		if (step > 0)
			return 1;
		if (!taken && !made)
			return in->len ? fail(d, E_INVALID, "the decoder is stuck", err) : 0;
		if (!in->len && made < CODEC_BUFFER)
			return 0;
	}
}

static int begin_member(struct decoder *d, struct err *err)
{
	const char *why = "cannot begin";
	struct slice head = slice_make(d->head, d->head_len);
	int r = d->ops->begin(d->state, &why);

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

static int decoder_finish(struct sink *self, struct err *err)
{
	struct decoder *d = container_of(self, struct decoder, sink);

	if (d->ops) {
		if (d->in_member || d->head_len || !d->members)
			return fail(d, E_TRUNCATED, "the stream ends too early,", err);
		if (d->ops->padding && d->pad_bytes % d->ops->padding)
			return bad_magic(d, err);
	}
	return sink_finish(d->out, err);
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
