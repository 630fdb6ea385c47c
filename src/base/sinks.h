/* SPDX-License-Identifier: Apache-2.0 */
/* Small sinks that compose: tee, limit, null; and node sinks that tee events. All that they wrap is
 * borrowed. */
#ifndef NACRE_BASE_SINKS_H
#define NACRE_BASE_SINKS_H

#include <nacre/event.h>
#include <nacre/sink.h>

/* Writes to both, first `a`; finish() finishes both. */
struct tee_sink {
	struct sink sink;
	struct sink *a, *b;
};
void tee_sink_init(struct tee_sink *s, struct sink *a, struct sink *b);

/* Passes at most `max` bytes on to `next` (may be NULL); one more is E_LIMIT with "`what` is larger
 * than max bytes". */
struct limit_sink {
	struct sink sink;
	struct sink *next;
	uint64_t max, bytes;
	const char *what;
};
void limit_sink_init(struct limit_sink *s, struct sink *next, uint64_t max, const char *what);

/* Swallows everything. */
struct sink *null_sink(void);

/* Sends each event to both, first `a`. */
struct node_tee {
	struct node_sink node_sink;
	struct node_sink *a, *b;
};
void node_tee_init(struct node_tee *t, struct node_sink *a, struct node_sink *b);

#endif
