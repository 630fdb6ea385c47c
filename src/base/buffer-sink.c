/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buffer-sink.h"
#include "base/mem.h"

int buffer_sink_flush(struct buffer_sink *s, struct err *err)
{
	size_t len = s->len;

	s->len = 0;
	return sink_write(s->next, s->data, len, err);
}

static int buffer_sink_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct buffer_sink *s = container_of(self, struct buffer_sink, sink);

	if (len > s->size - s->len && buffer_sink_flush(s, err) < 0)
		return err->code;
	if (len >= s->size)
		return sink_write(s->next, data, len, err);
	memcpy(s->data + s->len, data, len);
	s->len += len;
	return 0;
}

static int buffer_sink_finish(struct sink *self, struct err *err)
{
	struct buffer_sink *s = container_of(self, struct buffer_sink, sink);

	if (buffer_sink_flush(s, err) < 0)
		return err->code;
	return sink_finish(s->next, err);
}

void buffer_sink_init(struct buffer_sink *s, struct sink *next, size_t size)
{
	*s = (struct buffer_sink){
		.sink = {buffer_sink_write, buffer_sink_finish},
		.next = next,
		.data = xmalloc(size),
		.size = size,
	};
}

void buffer_sink_release(struct buffer_sink *s)
{
	free(s->data);
	s->data = NULL;
}
