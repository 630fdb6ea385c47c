/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "config/config.h"
#include "net/http.h"
#include "serve/webhook.h"

enum { SECRET_MAX = 4096, HOOKS_MAX = 64 };

static int read_patterns(struct config *map, const char *key, struct strv *ret, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(map, key, &list, err);

	for (size_t i = 0; r == 0 && i < config_len(list); i++) {
		const char *text = NULL;

		r = config_as_text(config_item(list, i), &text, err);
		if (r == 0 && pattern_check(slice_str(text)) < 0)
			r = config_fail(config_item(list, i), err, "'%.80s' is no pattern", text);
		if (r == 0)
			strv_add(ret, text);
	}
	return r;
}

/* The line break at the end, which editors make, is not part of it. */
static int read_secret(struct config *map, struct buf *ret, struct err *err)
{
	const char *file = NULL;
	struct err why = ERR_INIT;
	int r = config_text(map, "secret-file", &file, err);

	if (r < 0 || !file)
		return r;
	if (read_file_at(AT_FDCWD, file, SECRET_MAX, ret, &why) < 0)
		return config_fail(config_child(map, "secret-file"), err, "%s", why.text);
	while (ret->len && (ret->data[ret->len - 1] == '\n' || ret->data[ret->len - 1] == '\r'))
		ret->len--;
	return ret->len ? 0
			: config_fail(config_child(map, "secret-file"), err, "%s is empty", file);
}

static int read_hook(struct webhook *ret, struct config *map, struct err *err)
{
	int r = config_text(map, "url", &ret->url, err);

	if (r == 0 && (!ret->url || (!slice_has_prefix(slice_str(ret->url), "http://") &&
				     !slice_has_prefix(slice_str(ret->url), "https://"))))
		r = config_fail(map, err, "a webhook needs a url: http://… or https://…");
	if (r == 0)
		r = read_secret(map, &ret->secret, err);
	if (r == 0)
		r = read_patterns(map, "repositories", &ret->repositories, err);
	if (r == 0)
		r = read_patterns(map, "caches", &ret->caches, err);
	if (r == 0 && !ret->repositories.len && !ret->caches.len)
		r = config_fail(map, err, "say of what: repositories, caches");
	return r;
}

int webhook_settings_read(struct webhook_settings *ret, struct config *root, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(root, "webhooks", &list, err);

	if (r < 0 || !config_len(list))
		return r;
	if (config_len(list) > HOOKS_MAX)
		return config_fail(list, err, "%d webhooks are the most", HOOKS_MAX);
	/* Said when the server starts, not when something happens. */
	r = http_require(err);
	if (r < 0)
		return r;
	ret->hooks = xcalloc(config_len(list), sizeof(*ret->hooks));
	for (size_t i = 0; r == 0 && i < config_len(list); i++)
		r = read_hook(&ret->hooks[ret->n++], config_item(list, i), err);
	return r;
}

void webhook_settings_release(struct webhook_settings *s)
{
	for (size_t i = 0; i < s->n; i++) {
		buf_release(&s->hooks[i].secret);
		strv_release(&s->hooks[i].repositories);
		strv_release(&s->hooks[i].caches);
	}
	free(s->hooks);
}
