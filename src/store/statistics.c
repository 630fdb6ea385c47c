/* SPDX-License-Identifier: Apache-2.0 */
#include "store/objects.h"

/* Sums and counts, in the order of the columns. */
static const char statistics_sql[] =
	"SELECT"
	" (SELECT coalesce(sum(size), 0) FROM object WHERE file IS NOT NULL),"
	" (SELECT coalesce(sum(nar_size), 0) FROM nar),"
	" (SELECT coalesce(sum(size), 0) FROM object WHERE kind = 1),"
	" (SELECT coalesce(sum(size), 0) FROM object WHERE kind = 2),"
	" (SELECT coalesce(sum(size), 0) FROM object WHERE kind = 3),"
	" (SELECT coalesce(sum(size), 0) FROM blob WHERE form <> 1 AND layer = 2),"
	" (SELECT coalesce(sum(zstd_size), 0) FROM body),"
	" (SELECT count(*) FROM nar),"
	" (SELECT count(*) FROM binding),"
	" (SELECT count(*) FROM blob),"
	" (SELECT count(*) FROM blob WHERE form <> 1),"
	" (SELECT count(*) FROM manifest),"
	" (SELECT count(*) FROM tag),"
	" (SELECT count(*) FROM repository)";

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

	query_init(&q, c, statistics_sql);
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
