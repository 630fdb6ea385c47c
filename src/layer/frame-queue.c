/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool owns threads, buffers and compression contexts; a queue is the order of one stream's frames.
 * A frame that is large and finds a thread to be had is a job for the pool; any other is compressed
 * by who brings it, so nobody ever waits for another's work. Jobs that are with the pool are bounded
 * for the pool as a whole, so memory is, whatever the number of streams.
 */
#include <pthread.h>
#include <zstd.h>

#include "base/cond.h"
#include "base/mem.h"
#include "base/processors.h"
#include "layer/framer.h"

enum {
	LEVEL = 3,
	THREADS_MAX = 32,
	SPARE_MAX = 8,         /* buffers, and contexts, that are kept for the next */
	JOBS_A_THREAD = 2,     /* with the pool at a time */
	WAITING_MAX = 64,      /* frames of one queue */
	THREAD_MIN = 64 << 10, /* bytes that are worth another thread */
};

struct job {
	struct job *next;       /* of its queue */
	struct job *next_work;  /* of the pool */
	struct frame_sink *out; /* borrowed */
	enum frame_kind kind;
	size_t raw_size;
	uint8_t *raw;       /* owned buffer; NULL: was never with the pool */
	uint8_t *stored;    /* owned; a buffer if `raw` is */
	size_t stored_size; /* or zstd's error */
	bool done;          /* under the pool's lock, where it is with the pool */
};

struct frame_pool {
	unsigned threads_max; /* 0: there are none */
	pthread_mutex_t lock; /* guards what follows */
	struct cond work, done;
	pthread_t threads[THREADS_MAX];
	unsigned n_threads, idle;
	struct job *first, **last;
	unsigned jobs; /* that queues have with the pool, done or not */
	bool ending;
	uint8_t *buffers[SPARE_MAX]; /* owned */
	ZSTD_CCtx *contexts[SPARE_MAX];
	size_t n_buffers, n_contexts;
};

struct frame_queue {
	struct frame_pool *pool; /* borrowed, or NULL */
	struct job *first, **last;
	unsigned waiting;
	ZSTD_CCtx *ctx;  /* owned; NULL: not needed so far */
	uint8_t *stored; /* owned buffer; the same */
};

/* ---- What is kept for the next ---- */

static ZSTD_CCtx *context_new(void)
{
	ZSTD_CCtx *ctx = ZSTD_createCCtx();

	if (!ctx)
		abort(); /* out of memory */
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_compressionLevel, LEVEL);
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, 1);
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_checksumFlag, 0);
	return ctx;
}

static ZSTD_CCtx *context_take(struct frame_pool *p)
{
	ZSTD_CCtx *ctx = NULL;

	if (p) {
		pthread_mutex_lock(&p->lock);
		if (p->n_contexts)
			ctx = p->contexts[--p->n_contexts];
		pthread_mutex_unlock(&p->lock);
	}
	return ctx ? ctx : context_new();
}

static void context_give(struct frame_pool *p, ZSTD_CCtx *ctx)
{
	if (p && ctx) {
		pthread_mutex_lock(&p->lock);
		if (p->n_contexts < SPARE_MAX)
			p->contexts[p->n_contexts++] = take_ptr(ctx);
		pthread_mutex_unlock(&p->lock);
	}
	ZSTD_freeCCtx(ctx);
}

uint8_t *frame_buffer_take(struct frame_pool *p)
{
	uint8_t *buffer = NULL;

	if (p) {
		pthread_mutex_lock(&p->lock);
		if (p->n_buffers)
			buffer = p->buffers[--p->n_buffers];
		pthread_mutex_unlock(&p->lock);
	}
	return buffer ? buffer : xmalloc(FRAME_STORED_MAX);
}

void frame_buffer_give(struct frame_pool *p, uint8_t *buffer)
{
	if (p && buffer) {
		pthread_mutex_lock(&p->lock);
		if (p->n_buffers < SPARE_MAX)
			p->buffers[p->n_buffers++] = take_ptr(buffer);
		pthread_mutex_unlock(&p->lock);
	}
	free(buffer);
}

/* ---- The pool ---- */

struct frame_pool *frame_pool_new(unsigned threads)
{
	struct frame_pool *p = xcalloc(1, sizeof(*p));

	if (!threads)
		threads = processors_usable();
	/* One processor is busy with who brings the frames. */
	p->threads_max = threads < 2 ? 0 : threads > THREADS_MAX ? THREADS_MAX : threads;
	pthread_mutex_init(&p->lock, NULL);
	p->last = &p->first;
	return p;
}

void frame_pool_free(struct frame_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	cond_wake_all(&p->work);
	pthread_mutex_unlock(&p->lock);
	while (p->n_threads)
		pthread_join(p->threads[--p->n_threads], NULL);
	while (p->n_buffers)
		free(p->buffers[--p->n_buffers]);
	while (p->n_contexts)
		ZSTD_freeCCtx(p->contexts[--p->n_contexts]);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void *pool_thread(void *arg)
{
	struct frame_pool *p = arg;
	ZSTD_CCtx *ctx = context_new();

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct job *job;

		p->idle++;
		while (!p->first && !p->ending)
			cond_wait(&p->work, &p->lock);
		p->idle--;
		job = p->first;
		if (!job)
			break;
		p->first = job->next_work;
		if (!p->first)
			p->last = &p->first;
		pthread_mutex_unlock(&p->lock);
		job->stored_size =
			ZSTD_compress2(ctx, job->stored, FRAME_STORED_MAX, job->raw, job->raw_size);
		pthread_mutex_lock(&p->lock);
		job->done = true;
		cond_wake_all(&p->done);
	}
	pthread_mutex_unlock(&p->lock);
	ZSTD_freeCCtx(ctx);
	return NULL;
}

/* Room for one more job, and a thread that will do it? */
static bool pool_reserve(struct frame_pool *p)
{
	bool room;

	if (!p || !p->threads_max)
		return false;
	pthread_mutex_lock(&p->lock);
	room = p->jobs < p->threads_max * JOBS_A_THREAD;
	if (room && !p->idle && p->n_threads < p->threads_max &&
	    pthread_create(&p->threads[p->n_threads], NULL, pool_thread, p) == 0)
		p->n_threads++;
	room = room && p->n_threads;
	p->jobs += room;
	pthread_mutex_unlock(&p->lock);
	return room;
}

static void pool_submit(struct frame_pool *p, struct job *job)
{
	pthread_mutex_lock(&p->lock);
	*p->last = job;
	p->last = &job->next_work;
	cond_wake_one(&p->work);
	pthread_mutex_unlock(&p->lock);
}

/* ---- A queue ---- */

struct frame_queue *frame_queue_new(struct frame_pool *pool)
{
	struct frame_queue *q = xcalloc(1, sizeof(*q));

	q->pool = pool;
	q->last = &q->first;
	return q;
}

static bool job_done(struct frame_queue *q, struct job *job, bool wait)
{
	bool done;

	if (!job->raw)
		return true;
	pthread_mutex_lock(&q->pool->lock);
	while (wait && !job->done)
		cond_wait(&q->pool->done, &q->pool->lock);
	done = job->done;
	pthread_mutex_unlock(&q->pool->lock);
	return done;
}

static void job_free(struct frame_queue *q, struct job *job)
{
	if (job->raw) {
		frame_buffer_give(q->pool, job->raw);
		frame_buffer_give(q->pool, job->stored);
		pthread_mutex_lock(&q->pool->lock);
		q->pool->jobs--;
		pthread_mutex_unlock(&q->pool->lock);
	} else {
		free(job->stored);
	}
	free(job);
}

static struct job *queue_take(struct frame_queue *q)
{
	struct job *job = q->first;

	q->first = job->next;
	if (!q->first)
		q->last = &q->first;
	q->waiting--;
	return job;
}

static int zstd_failed(size_t code, struct err *err)
{
	return err_set(err, E_INTERNAL, "zstd: %s", ZSTD_getErrorName(code));
}

static int hand_on(struct frame_sink *out, enum frame_kind kind, size_t raw_size,
		   const uint8_t *stored, size_t stored_size, struct err *err)
{
	if (ZSTD_isError(stored_size))
		return zstd_failed(stored_size, err);
	return out->frame(out, kind, raw_size, slice_make(stored, stored_size), err);
}

/* Hands on what is done, and as much as has to be to have no more than `max` waiting. */
static int queue_advance(struct frame_queue *q, unsigned max, struct err *err)
{
	int r = 0;

	while (r >= 0 && q->first && job_done(q, q->first, q->waiting > max)) {
		struct job *job = queue_take(q);

		r = hand_on(job->out, job->kind, job->raw_size, job->stored, job->stored_size, err);
		job_free(q, job);
	}
	return r;
}

static void queue_add(struct frame_queue *q, struct job *job)
{
	*q->last = job;
	q->last = &job->next;
	q->waiting++;
}

static struct job *job_new(struct frame_sink *out, enum frame_kind kind, size_t raw_size)
{
	struct job *job = xcalloc(1, sizeof(*job));

	job->out = out;
	job->kind = kind;
	job->raw_size = raw_size;
	return job;
}

int frame_queue_put(struct frame_queue *q, struct frame_sink *out, enum frame_kind kind,
		    struct slice raw, struct err *err)
{
	size_t size;

	if (raw.len >= THREAD_MIN && pool_reserve(q->pool)) {
		struct job *job = job_new(out, kind, raw.len);

		job->raw = frame_buffer_take(q->pool);
		job->stored = frame_buffer_take(q->pool);
		memcpy(job->raw, raw.data, raw.len);
		queue_add(q, job);
		pool_submit(q->pool, job);
		return queue_advance(q, WAITING_MAX, err);
	}
	if (!q->ctx)
		q->ctx = context_take(q->pool);
	if (!q->stored)
		q->stored = frame_buffer_take(q->pool);
	size = ZSTD_compress2(q->ctx, q->stored, FRAME_STORED_MAX, raw.data, raw.len);
	if (ZSTD_isError(size))
		return zstd_failed(size, err);
	return frame_queue_put_stored(q, out, kind, raw.len, slice_make(q->stored, size), err);
}

int frame_queue_put_stored(struct frame_queue *q, struct frame_sink *out, enum frame_kind kind,
			   size_t raw_size, struct slice stored, struct err *err)
{
	struct job *job;

	if (queue_advance(q, WAITING_MAX, err) < 0)
		return err->code;
	if (!q->first)
		return hand_on(out, kind, raw_size, stored.data, stored.len, err);
	job = job_new(out, kind, raw_size);
	job->stored = xmemdup(stored.data, stored.len);
	job->stored_size = stored.len;
	queue_add(q, job);
	return 0;
}

int frame_queue_flush(struct frame_queue *q, struct err *err)
{
	return queue_advance(q, 0, err);
}

struct frame_pool *frame_queue_pool(const struct frame_queue *q)
{
	return q->pool;
}

void frame_queue_free(struct frame_queue *q)
{
	if (!q)
		return;
	while (q->first) {
		job_done(q, q->first, true); /* a thread may be at it */
		job_free(q, queue_take(q));
	}
	context_give(q->pool, q->ctx);
	frame_buffer_give(q->pool, q->stored);
	free(q);
}

/* ---- One frame ---- */

int frame_compress(struct frame_pool *pool, struct slice raw, void *ret)
{
	ZSTD_CCtx *ctx = context_take(pool);
	size_t n = ZSTD_compress2(ctx, ret, FRAME_STORED_MAX, raw.data, raw.len);

	context_give(pool, ctx);
	return ZSTD_isError(n) ? E_INTERNAL : (int)n;
}

void frame_encoder_identity(char ret[FRAME_ENCODER_MAX])
{
	snprintf(ret, FRAME_ENCODER_MAX, "libzstd %s level %d", ZSTD_versionString(), LEVEL);
}
