/* SPDX-License-Identifier: Apache-2.0 */
/* Drives any encoder. */
#include "codec/codec-internal.h"

#include "base/mem.h"

struct encoder {
	struct sink sink;
	enum codec codec;
	const struct codec_encoder_ops *ops; /* NULL: pass on */
	void *state;                         /* owned */
	uint8_t *buffer;                     /* owned, CODEC_BUFFER bytes */
	struct sink *out;                    /* borrowed */
};

/* Runs the encoder over `in`; returns when all is taken and, if `last`, all is written. */
static int encode(struct encoder *e, struct slice in, bool last, struct err *err)
{
	for (;;) {
		struct codec_io io = {
			.in = in.data, .in_len = in.len, .out = e->buffer, .out_len = CODEC_BUFFER};
		int r, step = e->ops->step(e->state, &io, last);

		if (step < 0)
			return err_set(err, (enum err_code)step, "%s encoder: %s",
				       codec_name(e->codec), io.why);
		slice_advance(&in, in.len - io.in_len);
		r = sink_write(e->out, e->buffer, CODEC_BUFFER - io.out_len, err);
		if (r < 0)
			return r;
		if (step > 0 || (!last && !in.len && io.out_len))
			return 0;
	}
}

static int encoder_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct encoder *e = container_of(self, struct encoder, sink);

	if (!e->ops)
		return sink_write(e->out, data, len, err);
	return encode(e, slice_make(data, len), false, err);
}

static int encoder_finish(struct sink *self, struct err *err)
{
	struct encoder *e = container_of(self, struct encoder, sink);

	if (e->ops) {
		int r = encode(e, slice_make("", 0), true, err);

		if (r < 0)
			return r;
	}
	return sink_finish(e->out, err);
}

int encoder_new(struct sink **ret, enum codec c, int level, struct sink *out, struct err *err)
{
	const struct codec_encoder_ops *ops = codec_encoder_ops(c);
	const char *why = "cannot begin";
	struct encoder *e;
	int r;

	if (!codec_can_encode(c))
		return err_set(err, E_UNSUPPORTED, "cannot compress to this format (%s)",
			       codec_name(c));
	if (ops && level != 0 && (level < ops->level_min || level > ops->level_max))
		return err_set(err, E_USAGE, "compression level %d of %s: must be %d to %d", level,
			       codec_name(c), ops->level_min, ops->level_max);
	if (ops && ops->load && ops->load(err) < 0)
		return err->code;
	e = xcalloc(1, sizeof(*e));
	e->sink = (struct sink){encoder_write, encoder_finish};
	e->codec = c;
	e->ops = ops;
	e->out = out;
	if (ops) {
		e->state = xcalloc(1, ops->state_size);
		e->buffer = xmalloc(CODEC_BUFFER);
		r = ops->begin(e->state, level ? level : ops->level_default, &why);
		if (r < 0) {
			encoder_free(&e->sink);
			return err_set(err, (enum err_code)r, "%s encoder: %s", codec_name(c), why);
		}
	}
	*ret = &e->sink;
	return 0;
}

void encoder_free(struct sink *s)
{
	struct encoder *e;

	if (!s)
		return;
	e = container_of(s, struct encoder, sink);
	if (e->ops)
		e->ops->release(e->state);
	free(e->state);
	free(e->buffer);
	free(e);
}
