/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nacre 4, 4.2: the root layer, all that is not a store path. */
#include <nacre/image.h>

#include "base/mem.h"
#include "layer/root-layer.h"
#include "layer/tar-header.h"

struct root_entry {
	char *path; /* owned; "etc/passwd", without slashes around it */
	enum tar_entry_type type;
	unsigned mode;
	char *text; /* owned: content of a file, target of a symlink; NULL for a directory */
};

struct root_layer {
	struct root_entry *items; /* owned; sorted by path as its components sort */
	size_t len, cap;
};

struct root_layer *root_layer_new(void)
{
	return xcalloc(1, sizeof(struct root_layer));
}

void root_layer_free(struct root_layer *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->len; i++) {
		free(r->items[i].path);
		free(r->items[i].text);
	}
	free(r->items);
	free(r);
}

bool root_layer_empty(const struct root_layer *r)
{
	return r->len == 0;
}

/* Pre-order with children sorted by name: '/' sorts before every other byte. */
static int compare_paths(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	if (*a == *b)
		return 0;
	if (!*a || !*b)
		return *a ? 1 : -1;
	if (*a == '/' || *b == '/')
		return *a == '/' ? -1 : 1;
	return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
}

static size_t find_position(const struct root_layer *r, const char *path)
{
	size_t low = 0, high = r->len;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (compare_paths(r->items[mid].path, path) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The first entry of a name wins, but a directory that was only there as a parent takes a mode
 * that is given for it. */
static void add_entry(struct root_layer *r, const char *path, enum tar_entry_type type,
		      unsigned mode, const char *text)
{
	size_t i = find_position(r, path);

	if (i < r->len && strcmp(r->items[i].path, path) == 0) {
		if (type == TAR_TYPE_DIR && r->items[i].type == TAR_TYPE_DIR && mode != 0755)
			r->items[i].mode = mode;
		return;
	}
	array_grow(r->items, r->cap, r->len + 1);
	memmove(&r->items[i + 1], &r->items[i], (r->len - i) * sizeof(r->items[0]));
	r->items[i] = (struct root_entry){xstrdup(path), type, mode, text ? xstrdup(text) : NULL};
	r->len++;
}

/* False where the name is taken by something else than a directory: nothing can be below it. */
static bool add_parent(struct root_layer *r, const char *path)
{
	add_entry(r, path, TAR_TYPE_DIR, 0755, NULL);
	return r->items[find_position(r, path)].type == TAR_TYPE_DIR;
}

/* Adds the parents; returns the path without slashes around it (owned), or NULL where an entry that
 * was there first, such as a link to the whole directory, is in the way. */
static char *prepare(struct root_layer *r, const char *path)
{
	char *clean = xstrdup(path + strspn(path, "/"));
	size_t len = strlen(clean);

	while (len && clean[len - 1] == '/')
		clean[--len] = '\0';
	for (char *slash = clean; (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = '\0';
		if (!add_parent(r, clean)) {
			free(clean);
			return NULL;
		}
	}
	return clean;
}

void root_layer_add_dir(struct root_layer *r, const char *path, unsigned mode)
{
	cleanup_free char *clean = prepare(r, path);

	if (clean)
		add_entry(r, clean, TAR_TYPE_DIR, mode, NULL);
}

void root_layer_add_file(struct root_layer *r, const char *path, unsigned mode, const char *content)
{
	cleanup_free char *clean = prepare(r, path);

	if (clean)
		add_entry(r, clean, TAR_TYPE_FILE, mode, content);
}

void root_layer_add_symlink(struct root_layer *r, const char *path, const char *target)
{
	cleanup_free char *clean = prepare(r, path);

	if (clean)
		add_entry(r, clean, TAR_TYPE_SYMLINK, 0777, target);
}

void root_layer_add_defaults(struct root_layer *r)
{
	static const char *const dirs[] = {"bin", "dev", "proc", "sys", "run", "root", "etc"};

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		root_layer_add_dir(r, dirs[i], strcmp(dirs[i], "root") == 0 ? 0700 : 0755);
	root_layer_add_dir(r, "tmp", 01777);
	root_layer_add_dir(r, "var/tmp", 01777);
	root_layer_add_file(r, "etc/passwd", 0644,
			    "root:x:0:0:root:/root:/bin/sh\n"
			    "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n");
	root_layer_add_file(r, "etc/group", 0644, "root:x:0:\nnobody:x:65534:\n");
	root_layer_add_file(r, "etc/nsswitch.conf", 0644, "hosts: files dns\n");
}

static int visit_entry(const struct root_entry *e, struct root_layer_visitor *v, struct err *err)
{
	static const uint8_t zeros[TAR_BLOCK];
	cleanup_free uint8_t *headers = xmalloc(TAR_HEADERS_MAX);
	cleanup_free char *name = xasprintf("%s%s", e->path, e->type == TAR_TYPE_DIR ? "/" : "");
	struct slice content = slice_str(e->text ? e->text : "");
	struct tar_entry entry = {.type = e->type, .mode = e->mode, .name = slice_str(name)};
	size_t len;

	if (e->type == TAR_TYPE_SYMLINK)
		entry.target = content;
	else
		entry.size = content.len;
	if (entry.name.len > TAR_NAME_MAX || entry.target.len > NODE_TARGET_MAX)
		return err_set(err, E_LIMIT, "root layer: the name or target of %s is too long",
			       name);
	len = tar_headers_format(headers, &entry);
	if (v->piece(v, slice_make(headers, len), ROOT_HEADERS, err) < 0)
		return err->code;
	if (e->type != TAR_TYPE_FILE)
		return 0;
	if (v->piece(v, content, ROOT_CONTENT, err) < 0)
		return err->code;
	return v->piece(v, slice_make(zeros, tar_padding(content.len)), ROOT_PADDING, err);
}

int root_layer_visit(const struct root_layer *r, struct root_layer_visitor *v, struct err *err)
{
	static const uint8_t zeros[TAR_TRAILER_SIZE];

	for (size_t i = 0; i < r->len; i++)
		if (visit_entry(&r->items[i], v, err) < 0)
			return err->code;
	return v->piece(v, slice_make(zeros, sizeof(zeros)), ROOT_TRAILER, err);
}
