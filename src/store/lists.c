/* SPDX-License-Identifier: Apache-2.0 */
/* Tags, repositories, referrers: pages of an index, whatever the length of the list. */
#include <stdio.h>

#include <nacre/manifest.h>

#include "store/made.h"
#include "store/repositories.h"

enum {
	LIST_MAX = 100000,             /* names in one answer */
	REFERRERS_BYTES_MAX = 4 << 20, /* of one page */
};

/* Takes n names of a query that asks for one more. */
static int names_take(struct query *q, size_t n, struct store_names *to, bool *ret_more,
		      struct err *err)
{
	int r = 0;

	*ret_more = false;
	for (size_t i = 0; (r = query_step(q, err)) > 0; i++) {
		if (i == n) {
			*ret_more = true;
			break;
		}
		r = to->take(to, query_bytes(q, 0), err);
		if (r < 0)
			break;
	}
	query_end(q);
	return r < 0 ? r : 0;
}

/* SPEC dist-1.1 end-8 */
int store_tags(struct store_view *v, const char *repository, const struct store_page *page,
	       struct store_names *to, bool *ret_more, struct err *err)
{
	size_t n = page->n < LIST_MAX ? page->n : LIST_MAX;
	struct conn *c = reader(v, err);
	struct query q;
	int64_t id = 0;
	int r;

	if (!c)
		return err->code;
	r = repository_find(c, v, repository, &id, err);
	if (r == 0 && repository_made_kind(repository) == MADE_NONE)
		r = err_set(err, E_NOTFOUND, "there is no repository %.300s", repository);
	if (r >= 0) {
		query_init(&q, c,
			   "SELECT name FROM tag WHERE repository = ?1 AND name > ?2"
			   " ORDER BY name LIMIT ?3");
		query_bind_int(&q, 1, id);
		query_bind_str(&q, 2, page->last ? page->last : "");
		query_bind_int(&q, 3, (int64_t)n + 1);
		r = names_take(&q, n, to, ret_more, err);
	}
	reader_done(v, c);
	return r;
}

int store_catalog(struct store_view *v, const struct store_page *page, struct store_names *to,
		  bool *ret_more, struct err *err)
{
	size_t n = page->n < LIST_MAX ? page->n : LIST_MAX;
	struct conn *c = reader(v, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c,
		   "SELECT name FROM repository WHERE view = ?1 AND name > ?2"
		   " ORDER BY name LIMIT ?3");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, page->last ? page->last : "");
	query_bind_int(&q, 3, (int64_t)n + 1);
	r = names_take(&q, n, to, ret_more, err);
	reader_done(v, c);
	return r;
}

/* ---- Referrers ---- */

static void referrers_query(struct query *q, struct conn *c, const struct store_view *v,
			    const char *repository, const struct referrers_query *what)
{
	/* Two texts: one that serves both would read the referrers of every type. */
	if (what->artifact_type)
		query_init(q, c,
			   "SELECT manifest, descriptor FROM repository JOIN referrer"
			   " INDEXED BY referrer_type"
			   " ON referrer.repository = repository.id AND subject = ?3"
			   " AND manifest > ?4 AND artifact_type = ?6"
			   " WHERE view = ?1 AND name = ?2 ORDER BY manifest LIMIT ?5");
	else
		query_init(q, c,
			   "SELECT manifest, descriptor FROM repository JOIN referrer"
			   " ON referrer.repository = repository.id AND subject = ?3"
			   " AND manifest > ?4"
			   " WHERE view = ?1 AND name = ?2 ORDER BY manifest LIMIT ?5");
	query_bind_int(q, 1, v->id);
	query_bind_str(q, 2, repository);
	query_bind_hash(q, 3, &what->subject);
	query_bind_int(q, 4, (int64_t)what->after);
	query_bind_int(q, 5, (int64_t)(what->n < LIST_MAX ? what->n : LIST_MAX) + 1);
	if (what->artifact_type)
		query_bind_str(q, 6, what->artifact_type);
}

/* One page of descriptors; a page that would grow too large ends before its n-th. */
static int referrers_take(struct query *q, size_t n, struct buf *ret, uint64_t *ret_after,
			  struct err *err)
{
	uint64_t last = 0;
	size_t begin = ret->len;
	int r;

	*ret_after = 0;
	for (size_t i = 0; (r = query_step(q, err)) > 0; i++) {
		struct slice text = query_bytes(q, 1);

		if (i == n || (i > 0 && ret->len - begin + text.len > REFERRERS_BYTES_MAX)) {
			*ret_after = last;
			break;
		}
		if ((i && buf_add(ret, ",", 1) < 0) || buf_add(ret, text.data, text.len) < 0)
			return err_set(err, E_LIMIT, "the list of referrers is too large");
		last = (uint64_t)query_int(q, 0);
	}
	return r;
}

/* SPEC dist-1.1 end-12a, end-12b */
int store_referrers(struct store_view *v, const char *repository, const struct referrers_query *q,
		    struct buf *ret, uint64_t *ret_after, struct err *err)
{
	struct query query;
	struct conn *c;
	int r = made_infos_refresh(v, repository, &q->subject, err);

	if (r < 0)
		return r;
	c = reader(v, err);
	if (!c)
		return err->code;
	r = buf_add_str(ret,
			"{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX "\",\"manifests\":[");
	referrers_query(&query, c, v, repository, q);
	if (r >= 0)
		r = referrers_take(&query, q->n < LIST_MAX ? q->n : LIST_MAX, ret, ret_after, err);
	query_end(&query);
	reader_done(v, c);
	if (r >= 0 && buf_add_str(ret, "]}") < 0)
		r = err_set(err, E_LIMIT, "the list of referrers is too large");
	return r < 0 ? r : 0;
}
