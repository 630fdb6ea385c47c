/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "node/node-settings.h"

enum { JOBS_MAX = 32 };

void node_settings_release(struct node_settings *s)
{
	free(s->root);
	free(s->host_store);
	strv_release(&s->sources);
	free(s->trusted);
	*s = NODE_SETTINGS_INIT;
}

static int read_sources(struct node_settings *s, struct config *map, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(map, "sources", &list, err);

	for (size_t i = 0; r >= 0 && i < config_len(list); i++) {
		const char *url;

		r = config_as_text(config_item(list, i), &url, err);
		if (r >= 0)
			strv_add(&s->sources, url);
	}
	return r;
}

static int read_keys(struct node_settings *s, struct config *map, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(map, "trusted-keys", &list, err);

	for (size_t i = 0; r >= 0 && i < config_len(list); i++) {
		struct config *item = config_item(list, i);
		const char *text;

		r = config_as_text(item, &text, err);
		if (r < 0)
			break;
		array_grow(s->trusted, s->cap_trusted, s->n_trusted + 1);
		if (public_key_parse(&s->trusted[s->n_trusted], slice_str(text)) < 0)
			return config_fail(item, err, "'%s' is no public key (NAME:BASE64)", text);
		s->n_trusted++;
	}
	return r;
}

static int read_all(struct node_settings *s, struct config *map, struct err *err)
{
	const char *root = NULL, *host = "/";
	unsigned view = VIEW_AUTO;
	uint64_t jobs = 0;

	if (config_text(map, "root", &root, err) < 0 ||
	    config_text(map, "host-store", &host, err) < 0 || read_sources(s, map, err) < 0 ||
	    read_keys(s, map, err) < 0 ||
	    config_bool(map, "require-signatures", &s->require_signatures, err) < 0 ||
	    config_number(map, "jobs", (struct config_range){1, JOBS_MAX}, &jobs, err) < 0 ||
	    config_choice(map, "view", view_kind_names, &view, err) < 0)
		return err->code;
	if (root && root[0] != '/')
		return config_fail(config_child(map, "root"), err, "root '%s' is not absolute",
				   root);
	if (s->require_signatures && !s->n_trusted)
		return config_fail(config_child(map, "require-signatures"), err,
				   "require-signatures needs trusted-keys");
	s->root = root ? xstrdup(root) : NULL;
	s->host_store = strcmp(host, "none") == 0 ? NULL : xstrdup(host);
	s->view = (enum view_kind)view;
	s->n_jobs = (unsigned)jobs;
	return 0;
}

int node_settings_read(struct node_settings *ret, struct config *map, struct err *err)
{
	cleanup_node_settings struct node_settings s = NODE_SETTINGS_INIT;

	if (read_all(&s, map, err) < 0)
		return err->code;
	*ret = s;
	s = NODE_SETTINGS_INIT;
	return 0;
}

int node_settings_load(struct node_settings *ret, const char *path, struct err *err)
{
	struct config *root = NULL;
	int r = config_read(&root, path ? path : NODE_CONFIG_DEFAULT, err);

	if (r == E_NOTFOUND && !path) {
		*err = ERR_INIT;
		return node_settings_read(ret, NULL, err);
	}
	if (r >= 0)
		r = node_settings_read(ret, root, err);
	if (r >= 0) {
		r = config_check_used(root, err);
		if (r < 0)
			node_settings_release(ret);
	}
	config_free(root);
	return r;
}

void node_settings_sources(const struct node_settings *s, struct node_sources_options *ret)
{
	*ret = (struct node_sources_options){
		.host = s->host_store,
		.caches = (const char *const *)s->sources.items,
		.n_caches = s->sources.len,
		.trusted = s->trusted,
		.n_trusted = s->n_trusted,
		.require_signatures = s->require_signatures,
		.n_jobs = s->n_jobs,
	};
}
