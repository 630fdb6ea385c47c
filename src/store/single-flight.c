/* SPDX-License-Identifier: Apache-2.0 */
#include "store/single-flight.h"

/* On the stack of the thread that works. */
struct flight {
	struct flight *next;
	const void *arg;
	unsigned waiters; /* who wait for it to end */
	bool done;
	int result;
	struct err err;
};

void single_flight_init(struct single_flight *f, int (*work)(void *arg, struct err *err),
			bool (*same)(const void *a, const void *b))
{
	*f = (struct single_flight){.work = work, .same = same};
	pthread_mutex_init(&f->lock, NULL);
}

void single_flight_release(struct single_flight *f)
{
	pthread_mutex_destroy(&f->lock);
}

/* Under the lock. */
static struct flight *find(struct single_flight *f, const void *arg)
{
	struct flight *flight = f->flights;

	while (flight && !f->same(flight->arg, arg))
		flight = flight->next;
	return flight;
}

/* Under the lock. */
static int wait_for(struct single_flight *f, struct flight *flight, struct err *err)
{
	int r;

	flight->waiters++;
	while (!flight->done)
		cond_wait(&f->changed, &f->lock);
	r = flight->result;
	if (r < 0)
		*err = flight->err;
	if (--flight->waiters == 0) /* its thread waits for us to be done with it */
		cond_wake_all(&f->changed);
	return r;
}

/* Under the lock. */
static void take_off(struct single_flight *f, struct flight *self)
{
	self->next = f->flights;
	f->flights = self;
}

/* Under the lock. */
static void land(struct single_flight *f, struct flight *self, int result)
{
	struct flight **at = &f->flights;

	while (*at != self)
		at = &(*at)->next;
	*at = self->next;
	self->done = true;
	self->result = result;
	cond_wake_all(&f->changed);
	while (self->waiters)
		cond_wait(&f->changed, &f->lock);
}

int single_flight_do(struct single_flight *f, void *arg, struct err *err)
{
	struct flight self = {.arg = arg, .err = ERR_INIT}, *other;
	int r;

	pthread_mutex_lock(&f->lock);
	other = find(f, arg);
	if (other) {
		r = wait_for(f, other, err);
		pthread_mutex_unlock(&f->lock);
		return r;
	}
	take_off(f, &self);
	pthread_mutex_unlock(&f->lock);
	r = f->work(arg, &self.err);
	pthread_mutex_lock(&f->lock);
	land(f, &self, r);
	pthread_mutex_unlock(&f->lock);
	if (r < 0)
		*err = self.err;
	return r;
}
