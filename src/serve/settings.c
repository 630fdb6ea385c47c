/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/settings.h"

#include <limits.h>

#include <nacre/manifest.h>

#include "base/mem.h"
#include "serve/keep-settings.h"
#include "serve/view-settings.h"

#define LISTEN_DEFAULT "127.0.0.1:5000"

static const struct config_range seconds_ms = {1000, 7ull * 86400 * 1000};
static const struct config_range count = {1, 1000000};

static int get_seconds(struct config *map, const char *key, unsigned *ret, struct err *err)
{
	uint64_t ms = *ret * 1000ull;
	int r = config_duration(map, key, seconds_ms, &ms, err);

	if (r == 0)
		*ret = (unsigned)((ms + 999) / 1000);
	return r;
}

static int get_count(struct config *map, const char *key, unsigned *ret, struct err *err)
{
	uint64_t n = *ret;
	int r = config_number(map, key, count, &n, err);

	if (r == 0)
		*ret = (unsigned)n;
	return r;
}

static int limits_read(struct limit_settings *l, struct config *root, struct err *err)
{
	struct config *map = NULL;
	int r = config_map(root, "limits", &map, err);

	*l = (struct limit_settings){
		.connections_max = 2048,
		.client_connections_max = 512,
		.client_burst = 1000,
		/* Longer than clients use a connection again after (curl, and so Nix: 118 s): whoever
		 * sends a request while the server closes has to send it again, and Nix before 2.33.2
		 * cannot do that with a PUT. */
		.idle_timeout_s = 130,
		.stall_timeout_s = 60,
		.slow_timeout_s = 60,
		.manifest_max_bytes = 8ull << 20,
		.body_max_bytes = UINT64_MAX,
	};
	if (r == 0)
		r = get_count(map, "connections", &l->connections_max, err);
	if (r == 0)
		r = get_count(map, "client-connections", &l->client_connections_max, err);
	if (r == 0)
		r = get_count(map, "client-rate", &l->client_rate, err);
	if (r == 0)
		r = get_count(map, "client-burst", &l->client_burst, err);
	if (r == 0)
		r = get_seconds(map, "idle-timeout", &l->idle_timeout_s, err);
	if (r == 0)
		r = get_seconds(map, "stall-timeout", &l->stall_timeout_s, err);
	if (r == 0)
		r = get_seconds(map, "slow-timeout", &l->slow_timeout_s, err);
	if (r == 0)
		r = config_bytes(map, "manifest", &l->manifest_max_bytes, err);
	if (r == 0)
		r = config_bytes(map, "body", &l->body_max_bytes, err);
	if (r == 0 && l->manifest_max_bytes > MANIFEST_BYTES_MAX)
		r = config_fail(config_child(map, "manifest"), err,
				"a manifest is kept in memory: %d MiB is the most",
				MANIFEST_BYTES_MAX >> 20);
	return r;
}

static int store_read(struct store_options *o, struct config *root, struct err *err)
{
	struct config *map = NULL;
	uint64_t ratio;
	int r = config_map(root, "store", &map, err);

	*o = STORE_OPTIONS_INIT;
	ratio = o->decode_ratio_max;
	if (r == 0)
		r = config_bytes(map, "nar-max", &o->nar_max_bytes, err);
	if (r == 0)
		r = config_bytes(map, "upload-max", &o->upload_max_bytes, err);
	if (r == 0)
		r = config_bytes(map, "decode-free", &o->decode_free_bytes, err);
	if (r == 0)
		r = config_number(map, "decode-ratio", count, &ratio, err);
	if (r == 0)
		r = get_count(map, "uploads", &o->uploads_max, err);
	if (r == 0)
		r = get_seconds(map, "upload-idle", &o->upload_idle_s, err);
	if (r == 0)
		r = config_text(map, "architecture", &o->architecture, err);
	if (r == 0)
		r = get_count(map, "threads", &o->threads, err);
	o->decode_ratio_max = (uint32_t)ratio;
	return r;
}

static int listen_read(struct settings *s, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(s->tree, "listen", &list, err);

	if (r < 0)
		return r;
	s->listen = xcalloc(config_len(list) + 1, sizeof(*s->listen));
	s->listen[0] = LISTEN_DEFAULT;
	s->n_listen = list ? config_len(list) : 1;
	for (size_t i = 0; r == 0 && i < config_len(list); i++)
		r = config_as_text(config_item(list, i), &s->listen[i], err);
	return r;
}

static int views_read(struct settings *s, struct err *err)
{
	struct config *map = NULL, *root = NULL;
	int r = config_map(s->tree, "views", &map, err);

	if (r == 0)
		r = config_map(s->tree, "root", &root, err);
	if (r < 0)
		return r;
	s->views = xcalloc(config_len(map) + 1, sizeof(*s->views));
	s->n_views = 1;
	r = view_settings_read(&s->views[0], "", root, err);
	for (size_t i = 0; r == 0 && i < config_len(map); i++) {
		r = view_name_check(config_key(map, i), map, err);
		if (r == 0)
			r = view_settings_read(&s->views[s->n_views++], config_key(map, i),
					       config_value(map, i), err);
	}
	return r;
}

static int log_read(struct settings *s, struct err *err)
{
	static const char *const formats[] = {"text", "json", NULL};
	unsigned format = 0;
	int r = config_bool(s->tree, "access-log", &s->access_log, err);

	if (r == 0)
		r = config_choice(s->tree, "log-format", formats, &format, err);
	s->log_json = format == 1;
	return r;
}

static int read_all(struct settings *s, struct err *err)
{
	int r = config_text(s->tree, "data", &s->data, err);

	if (r == 0)
		r = listen_read(s, err);
	if (r == 0)
		r = config_bool(s->tree, "allow-write", &s->allow_write, err);
	if (r == 0)
		r = log_read(s, err);
	if (r == 0)
		r = config_bool(s->tree, "metrics-open", &s->metrics_open, err);
	if (r == 0)
		r = get_seconds(s->tree, "drain", &s->drain_s, err);
	if (r == 0)
		r = limits_read(&s->limits, s->tree, err);
	if (r == 0)
		r = store_read(&s->store, s->tree, err);
	if (r == 0)
		r = views_read(s, err);
	if (r == 0)
		r = keep_settings_read(&s->rules, s->tree, err);
	if (r == 0)
		r = tls_settings_read(&s->tls, s->tree, err);
	if (r == 0)
		r = auth_settings_read(&s->auth, s->tree, err);
	if (r == 0)
		r = access_settings_read(&s->access, s->tree, err);
	if (r == 0)
		r = audit_settings_read(&s->audit, s->tree, err);
	if (r == 0)
		r = webhook_settings_read(&s->webhooks, s->tree, err);
	return r < 0 ? r : config_check_used(s->tree, err);
}

int settings_read(struct settings **ret, struct config *tree, struct err *err)
{
	static _Atomic uint64_t serial;
	struct settings *s = xcalloc(1, sizeof(*s));
	int r;

	atomic_store(&s->refs, 1);
	s->serial = atomic_fetch_add(&serial, 1) + 1;
	s->tree = tree;
	s->access_log = true;
	s->drain_s = 30;
	r = read_all(s, err);
	if (r < 0) {
		settings_unref(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct settings *settings_ref(struct settings *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void settings_unref(struct settings *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	for (size_t i = 0; i < s->n_views; i++)
		view_settings_release(&s->views[i]);
	free(s->views);
	store_rules_release(&s->rules);
	tls_settings_release(&s->tls);
	auth_settings_release(&s->auth);
	access_settings_release(&s->access);
	webhook_settings_release(&s->webhooks);
	free(s->listen);
	config_free(s->tree);
	free(s);
}

int settings_open_views(struct settings *s, struct store *store, struct err *err)
{
	int r = 0;

	/* All or nothing. */
	for (size_t i = 0; i < s->n_views && r >= 0; i++) {
		struct store_view_options o = view_settings_options(&s->views[i]);

		r = store_view_check(store, s->views[i].name, &o, err);
	}
	for (size_t i = 0; i < s->n_views && r >= 0; i++) {
		struct store_view_options o = view_settings_options(&s->views[i]);

		r = store_view_open(&s->views[i].view, store, s->views[i].name, &o, err);
	}
	return r < 0 ? r : store_rules_set(store, &s->rules, err);
}

const struct view_settings *settings_view(const struct settings *s, struct slice path)
{
	const struct view_settings *best = &s->views[0];

	for (size_t i = 1; i < s->n_views; i++) {
		const struct view_settings *v = &s->views[i];

		if (v->name_len > best->name_len && slice_has_prefix(path, v->prefix))
			best = v;
	}
	return best;
}
