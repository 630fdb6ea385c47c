/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "serve/upstream-internal.h"

/* The operator chose these names: any text. */
static void add_label(struct buf *b, const char *key, const char *text)
{
	buf_addf(b, "%s=\"", key);
	for (; *text; text++)
		if (*text == '\n')
			buf_add_str(b, "\\n");
		else
			buf_addf(b, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	buf_add_str(b, "\"");
}

/* Of one host there may be several in a view, for other repositories; no two series are the same. */
static char *upstream_label(const struct upstream_list *l, const struct upstream_settings *up)
{
	unsigned n = 1;

	for (const struct upstream_settings *at = l->items; at < up; at++)
		n += strcmp(at->name, up->name) == 0;
	return n > 1 ? xasprintf("%s (%u)", up->name, n) : xstrdup(up->name);
}

static void add_labels(struct buf *b, const char *name, const struct view_settings *view,
		       const struct upstream_settings *up)
{
	cleanup_free char *label = upstream_label(&view->upstreams, up);

	buf_addf(b, "%s{", name);
	add_label(b, "view", view->name);
	buf_add_str(b, ",");
	add_label(b, "upstream", label);
}

static void add_requests(struct buf *b, const struct view_settings *view,
			 const struct upstream_settings *up)
{
	struct upstream_counts c;

	upstream_counts(up, &c);
	const struct {
		const char *result;
		uint64_t n;
	} rows[] = {{"found", c.found},
		    {"absent", c.absent},
		    {"refused", c.refused},
		    {"failed", c.failed}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		add_labels(b, "nacre_upstream_requests_total", view, up);
		buf_addf(b, ",result=\"%s\"} %llu\n", rows[i].result,
			 (unsigned long long)rows[i].n);
	}
}

static void add_up(struct buf *b, const struct view_settings *view,
		   const struct upstream_settings *up)
{
	struct upstream_counts c;

	upstream_counts(up, &c);
	add_labels(b, "nacre_upstream_up", view, up);
	buf_addf(b, "} %d\n", !c.is_left_alone);
}

static void add_head(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_each(struct buf *b, const struct settings *settings,
		     void (*add)(struct buf *b, const struct view_settings *view,
				 const struct upstream_settings *up))
{
	for (size_t i = 0; i < settings->n_views; i++)
		for (size_t j = 0; j < settings->views[i].upstreams.len; j++)
			add(b, &settings->views[i], &settings->views[i].upstreams.items[j]);
}

void upstreams_metrics(struct upstreams *u, const struct settings *settings, struct buf *b)
{
	uint64_t found, absent;

	pthread_mutex_lock(&u->known_lock);
	found = u->known_found;
	absent = u->known_absent;
	pthread_mutex_unlock(&u->known_lock);
	add_head(b, "nacre_upstream_requests_total", "counter",
		 "Questions to upstreams, by how they ended.");
	add_each(b, settings, add_requests);
	add_head(b, "nacre_upstream_up", "gauge", "0: left alone for a while, since it failed.");
	add_each(b, settings, add_up);
	add_head(b, "nacre_upstream_remembered_total", "counter",
		 "Questions that an earlier answer of an upstream answered.");
	buf_addf(b, "nacre_upstream_remembered_total{result=\"found\"} %llu\n",
		 (unsigned long long)found);
	buf_addf(b, "nacre_upstream_remembered_total{result=\"absent\"} %llu\n",
		 (unsigned long long)absent);
	add_head(b, "nacre_upstream_received_bytes_total", "counter",
		 "Of NARs and blobs, uncompressed as they are stored.");
	buf_addf(b, "nacre_upstream_received_bytes_total %llu\n",
		 (unsigned long long)atomic_load(&u->flights.bytes));
}
