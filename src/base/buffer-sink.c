/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buffer-sink.h"
#include "base/mem.h"

int buffer_sink_flush(struct buffer_sink *s, struct err *err)
{
	size_t len = s->len;

	s->len = 0;
	return sink_write(s->next, s->data, len, err);
}

static int fill(struct buffer_sink *s, size_t len, struct err *err)
{
	s->len += len;
	return s->len == s->size ? buffer_sink_flush(s, err) : 0;
}

static int buffer_sink_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct buffer_sink *s = container_of(self, struct buffer_sink, sink);
	struct slice rest = slice_make(data, len);

	if (len >= s->size) {
		if (buffer_sink_flush(s, err) < 0)
			return err->code;
		return sink_write(s->next, data, len, err);
	}
	while (rest.len) {
		size_t n = s->size - s->len < rest.len ? s->size - s->len : rest.len;

		memcpy(s->data + s->len, rest.data, n);
		slice_advance(&rest, n);
		if (fill(s, n, err) < 0)
			return err->code;
	}
	return 0;
}

static int buffer_sink_finish(struct sink *self, struct err *err)
{
	struct buffer_sink *s = container_of(self, struct buffer_sink, sink);

	if (buffer_sink_flush(s, err) < 0)
		return err->code;
	return sink_finish(s->next, err);
}

static size_t buffer_room(struct room *self, uint8_t **ret)
{
	struct buffer_sink *s = container_of(self, struct buffer_sink, room);

	*ret = s->data + s->len;
	return s->size - s->len;
}

static int buffer_filled(struct room *self, size_t len, struct err *err)
{
	return fill(container_of(self, struct buffer_sink, room), len, err);
}

void buffer_sink_init(struct buffer_sink *s, struct sink *next, size_t size)
{
	*s = (struct buffer_sink){
		.sink = {buffer_sink_write, buffer_sink_finish},
		.room = {buffer_room, buffer_filled},
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
