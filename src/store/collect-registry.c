/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of candidates in the registry: tags, manifests, blobs. */
#include <stdio.h>
#include <string.h>

#include <nacre/hash.h>

#include "base/pattern.h"
#include "store/collect.h"
#include "store/garbage.h"
#include "store/manifests.h"
#include "store/repositories.h"
#include "store/uploads.h"

enum { TAGS_STEP = 1000, DAY_S = 24 * 3600 };

/* Tags that name what refers to a manifest are no versions of anything. */
#define IS_VERSION "name NOT GLOB 'sha256-*' AND name NOT GLOB 'sha512-*'"

/* ---- Repositories: which tags left the last n ---- */

/* 1: found. `ret` has FULL_NAME_MAX bytes. */
static int repository_name(struct conn *c, int64_t repository, char *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT view.name, repository.name FROM repository"
		   " JOIN view ON view.id = repository.view WHERE repository.id = ?1");
	query_bind_int(&q, 1, repository);
	r = query_step(&q, err);
	if (r > 0) {
		cleanup_free char *view = query_dup(&q, 0), *name = query_dup(&q, 1);

		full_name(ret, view, name);
	}
	query_end(&q);
	return r;
}

/* Names that are not in the queue yet, up to the first that is. */
static int tags_found(struct conn *c, const struct candidate *cand, uint64_t skip, struct strv *ret,
		      int64_t *ret_last, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT name, pushed, EXISTS (SELECT 1 FROM candidate WHERE kind = 2"
		   "  AND a = tag.repository AND b = 0 AND candidate.name = tag.name)"
		   " FROM tag WHERE repository = ?1 AND pushed < ?2 AND " IS_VERSION
		   " ORDER BY pushed DESC LIMIT ?3 OFFSET ?4");
	query_bind_int(&q, 1, cand->a);
	query_bind_int(&q, 2, cand->b ? cand->b : INT64_MAX);
	query_bind_int(&q, 3, TAGS_STEP);
	query_bind_int(&q, 4, (int64_t)skip);
	while ((r = query_step(&q, err)) > 0 && !query_int(&q, 2)) {
		strv_add_slice(ret, query_bytes(&q, 0));
		*ret_last = query_int(&q, 1);
	}
	query_end(&q);
	return r;
}

int collect_repository(struct collector *k, struct conn *c, struct candidate *cand, struct err *err)
{
	cleanup_strv struct strv names = {0};
	const struct tag_rule *rule;
	char name[FULL_NAME_MAX];
	int64_t last = 0;
	int r = repository_name(c, cand->a, name, err);

	if (r <= 0)
		return r < 0 ? r : VERDICT_USED;
	rule = tag_rule_find(k->rules, name);
	if (!rule || !tag_rule_expires(rule))
		return VERDICT_USED;
	r = tags_found(c, cand, cand->b ? 0 : rule->keep_last, &names, &last, err);
	for (size_t i = 0; i < names.len && r >= 0; i++)
		r = candidate_put(c,
				  &(struct candidate){.kind = CANDIDATE_TAG,
						      .a = cand->a,
						      .name = names.items[i],
						      .since = k->now},
				  err);
	if (r < 0)
		return r;
	cand->b = last;
	return names.len == TAGS_STEP ? (int)collector_wait(k, 0) : VERDICT_USED;
}

/* ---- Tags ---- */

struct tag_row {
	int64_t view, manifest, updated, pushed, used;
	bool made;
	char *repository;         /* owned */
	char full[FULL_NAME_MAX]; /* of the repository */
};

static void tag_row_release(struct tag_row *t)
{
	free(t->repository);
}

static int tag_read(struct conn *c, const struct candidate *cand, struct tag_row *ret,
		    struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT view.id, tag.manifest, updated, pushed, coalesce(used, 0), made,"
		   " repository.name, view.name FROM tag"
		   " JOIN repository ON repository.id = tag.repository"
		   " JOIN view ON view.id = repository.view"
		   " LEFT JOIN manifest_use ON manifest_use.manifest = tag.manifest"
		   " WHERE tag.repository = ?1 AND tag.name = ?2");
	query_bind_int(&q, 1, cand->a);
	query_bind_str(&q, 2, cand->name);
	r = query_step(&q, err);
	if (r > 0) {
		cleanup_free char *view = query_dup(&q, 7);

		ret->view = query_int(&q, 0);
		ret->manifest = query_int(&q, 1);
		ret->updated = query_int(&q, 2);
		ret->pushed = query_int(&q, 3);
		ret->used = query_int(&q, 4);
		ret->made = query_int(&q, 5);
		ret->repository = query_dup(&q, 6);
		full_name(ret->full, view, ret->repository);
	}
	query_end(&q);
	return r;
}

/* SPEC dist-1.1 "referrers tag schema", and cosign's: "sha256-<hex>", with ".sig" and the like
 * behind. */
static bool subject_of_tag(const char *name, struct hash *ret)
{
	size_t prefix = strlen("sha256-"), hex = strncmp(name, "sha512-", prefix) == 0 ? 128 : 64;
	char text[DIGEST_TEXT_MAX];

	if ((strncmp(name, "sha256-", prefix) != 0 && hex == 64) || strlen(name) < prefix + hex ||
	    (name[prefix + hex] && name[prefix + hex] != '.'))
		return false;
	snprintf(text, sizeof(text), "%.6s:%.*s", name, (int)hex, name + prefix);
	return digest_parse(ret, slice_str(text)) >= 0;
}

static int has_manifest(struct conn *c, int64_t repository, const struct hash *digest,
			struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT 1 FROM manifest WHERE repository = ?1 AND digest = ?2");
	query_bind_int(&q, 1, repository);
	query_bind_hash(&q, 2, digest);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

static int64_t untagged_grace(const struct store_rules *rules, const char *repository)
{
	const struct tag_rule *rule = tag_rule_find(rules, repository);

	return rule && rule->untagged_grace_s ? rule->untagged_grace_s : rules->untagged_grace_s;
}

static int tag_delete(struct collector *k, struct conn *c, const struct candidate *cand,
		      const struct tag_row *t, char *reason, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "DELETE FROM tag WHERE repository = ?1 AND name = ?2");
	query_bind_int(&q, 1, cand->a);
	query_bind_str(&q, 2, cand->name);
	r = query_run(&q, err);
	if (r < 0) {
		free(reason);
		return r;
	}
	k->result.tags++;
	collector_note(k, "tag", NULL, xasprintf("%s:%s", t->full, cand->name), reason, 0);
	return VERDICT_GONE;
}

/* A tag that names referrers lives as long as their subject. */
static int collect_subject_tag(struct collector *k, struct conn *c, const struct candidate *cand,
			       const struct tag_row *t, const struct hash *subject, struct err *err)
{
	int64_t grace = untagged_grace(k->rules, t->full);
	int r = has_manifest(c, cand->a, subject, err);

	if (r != 0)
		return r < 0 ? r : VERDICT_USED;
	if (grace == STORE_FOREVER)
		return collector_wait(k, DUE_NEVER);
	if (cand->since + grace > k->now)
		return collector_wait(k, cand->since + grace);
	return tag_delete(k, c, cand, t, xstrdup("what it refers to is gone"), err);
}

/* 1: it is among the last ones that were pushed. */
static int is_among_last(struct conn *c, const struct candidate *cand, int64_t pushed, uint64_t n,
			 struct err *err)
{
	bool among = false;
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT count(*) < ?3 FROM (SELECT 1 FROM tag WHERE repository = ?1"
		   " AND pushed > ?2 AND " IS_VERSION " LIMIT ?3)");
	query_bind_int(&q, 1, cand->a);
	query_bind_int(&q, 2, pushed);
	query_bind_int(&q, 3, n > INT64_MAX ? INT64_MAX : (int64_t)n);
	r = query_step(&q, err);
	if (r > 0)
		among = query_int(&q, 0);
	query_end(&q);
	return r < 0 ? r : among;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Until when the rule's times keep it. */
static int64_t kept_until(const struct tag_rule *rule, const struct tag_row *t)
{
	int64_t until = 0;

	if (rule->keep_for_s)
		until = t->updated + rule->keep_for_s;
	if (rule->keep_used_for_s)
		until = later(until, later(t->updated, t->used) + rule->keep_used_for_s);
	return until;
}

static char *tag_reason(const struct collector *k, const struct tag_rule *rule,
			const struct tag_row *t)
{
	struct buf text = BUF_INIT(512);

	buf_addf(&text, "pushed %lld days ago", (long long)(k->now - t->updated) / DAY_S);
	if (rule->keep_used_for_s)
		buf_addf(&text, ", used %lld days ago",
			 (long long)(k->now - later(t->used, t->updated)) / DAY_S);
	if (rule->keep_last)
		buf_addf(&text, ", not among the last %llu", (unsigned long long)rule->keep_last);
	return (char *)text.data;
}

static int collect_version(struct collector *k, struct conn *c, const struct candidate *cand,
			   const struct tag_row *t, struct err *err)
{
	const struct tag_rule *rule = tag_rule_find(k->rules, t->full);
	int64_t until;
	int r;

	if (!rule || !tag_rule_expires(rule))
		return VERDICT_USED;
	/* What the server makes is no version either: only time takes it. */
	if (patterns_fit(&rule->keep_tags, cand->name) ||
	    (t->made && !rule->keep_for_s && !rule->keep_used_for_s))
		return collector_wait(k, DUE_NEVER);
	until = kept_until(rule, t);
	if (until > k->now)
		return collector_wait(k, until);
	r = rule->keep_last && !t->made ? is_among_last(c, cand, t->pushed, rule->keep_last, err)
					: 0;
	if (r != 0)
		return r < 0 ? r : (int)collector_wait(k, k->now + DAY_S);
	/* Somebody may be at it: to be seen when its use was written down. */
	if (rule->keep_used_for_s &&
	    !collector_take(k, (struct use_key){USE_MANIFEST, t->manifest, 0}))
		return collector_wait(k, k->now + USE_GRAIN_S);
	return tag_delete(k, c, cand, t, tag_reason(k, rule, t), err);
}

int collect_tag(struct collector *k, struct conn *c, struct candidate *cand, struct err *err)
{
	__attribute__((cleanup(tag_row_release))) struct tag_row t = {0};
	struct hash subject;
	int r = tag_read(c, cand, &t, err);

	if (r <= 0)
		return r < 0 ? r : VERDICT_USED;
	r = pin_find(c, t.view, t.repository, cand->name, err);
	if (r != 0)
		return r < 0 ? r : (int)collector_wait(k, DUE_NEVER);
	if (subject_of_tag(cand->name, &subject))
		return collect_subject_tag(k, c, cand, &t, &subject, err);
	return collect_version(k, c, cand, &t, err);
}

/* ---- Manifests ---- */

struct manifest_row {
	int64_t repository, view, used;
	uint64_t size;
	struct hash digest;
	char *name;               /* owned; of the repository */
	char full[FULL_NAME_MAX]; /* of the same */
	bool held;
};

static int manifest_row_read(struct conn *c, int64_t id, struct manifest_row *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(
		&q, c,
		"SELECT m.repository, view.id, max(coalesce(used, 0), m.added), length(m.bytes),"
		" m.digest, repository.name, view.name,"
		" EXISTS (SELECT 1 FROM tag WHERE manifest = m.id)"
		" OR EXISTS (SELECT 1 FROM manifest_member AS mm WHERE mm.digest = m.digest"
		"  AND mm.repository = m.repository)"
		" OR EXISTS (SELECT 1 FROM referrer AS r JOIN manifest AS s"
		"  ON s.repository = r.repository AND s.digest = r.subject WHERE r.manifest = m.id)"
		" FROM manifest AS m JOIN repository ON repository.id = m.repository"
		" JOIN view ON view.id = repository.view"
		" LEFT JOIN manifest_use ON manifest_use.manifest = m.id WHERE m.id = ?1");
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	if (r > 0) {
		cleanup_free char *view = query_dup(&q, 6);

		ret->repository = query_int(&q, 0);
		ret->view = query_int(&q, 1);
		ret->used = query_int(&q, 2);
		ret->size = (uint64_t)query_int(&q, 3);
		query_hash(&q, 4, &ret->digest);
		ret->name = query_dup(&q, 5);
		full_name(ret->full, view, ret->name);
		ret->held = query_int(&q, 7);
	}
	query_end(&q);
	return r;
}

static int manifest_delete(struct collector *k, struct conn *c, int64_t id,
			   const struct manifest_row *m, struct err *err)
{
	char digest[DIGEST_TEXT_MAX];
	int r = manifest_drop(c, id, err);

	if (r >= 0)
		r = repository_tidy(c, m->repository, err);
	if (r < 0)
		return r;
	digest_format(digest, &m->digest);
	k->result.manifests++;
	collector_note(k, "manifest", NULL, xasprintf("%s@%s", m->full, digest),
		       xasprintf("no tag for long, used %lld days ago",
				 (long long)(k->now - m->used) / DAY_S),
		       m->size);
	return VERDICT_GONE;
}

static int manifest_look(struct collector *k, struct conn *c, const struct candidate *cand,
			 const struct manifest_row *m, struct err *err)
{
	int64_t grace = untagged_grace(k->rules, m->full);
	int64_t until = later(m->used, cand->since) + grace;
	char digest[DIGEST_TEXT_MAX];
	int r;

	digest_format(digest, &m->digest);
	r = pin_find(c, m->view, m->name, digest, err);
	if (r < 0)
		return r;
	if (r > 0 || grace == STORE_FOREVER)
		return collector_wait(k, DUE_NEVER);
	if (until > k->now)
		return collector_wait(k, until);
	if (!collector_take(k, (struct use_key){USE_MANIFEST, cand->a, 0}))
		return collector_wait(k, k->now + USE_GRAIN_S);
	return manifest_delete(k, c, cand->a, m, err);
}

int collect_manifest(struct collector *k, struct conn *c, struct candidate *cand, struct err *err)
{
	struct manifest_row m = {0};
	int r = manifest_row_read(c, cand->a, &m, err);

	if (r > 0)
		r = m.held ? VERDICT_USED : manifest_look(k, c, cand, &m, err);
	else if (r == 0)
		r = VERDICT_USED;
	free(m.name);
	return r;
}

/* ---- Blobs in repositories ---- */

struct link_row {
	char view[FULL_NAME_MAX], name[FULL_NAME_MAX]; /* of the repository */
	uint64_t size;
	struct hash digest;
	bool held;
};

static void text_copy(char *ret, struct slice text)
{
	snprintf(ret, FULL_NAME_MAX, "%.*s", (int)text.len, (const char *)text.data);
}

static int link_read(struct conn *c, const struct candidate *cand, struct link_row *ret,
		     struct err *err)
{
	struct query q;
	int r;

	query_init(
		&q, c,
		"SELECT view.name, repository.name, blob.size, blob.digest,"
		" EXISTS (SELECT 1 FROM manifest_blob WHERE blob = ?2 AND repository = ?1)"
		" FROM repository_blob AS link JOIN repository ON repository.id = link.repository"
		" JOIN view ON view.id = repository.view JOIN blob ON blob.id = link.blob"
		" WHERE link.repository = ?1 AND link.blob = ?2");
	query_bind_int(&q, 1, cand->a);
	query_bind_int(&q, 2, cand->b);
	r = query_step(&q, err);
	if (r > 0) {
		text_copy(ret->view, query_bytes(&q, 0));
		text_copy(ret->name, query_bytes(&q, 1));
		ret->size = (uint64_t)query_int(&q, 2);
		query_hash(&q, 3, &ret->digest);
		ret->held = query_int(&q, 4);
	}
	query_end(&q);
	return r;
}

static int link_delete(struct collector *k, struct conn *c, const struct candidate *cand,
		       const struct link_row *link, struct err *err)
{
	char digest[DIGEST_TEXT_MAX], full[FULL_NAME_MAX];
	struct query q;
	int r;

	query_init(&q, c, "DELETE FROM repository_blob WHERE repository = ?1 AND blob = ?2");
	query_bind_int(&q, 1, cand->a);
	query_bind_int(&q, 2, cand->b);
	r = query_run(&q, err);
	if (r >= 0)
		r = repository_tidy(c, cand->a, err);
	if (r < 0)
		return r;
	digest_format(digest, &link->digest);
	full_name(full, link->view, link->name);
	k->result.blobs++;
	collector_note(k, "blob", NULL, xasprintf("%s@%s", full, digest),
		       xstrdup("no manifest names it"), link->size);
	return VERDICT_GONE;
}

int collect_link(struct collector *k, struct conn *c, struct candidate *cand, struct err *err)
{
	struct link_row link;
	int r = link_read(c, cand, &link, err);

	if (r < 0)
		return r;
	/* It may have been taken out of the repository while a manifest still named it. */
	if (r == 0)
		return candidate_put(c, &(struct candidate){.kind = CANDIDATE_BLOB, .a = cand->b},
				     err) < 0
			       ? err->code
			       : VERDICT_USED;
	if (link.held)
		return VERDICT_USED;
	if (cand->since + k->rules->upload_grace_s > k->now)
		return collector_wait(k, cand->since + k->rules->upload_grace_s);
	/* An upload that takes days needs what it began with. */
	if (sessions_active(k->store, link.view, link.name) ||
	    !collector_take(k, (struct use_key){USE_LINK, cand->a, cand->b}))
		return collector_wait(k, k->now + USE_GRAIN_S);
	return link_delete(k, c, cand, &link, err);
}

/* ---- Blobs ---- */

static int blob_remove(struct conn *c, int64_t blob, struct err *err)
{
	cleanup_blob_parts struct blob_parts parts = {0};
	struct query q;
	int r = blob_parts_take(c, blob, &parts, err);

	if (r < 0)
		return r;
	query_init(&q, c, "DELETE FROM blob WHERE id = ?1");
	query_bind_int(&q, 1, blob);
	r = query_run(&q, err);
	return r < 0 ? r : garbage_blob_parts(c, &parts, err);
}

int collect_blob(struct collector *k, struct conn *c, struct candidate *cand, struct err *err)
{
	bool last = false;
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT id = (SELECT max(id) FROM blob) FROM blob WHERE id = ?1"
		   " AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE blob = ?1)"
		   " AND NOT EXISTS (SELECT 1 FROM manifest_blob WHERE blob = ?1)");
	query_bind_int(&q, 1, cand->a);
	r = query_step(&q, err);
	if (r > 0)
		last = query_int(&q, 0);
	query_end(&q);
	if (r <= 0)
		return r < 0 ? r : VERDICT_USED;
	/* An id is never given twice: whoever reads a blob holds its id for as long as that
	 * takes. So the highest one stays until there is a higher one. */
	if (last)
		return collector_wait(k, k->now + USE_GRAIN_S);
	r = blob_remove(c, cand->a, err);
	return r < 0 ? r : VERDICT_GONE;
}
