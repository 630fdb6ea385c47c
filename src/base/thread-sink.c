/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread-sink.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void *run(void *data)
{
	struct thread_sink *s = data;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct err err = ERR_INIT;

		while (s->taken == s->filled && !s->is_ended)
			cond_wait(&s->changed, &s->lock);
		if (s->taken == s->filled)
			break;
		if (!s->err.code) {
			pthread_mutex_unlock(&s->lock);
			(void)sink_write(s->next, s->blocks[s->taken % THREAD_SINK_BLOCKS],
					 THREAD_SINK_BLOCK, &err);
			pthread_mutex_lock(&s->lock);
			s->err = err;
		}
		s->taken++;
		if (s->filled - s->taken <= THREAD_SINK_BLOCKS / 2)
			cond_wake_one(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* The block is full: it is the thread's now. */
static int submit(struct thread_sink *s, struct err *err)
{
	s->len = 0;
	if (!s->is_running && !s->is_direct) {
		s->is_running = pthread_create(&s->thread, NULL, run, s) == 0;
		s->is_direct = !s->is_running;
	}
	if (s->is_direct)
		return sink_write(s->next, s->blocks[0], THREAD_SINK_BLOCK, err);
	pthread_mutex_lock(&s->lock);
	s->filled++;
	cond_wake_one(&s->changed);
	/* Once all wait, half of them have to be taken: fewer turns. */
	if (s->filled - s->taken == THREAD_SINK_BLOCKS)
		while (s->filled - s->taken > THREAD_SINK_BLOCKS / 2)
			cond_wait(&s->changed, &s->lock);
	if (s->err.code)
		*err = s->err;
	pthread_mutex_unlock(&s->lock);
	return err->code;
}

static size_t find_room(struct thread_sink *s, uint8_t **ret)
{
	uint8_t **block = &s->blocks[s->filled % THREAD_SINK_BLOCKS];

	if (!*block)
		*block = xmalloc(THREAD_SINK_BLOCK);
	*ret = *block + s->len;
	return THREAD_SINK_BLOCK - s->len;
}

static int fill_room(struct thread_sink *s, size_t len, struct err *err)
{
	s->len += len;
	return s->len == THREAD_SINK_BLOCK ? submit(s, err) : 0;
}

static int thread_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct thread_sink *s = container_of(self, struct thread_sink, sink);
	const uint8_t *from = data;

	while (len) {
		uint8_t *to;
		size_t n = find_room(s, &to);

		n = n < len ? n : len;
		memcpy(to, from, n);
		from += n;
		len -= n;
		if (fill_room(s, n, err) < 0)
			return err->code;
	}
	return 0;
}

static size_t thread_room(struct room *self, uint8_t **ret)
{
	return find_room(container_of(self, struct thread_sink, room), ret);
}

static int thread_filled(struct room *self, size_t len, struct err *err)
{
	return fill_room(container_of(self, struct thread_sink, room), len, err);
}

static void join(struct thread_sink *s)
{
	if (!s->is_running)
		return;
	pthread_mutex_lock(&s->lock);
	s->is_ended = true;
	cond_wake_one(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	s->is_running = false;
}

static int thread_finish(struct sink *self, struct err *err)
{
	struct thread_sink *s = container_of(self, struct thread_sink, sink);

	join(s);
	if (s->err.code) {
		*err = s->err;
		return err->code;
	}
	if (s->len &&
	    sink_write(s->next, s->blocks[s->filled % THREAD_SINK_BLOCKS], s->len, err) < 0)
		return err->code;
	s->len = 0;
	return sink_finish(s->next, err);
}

void thread_sink_init(struct thread_sink *s, struct sink *next)
{
	*s = (struct thread_sink){.sink = {.write = thread_write, .finish = thread_finish},
				  .room = {thread_room, thread_filled},
				  .next = next};
	pthread_mutex_init(&s->lock, NULL);
}

void thread_sink_release(struct thread_sink *s)
{
	join(s);
	for (size_t i = 0; i < THREAD_SINK_BLOCKS; i++)
		free(s->blocks[i]);
	pthread_mutex_destroy(&s->lock);
}
