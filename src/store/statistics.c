/* SPDX-License-Identifier: Apache-2.0 */
/* Sums and counts. Triggers keep them (upgrade-2.sql), so reading them takes no time. */
#include "store/objects.h"
#include "store/upkeep.h"

static int statistics_read(struct conn *c, struct store_statistics *ret, struct err *err)
{
	uint64_t *columns[] = {
		&ret->physical_bytes, &ret->nar_bytes,    &ret->framed_bytes, &ret->glue_bytes,
		&ret->opaque_bytes,   &ret->layer_bytes,  &ret->body_bytes,   &ret->nars,
		&ret->paths,          &ret->blobs,        &ret->splices,      &ret->manifests,
		&ret->tags,           &ret->repositories,
	};
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT file_bytes, nar_bytes, framed_bytes, glue_bytes, opaque_bytes,"
		   " layer_bytes, body_bytes, nars, paths, blobs, splices, manifests, tags,"
		   " repositories FROM total");
	r = query_step(&q, err);
	for (size_t i = 0; i < ARRAY_LEN(columns) && r > 0; i++)
		*columns[i] = (uint64_t)query_int(&q, (int)i);
	query_end(&q);
	return r;
}

int store_statistics(struct store *s, struct store_statistics *ret, struct err *err)
{
	struct store_statistics result = {0};
	struct conn *c = db_reader(s->db, err);
	int r;

	if (!c)
		return err->code;
	r = statistics_read(c, &result, err);
	db_reader_done(s->db, c);
	if (r >= 0)
		r = db_bytes(s->db, &result.database_bytes, err);
	if (r < 0)
		return r;
	result.physical_bytes += result.database_bytes;
	pthread_mutex_lock(&s->sessions_lock);
	result.uploads = s->n_sessions;
	pthread_mutex_unlock(&s->sessions_lock);
	*ret = result;
	return 0;
}

int store_view_usages(struct store *s, store_view_report *report, void *arg, struct err *err)
{
	struct conn *c = db_reader(s->db, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c,
		   "SELECT view.name, paths, nar_bytes, view.bytes, count(repository.id),"
		   " coalesce(sum(repository.bytes), 0), coalesce(sum(manifests), 0),"
		   " coalesce(sum(tags), 0) FROM view"
		   " LEFT JOIN repository ON repository.view = view.id"
		   " GROUP BY view.id ORDER BY view.name");
	while ((r = query_step(&q, err)) > 0) {
		cleanup_free char *name = query_dup(&q, 0);
		struct store_view_usage usage = {
			.view = name,
			.paths = (uint64_t)query_int(&q, 1),
			.nar_bytes = (uint64_t)query_int(&q, 2),
			.bytes = (uint64_t)query_int(&q, 3),
			.repositories = (uint64_t)query_int(&q, 4),
			.repository_bytes = (uint64_t)query_int(&q, 5),
			.manifests = (uint64_t)query_int(&q, 6),
			.tags = (uint64_t)query_int(&q, 7),
		};

		report(arg, &usage);
	}
	query_end(&q);
	db_reader_done(s->db, c);
	return r;
}

int store_repository_usages(struct store_view *v, const struct store_page *page,
			    store_repository_report *report, void *arg, struct err *err)
{
	struct conn *c = reader(v, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c,
		   "SELECT name, bytes, blobs, manifests, tags FROM repository"
		   " WHERE view = ?1 AND name > ?2 ORDER BY name LIMIT ?3");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, page->last ? page->last : "");
	query_bind_int(&q, 3, page->n < INT64_MAX ? (int64_t)page->n : INT64_MAX);
	while ((r = query_step(&q, err)) > 0) {
		cleanup_free char *name = query_dup(&q, 0);
		struct store_repository_usage usage = {
			.name = name,
			.bytes = (uint64_t)query_int(&q, 1),
			.blobs = (uint64_t)query_int(&q, 2),
			.manifests = (uint64_t)query_int(&q, 3),
			.tags = (uint64_t)query_int(&q, 4),
		};

		report(arg, &usage);
	}
	query_end(&q);
	reader_done(v, c);
	return r;
}
