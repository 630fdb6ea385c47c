/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar is a table: a state's row lists the literal bytes that may come next, several
 * tokens at a time, and each literal says what follows it. No literal is the prefix of another
 * one in its row, so a comparison that can stop and go on at any byte decides. Between literals
 * there are only numbers, names, targets, contents and padding.
 */
#include <nacre/nar.h>

#include "base/mem.h"
#include "nix/nar-format.h"

enum state {
	ST_START, /* zero: a fresh reader */
	ST_TYPE,
	ST_REGULAR,
	ST_CLOSE,       /* the end of the root, which is a file or symlink */
	ST_CLOSE_ENTRY, /* the end of a file or symlink and of the entry around it */
	ST_DIR,         /* in the root directory */
	ST_DIR_ENTRY,   /* in a directory that is itself an entry */
	ST_NODE,
	ST_ROWS, /* states below have no row */
	ST_SIZE = ST_ROWS,
	ST_CONTENT,
	ST_PADDING,
	ST_NAME_LEN,
	ST_NAME,
	ST_TARGET_LEN,
	ST_TARGET,
	ST_END, /* NODE_END is due */
	ST_DONE,
};

/* What a literal that was read means. */
enum action {
	ACT_NONE = 0,
	ACT_DIRECTORY,
	ACT_REGULAR,
	ACT_EXECUTABLE,
	ACT_SYMLINK,
	ACT_LEAF_END,
	ACT_DIRECTORY_END,
	ACT_NODE,
};

struct literal {
	const char *bytes;
	uint8_t len;
	uint8_t action; /* enum action */
	uint8_t next;   /* enum state; behind the end of a node leave() decides */
};

struct row {
	const char *expected; /* when the first token is wrong */
	struct literal alt[3];
};

#define LITERAL(text, action, next)                  \
	{                                            \
		text, sizeof(text) - 1, action, next \
	}

/* SPEC nix-nar: the whole grammar but for names, targets and contents. */
static const struct row rows[ST_ROWS] = {
	[ST_START] = {"the magic \"nix-archive-1\"",
		      {LITERAL(NAR_MAGIC NAR_OPEN NAR_TYPE, ACT_NONE, ST_TYPE)}},
	[ST_TYPE] = {"\"regular\", \"directory\" or \"symlink\"",
		     {LITERAL(NAR_REGULAR, ACT_REGULAR, ST_REGULAR),
		      LITERAL(NAR_DIRECTORY, ACT_DIRECTORY, ST_DIR),
		      LITERAL(NAR_SYMLINK NAR_TARGET, ACT_SYMLINK, ST_TARGET_LEN)}},
	[ST_REGULAR] = {"\"executable\" or \"contents\"",
			{LITERAL(NAR_CONTENTS, ACT_NONE, ST_SIZE),
			 LITERAL(NAR_EXECUTABLE NAR_EMPTY NAR_CONTENTS, ACT_EXECUTABLE, ST_SIZE)}},
	[ST_CLOSE] = {"\")\"", {LITERAL(NAR_CLOSE, ACT_LEAF_END, ST_END)}},
	[ST_CLOSE_ENTRY] = {"\")\"", {LITERAL(NAR_CLOSE NAR_CLOSE, ACT_LEAF_END, ST_DIR)}},
	[ST_DIR] = {"\"entry\" or \")\"",
		    {LITERAL(NAR_ENTRY NAR_OPEN NAR_NAME, ACT_NONE, ST_NAME_LEN),
		     LITERAL(NAR_CLOSE, ACT_DIRECTORY_END, ST_END)}},
	[ST_DIR_ENTRY] = {"\"entry\" or \")\"",
			  {LITERAL(NAR_ENTRY NAR_OPEN NAR_NAME, ACT_NONE, ST_NAME_LEN),
			   LITERAL(NAR_CLOSE NAR_CLOSE, ACT_DIRECTORY_END, ST_DIR)}},
	[ST_NODE] = {"\"node\"", {LITERAL(NAR_NODE NAR_OPEN NAR_TYPE, ACT_NODE, ST_TYPE)}},
};

/* What is expected where a token that is not the first of its literal is wrong. */
static const struct {
	const char *token, *expected;
} token_texts[] = {
	{"(", "\"(\""},
	{")", "\")\""},
	{"type", "\"type\""},
	{"target", "\"target\""},
	{"name", "\"name\""},
	{"contents", "\"contents\""},
	{"", "the empty value of \"executable\""},
};

static const char expected_padding[] = "zero padding";
static const char expected_levels[] = "fewer than 64 levels";
static const char expected_size[] = "a size of contents below 2^63";
static const char expected_name_len[] = "a name of 1 to 255 bytes";
static const char expected_name[] = "a name without \"/\" and NUL that is not \".\" or \"..\"";
static const char expected_order[] = "names in strictly increasing order";
static const char expected_target_len[] = "a symlink target of 1 to 4095 bytes";
static const char expected_target[] = "a symlink target without NUL";

enum {
	STEP_MORE = 0,  /* the input is used up */
	STEP_EVENT = 1, /* *ret_event is set */
	STEP_ON = 2,    /* the state has changed: go on */
};

struct nar_reader {
	enum state state;
	int failed;           /* the code that was returned */
	const char *expected; /* after a failure */
	uint64_t offset;      /* bytes taken */
	uint64_t left;        /* contents that are still to come */
	uint64_t size;        /* of the file being read */
	bool executable;
	bool symlink;     /* the file or symlink being read is a symlink */
	unsigned depth;   /* of the node being read */
	unsigned viable;  /* bit set of the alternatives that agree with the bytes so far */
	size_t matched;   /* bytes of a literal, number, value or padding that were taken */
	size_t value_len; /* of the name or target being read, without padding */
	uint16_t name_len[NODE_DEPTH_MAX + 1];
	/* names[d] is the last name read at depth d, while its directory is open; one more for the
	 * node that is refused. */
	uint8_t names[NODE_DEPTH_MAX + 1][NODE_NAME_MAX];
	uint8_t value[NODE_TARGET_MAX + 8];
};

struct nar_reader *nar_reader_new(void)
{
	struct nar_reader *r = xmalloc(sizeof(*r));

	nar_reader_reset(r);
	return r;
}

void nar_reader_free(struct nar_reader *r)
{
	free(r);
}

void nar_reader_reset(struct nar_reader *r)
{
	/* The arrays are only read as far as the lengths say. */
	memset(r, 0, offsetof(struct nar_reader, names));
}

static void take(struct nar_reader *r, struct slice *input, size_t n)
{
	slice_advance(input, n);
	r->offset += n;
}

static void enter(struct nar_reader *r, enum state state)
{
	r->state = state;
	r->matched = 0;
}

static int fail(struct nar_reader *r, int code, const char *expected, uint64_t offset)
{
	r->failed = code;
	r->expected = expected;
	r->offset = offset;
	return code;
}

/* The token of a literal in which byte `at` lies: where it begins, and what was expected. */
static const char *find_token(const struct row *row, const struct literal *lit, size_t at,
			      size_t *ret_start)
{
	size_t start = 0, len = 0;

	for (;;) {
		size_t whole;

		len = (size_t)(uint8_t)lit->bytes[start];
		whole = 8 + len + nar_padding(len);
		if (at < start + whole)
			break;
		start += whole;
	}
	*ret_start = start;
	if (at >= start + 8 + len) {
		*ret_start = start + 8 + len;
		return expected_padding;
	}
	for (size_t i = 0; start && i < ARRAY_LEN(token_texts); i++) {
		const char *token = token_texts[i].token;

		if (slice_equal_str(slice_make(lit->bytes + start + 8, len), token))
			return token_texts[i].expected;
	}
	return row->expected;
}

/* None of the alternatives fits: blames the token in which the best of them differs. */
static int fail_row(struct nar_reader *r, struct slice input, unsigned viable)
{
	const struct row *row = &rows[r->state];
	const struct literal *best = &row->alt[0];
	size_t best_at = 0, start;
	const char *expected;

	for (unsigned i = 0; i < ARRAY_LEN(row->alt); i++) {
		const struct literal *lit = &row->alt[i];
		size_t at = r->matched;

		if (lit->len == 0 || !(viable & 1U << i))
			continue;
		/* It differs within the input: step_row() looked. */
		for (const uint8_t *p = input.data; at < lit->len && (uint8_t)lit->bytes[at] == *p;
		     p++)
			at++;
		if (at >= best_at) {
			best = lit;
			best_at = at;
		}
	}
	expected = find_token(row, best, best_at, &start);
	return fail(r, E_INVALID, expected, r->offset - r->matched + start);
}

/* Behind the end of a node: its directory goes on, or all is read. */
static void leave(struct nar_reader *r)
{
	if (r->depth == 0)
		enter(r, ST_END);
	else
		enter(r, --r->depth ? ST_DIR_ENTRY : ST_DIR);
}

static int act(struct nar_reader *r, const struct literal *lit, struct node_event *ret)
{
	struct node_event ev = {.depth = r->depth};

	enter(r, lit->next);
	switch ((enum action)lit->action) {
	case ACT_NONE:
		return STEP_ON;
	case ACT_REGULAR:
	case ACT_SYMLINK:
		r->symlink = lit->action == ACT_SYMLINK;
		r->executable = false;
		return STEP_ON;
	case ACT_EXECUTABLE:
		r->executable = true;
		return STEP_ON;
	case ACT_NODE:
		/* SPEC nix-nar depth < 64; the node begins behind "node" */
		if (r->depth == NODE_DEPTH_MAX)
			return fail(r, E_LIMIT, expected_levels,
				    r->offset - lit->len + sizeof(NAR_NODE) - 1);
		return STEP_ON;
	case ACT_DIRECTORY:
		ev.type = NODE_DIRECTORY;
		ev.name = slice_make(r->names[r->depth], r->name_len[r->depth]);
		if (r->depth)
			r->state = ST_DIR_ENTRY;
		r->name_len[r->depth + 1] = 0;
		break;
	case ACT_DIRECTORY_END:
		ev.type = NODE_DIRECTORY_END;
		leave(r);
		break;
	case ACT_LEAF_END:
		leave(r);
		if (r->symlink) /* its event was complete with the target */
			return STEP_ON;
		ev.type = NODE_REGULAR_END;
		ev.executable = r->executable;
		ev.size = r->size;
		break;
	}
	*ret = ev;
	return STEP_EVENT;
}

static int step_row(struct nar_reader *r, struct slice *input, struct node_event *ret)
{
	const struct row *row = &rows[r->state];
	unsigned before = r->matched ? r->viable : ~0U, viable = 0;

	if (input->len == 0)
		return STEP_MORE;
	for (unsigned i = 0; i < ARRAY_LEN(row->alt) && row->alt[i].len; i++) {
		const struct literal *lit = &row->alt[i];
		size_t rest = lit->len - r->matched;
		size_t n = rest < input->len ? rest : input->len;

		if (!(before & 1U << i) || memcmp(lit->bytes + r->matched, input->data, n) != 0)
			continue;
		if (n == rest) {
			take(r, input, n);
			return act(r, lit, ret);
		}
		viable |= 1U << i;
	}
	if (!viable)
		return fail_row(r, *input, before);
	r->viable = viable;
	r->matched += input->len;
	take(r, input, input->len);
	return STEP_MORE;
}

/* A value of `len` bytes, contiguous: STEP_ON when *ret points to it, in the input if it is
 * whole there. */
static int take_value(struct nar_reader *r, struct slice *input, size_t len, const uint8_t **ret)
{
	size_t n = len - r->matched;

	if (r->matched == 0 && input->len >= len) {
		*ret = input->data;
		take(r, input, len);
		return STEP_ON;
	}
	if (n > input->len)
		n = input->len;
	if (n)
		memcpy(r->value + r->matched, input->data, n);
	r->matched += n;
	take(r, input, n);
	if (r->matched < len)
		return STEP_MORE;
	*ret = r->value;
	return STEP_ON;
}

static int step_size(struct nar_reader *r, struct slice *input, struct node_event *ret)
{
	const uint8_t *p;

	if (take_value(r, input, 8, &p) == STEP_MORE)
		return STEP_MORE;
	r->size = r->left = nar_get_number(p);
	if (r->size > NAR_SIZE_MAX)
		return fail(r, E_LIMIT, expected_size, r->offset - 8);
	enter(r, r->left ? ST_CONTENT : ST_PADDING);
	*ret = (struct node_event){
		.type = NODE_REGULAR,
		.executable = r->executable,
		.depth = r->depth,
		.name = slice_make(r->names[r->depth], r->name_len[r->depth]),
		.size = r->size,
		.nar_offset = r->offset,
	};
	return STEP_EVENT;
}

static int step_content(struct nar_reader *r, struct slice *input, struct node_event *ret)
{
	size_t n = input->len < r->left ? input->len : (size_t)r->left;

	if (r->left == 0) { /* after a skip */
		enter(r, ST_PADDING);
		return STEP_ON;
	}
	if (n == 0)
		return STEP_MORE;
	*ret = (struct node_event){
		.type = NODE_CONTENT,
		.executable = r->executable,
		.depth = r->depth,
		.data = slice_make(input->data, n),
		.size = r->size,
	};
	take(r, input, n);
	r->left -= n;
	return STEP_EVENT;
}

static int step_padding(struct nar_reader *r, struct slice *input)
{
	size_t padding = nar_padding(r->size);

	while (r->matched < padding) {
		if (input->len == 0)
			return STEP_MORE;
		if (*input->data != 0) /* SPEC nix-nar padding */
			return fail(r, E_INVALID, expected_padding, r->offset - r->matched);
		take(r, input, 1);
		r->matched++;
	}
	enter(r, r->depth ? ST_CLOSE_ENTRY : ST_CLOSE);
	return STEP_ON;
}

/* The length of a name or target, 1..max. */
static int step_len(struct nar_reader *r, struct slice *input, size_t max, const char *expected,
		    enum state next)
{
	const uint8_t *p;
	uint64_t len;

	if (take_value(r, input, 8, &p) == STEP_MORE)
		return STEP_MORE;
	len = nar_get_number(p);
	if (len == 0 || len > max)
		return fail(r, len ? E_LIMIT : E_INVALID, expected, r->offset - 8);
	r->value_len = (size_t)len;
	enter(r, next);
	return STEP_ON;
}

/* A name or target with its padding; a wrong one is blamed at its length. */
static int take_string(struct nar_reader *r, struct slice *input, const uint8_t **ret)
{
	size_t len = r->value_len, whole = len + nar_padding(len);

	if (take_value(r, input, whole, ret) == STEP_MORE)
		return STEP_MORE;
	for (size_t i = len; i < whole; i++)
		if ((*ret)[i] != 0) /* SPEC nix-nar padding */
			return fail(r, E_INVALID, expected_padding, r->offset - (whole - len));
	return STEP_ON;
}

static int step_name(struct nar_reader *r, struct slice *input)
{
	unsigned depth = r->depth + 1; /* at most NODE_DEPTH_MAX: ACT_NODE */
	size_t len = r->value_len;
	struct slice name, last = slice_make(r->names[depth], r->name_len[depth]);
	uint64_t start;
	const uint8_t *p;
	int n = take_string(r, input, &p);

	if (n != STEP_ON)
		return n;
	name = slice_make(p, len);
	start = r->offset - len - nar_padding(len) - 8;
	/* SPEC nix-nar names */
	if (memchr(p, '/', len) || memchr(p, 0, len) || slice_equal_str(name, ".") ||
	    slice_equal_str(name, ".."))
		return fail(r, E_INVALID, expected_name, start);
	if (slice_compare(name, last) <= 0) /* of the first name, the last one is empty */
		return fail(r, E_INVALID, expected_order, start);
	memcpy(r->names[depth], p, len);
	r->name_len[depth] = (uint16_t)len;
	r->depth = depth;
	enter(r, ST_NODE);
	return STEP_ON;
}

static int step_target(struct nar_reader *r, struct slice *input, struct node_event *ret)
{
	size_t len = r->value_len;
	const uint8_t *p;
	int n = take_string(r, input, &p);

	if (n != STEP_ON)
		return n;
	if (memchr(p, 0, len)) /* SPEC nix-nar targets */
		return fail(r, E_INVALID, expected_target, r->offset - len - nar_padding(len) - 8);
	*ret = (struct node_event){
		.type = NODE_SYMLINK,
		.depth = r->depth,
		.name = slice_make(r->names[r->depth], r->name_len[r->depth]),
		.data = slice_make(p, len),
	};
	enter(r, r->depth ? ST_CLOSE_ENTRY : ST_CLOSE);
	return STEP_EVENT;
}

static int step_once(struct nar_reader *r, struct slice *input, struct node_event *ret)
{
	switch (r->state) {
	case ST_SIZE:
		return step_size(r, input, ret);
	case ST_CONTENT:
		return step_content(r, input, ret);
	case ST_PADDING:
		return step_padding(r, input);
	case ST_NAME_LEN:
		return step_len(r, input, NODE_NAME_MAX, expected_name_len, ST_NAME);
	case ST_NAME:
		return step_name(r, input);
	case ST_TARGET_LEN:
		return step_len(r, input, NODE_TARGET_MAX, expected_target_len, ST_TARGET);
	case ST_TARGET:
		return step_target(r, input, ret);
	case ST_END:
		*ret = (struct node_event){.type = NODE_END};
		r->state = ST_DONE;
		return STEP_EVENT;
	case ST_DONE:
		return STEP_MORE;
	default:
		return step_row(r, input, ret);
	}
}

int nar_reader_step(struct nar_reader *r, struct slice *input, struct node_event *ret_event)
{
	int n = r->failed;

	if (n < 0)
		return n;
	do
		n = step_once(r, input, ret_event);
	while (n == STEP_ON);
	return n;
}

uint64_t nar_reader_content_left(const struct nar_reader *r)
{
	return r->state == ST_CONTENT ? r->left : 0;
}

uint64_t nar_reader_content_offset(const struct nar_reader *r)
{
	return r->state == ST_CONTENT ? r->size - r->left : 0;
}

int nar_reader_skip(struct nar_reader *r, uint64_t len)
{
	if (r->failed)
		return r->failed;
	if (len > nar_reader_content_left(r))
		return E_USAGE;
	if (r->offset > UINT64_MAX - len) /* no NAR is that long: the caller did not look */
		return fail(r, E_LIMIT, expected_size, r->offset);
	r->left -= len;
	r->offset += len;
	return 0;
}

int nar_reader_finish(const struct nar_reader *r)
{
	if (r->failed)
		return r->failed;
	return r->state == ST_DONE ? 0 : E_TRUNCATED;
}

uint64_t nar_reader_offset(const struct nar_reader *r)
{
	return r->offset;
}

static const char *expected_in_row(const struct nar_reader *r)
{
	const struct row *row = &rows[r->state];
	unsigned first = 0;
	size_t start;

	while (r->matched && !(r->viable & 1U << first))
		first++;
	return find_token(row, &row->alt[first], r->matched, &start);
}

const char *nar_reader_expected(const struct nar_reader *r)
{
	if (r->expected)
		return r->expected;
	switch (r->state) {
	case ST_SIZE:
		return expected_size;
	case ST_CONTENT:
		return "contents";
	case ST_PADDING:
		return expected_padding;
	case ST_NAME_LEN:
		return expected_name_len;
	case ST_NAME:
		return "a name";
	case ST_TARGET_LEN:
		return expected_target_len;
	case ST_TARGET:
		return "a symlink target";
	case ST_END:
	case ST_DONE:
		return "the end of the NAR";
	default:
		return expected_in_row(r);
	}
}
