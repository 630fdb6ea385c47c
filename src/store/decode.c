/* SPDX-License-Identifier: Apache-2.0 */
#include "store/decode.h"

static int guard_write(struct sink *sink, const void *data, size_t len, struct err *err)
{
	struct decode_sink *d = container_of(sink, struct decode_sink, guard);
	const struct store_options *o = d->options;

	d->bytes_out += len;
	if (d->bytes_out > o->nar_max_bytes)
		return err_set(err, E_LIMIT, "%s has more than %llu bytes, uncompressed", d->what,
			       (unsigned long long)o->nar_max_bytes);
	if (d->bytes_out > o->decode_free_bytes &&
	    (d->bytes_out - o->decode_free_bytes) / o->decode_ratio_max > d->bytes_in)
		return err_set(err, E_LIMIT, "%s unpacks to more than %u times its size", d->what,
			       o->decode_ratio_max);
	return sink_write(d->out, data, len, err);
}

static int guard_finish(struct sink *sink, struct err *err)
{
	return sink_finish(container_of(sink, struct decode_sink, guard)->out, err);
}

static int decoder_begin(struct decode_sink *d, struct err *err)
{
	/* The guard knows the limits; the decoder's own would only say it in other words. */
	struct codec_limits limits = {0};
	int r;

	if (d->codec == CODEC_UNKNOWN)
		d->codec = codec_sniff(slice_make(d->head, d->head_len));
	r = decoder_new(&d->decoder, d->codec, &d->guard, &limits, err);
	return r < 0 ? r : sink_write(d->decoder, d->head, d->head_len, err);
}

static int decode_write(struct sink *sink, const void *data, size_t len, struct err *err)
{
	struct decode_sink *d = container_of(sink, struct decode_sink, sink);
	size_t n = 0;
	int r = 0;

	d->bytes_in += len;
	if (!d->decoder) {
		n = SNIFF_BYTES - d->head_len < len ? SNIFF_BYTES - d->head_len : len;
		memcpy(d->head + d->head_len, data, n);
		d->head_len += n;
		if (d->head_len < SNIFF_BYTES)
			return 0;
		r = decoder_begin(d, err);
	}
	return r < 0 ? r : sink_write(d->decoder, (const uint8_t *)data + n, len - n, err);
}

static int decode_finish(struct sink *sink, struct err *err)
{
	struct decode_sink *d = container_of(sink, struct decode_sink, sink);
	int r = d->decoder ? 0 : decoder_begin(d, err);

	return r < 0 ? r : sink_finish(d->decoder, err);
}

void decode_sink_init(struct decode_sink *d, enum codec codec, struct sink *out,
		      const struct store_options *options, const char *what)
{
	*d = (struct decode_sink){
		.sink = {decode_write, decode_finish},
		.guard = {guard_write, guard_finish},
		.out = out,
		.options = options,
		.what = what,
		.codec = codec,
	};
}

int decode_sink_decoded(struct decode_sink *d, size_t len_in, const void *data, size_t len,
			struct err *err)
{
	d->bytes_in += len_in;
	return sink_write(&d->guard, data, len, err);
}

void decode_sink_release(struct decode_sink *d)
{
	decoder_free(d->decoder);
	d->decoder = NULL;
}
