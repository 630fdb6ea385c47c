/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for what has to wait: disks, other servers, passwords; private to src/serve. The event
 * loops of the HTTP library wait for nothing but sockets, and read what they send, so what else may
 * take time is handed over here.
 *
 * There are as many threads as there is work at a time, up to a limit that the caller makes as
 * large as there can be work: then no work ever waits for other work to end, and what one piece of
 * it waits for may be another. Threads that have nothing to do end after a while.
 *
 * 	item->run = make_answer;        // a member of something larger: container_of()
 * 	if (!workers_run(w, item))
 * 		…the server is stopping
 *
 * Threads: any.
 */
#ifndef NACRE_SERVE_WORKERS_H
#define NACRE_SERVE_WORKERS_H

#include <stdbool.h>

struct workers;

/* Owned by who hands it over; free again when `run` is called, which may end its life. */
struct work {
	struct work *next; /* private */
	void (*run)(struct work *self);
};

/* `idle_ms`: for how long a thread without work stays. */
struct workers *workers_new(unsigned max_threads, unsigned idle_ms);
/* False: workers_stop() was called, and nothing happens. */
bool workers_run(struct workers *w, struct work *item);
/* Takes no more, and waits until everything that was taken is done. Can be called twice; NULL is
 * nothing. */
void workers_stop(struct workers *w);
/* Stops, and frees. NULL is nothing. */
void workers_free(struct workers *w);

#endif
