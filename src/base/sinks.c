/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/mem.h"
#include "base/sinks.h"

static int tee_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct tee_sink *s = container_of(self, struct tee_sink, sink);
	int r = sink_write(s->a, data, len, err);

	return r < 0 ? r : sink_write(s->b, data, len, err);
}

static int tee_finish(struct sink *self, struct err *err)
{
	struct tee_sink *s = container_of(self, struct tee_sink, sink);
	int r = sink_finish(s->a, err);

	return r < 0 ? r : sink_finish(s->b, err);
}

void tee_sink_init(struct tee_sink *s, struct sink *a, struct sink *b)
{
	*s = (struct tee_sink){.sink = {tee_write, tee_finish}, .a = a, .b = b};
}

static int limit_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct limit_sink *s = container_of(self, struct limit_sink, sink);

	if (len > s->max - s->bytes)
		return err_set(err, E_LIMIT, "%s is larger than %" PRIu64 " bytes", s->what,
			       s->max);
	s->bytes += len;
	return s->next ? sink_write(s->next, data, len, err) : 0;
}

static int limit_finish(struct sink *self, struct err *err)
{
	struct limit_sink *s = container_of(self, struct limit_sink, sink);

	return s->next ? sink_finish(s->next, err) : 0;
}

void limit_sink_init(struct limit_sink *s, struct sink *next, uint64_t max, const char *what)
{
	*s = (struct limit_sink){
		.sink = {limit_write, limit_finish}, .next = next, .max = max, .what = what};
}

static int null_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	(void)self, (void)data, (void)len, (void)err;
	return 0;
}

struct sink *null_sink(void)
{
	static struct sink null = {.write = null_write}; /* never changed */

	return &null;
}

static int node_tee_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct node_tee *t = container_of(self, struct node_tee, node_sink);
	int r = node_sink_event(t->a, ev, err);

	return r < 0 ? r : node_sink_event(t->b, ev, err);
}

void node_tee_init(struct node_tee *t, struct node_sink *a, struct node_sink *b)
{
	*t = (struct node_tee){.node_sink = {node_tee_event}, .a = a, .b = b};
}
