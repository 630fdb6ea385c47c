/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/unpack.h"

#include "base/mem.h"
#include "codec/codec.h"

static int start_decoder(struct unpack_sink *s, struct err *err)
{
	const struct codec_limits no_limits = {0};
	enum codec codec = codec_sniff(slice_make(s->head, s->head_len));
	int r = decoder_new(&s->decoder, codec, s->out, &no_limits, err);

	return r < 0 ? r : sink_write(s->decoder, s->head, s->head_len, err);
}

static int unpack_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct unpack_sink *s = container_of(self, struct unpack_sink, sink);
	size_t n = sizeof(s->head) - s->head_len;
	int r;

	if (!s->decoder) {
		if (n > len)
			n = len;
		memcpy(s->head + s->head_len, data, n);
		s->head_len += n;
		if (s->head_len < sizeof(s->head))
			return 0;
		r = start_decoder(s, err);
		if (r < 0)
			return r;
		data = (const uint8_t *)data + n;
		len -= n;
	}
	return sink_write(s->decoder, data, len, err);
}

static int unpack_finish(struct sink *self, struct err *err)
{
	struct unpack_sink *s = container_of(self, struct unpack_sink, sink);
	int r = s->decoder ? 0 : start_decoder(s, err);

	return r < 0 ? r : sink_finish(s->decoder, err);
}

void unpack_sink_init(struct unpack_sink *s, struct sink *out)
{
	*s = (struct unpack_sink){.sink = {unpack_write, unpack_finish}, .out = out};
}

void unpack_sink_release(struct unpack_sink *s)
{
	if (s->decoder)
		decoder_free(s->decoder);
	s->decoder = NULL;
}
