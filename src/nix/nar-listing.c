/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPEC nix-cache 1.5: {"version":1,"root":NODE}, in the key order of Nix 2.8. Nix escapes only
 * what JSON demands, with short forms for newline, return and tab alone.
 */
#include <inttypes.h>

#include <nacre/buf.h>
#include <nacre/nar.h>

#include "base/mem.h"
#include "nix/node-check.h"

struct nar_lister {
	struct node_sink node_sink;
	struct node_check check;
	struct buf json;
	bool first; /* the next child is the first of its directory */
	int failed; /* of the buffer */
};

static void add(struct nar_lister *l, const void *data, size_t len)
{
	int r = buf_add(&l->json, data, len);

	if (r < 0 && !l->failed)
		l->failed = r;
}

static void add_str(struct nar_lister *l, const char *s)
{
	add(l, s, strlen(s));
}

static void add_number(struct nar_lister *l, const char *key, uint64_t n)
{
	char text[64];
	int len = snprintf(text, sizeof(text), ",\"%s\":%" PRIu64, key, n);

	add(l, text, (size_t)len);
}

/* The length of the well-formed UTF-8 sequence (Unicode table 3-7) that `s` begins with, or 0. */
static size_t utf8_len(struct slice s)
{
	uint8_t first = s.data[0], low = 0x80, high = 0xbf;
	size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

	if (len == 1)
		return 1;
	if (first < 0xc2 || first > 0xf4 || s.len < len)
		return 0;
	if (first == 0xe0) /* overlong */
		low = 0xa0;
	else if (first == 0xed) /* surrogates */
		high = 0x9f;
	else if (first == 0xf0) /* overlong */
		low = 0x90;
	else if (first == 0xf4) /* past U+10FFFF */
		high = 0x8f;
	if (s.data[1] < low || s.data[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((s.data[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

static void add_escape(struct nar_lister *l, uint8_t c)
{
	char text[8];

	switch (c) {
	case '"':
		add_str(l, "\\\"");
		return;
	case '\\':
		add_str(l, "\\\\");
		return;
	case '\n':
		add_str(l, "\\n");
		return;
	case '\r':
		add_str(l, "\\r");
		return;
	case '\t':
		add_str(l, "\\t");
		return;
	default:
		/* Above ASCII: a byte that is not UTF-8, as a lone surrogate U+DC80.. */
		snprintf(text, sizeof(text), "\\u%04x", c < 0x80 ? c : 0xdc00U + c);
		add_str(l, text);
		return;
	}
}

static void add_string(struct nar_lister *l, struct slice s)
{
	size_t plain = 0; /* bytes at the front of s that need no escape */

	add_str(l, "\"");
	while (plain < s.len) {
		struct slice rest = slice_make(s.data + plain, s.len - plain);
		uint8_t c = rest.data[0];
		size_t len = utf8_len(rest);

		if (len && c >= 0x20 && c != '"' && c != '\\') {
			plain += len;
			continue;
		}
		add(l, s.data, plain);
		add_escape(l, c);
		slice_advance(&s, plain + 1);
		plain = 0;
	}
	add(l, s.data, s.len);
	add_str(l, "\"");
}

static void add_key(struct nar_lister *l, const struct node_event *ev)
{
	if (ev->depth == 0) {
		add_str(l, "{\"version\":1,\"root\":");
		return;
	}
	if (!l->first)
		add_str(l, ",");
	l->first = false;
	add_string(l, ev->name);
	add_str(l, ":");
}

static void add_event(struct nar_lister *l, const struct node_event *ev)
{
	switch (ev->type) {
	case NODE_DIRECTORY:
		add_key(l, ev);
		add_str(l, "{\"type\":\"directory\",\"entries\":{");
		l->first = true;
		break;
	case NODE_REGULAR:
		add_key(l, ev);
		add_str(l, "{\"type\":\"regular\"");
		add_number(l, "size", ev->size);
		if (ev->executable)
			add_str(l, ",\"executable\":true");
		if (ev->nar_offset)
			add_number(l, "narOffset", ev->nar_offset);
		add_str(l, "}");
		break;
	case NODE_SYMLINK:
		add_key(l, ev);
		add_str(l, "{\"type\":\"symlink\",\"target\":");
		add_string(l, ev->data);
		add_str(l, "}");
		break;
	case NODE_DIRECTORY_END:
		add_str(l, "}}");
		l->first = false;
		break;
	case NODE_END:
		add_str(l, "}");
		break;
	case NODE_CONTENT:
	case NODE_REGULAR_END:
		break;
	}
}

static int nar_lister_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct nar_lister *l = container_of(self, struct nar_lister, node_sink);

	if (node_check_event(&l->check, ev, err) < 0)
		return err_wrap(err, "list NAR");
	add_event(l, ev);
	if (l->failed == E_LIMIT)
		return err_set(err, E_LIMIT, "the NAR's listing is larger than %zu bytes",
			       l->json.max);
	return l->failed ? err_set(err, l->failed, "out of memory for a NAR's listing") : 0;
}

struct nar_lister *nar_lister_new(size_t max)
{
	struct nar_lister *l = xcalloc(1, sizeof(*l));

	l->node_sink.event = nar_lister_event;
	l->check.headers_only = true;
	l->json = BUF_INIT(max);
	return l;
}

struct node_sink *nar_lister_node_sink(struct nar_lister *l)
{
	return &l->node_sink;
}

struct slice nar_lister_json(const struct nar_lister *l)
{
	return buf_slice(&l->json);
}

void nar_lister_free(struct nar_lister *l)
{
	if (!l)
		return;
	buf_release(&l->json);
	free(l);
}
