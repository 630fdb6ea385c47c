/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NARs and events as text, for tests. A spec is a list of words; each is one token of a NAR,
 * except
 *
 *	%empty        the empty token          %NUMBER:x    a token of that many bytes 'x'
 *	%len:NUMBER   eight raw bytes          %raw:HEX     raw bytes
 *	%pad:WORD     a token whose padding has a 1 at its end
 *	%hex:HEX      a token of these bytes
 *	%deep:NUMBER  so many directories, each the only entry "d" of the one above, all opened
 *	%close:NUMBER their ends
 *
 * and '@' before a word marks the offset where a reader should refuse it. Events are recorded as
 * lines; the contents of a file are one line, however they were split.
 */
#ifndef NACRE_TESTS_NAR_SPEC_H
#define NACRE_TESTS_NAR_SPEC_H

#include "../unit.h"

#include <inttypes.h>

#include <nacre/buf.h>
#include <nacre/encode.h>
#include <nacre/nar.h>

#include "base/mem.h"

#define NIX_HEAD "nix-archive-1 ( type "

static inline void spec_number(struct buf *b, uint64_t n)
{
	uint8_t bytes[8];

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(n >> 8 * i);
	assert_int_equal(buf_add(b, bytes, 8), 0);
}

static inline void spec_token(struct buf *b, const void *data, size_t len, uint8_t last_pad)
{
	spec_number(b, len);
	assert_int_equal(buf_add(b, data, len), 0);
	for (size_t n = -len & 7; n; n--)
		assert_int_equal(buf_add(b, n == 1 ? &last_pad : (const uint8_t *)"", 1), 0);
}

static inline void spec_tokens(struct buf *b, const char *const *tokens)
{
	for (; *tokens; tokens++)
		spec_token(b, *tokens, strlen(*tokens), 0);
}

static inline void spec_special(struct buf *b, const char *word)
{
	static const char *const open[] = {"entry", "(",    "name",      "d", "node",
					   "(",     "type", "directory", NULL};
	static const char *const close[] = {")", ")", NULL};
	const char *colon = strchr(word, ':');
	uint8_t bytes[300];
	uint64_t n = 0;

	if (strcmp(word, "empty") == 0) {
		spec_token(b, "", 0, 0);
		return;
	}
	assert_non_null(colon);
	if (word[0] >= '0' && word[0] <= '9') {
		cleanup_free char *fill = NULL;

		assert_int_equal(parse_u64(&n, slice_make(word, (size_t)(colon - word))), 0);
		fill = xmalloc(n);
		memset(fill, colon[1], n);
		spec_token(b, fill, n, 0);
		return;
	}
	if (strncmp(word, "pad:", 4) == 0) {
		spec_token(b, colon + 1, strlen(colon + 1), 1);
		return;
	}
	if (strncmp(word, "raw:", 4) == 0 || strncmp(word, "hex:", 4) == 0) {
		size_t len = strlen(colon + 1) / 2;

		assert_true(hex_decode(bytes, len, slice_str(colon + 1)) >= 0);
		if (word[0] == 'h')
			spec_token(b, bytes, len, 0);
		else
			assert_int_equal(buf_add(b, bytes, len), 0);
		return;
	}
	assert_int_equal(parse_u64(&n, slice_str(colon + 1)), 0);
	if (strncmp(word, "len:", 4) == 0)
		spec_number(b, n);
	else
		for (; n; n--)
			spec_tokens(b, strncmp(word, "deep:", 5) == 0 ? open : close);
}

/* The bytes of a spec; *ret_mark is the offset of its '@', if any. */
static inline void spec_build(struct buf *b, const char *spec, uint64_t *ret_mark)
{
	cleanup_free char *copy = xstrdup(spec);
	char *save = NULL;

	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (*word == '@') {
			*ret_mark = b->len;
			word++;
		}
		if (*word == '%')
			spec_special(b, word + 1);
		else
			spec_token(b, word, strlen(word), 0);
	}
	assert_int_equal(buf_add(b, "", 0), 0);
}

/* A node sink that writes down what it gets. */
struct record {
	struct node_sink sink;
	struct buf text;
	bool in_content;
	size_t fail_after; /* 0: never; n: the n-th event fails with E_CANCELLED */
	size_t events;
};

static inline void record_event(struct record *rec, const struct node_event *ev)
{
	struct buf *t = &rec->text;
	int name_len = (int)ev->name.len, data_len = (int)ev->data.len;
	const char *name = name_len ? (const char *)ev->name.data : "";

	if (rec->in_content && ev->type != NODE_CONTENT) {
		buf_add_str(t, "\n");
		rec->in_content = false;
	}
	switch (ev->type) {
	case NODE_DIRECTORY:
		buf_addf(t, "dir %u <%.*s>\n", ev->depth, name_len, name);
		break;
	case NODE_REGULAR:
		buf_addf(t, "file %u <%.*s> %s%" PRIu64 " @%" PRIu64 "\n", ev->depth, name_len,
			 name, ev->executable ? "x " : "", ev->size, ev->nar_offset);
		break;
	case NODE_CONTENT:
		buf_add(t, ev->data.data, ev->data.len);
		rec->in_content = true;
		break;
	case NODE_REGULAR_END:
		buf_addf(t, "end-file %u %s%" PRIu64 "\n", ev->depth, ev->executable ? "x " : "",
			 ev->size);
		break;
	case NODE_SYMLINK:
		buf_addf(t, "link %u <%.*s> -> %.*s\n", ev->depth, name_len, name, data_len,
			 (const char *)ev->data.data);
		break;
	case NODE_DIRECTORY_END:
		buf_addf(t, "end-dir %u\n", ev->depth);
		break;
	case NODE_END:
		buf_add_str(t, "end\n");
		break;
	}
}

static inline int record_sink_event(struct node_sink *self, const struct node_event *ev,
				    struct err *err)
{
	struct record *rec = container_of(self, struct record, sink);

	if (++rec->events == rec->fail_after)
		return err_set(err, E_CANCELLED, "stopped");
	record_event(rec, ev);
	return 0;
}

#define RECORD_INIT ((struct record){.sink = {record_sink_event}})

static inline const char *record_text(const struct record *rec)
{
	return rec->text.data ? (const char *)rec->text.data : "";
}

static inline void record_release(struct record *rec)
{
	buf_release(&rec->text);
}

#endif
