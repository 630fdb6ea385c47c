/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/pattern.h"
#include "store/collect.h"
#include "store/rules.h"

#define SETTING_RULES "retention"

/* ---- Values ---- */

void store_rules_release(struct store_rules *r)
{
	for (size_t i = 0; i < r->n_tags; i++) {
		strv_release(&r->tags[i].repositories);
		strv_release(&r->tags[i].keep_tags);
	}
	for (size_t i = 0; i < r->n_paths; i++) {
		strv_release(&r->paths[i].caches);
		strv_release(&r->paths[i].keep_paths);
	}
	for (size_t i = 0; i < r->n_quotas; i++) {
		strv_release(&r->quotas[i].repositories);
		strv_release(&r->quotas[i].caches);
	}
	for (size_t i = 0; i < r->n_immutable; i++) {
		strv_release(&r->immutable[i].repositories);
		strv_release(&r->immutable[i].tags);
	}
	free(r->tags);
	free(r->paths);
	free(r->quotas);
	free(r->immutable);
	*r = (struct store_rules){0};
}

static void *array_copy(const void *items, size_t n, size_t size)
{
	return n ? xmemdup(items, n * size) : NULL;
}

static void list_own(struct strv *list)
{
	struct strv copy = {0};

	strv_copy(&copy, list);
	*list = copy;
}

static void rules_copy(struct store_rules *ret, const struct store_rules *from)
{
	*ret = *from;
	ret->tags = array_copy(from->tags, from->n_tags, sizeof(*from->tags));
	ret->paths = array_copy(from->paths, from->n_paths, sizeof(*from->paths));
	ret->quotas = array_copy(from->quotas, from->n_quotas, sizeof(*from->quotas));
	ret->immutable = array_copy(from->immutable, from->n_immutable, sizeof(*from->immutable));
	for (size_t i = 0; i < ret->n_tags; i++) {
		list_own(&ret->tags[i].repositories);
		list_own(&ret->tags[i].keep_tags);
	}
	for (size_t i = 0; i < ret->n_paths; i++) {
		list_own(&ret->paths[i].caches);
		list_own(&ret->paths[i].keep_paths);
	}
	for (size_t i = 0; i < ret->n_quotas; i++) {
		list_own(&ret->quotas[i].repositories);
		list_own(&ret->quotas[i].caches);
	}
	for (size_t i = 0; i < ret->n_immutable; i++) {
		list_own(&ret->immutable[i].repositories);
		list_own(&ret->immutable[i].tags);
	}
}

void rules_init(struct store *s)
{
	struct rules *r = xcalloc(1, sizeof(*r));

	r->set = STORE_RULES_INIT;
	atomic_store(&s->rules, r);
}

void rules_free(struct store *s)
{
	struct rules *r = atomic_load(&s->rules);

	while (r) {
		struct rules *older = r->older;

		store_rules_release(&r->set);
		free(r);
		r = older;
	}
}

/* ---- Finding ---- */

void full_name(char *ret, const char *view, const char *repository)
{
	snprintf(ret, FULL_NAME_MAX, "%s%s%s", view, view[0] ? "/" : "", repository);
}

const char *rule_cache_name(const char *view)
{
	return view[0] ? view : "/";
}

const struct tag_rule *tag_rule_find(const struct store_rules *r, const char *repository)
{
	for (size_t i = 0; i < r->n_tags; i++)
		if (patterns_fit(&r->tags[i].repositories, repository))
			return &r->tags[i];
	return NULL;
}

const struct path_rule *path_rule_find(const struct store_rules *r, const char *cache)
{
	for (size_t i = 0; i < r->n_paths; i++)
		if (patterns_fit(&r->paths[i].caches, cache))
			return &r->paths[i];
	return NULL;
}

bool tag_rule_expires(const struct tag_rule *rule)
{
	return rule->keep_last || rule->keep_for_s || rule->keep_used_for_s;
}

/* ---- Putting in force ---- */

static void list_text(struct buf *ret, const struct strv *list)
{
	for (size_t i = 0; i < list->len; i++)
		buf_addf(ret, " %s", list->items[i]);
	buf_addf(ret, ";");
}

/* What decides who stays, as a text: another text, other decisions. */
static void retention_text(struct buf *ret, const struct store_rules *r)
{
	buf_addf(ret, "1 %lld %lld;", (long long)r->upload_grace_s, (long long)r->untagged_grace_s);
	for (size_t i = 0; i < r->n_tags; i++) {
		const struct tag_rule *t = &r->tags[i];

		buf_addf(ret, "tags %llu %lld %lld %lld", (unsigned long long)t->keep_last,
			 (long long)t->keep_for_s, (long long)t->keep_used_for_s,
			 (long long)t->untagged_grace_s);
		list_text(ret, &t->repositories);
		list_text(ret, &t->keep_tags);
	}
	for (size_t i = 0; i < r->n_paths; i++) {
		const struct path_rule *p = &r->paths[i];

		buf_addf(ret, "paths %lld", (long long)p->keep_used_for_s);
		list_text(ret, &p->caches);
		list_text(ret, &p->keep_paths);
	}
}

struct rules_job {
	const char *text;
};

/* Everything is looked at again, bit by bit, if these are others than the last ones. */
static int rules_job(struct conn *c, void *arg, struct err *err)
{
	const struct rules_job *job = arg;
	bool same;
	struct query q;
	int r;

	query_init(&q, c, "SELECT value = ?2 FROM setting WHERE name = ?1");
	query_bind_str(&q, 1, SETTING_RULES);
	query_bind_str(&q, 2, job->text);
	r = query_step(&q, err);
	same = r > 0 && query_int(&q, 0);
	query_end(&q);
	if (r < 0 || same)
		return r < 0 ? r : 0;
	query_init(&q, c,
		   "INSERT INTO setting (name, value) VALUES (?1, ?2)"
		   " ON CONFLICT DO UPDATE SET value = ?2");
	query_bind_str(&q, 1, SETTING_RULES);
	query_bind_str(&q, 2, job->text);
	r = query_run(&q, err);
	return r < 0 ? r : collect_look_again(c, err);
}

int store_rules_set(struct store *s, const struct store_rules *rules, struct err *err)
{
	struct rules *next = xcalloc(1, sizeof(*next));
	cleanup_buf struct buf text = BUF_INIT(16 << 20);
	struct rules_job job;
	int r;

	rules_copy(&next->set, rules);
	retention_text(&text, rules);
	job.text = (const char *)text.data;
	/* The collector must not take what is to be looked at again for looked at, by the rules of before. */
	pthread_mutex_lock(&s->collect_lock);
	r = db_write(s->db, rules_job, &job, err);
	next->older = atomic_load(&s->rules);
	if (r >= 0)
		atomic_store(&s->rules, next);
	pthread_mutex_unlock(&s->collect_lock);
	if (r < 0) {
		store_rules_release(&next->set);
		free(next);
	}
	return r < 0 ? r : 0;
}
