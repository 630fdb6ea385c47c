/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gather.h"

void gather_init(struct gather *g)
{
	for (unsigned i = 0; i < GATHER_OBJECTS; i++)
		g->runs[i].object = NULL;
	g->next = 0;
}

/* After a call that read less: an error, or an object that is shorter than it was, and whose piece
 * that concerns is told. */
static int read_one_by_one(const struct gather_run *run, struct err *err)
{
	uint64_t offset = run->begin;

	for (int i = 0; i < run->n; i++) {
		int r = object_pread(run->object, offset, run->pieces[i].iov_base,
				     run->pieces[i].iov_len, err);

		if (r < 0)
			return r;
		offset += run->pieces[i].iov_len;
	}
	return 0;
}

static int run_read(struct gather_run *run, struct err *err)
{
	int r = 0;

	if (!run->object)
		return 0;
	if (preadv(run->object->fd, run->pieces, run->n, (off_t)run->begin) !=
	    (ssize_t)(run->end - run->begin))
		r = read_one_by_one(run, err);
	run->object = NULL;
	return r;
}

static void run_append(struct gather_run *run, const struct iovec *piece)
{
	run->pieces[run->n++] = *piece;
	run->end += piece->iov_len;
}

/* Can this piece be read by the same call? */
static bool run_reaches(const struct gather_run *run, const struct object *o, uint64_t offset)
{
	return run->object == o && offset >= run->end && offset - run->end <= GATHER_GAP_MAX &&
	       run->n + 2 <= GATHER_PIECES;
}

int gather_add(struct gather *g, const struct object *o, uint64_t offset, const struct iovec *to,
	       struct err *err)
{
	struct gather_run *run = NULL;
	int r;

	/* What is in memory, or not in the object at all. */
	if (o->data || offset > o->size || to->iov_len > o->size - offset)
		return object_pread(o, offset, to->iov_base, to->iov_len, err);
	for (unsigned i = 0; i < GATHER_OBJECTS && !run; i++)
		if (g->runs[i].object == o)
			run = &g->runs[i];
	if (!run)
		run = &g->runs[g->next++ % GATHER_OBJECTS];
	if (!run_reaches(run, o, offset)) {
		r = run_read(run, err);
		if (r < 0)
			return r;
		*run = (struct gather_run){.object = o, .begin = offset, .end = offset};
	}
	if (offset > run->end)
		run_append(run, &(struct iovec){g->gap, (size_t)(offset - run->end)});
	run_append(run, to);
	return 0;
}

int gather_finish(struct gather *g, struct err *err)
{
	int r = 0;

	for (unsigned i = 0; i < GATHER_OBJECTS && r >= 0; i++)
		r = run_read(&g->runs[i], err);
	return r;
}
