/* SPDX-License-Identifier: Apache-2.0 */
/* libyaml's events into a tree. */
#include <limits.h>
#include <string.h>

#include "base/fs.h"
#include "config/config-internal.h"
#include "config/libyaml.h"

struct build {
	yaml_parser_t yaml;
	const char *name;
	struct config *root; /* owned until the end */
	struct config *open[CONFIG_DEPTH_MAX];
	size_t depth;
	char *key; /* owned; of the value to come, in a map */
	size_t values;
	bool ended;
};

static int fail(const struct build *b, const yaml_mark_t *mark, struct err *err, const char *text)
{
	return err_set(err, E_INVALID, "%s:%zu: %s", b->name, mark->line + 1, text);
}

/* SPEC yaml-1.2 10.3.2: a plain scalar of these is null. */
static bool is_null(const yaml_event_t *e)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};

	if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp((const char *)e->data.scalar.value, words[i]) == 0)
			return true;
	return false;
}

static int add(struct build *b, struct config *c, const yaml_event_t *e, struct err *err)
{
	struct config *to = b->depth ? b->open[b->depth - 1] : NULL;

	if (++b->values > CONFIG_VALUES_MAX) {
		config_free(c);
		return fail(b, &e->start_mark, err, "too many values");
	}
	if (!to)
		b->root = c;
	else
		config_append(to, to->kind == CONFIG_MAP ? b->key : NULL, c);
	free(b->key);
	b->key = NULL;
	return 0;
}

static int take_key(struct build *b, const yaml_event_t *e, struct err *err)
{
	const char *text = (const char *)e->data.scalar.value;

	if (strlen(text) != e->data.scalar.length || !text[0])
		return fail(b, &e->start_mark, err, "a key is empty or contains a NUL");
	if (config_peek(b->open[b->depth - 1], text))
		return err_set(err, E_INVALID, "%s:%zu: the key '%s' stands here twice", b->name,
			       e->start_mark.line + 1, text);
	b->key = xstrdup(text);
	return 0;
}

static bool expects_key(const struct build *b)
{
	return b->depth && b->open[b->depth - 1]->kind == CONFIG_MAP && !b->key;
}

static int take_scalar(struct build *b, const yaml_event_t *e, struct err *err)
{
	struct config *c;

	if (e->data.scalar.anchor || e->data.scalar.tag)
		return fail(b, &e->start_mark, err, "anchors and tags are not used here");
	if (expects_key(b))
		return take_key(b, e, err);
	if (strlen((const char *)e->data.scalar.value) != e->data.scalar.length)
		return fail(b, &e->start_mark, err, "a value contains a NUL");
	c = config_node_new(is_null(e) ? CONFIG_NULL : CONFIG_TEXT,
			    (unsigned)e->start_mark.line + 1);
	c->text = c->kind == CONFIG_TEXT ? xstrdup((const char *)e->data.scalar.value) : NULL;
	return add(b, c, e, err);
}

static int take_start(struct build *b, const yaml_event_t *e, enum config_kind kind,
		      struct err *err)
{
	bool marked = kind == CONFIG_MAP
			      ? e->data.mapping_start.anchor || e->data.mapping_start.tag
			      : e->data.sequence_start.anchor || e->data.sequence_start.tag;
	struct config *c;
	int r;

	if (marked)
		return fail(b, &e->start_mark, err, "anchors and tags are not used here");
	if (expects_key(b))
		return fail(b, &e->start_mark, err, "a key is a text");
	if (b->depth == CONFIG_DEPTH_MAX)
		return fail(b, &e->start_mark, err, "nested too deeply");
	c = config_node_new(kind, (unsigned)e->start_mark.line + 1);
	r = add(b, c, e, err);
	if (r == 0)
		b->open[b->depth++] = c;
	return r;
}

static int take_event(struct build *b, const yaml_event_t *e, struct err *err)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return take_scalar(b, e, err);
	case YAML_SEQUENCE_START_EVENT:
		return take_start(b, e, CONFIG_LIST, err);
	case YAML_MAPPING_START_EVENT:
		return take_start(b, e, CONFIG_MAP, err);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		return 0;
	case YAML_ALIAS_EVENT:
		return fail(b, &e->start_mark, err, "aliases are not used here");
	case YAML_DOCUMENT_START_EVENT:
		return b->root ? fail(b, &e->start_mark, err, "a second document begins") : 0;
	case YAML_STREAM_END_EVENT:
		b->ended = true;
		return 0;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		break;
	}
	return 0;
}

static int syntax_error(const struct build *b, struct err *err)
{
	const yaml_parser_t *y = &b->yaml;
	size_t line = y->error == YAML_READER_ERROR ? y->mark.line : y->problem_mark.line;

	if (y->error == YAML_MEMORY_ERROR)
		return err_set(err, E_NOMEM, "%s: out of memory", b->name);
	return err_set(err, E_INVALID, "%s:%zu: %s%s%s", b->name, line + 1,
		       y->problem ? y->problem : "malformed", y->context ? " " : "",
		       y->context ? y->context : "");
}

static int build_all(struct build *b, struct err *err)
{
	int r = 0;

	while (r == 0 && !b->ended) {
		yaml_event_t e;

		if (!yaml_parser_parse(&b->yaml, &e))
			return syntax_error(b, err);
		r = take_event(b, &e, err);
		yaml_event_delete(&e);
	}
	return r;
}

int config_parse_value(struct config **ret, struct slice text, const char *name, struct err *err)
{
	struct build b = {.name = name};
	int r = libyaml_load(err);

	if (r < 0)
		return r;
	if (text.len > CONFIG_SIZE_MAX)
		return err_set(err, E_LIMIT, "%s is larger than %d bytes", name, CONFIG_SIZE_MAX);
	if (!yaml_parser_initialize(&b.yaml))
		return err_set(err, E_NOMEM, "out of memory");
	yaml_parser_set_encoding(&b.yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.yaml, text.data, text.len);
	r = build_all(&b, err);
	yaml_parser_delete(&b.yaml);
	free(b.key);
	if (r < 0)
		config_free(b.root);
	else
		*ret = b.root ? b.root : config_node_new(CONFIG_NULL, 1);
	return r;
}

int config_parse(struct config **ret, struct slice text, const char *name, struct err *err)
{
	struct config *c;
	int r = config_parse_value(&c, text, name, err);

	if (r < 0)
		return r;
	if (c->kind == CONFIG_NULL)
		c->kind = CONFIG_MAP;
	c->file = xstrdup(name);
	if (c->kind != CONFIG_MAP) {
		config_free(c);
		return err_set(err, E_INVALID, "%s:1: this is not a map of keys and values", name);
	}
	*ret = c;
	return 0;
}

int config_read(struct config **ret, const char *path, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(CONFIG_SIZE_MAX);
	int r = read_file_at(AT_FDCWD, path, CONFIG_SIZE_MAX, &text, err);

	return r < 0 ? r : config_parse(ret, buf_slice(&text), path, err);
}
