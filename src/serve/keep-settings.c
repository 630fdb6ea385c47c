/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/keep-settings.h"

#include <string.h>

#include "base/mem.h"
#include "base/pattern.h"

enum { MINUTE_MS = 60 * 1000, HOUR_MS = 60 * MINUTE_MS, RULES_MAX = 1000 };

static const struct config_range grace_ms = {5 * MINUTE_MS, 36500ull * 24 * HOUR_MS};
static const struct config_range keep_ms = {HOUR_MS, 36500ull * 24 * HOUR_MS};
static const struct config_range some = {1, 1000000};
static const struct config_range many = {1, INT64_MAX};

/* ---- Values ---- */

static int get_seconds(struct config *map, const char *key, struct config_range range, int64_t *ret,
		       struct err *err)
{
	uint64_t ms = (uint64_t)*ret * 1000;
	int r = config_duration(map, key, range, &ms, err);

	if (r == 0)
		*ret = (int64_t)(ms / 1000);
	return r;
}

/* "none": for ever. */
static int get_grace(struct config *map, const char *key, int64_t *ret, struct err *err)
{
	const char *text = NULL;
	int r = config_text(map, key, &text, err);

	if (r < 0 || !text)
		return r;
	if (strcmp(text, "none") == 0) {
		*ret = STORE_FOREVER;
		return 0;
	}
	return get_seconds(map, key, grace_ms, ret, err);
}

/* A list of patterns, or one. */
static int get_patterns(struct config *map, const char *key, struct strv *ret, struct err *err)
{
	struct config *list = NULL;
	int r = config_list(map, key, &list, err);

	for (size_t i = 0; r == 0 && i < config_len(list); i++) {
		const char *text = NULL;

		r = config_as_text(config_item(list, i), &text, err);
		if (r == 0 && pattern_check(slice_str(text)) < 0)
			r = config_fail(config_item(list, i), err,
					"'%.80s' is no pattern: a name with * (in one component),"
					" ** (across) and ?",
					text);
		if (r == 0)
			strv_add(ret, text);
	}
	return r;
}

/* A list of maps. */
static int get_rules(struct config *root, const char *key, struct config **ret, struct err *err)
{
	int r = config_list(root, key, ret, err);

	if (r == 0 && config_len(*ret) > RULES_MAX)
		r = config_fail(*ret, err, "%d rules are the most", RULES_MAX);
	return r;
}

/* ---- Retention ---- */

static int tag_rule_read(struct tag_rule *t, struct config *map, struct err *err)
{
	int r = config_number(map, "keep-last", some, &t->keep_last, err);

	if (r == 0)
		r = get_seconds(map, "keep-for", keep_ms, &t->keep_for_s, err);
	if (r == 0)
		r = get_seconds(map, "keep-used-for", keep_ms, &t->keep_used_for_s, err);
	if (r == 0)
		r = get_patterns(map, "keep-tags", &t->keep_tags, err);
	if (r == 0)
		r = get_grace(map, "untagged-grace", &t->untagged_grace_s, err);
	if (r == 0 && t->keep_tags.len && !t->keep_last && !t->keep_for_s && !t->keep_used_for_s)
		r = config_fail(map, err,
				"keep-tags says what stays when others go, and nothing says when:"
				" keep-last, keep-for or keep-used-for");
	return r;
}

static int path_rule_read(struct path_rule *p, struct config *map, struct err *err)
{
	uint64_t bytes = UINT64_MAX;
	int r = get_seconds(map, "keep-used-for", keep_ms, &p->keep_used_for_s, err);

	if (r == 0)
		r = config_bytes(map, "max-bytes", &bytes, err);
	if (r == 0)
		r = get_patterns(map, "keep-paths", &p->keep_paths, err);
	if (r == 0)
		r = get_seconds(map, "keep-documents-for", keep_ms, &p->keep_documents_for_s, err);
	p->max_bytes = bytes == UINT64_MAX ? 0 : bytes;
	if (r == 0 && p->keep_paths.len && !p->keep_used_for_s && !p->max_bytes)
		r = config_fail(map, err,
				"keep-paths says what stays when others go, and nothing says when:"
				" keep-used-for or max-bytes");
	return r;
}

static int retention_one(struct store_rules *rules, struct config *map, struct err *err)
{
	cleanup_strv struct strv repositories = {0}, caches = {0};
	int r = get_patterns(map, "repositories", &repositories, err);

	if (r == 0)
		r = get_patterns(map, "caches", &caches, err);
	if (r == 0 && !repositories.len == !caches.len)
		r = config_fail(map, err,
				"a rule is of repositories or of caches: name either, by patterns");
	if (r < 0)
		return r;
	if (repositories.len) {
		struct tag_rule *t = &rules->tags[rules->n_tags++];

		t->repositories = repositories;
		repositories = (struct strv){0};
		return tag_rule_read(t, map, err);
	}
	rules->paths[rules->n_paths].caches = caches;
	caches = (struct strv){0};
	return path_rule_read(&rules->paths[rules->n_paths++], map, err);
}

static int retention_read(struct store_rules *rules, struct config *root, struct err *err)
{
	struct config *list = NULL;
	int r = get_rules(root, "retention", &list, err);

	if (r < 0)
		return r;
	rules->tags = xcalloc(config_len(list) + 1, sizeof(*rules->tags));
	rules->paths = xcalloc(config_len(list) + 1, sizeof(*rules->paths));
	for (size_t i = 0; r == 0 && i < config_len(list); i++)
		r = retention_one(rules, config_item(list, i), err);
	return r;
}

/* ---- The others ---- */

static int gc_read(struct store_rules *rules, struct config *root, struct err *err)
{
	struct config *map = NULL;
	int r = config_map(root, "gc", &map, err);

	if (r == 0)
		r = get_seconds(map, "upload-grace", grace_ms, &rules->upload_grace_s, err);
	return r < 0 ? r : get_grace(map, "untagged-grace", &rules->untagged_grace_s, err);
}

static int quota_one(struct quota_rule *q, struct config *map, struct err *err)
{
	int r = get_patterns(map, "repositories", &q->repositories, err);

	q->bytes = q->paths = q->tags = UINT64_MAX;
	if (r == 0)
		r = get_patterns(map, "caches", &q->caches, err);
	if (r == 0)
		r = config_bytes(map, "bytes", &q->bytes, err);
	if (r == 0)
		r = config_number(map, "paths", many, &q->paths, err);
	if (r == 0)
		r = config_number(map, "tags", many, &q->tags, err);
	if (r < 0)
		return r;
	if (!q->repositories.len && !q->caches.len)
		return config_fail(map, err,
				   "a quota is of repositories or caches: name them, by patterns");
	if (q->paths != UINT64_MAX && !q->caches.len)
		return config_fail(map, err, "`paths` is of caches, and none is named");
	if (q->tags != UINT64_MAX && !q->repositories.len)
		return config_fail(map, err, "`tags` is of repositories, and none is named");
	return 0;
}

static int quotas_read(struct store_rules *rules, struct config *root, struct err *err)
{
	struct config *list = NULL;
	int r = get_rules(root, "quotas", &list, err);

	if (r < 0)
		return r;
	rules->quotas = xcalloc(config_len(list) + 1, sizeof(*rules->quotas));
	for (size_t i = 0; r == 0 && i < config_len(list); i++)
		r = quota_one(&rules->quotas[rules->n_quotas++], config_item(list, i), err);
	return r;
}

static int immutable_read(struct store_rules *rules, struct config *root, struct err *err)
{
	struct config *list = NULL;
	int r = get_rules(root, "immutable-tags", &list, err);

	if (r < 0)
		return r;
	rules->immutable = xcalloc(config_len(list) + 1, sizeof(*rules->immutable));
	for (size_t i = 0; r == 0 && i < config_len(list); i++) {
		struct config *map = config_item(list, i);
		struct immutable_rule *rule = &rules->immutable[rules->n_immutable++];

		r = get_patterns(map, "repositories", &rule->repositories, err);
		if (r == 0)
			r = get_patterns(map, "tags", &rule->tags, err);
		if (r == 0 && (!rule->repositories.len || !rule->tags.len))
			r = config_fail(map, err, "name repositories and tags, by patterns");
	}
	return r;
}

int keep_settings_read(struct store_rules *ret, struct config *root, struct err *err)
{
	int r;

	*ret = STORE_RULES_INIT;
	r = gc_read(ret, root, err);
	if (r == 0)
		r = retention_read(ret, root, err);
	if (r == 0)
		r = quotas_read(ret, root, err);
	return r < 0 ? r : immutable_read(ret, root, err);
}
