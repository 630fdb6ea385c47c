/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/view-settings.h"

#include <nacre/reference.h>

#include "base/fs.h"
#include "base/mem.h"

enum { KEY_FILE_MAX = 64 << 10, PRIORITY_DEFAULT = 30, PRIORITY_MAX = 1000000 };

/* Words that mean something else at the same place of an address, also below another view. */
static bool is_reserved(struct slice name)
{
	static const char *const words[] = {
		"v2",      "nar",    "log",     "debuginfo", "realisations", "build-trace-v2",
		"healthz", "readyz", "metrics", "token",     "admin",        "-",
		"nix"};

	while (name.len) {
		const uint8_t *slash = memchr(name.data, '/', name.len);
		size_t len = slash ? (size_t)(slash - name.data) : name.len;

		for (size_t i = 0; i < ARRAY_LEN(words); i++)
			if (slice_equal_str(slice_make(name.data, len), words[i]))
				return true;
		slice_advance(&name, len + (slash ? 1 : 0));
	}
	return false;
}

static int trust(struct view_settings *v, const struct config *at, struct slice text,
		 struct err *err)
{
	array_grow(v->trusted, v->trusted_cap, v->n_trusted + 1);
	if (public_key_parse(&v->trusted[v->n_trusted], text) < 0)
		return config_fail(at, err, "'%.*s' is no public key: say name:base64, or @FILE",
				   (int)(text.len < 200 ? text.len : 200), (const char *)text.data);
	v->n_trusted++;
	return 0;
}

/* One key a line; '#' begins a comment. */
static int trust_file(struct view_settings *v, const struct config *at, const char *path,
		      struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(KEY_FILE_MAX);
	struct err why = ERR_INIT;
	struct slice rest;
	int r = read_file_at(AT_FDCWD, path, KEY_FILE_MAX, &text, &why);

	if (r < 0)
		return config_fail(at, err, "%s", why.text);
	rest = buf_slice(&text);
	while (r == 0 && rest.len) {
		const uint8_t *end = memchr(rest.data, '\n', rest.len);
		struct slice line =
			slice_make(rest.data, end ? (size_t)(end - rest.data) : rest.len);

		slice_advance(&rest, line.len + (end ? 1 : 0));
		if (line.len && line.data[0] != '#')
			r = trust(v, at, line, err);
	}
	return r;
}

static int trusted_read(struct view_settings *v, struct config *section, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(section, "trusted-keys", &list, err);

	for (size_t i = 0; r == 0 && i < config_len(list); i++) {
		struct config *item = config_item(list, i);
		const char *text;

		r = config_as_text(item, &text, err);
		if (r == 0)
			r = text[0] == '@' ? trust_file(v, item, text + 1, err)
					   : trust(v, item, slice_str(text), err);
	}
	return r;
}

static int signing_add(struct view_settings *v, struct config *item, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(KEY_FILE_MAX);
	struct err why = ERR_INIT;
	const char *path;
	int r = config_as_text(item, &path, err);

	if (r < 0)
		return r;
	if (read_file_at(AT_FDCWD, path, KEY_FILE_MAX, &text, &why) < 0)
		return config_fail(item, err, "%s", why.text);
	array_grow(v->signing, v->signing_cap, v->n_signing + 1);
	r = secret_key_parse(&v->signing[v->n_signing], buf_slice(&text));
	if (text.data)
		explicit_bzero(text.data, text.len);
	if (r < 0)
		return config_fail(item, err,
				   "%s holds no secret key (nacre key generate makes one)", path);
	v->n_signing++;
	return 0;
}

static int signing_read(struct view_settings *v, struct config *section, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(section, "sign-with", &list, err);

	for (size_t i = 0; r == 0 && i < config_len(list); i++)
		r = signing_add(v, config_item(list, i), err);
	if (r == 0)
		r = config_bool(section, "sign-images", &v->sign_images, err);
	return r == 0 ? config_bool(section, "require-signatures", &v->require_signatures, err) : r;
}

static int store_dir_read(struct view_settings *v, struct config *section, struct err *err)
{
	int r;

	v->store_dir = STORE_DIR_DEFAULT;
	r = config_text(section, "store-dir", &v->store_dir, err);
	if (r < 0)
		return r;
	if (strcmp(v->store_dir, "auto") == 0)
		v->store_dir = NULL;
	else if (store_dir_check(slice_str(v->store_dir)) < 0)
		return config_fail(config_child(section, "store-dir"), err,
				   "'%s' is no store dir: say /nix/store, /gnu/store, or auto",
				   v->store_dir);
	return 0;
}

static int sparse_read(struct view_settings *v, struct config *section, struct err *err)
{
	static const char *const names[] = {[STORE_SPARSE_INDEXES] = "indexes",
					    [STORE_SPARSE_NEVER] = "never",
					    [STORE_SPARSE_ALL] = "all",
					    NULL};
	unsigned choice = STORE_SPARSE_INDEXES;
	int r = config_choice(section, "sparse", names, &choice, err);

	v->sparse = (enum store_sparse)choice;
	return r;
}

int view_name_check(const char *name, const struct config *map, struct err *err)
{
	if (repository_check(slice_str(name)) < 0)
		return config_fail(map, err,
				   "'%s' cannot be the name of a view: say it like a repository",
				   name);
	if (is_reserved(slice_str(name)))
		return config_fail(map, err, "'%s' has another meaning in addresses", name);
	return 0;
}

int view_settings_read(struct view_settings *ret, const char *name, struct config *section,
		       struct err *err)
{
	uint64_t priority = PRIORITY_DEFAULT;
	int r;

	*ret = (struct view_settings){
		.name = name, .name_len = strlen(name), .mount_without_from = true};
	ret->prefix = xasprintf("%s%s", name, name[0] ? "/" : "");
	r = store_dir_read(ret, section, err);
	if (r == 0)
		r = config_number(section, "priority", (struct config_range){0, PRIORITY_MAX},
				  &priority, err);
	ret->priority = (int)priority;
	if (r == 0)
		r = sparse_read(ret, section, err);
	if (r == 0)
		r = config_bool(section, "mount-without-from", &ret->mount_without_from, err);
	if (r == 0)
		r = trusted_read(ret, section, err);
	if (r == 0)
		r = signing_read(ret, section, err);
	return r == 0 ? upstream_settings_read(&ret->upstreams, section, err) : r;
}

void view_settings_release(struct view_settings *v)
{
	for (size_t i = 0; i < v->n_signing; i++)
		secret_key_release(&v->signing[i]);
	free(v->signing);
	upstream_settings_release(&v->upstreams);
	free(v->trusted);
	free(v->prefix);
}

struct store_view_options view_settings_options(const struct view_settings *v)
{
	return (struct store_view_options){
		.store_dir = v->store_dir,
		.trusted = v->trusted,
		.n_trusted = v->n_trusted,
		.signing = v->signing,
		.n_signing = v->n_signing,
		.sign_images = v->sign_images,
		.require_signatures = v->require_signatures,
		.sparse = v->sparse,
		.priority = v->priority,
	};
}
