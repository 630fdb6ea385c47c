/* SPDX-License-Identifier: Apache-2.0 */
/* The vectors of tests/vectors (README there), for the tests that read them. Include after unit.h. */
#ifndef NACRE_TESTS_VECTORS_H
#define NACRE_TESTS_VECTORS_H

#include <string.h>

#include <jansson.h>

#include <nacre/event.h>

#include "base/fs.h"
#include "base/mem.h"

__attribute__((unused)) static json_t *vectors_load(const char *name)
{
	const char *dir = getenv("NACRE_VECTORS");
	cleanup_free char *file = xasprintf("%s/%s", dir ? dir : "tests/vectors", name);
	json_error_t error;
	json_t *json = json_load_file(file, JSON_ALLOW_NUL, &error);

	if (!json)
		fail_msg("%s: %s", file, error.text);
	return json;
}

__attribute__((unused)) static void vectors_read(const char *name, struct buf *ret)
{
	const char *dir = getenv("NACRE_VECTORS");
	cleanup_free char *file = xasprintf("%s/%s", dir ? dir : "tests/vectors", name);
	struct err err = ERR_INIT;

	assert_ok(read_file_at(AT_FDCWD, file, 64 << 20, ret, &err), err);
}

__attribute__((unused)) static const char *vector_text(const json_t *obj, const char *key)
{
	const char *text = json_string_value(json_object_get(obj, key));

	if (!text)
		fail_msg("no text %s", key);
	return text;
}

__attribute__((unused)) static uint64_t vector_number(const json_t *obj, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(obj, key));
}

static void vector_event(struct node_sink *out, const struct node_event *ev)
{
	struct err err = ERR_INIT;

	assert_ok(node_sink_event(out, ev, &err), err);
}

static int vector_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void vector_node(struct node_sink *out, const char *name, unsigned depth,
			const json_t *tree);

static void vector_file(struct node_sink *out, struct node_event *ev, const json_t *tree)
{
	uint64_t seed = vector_number(tree, "seed");
	cleanup_free uint8_t *data = NULL;

	ev->type = NODE_REGULAR;
	ev->size = vector_number(tree, "size");
	ev->executable = json_is_true(json_object_get(tree, "executable"));
	vector_event(out, ev);
	data = xmalloc(ev->size);
	for (uint64_t i = 0; i < ev->size; i++)
		data[i] = (uint8_t)(131 * i + 31 * (i >> 8) + 7 * (i >> 16) + seed);
	ev->type = NODE_CONTENT;
	for (uint64_t at = 0; at < ev->size; at += 99999) {
		ev->data = slice_make(data + at, ev->size - at < 99999 ? ev->size - at : 99999);
		vector_event(out, ev);
	}
	ev->type = NODE_REGULAR_END;
	vector_event(out, ev);
}

static void vector_directory(struct node_sink *out, struct node_event *ev, const json_t *tree)
{
	json_t *entries = json_object_get(tree, "entries");
	cleanup_free const char **names = xcalloc(json_object_size(entries) + 1, sizeof(*names));
	const char *key;
	json_t *value;
	size_t n = 0;

	ev->type = NODE_DIRECTORY;
	vector_event(out, ev);
	json_object_foreach (entries, key, value)
		names[n++] = key;
	qsort(names, n, sizeof(*names), vector_compare);
	for (size_t i = 0; i < n; i++)
		vector_node(out, names[i], ev->depth + 1, json_object_get(entries, names[i]));
	ev->type = NODE_DIRECTORY_END;
	vector_event(out, ev);
}

static void vector_node(struct node_sink *out, const char *name, unsigned depth, const json_t *tree)
{
	struct node_event ev = {.depth = depth, .name = slice_str(name)};
	const char *type = vector_text(tree, "type");

	if (strcmp(type, "regular") == 0) {
		vector_file(out, &ev, tree);
	} else if (strcmp(type, "directory") == 0) {
		vector_directory(out, &ev, tree);
	} else {
		ev.type = NODE_SYMLINK;
		ev.data = slice_str(vector_text(tree, "target"));
		vector_event(out, &ev);
	}
}

/* Sends the events of a tree that is given by description. */
__attribute__((unused)) static void vector_tree(struct node_sink *out, const json_t *tree)
{
	struct node_event end = {.type = NODE_END};

	vector_node(out, "", 0, tree);
	vector_event(out, &end);
}

#endif
