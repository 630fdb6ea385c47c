/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

enum { FIRST_MS = 500, EVERY_MS = 100 };

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, const char *label, uint64_t total)
{
	*p = (struct progress){.label = label, .total = total};
	p->active = isatty(STDERR_FILENO) && !cli_quiet();
	if (p->active)
		p->started_ms = now_ms();
}

static void show(const struct progress *p, int64_t now)
{
	uint64_t mib = p->done >> 20;
	uint64_t rate = p->done / (uint64_t)(now - p->started_ms + 1) * 1000 >> 20;

	if (p->total)
		fprintf(stderr, "\r\033[K%s: %" PRIu64 " of %" PRIu64 " MiB, %" PRIu64 " MiB/s",
			p->label, mib, p->total >> 20, rate);
	else
		fprintf(stderr, "\r\033[K%s: %" PRIu64 " MiB, %" PRIu64 " MiB/s", p->label, mib,
			rate);
}

void progress_add(struct progress *p, uint64_t bytes)
{
	int64_t now;

	if (!p->active)
		return;
	p->done += bytes;
	now = now_ms();
	if (now - p->started_ms < FIRST_MS || now - p->shown_ms < EVERY_MS)
		return;
	p->shown_ms = now;
	p->visible = true;
	show(p, now);
}

void progress_end(struct progress *p)
{
	if (p->visible)
		fputs("\r\033[K", stderr);
	p->active = p->visible = false;
}
