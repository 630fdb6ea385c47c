/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each header is read without judgement, written again by tar_headers_format() and compared byte
 * by byte: so nothing that the writer would not have written passes, whatever the field. What
 * remains to be checked here is what the entry says: the preamble, parents, order, names.
 */
#include <nacre/encode.h>

#include "layer/tar-header.h"

#include "base/mem.h"
#include "nix/node-check.h"

enum state { IN_HEADER, IN_MAIN, IN_CONTENT, IN_PADDING, IN_TRAILER, AT_END, FAILED };

/* What is to be reported before more input is read, in this order. */
struct pending {
	unsigned closes; /* NODE_DIRECTORY_END */
	bool end;        /* NODE_END of the path before */
	bool store_dir, path, node;
};

struct tar_reader {
	enum state state;
	struct pending pending;
	uint64_t offset;       /* bytes taken */
	uint64_t entry_offset; /* where the headers being read begin */
	const char *expected;

	uint8_t raw[TAR_HEADERS_MAX]; /* the headers of one entry, as they came */
	size_t raw_len, raw_need;
	size_t pax_len; /* of the pax header with its padded records; 0: none */
	uint8_t again[TAR_HEADERS_MAX];

	struct tar_entry entry; /* texts point into raw */
	uint64_t left;          /* of the content, or the padding */

	bool in_body; /* the preamble is over */
	bool in_path;
	bool ended;                      /* TAR_END was returned */
	char dir[1 + STORE_DIR_MAX + 1]; /* "/nix/store/" as far as it was read, with a final '/' */
	size_t dir_len;
	char base[STORE_BASE_MAX + 1];
	struct node_check check;
	char name[TAR_NAME_MAX + 1]; /* of the directories that are open */
	size_t name_len
		[NODE_DEPTH_MAX]; /* of the name of the directory open at a depth, with '/' */
};

struct tar_reader *tar_reader_new(void)
{
	struct tar_reader *r = xcalloc(1, sizeof(*r));

	r->raw_need = TAR_BLOCK;
	r->dir[0] = '/';
	r->dir_len = 1;
	r->expected = "a store layer";
	return r;
}

void tar_reader_free(struct tar_reader *r)
{
	free(r);
}

uint64_t tar_reader_offset(const struct tar_reader *r)
{
	return r->state == FAILED ? r->entry_offset : r->offset;
}

const char *tar_reader_expected(const struct tar_reader *r)
{
	return r->expected;
}

int tar_reader_finish(const struct tar_reader *r)
{
	return r->state == AT_END && r->ended ? 0 : E_TRUNCATED;
}

/* What is wrong before the first path was seen means that this is an ordinary layer. */
static int refuse(struct tar_reader *r, const char *expected)
{
	r->expected = expected;
	r->state = FAILED;
	return r->in_body ? E_INVALID : E_UNSUPPORTED;
}

/* Takes "<length> <key>=<value>\n" off the front of `records`. 1: it was there; 0: it was not. */
static int take_record(struct slice *records, const char *key, struct slice *ret_value)
{
	const uint8_t *space = records->len ? memchr(records->data, ' ', records->len) : NULL;
	size_t digits = space ? (size_t)(space - records->data) : 0;
	size_t key_len = strlen(key), head = digits + 1 + key_len + 1;
	uint64_t len;

	if (digits == 0 || digits > 6 || parse_u64(&len, slice_make(records->data, digits)) < 0 ||
	    len > records->len || len < head + 1)
		return 0;
	if (memcmp(space + 1, key, key_len) != 0 || space[1 + key_len] != '=' ||
	    records->data[len - 1] != '\n')
		return 0;
	*ret_value = slice_make(records->data + head, (size_t)len - head - 1);
	slice_advance(records, (size_t)len);
	return 1;
}

/* Reads the entry from the blocks in raw. */
static int read_entry(struct tar_reader *r)
{
	struct tar_fields fields, pax;
	struct tar_entry *e = &r->entry;
	struct slice records = {0}, size;

	*e = (struct tar_entry){0};
	if (tar_block_parse(&fields, r->raw + r->pax_len) < 0)
		return E_INVALID;
	e->type = (enum tar_entry_type)fields.type;
	e->mode = fields.mode;
	e->name = fields.name;
	e->size = e->type == TAR_TYPE_FILE ? fields.size : 0;
	if (e->type == TAR_TYPE_SYMLINK)
		e->target = fields.target;
	if (!r->pax_len)
		return 0;
	if (tar_block_parse(&pax, r->raw) < 0)
		return E_INVALID;
	records = slice_make(r->raw + TAR_BLOCK, (size_t)pax.size);
	take_record(&records, "path", &e->name);
	take_record(&records, "linkpath", &e->target);
	if (take_record(&records, "size", &size) && parse_u64(&e->size, size) < 0)
		return E_INVALID;
	/* What an entry of this type does not have, no record may give it: the writer would never
	 * be told of it, though it would write the same header. */
	if ((e->type != TAR_TYPE_FILE && e->size) || (e->type != TAR_TYPE_SYMLINK && e->target.len))
		return E_INVALID;
	return records.len || e->name.len > TAR_NAME_MAX || e->target.len > NODE_TARGET_MAX
		       ? E_INVALID
		       : 0;
}

/* Is the entry written as the writer writes it? */
static int compare_entry(struct tar_reader *r)
{
	size_t len = tar_headers_format(r->again, &r->entry);
	size_t at = 0;

	if (len != r->raw_len)
		return refuse(r, r->pax_len ? "no pax header, or no other records in it"
					    : "a pax header for a long name, target or size");
	while (at < len && r->raw[at] == r->again[at])
		at++;
	if (at == len)
		return 0;
	/* In the pax header's own block or the main one, the field has a name. */
	if (at < r->pax_len && at >= TAR_BLOCK)
		return refuse(r, "canonical pax records");
	return refuse(r, tar_field_name(at % TAR_BLOCK));
}

static struct slice without_slash(struct slice name)
{
	if (name.len && name.data[name.len - 1] == '/')
		name.len--;
	return name;
}

/* One more ancestor of the store dir? */
static bool is_preamble(const struct tar_reader *r)
{
	const struct tar_entry *e = &r->entry;
	size_t have = r->dir_len - 1; /* names in a tar have no leading '/' */
	struct slice rest;

	if (e->type != TAR_TYPE_DIR || e->mode != 0755 || e->name.len <= have ||
	    e->name.len > STORE_DIR_MAX || memcmp(e->name.data, r->dir + 1, have) != 0)
		return false;
	rest = without_slash(slice_make(e->name.data + have, e->name.len - have));
	return rest.len && rest.len + have + 1 == e->name.len && !memchr(rest.data, '/', rest.len);
}

static void close_path(struct tar_reader *r)
{
	r->pending.closes = r->check.dirs;
	r->pending.end = r->in_path;
}

/* An entry directly in the store dir begins a path. */
static int begin_path(struct tar_reader *r, struct slice base)
{
	if (store_base_check(base) < 0)
		return refuse(r, "the base name of a store path");
	if (slice_compare(base, slice_str(r->base)) <= 0)
		return refuse(r, "store paths in increasing order");
	close_path(r);
	r->pending.store_dir = !r->in_body;
	r->pending.path = r->pending.node = true;
	return 0;
}

/* An entry within a path: its parent is one of the directories that are open. */
static int continue_path(struct tar_reader *r, struct slice name)
{
	const uint8_t *slash = memrchr(name.data, '/', name.len);
	size_t parent_len = (size_t)(slash - name.data) + 1;

	for (unsigned d = r->check.dirs; d-- > 0;) {
		if (r->name_len[d] != parent_len)
			continue;
		if (memcmp(r->name, name.data, parent_len) != 0)
			break;
		r->pending.closes = r->check.dirs - d - 1;
		r->pending.node = true;
		return 0;
	}
	return refuse(r, "an entry of a directory that is open, in order");
}

static int place_entry(struct tar_reader *r)
{
	const struct tar_entry *e = &r->entry;
	struct slice name = without_slash(e->name), rest;
	size_t dir_len = r->dir_len - 1;

	if (!r->in_body && is_preamble(r)) {
		memcpy(r->dir + 1, e->name.data, e->name.len);
		r->dir_len = 1 + e->name.len;
		return 0;
	}
	if (dir_len == 0 || store_dir_check(slice_make(r->dir, r->dir_len - 1)) < 0)
		return refuse(r, "the directories above a store dir");
	if (memchr(e->name.data, '\0', e->name.len) || name.len <= dir_len ||
	    memcmp(name.data, r->dir + 1, dir_len) != 0)
		return refuse(r, "a name within the store dir");
	if ((e->type == TAR_TYPE_DIR) != (name.len < e->name.len))
		return refuse(r, "a final '/' on directories alone");
	if (e->mode != tar_body_mode(e->type, e->mode == 0555))
		return refuse(r, "mode");
	rest = slice_make(name.data + dir_len, name.len - dir_len);
	return memchr(rest.data, '/', rest.len) ? continue_path(r, name) : begin_path(r, rest);
}

static int take_entry(struct tar_reader *r)
{
	int c;

	if (read_entry(r) < 0)
		return refuse(r, "canonical numbers and pax records");
	if (r->entry.type != TAR_TYPE_FILE && r->entry.type != TAR_TYPE_DIR &&
	    r->entry.type != TAR_TYPE_SYMLINK)
		return refuse(r, "a file, directory or symlink");
	c = compare_entry(r);
	if (c < 0)
		return c;
	r->raw_need = TAR_BLOCK;
	r->state = IN_HEADER;
	return place_entry(r);
}

static bool all_zero(const uint8_t *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* raw has what was wanted: a block, or the records of a pax header. */
static int take_raw(struct tar_reader *r)
{
	struct tar_fields fields;

	switch (r->state) {
	case IN_HEADER:
		r->entry_offset = r->offset - TAR_BLOCK;
		r->pax_len = 0;
		if (all_zero(r->raw, TAR_BLOCK)) {
			if (!r->in_path)
				return refuse(r, "at least one store path");
			r->state = IN_TRAILER;
			return 0;
		}
		if (tar_block_parse(&fields, r->raw) < 0)
			return refuse(r, "octal numbers");
		if (fields.type != TAR_TYPE_PAX)
			return take_entry(r);
		if (fields.size == 0 || fields.size > TAR_PAX_MAX)
			return refuse(r, "pax records of a sensible size");
		r->raw_need += (size_t)fields.size + tar_padding(fields.size);
		r->pax_len = r->raw_need;
		r->raw_need += TAR_BLOCK;
		r->state = IN_MAIN;
		return 1; /* keep what there is */
	case IN_MAIN:
		return take_entry(r);
	default: /* IN_TRAILER */
		if (!all_zero(r->raw, TAR_BLOCK))
			return refuse(r, "two blocks of zeros at the end");
		close_path(r);
		r->state = AT_END;
		return 0;
	}
}

/* Collects input into raw. 1: there is something to report or to go on with; 0: more input. */
static int collect(struct tar_reader *r, struct slice *input)
{
	size_t n = r->raw_need - r->raw_len;
	int c;

	if (input->len < n)
		n = input->len;
	memcpy(r->raw + r->raw_len, input->data, n);
	slice_advance(input, n);
	r->raw_len += n;
	r->offset += n;
	if (r->raw_len < r->raw_need)
		return 0;
	c = take_raw(r);
	if (c < 0)
		return c;
	if (c == 0)
		r->raw_len = 0;
	return 1;
}

static int report(struct tar_reader *r, struct tar_event *ret, const struct node_event *ev)
{
	struct err err;

	if (node_check_event(&r->check, ev, &err) < 0)
		return refuse(
			r, "names in increasing order, of 1 to 255 bytes, less than 64 deep, and "
			   "legal targets");
	*ret = (struct tar_event){.type = TAR_NODE, .node = *ev};
	return 1;
}

/* The entry's own event; texts point into raw, which stays until the next step. */
static int report_node(struct tar_reader *r, struct tar_event *ret)
{
	const struct tar_entry *e = &r->entry;
	struct node_event ev = {.depth = r->check.dirs};
	struct slice name = without_slash(e->name);

	if (ev.depth) {
		const uint8_t *slash = memrchr(name.data, '/', name.len);

		ev.name = slice_make(slash + 1, name.len - (size_t)(slash + 1 - name.data));
		if (slice_has_prefix(ev.name, ".wh."))
			return refuse(r, "no name that begins with .wh.");
	}
	if (ev.depth >= NODE_DEPTH_MAX)
		return refuse(r, "directories less than 64 deep");
	if (e->type == TAR_TYPE_DIR) {
		ev.type = NODE_DIRECTORY;
		memcpy(r->name, e->name.data, e->name.len);
		r->name_len[ev.depth] = e->name.len;
	} else if (e->type == TAR_TYPE_SYMLINK) {
		ev.type = NODE_SYMLINK;
		ev.data = e->target;
	} else {
		ev.type = NODE_REGULAR;
		ev.executable = e->mode == 0555;
		ev.size = r->left = e->size;
		r->state = IN_CONTENT;
	}
	return report(r, ret, &ev);
}

/* What is pending. 1: *ret is set; 0: nothing is. */
static int report_pending(struct tar_reader *r, struct tar_event *ret)
{
	struct pending *p = &r->pending;
	struct node_event ev = {0};

	if (p->store_dir) {
		p->store_dir = false;
		r->in_body = true;
		*ret = (struct tar_event){.type = TAR_STORE_DIR,
					  .text = slice_make(r->dir, r->dir_len - 1)};
		return 1;
	}
	if (p->closes) {
		p->closes--;
		ev = (struct node_event){.type = NODE_DIRECTORY_END, .depth = r->check.dirs - 1};
		return report(r, ret, &ev);
	}
	if (p->end) {
		p->end = r->in_path = false;
		ev.type = NODE_END;
		return report(r, ret, &ev);
	}
	if (p->path) {
		struct slice name = without_slash(r->entry.name);
		size_t at = r->dir_len - 1;

		p->path = false;
		r->in_path = true;
		r->check = (struct node_check){0};
		memset(r->base, 0, sizeof(r->base));
		memcpy(r->base, name.data + at, name.len - at);
		*ret = (struct tar_event){.type = TAR_PATH, .text = slice_str(r->base)};
		return 1;
	}
	if (p->node) {
		p->node = false;
		return report_node(r, ret);
	}
	return 0;
}

/* 1: *ret is set; 0: go on; -1 stands for "more input". */
static int take_content(struct tar_reader *r, struct slice *input, struct tar_event *ret)
{
	struct node_event ev = {
		.depth = r->check.dirs, .executable = r->entry.mode == 0555, .size = r->entry.size};
	size_t n = input->len < r->left ? input->len : (size_t)r->left;

	if (r->left == 0) {
		r->left = tar_padding(r->entry.size);
		r->state = IN_PADDING;
		ev.type = NODE_REGULAR_END;
		return report(r, ret, &ev);
	}
	ev.type = NODE_CONTENT;
	ev.data = slice_make(input->data, n);
	slice_advance(input, n);
	r->left -= n;
	r->offset += n;
	return report(r, ret, &ev);
}

static int take_padding(struct tar_reader *r, struct slice *input)
{
	size_t n = input->len < r->left ? input->len : (size_t)r->left;

	r->entry_offset = r->offset;
	if (!all_zero(input->data, n))
		return refuse(r, "zeros behind the contents of a file");
	slice_advance(input, n);
	r->left -= n;
	r->offset += n;
	if (r->left == 0)
		r->state = IN_HEADER;
	return 0;
}

int tar_reader_step(struct tar_reader *r, struct slice *input, struct tar_event *ret)
{
	int c;

	if (r->state == FAILED)
		return r->in_body ? E_INVALID : E_UNSUPPORTED;
	for (;;) {
		c = report_pending(r, ret);
		if (c != 0)
			return c;
		if (r->state == AT_END)
			break;
		if (r->state == IN_CONTENT && (input->len || r->left == 0))
			return take_content(r, input, ret);
		if (r->state == IN_PADDING && r->left == 0)
			r->state = IN_HEADER;
		if (input->len == 0)
			return 0;
		c = r->state == IN_PADDING ? take_padding(r, input) : collect(r, input);
		if (c < 0)
			return c;
	}
	if (!r->ended) {
		r->ended = true;
		*ret = (struct tar_event){.type = TAR_END};
		return 1;
	}
	if (input->len == 0)
		return 0;
	r->entry_offset = r->offset;
	return refuse(r, "nothing behind the trailer");
}
