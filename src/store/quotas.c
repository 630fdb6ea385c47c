/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/pattern.h"
#include "store/quotas.h"
#include "store/rules.h"

/* ---- Limits ---- */

struct limits {
	uint64_t bytes, paths, tags; /* UINT64_MAX: none */
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

bool store_has_quotas(const struct store *s)
{
	return store_rules(s)->n_quotas > 0;
}

/* The smallest of all that fit. `repository` NULL: of the view's cache. */
static struct limits limits_of(const struct store_view *v, const char *repository)
{
	const struct store_rules *rules = store_rules(v->store);
	struct limits l = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
	char full[FULL_NAME_MAX];

	full_name(full, v->name, repository ? repository : "");
	for (size_t i = 0; i < rules->n_quotas; i++) {
		const struct quota_rule *q = &rules->quotas[i];

		if (repository ? !patterns_fit(&q->repositories, full)
			       : !patterns_fit(&q->caches, rule_cache_name(v->name)))
			continue;
		l.bytes = smaller(l.bytes, q->bytes);
		l.paths = smaller(l.paths, q->paths);
		l.tags = smaller(l.tags, q->tags);
	}
	return l;
}

static bool is_limited(const struct limits *l)
{
	return l->bytes != UINT64_MAX || l->paths != UINT64_MAX || l->tags != UINT64_MAX;
}

static int used_up(struct err *err, const char *what, const char *unit, uint64_t limit)
{
	err_set(err, E_LIMIT, "the quota of %s is used up: it may have %llu %s; delete something",
		what, (unsigned long long)limit, unit);
	err->sys_errno = EDQUOT;
	return E_LIMIT;
}

/* ---- Repositories ---- */

static int repository_usage(struct conn *c, const struct store_view *v, const char *repository,
			    uint64_t *ret_bytes, uint64_t *ret_tags, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT bytes, tags FROM repository WHERE view = ?1 AND name = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, repository);
	r = query_step(&q, err);
	*ret_bytes = r > 0 ? (uint64_t)query_int(&q, 0) : 0;
	*ret_tags = r > 0 ? (uint64_t)query_int(&q, 1) : 0;
	query_end(&q);
	return r < 0 ? r : 0;
}

int quota_room(struct store_view *v, const char *repository, uint64_t *ret, struct err *err)
{
	struct limits l = limits_of(v, repository);
	uint64_t bytes, tags;
	struct conn *c;
	int r;

	*ret = UINT64_MAX;
	if (l.bytes == UINT64_MAX)
		return 0;
	c = reader(v, err);
	if (!c)
		return err->code;
	r = repository_usage(c, v, repository, &bytes, &tags, err);
	reader_done(v, c);
	if (r < 0)
		return r;
	if (bytes >= l.bytes)
		return used_up(err, repository, "bytes", l.bytes);
	*ret = l.bytes - bytes;
	return 0;
}

int quota_exceeded(const char *repository, uint64_t bytes, struct err *err)
{
	err_set(err, E_LIMIT, "the quota of %s is used up: at least %llu bytes are too many",
		repository, (unsigned long long)bytes);
	err->sys_errno = EDQUOT;
	return E_LIMIT;
}

int quota_check(struct conn *c, const struct store_view *v, const char *repository, struct err *err)
{
	struct limits l = limits_of(v, repository);
	uint64_t bytes, tags;
	int r;

	if (!is_limited(&l))
		return 0;
	r = repository_usage(c, v, repository, &bytes, &tags, err);
	if (r < 0)
		return r;
	if (bytes > l.bytes)
		return used_up(err, repository, "bytes", l.bytes);
	return tags > l.tags ? used_up(err, repository, "tags", l.tags) : 0;
}

/* ---- Caches ---- */

struct cache_use {
	uint64_t bytes;         /* of its paths, */
	uint64_t pending_bytes; /* and of NARs that wait for theirs */
	uint64_t paths;
};

static int cache_usage(struct conn *c, const struct store_view *v, struct cache_use *ret,
		       struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT bytes, paths, pending_bytes FROM view WHERE id = ?1");
	query_bind_int(&q, 1, v->id);
	r = query_step(&q, err);
	if (r > 0)
		*ret = (struct cache_use){
			.bytes = (uint64_t)query_int(&q, 0),
			.paths = (uint64_t)query_int(&q, 1),
			.pending_bytes = (uint64_t)query_int(&q, 2),
		};
	query_end(&q);
	return r == 0 ? err_set(err, E_INTERNAL, "a view is gone") : r < 0 ? r : 0;
}

int quota_cache_room(struct store_view *v, struct err *err)
{
	struct limits l = limits_of(v, NULL);
	struct cache_use use;
	struct conn *c;
	int r;

	if (!is_limited(&l))
		return 0;
	c = reader(v, err);
	if (!c)
		return err->code;
	r = cache_usage(c, v, &use, err);
	reader_done(v, c);
	if (r < 0)
		return r;
	if (use.bytes + use.pending_bytes >= l.bytes)
		return used_up(err, "this cache", "bytes", l.bytes);
	return use.paths >= l.paths ? used_up(err, "this cache", "paths", l.paths) : 0;
}

int quota_cache_check(struct conn *c, const struct store_view *v, struct err *err)
{
	struct limits l = limits_of(v, NULL);
	struct cache_use use;
	int r = is_limited(&l) ? cache_usage(c, v, &use, err) : 0;

	if (r < 0 || !is_limited(&l))
		return r;
	return use.bytes + use.pending_bytes > l.bytes
		       ? used_up(err, "this cache", "bytes", l.bytes)
		       : 0;
}

int quota_path_check(struct conn *c, const struct store_view *v, uint64_t bytes, struct err *err)
{
	struct limits l = limits_of(v, NULL);
	struct cache_use use;
	int r = is_limited(&l) ? cache_usage(c, v, &use, err) : 0;

	if (r < 0 || !is_limited(&l))
		return r;
	if (use.bytes + bytes > l.bytes)
		return used_up(err, "this cache", "bytes", l.bytes);
	return use.paths >= l.paths ? used_up(err, "this cache", "paths", l.paths) : 0;
}

/* ---- Immutable tags ---- */

static bool is_immutable(const struct store_view *v, const char *repository, const char *tag)
{
	const struct store_rules *rules = store_rules(v->store);
	char full[FULL_NAME_MAX];

	full_name(full, v->name, repository);
	for (size_t i = 0; i < rules->n_immutable; i++)
		if (patterns_fit(&rules->immutable[i].repositories, full) &&
		    patterns_fit(&rules->immutable[i].tags, tag))
			return true;
	return false;
}

static void tag_find(struct conn *c, const struct store_view *v, const char *repository,
		     const char *tag, struct query *q)
{
	query_init(q, c,
		   "SELECT tag.name, tag.manifest FROM repository JOIN tag"
		   " ON tag.repository = repository.id"
		   " WHERE view = ?1 AND repository.name = ?2 AND tag.name = ?3");
	query_bind_int(q, 1, v->id);
	query_bind_str(q, 2, repository);
	query_bind_str(q, 3, tag);
}

/* The tags whose images need what the query `of` gives, which are manifests: of these themselves, and of indexes that
 * have them as members, of whatever depth. */
#define TAGS_ABOVE(of)                                                                          \
	"WITH RECURSIVE holder(id) AS (" of                                                     \
	" UNION SELECT mm.manifest FROM holder JOIN manifest AS m ON m.id = holder.id"          \
	" JOIN manifest_member AS mm ON mm.digest = m.digest AND mm.repository = m.repository)" \
	" SELECT tag.name FROM holder CROSS JOIN tag ON tag.manifest = holder.id"

int tag_check_move(struct conn *c, const struct store_view *v, const char *repository,
		   const char *tag, int64_t manifest, struct err *err)
{
	struct query q;
	int r;

	if (!store_rules(v->store)->n_immutable || !is_immutable(v, repository, tag))
		return 0;
	tag_find(c, v, repository, tag, &q);
	r = query_step(&q, err);
	if (r > 0 && query_int(&q, 1) != manifest)
		r = err_set(err, E_CONFLICT,
			    "%s:%s is there, and tags like it stand for one image for ever here:"
			    " take another tag",
			    repository, tag);
	query_end(&q);
	return r < 0 ? r : 0;
}

/* Ends the query. */
static int check_tags(const struct store_view *v, const char *repository, struct query *q,
		      struct err *err)
{
	int r;

	while ((r = query_step(q, err)) > 0) {
		cleanup_free char *name = query_dup(q, 0);

		if (is_immutable(v, repository, name)) {
			r = err_set(err, E_CONFLICT,
				    "this is %s:%s, or part of it, and tags like it stand for"
				    " ever here",
				    repository, name);
			break;
		}
	}
	query_end(q);
	return r;
}

int tag_check_delete(struct conn *c, const struct store_view *v, const char *repository,
		     const char *tag, struct err *err)
{
	struct query q;

	if (!store_rules(v->store)->n_immutable)
		return 0;
	tag_find(c, v, repository, tag, &q);
	return check_tags(v, repository, &q, err);
}

int manifest_check_delete(struct conn *c, const struct store_view *v, const char *repository,
			  int64_t manifest, struct err *err)
{
	struct query q;

	if (!store_rules(v->store)->n_immutable)
		return 0;
	query_init(&q, c, TAGS_ABOVE("VALUES (?1)"));
	query_bind_int(&q, 1, manifest);
	return check_tags(v, repository, &q, err);
}

int blob_check_delete(struct conn *c, const struct store_view *v, const char *repository,
		      int64_t blob, struct err *err)
{
	struct query q;

	if (!store_rules(v->store)->n_immutable)
		return 0;
	query_init(&q, c,
		   TAGS_ABOVE("SELECT manifest FROM manifest_blob WHERE blob = ?1 AND repository ="
			      " (SELECT id FROM repository WHERE view = ?2 AND name = ?3)"));
	query_bind_int(&q, 1, blob);
	query_bind_int(&q, 2, v->id);
	query_bind_str(&q, 3, repository);
	return check_tags(v, repository, &q, err);
}
