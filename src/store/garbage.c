/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "store/clock.h"
#include "store/garbage.h"
#include "store/rules.h"
#include "store/stored-content.h"
#include "store/uses.h"

enum { BATCH = 256 }; /* rows removed in one transaction */

/* Where so much is removed, its batch is full: large files take the disk long to free. */
#define BATCH_BYTES (4ull << 30)

int garbage_object(struct conn *c, int64_t object, struct err *err)
{
	struct query q;

	/* Listed again it is the last one: who reads it may have come by the use that it had between. */
	query_init(&q, c,
		   "INSERT OR REPLACE INTO garbage (object) SELECT ?1 WHERE"
		   " NOT EXISTS (SELECT 1 FROM nar WHERE object = ?1)"
		   " AND NOT EXISTS (SELECT 1 FROM body WHERE glue = ?1)"
		   " AND NOT EXISTS (SELECT 1 FROM blob WHERE object = ?1)"
		   " AND NOT EXISTS (SELECT 1 FROM blob_part WHERE object = ?1)"
		   " AND NOT EXISTS (SELECT 1 FROM nar_name WHERE object = ?1)"
		   " AND NOT EXISTS (SELECT 1 FROM document WHERE object = ?1)");
	query_bind_int(&q, 1, object);
	return query_run(&q, err);
}

/* 1: something still needs the NAR. */
static int nar_used(struct conn *c, int64_t nar, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT 1 WHERE EXISTS (SELECT 1 FROM binding WHERE nar = ?1)"
		   " OR EXISTS (SELECT 1 FROM nar_name WHERE nar = ?1)"
		   " OR EXISTS (SELECT 1 FROM layer_path WHERE nar = ?1)"
		   " OR EXISTS (SELECT 1 FROM pending WHERE nar = ?1)");
	query_bind_int(&q, 1, nar);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

/* Runs a statement that deletes one row at the most. 1: it did, and *ret is what it returned. */
static int delete_one(struct query *q, int64_t *ret, struct err *err)
{
	int r = query_step(q, err);

	*ret = r > 0 ? query_int(q, 0) : 0;
	if (r > 0)
		r = query_step(q, err) < 0 ? err->code : 1; /* ends the statement */
	query_end(q);
	return r;
}

int garbage_bodies(struct conn *c, int64_t nar, struct err *err)
{
	struct query q;
	int r;

	for (;;) {
		int64_t glue;

		query_init(
			&q, c,
			"DELETE FROM body WHERE id = (SELECT id FROM body WHERE nar = ?1 LIMIT 1)"
			" RETURNING glue");
		query_bind_int(&q, 1, nar);
		r = delete_one(&q, &glue, err);
		if (r <= 0)
			return r;
		r = garbage_object(c, glue, err);
		if (r < 0)
			return r;
	}
}

int garbage_nar(struct conn *c, int64_t nar, struct err *err)
{
	int64_t object = 0;
	struct query q;
	int r = nar_used(c, nar, err);

	if (r != 0)
		return r < 0 ? r : 0;
	r = garbage_bodies(c, nar, err);
	if (r < 0)
		return r;
	query_init(&q, c, "DELETE FROM nar WHERE id = ?1 RETURNING object");
	query_bind_int(&q, 1, nar);
	r = delete_one(&q, &object, err);
	return r > 0 ? garbage_object(c, object, err) : r;
}

/* ---- What blobs consist of ---- */

void id_list_release(struct id_list *l)
{
	free(l->items);
	*l = (struct id_list){0};
}

void blob_parts_release(struct blob_parts *parts)
{
	id_list_release(&parts->objects);
	id_list_release(&parts->nars);
}

int id_list_read(struct conn *c, const char *sql, int64_t id, struct id_list *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, sql);
	query_bind_int(&q, 1, id);
	while ((r = query_step(&q, err)) > 0) {
		array_grow(ret->items, ret->cap, ret->len + 1);
		ret->items[ret->len++] = query_int(&q, 0);
	}
	query_end(&q);
	return r;
}

int blob_parts_take(struct conn *c, int64_t blob, struct blob_parts *ret, struct err *err)
{
	int r = id_list_read(c,
			     "SELECT object FROM blob_part WHERE blob = ?1 UNION"
			     " SELECT object FROM blob WHERE id = ?1 AND object IS NOT NULL",
			     blob, &ret->objects, err);

	if (r >= 0)
		r = id_list_read(c, "SELECT DISTINCT nar FROM layer_path WHERE blob = ?1", blob,
				 &ret->nars, err);
	if (r >= 0)
		r = query_run_id(c, "DELETE FROM blob_part WHERE blob = ?1", blob, err);
	if (r >= 0)
		r = query_run_id(c, "DELETE FROM layer_path WHERE blob = ?1", blob, err);
	return r;
}

int garbage_blob_parts(struct conn *c, const struct blob_parts *parts, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < parts->objects.len && r >= 0; i++)
		r = garbage_object(c, parts->objects.items[i], err);
	for (size_t i = 0; i < parts->nars.len && r >= 0; i++)
		r = garbage_nar(c, parts->nars.items[i], err);
	return r;
}

/* ---- Pending NARs ---- */

struct pending {
	struct store *store;
	int64_t before;
	struct use_key items[BATCH]; /* views and NARs */
	size_t n;
};

static int pending_run(struct conn *c, const char *sql, struct use_key item, struct err *err)
{
	struct query q;

	query_init(&q, c, sql);
	query_bind_int(&q, 1, item.a);
	query_bind_int(&q, 2, item.b);
	return query_run(&q, err);
}

/* Takes its names in the view, and the bytes that were kept under them, unless a path is bound. */
static int names_delete(struct conn *c, struct use_key item, struct err *err)
{
	for (;;) {
		int64_t object;
		struct query q;
		int r;

		query_init(&q, c,
			   "DELETE FROM nar_name WHERE view = ?1 AND name ="
			   " (SELECT name FROM nar_name WHERE nar = ?2 AND view = ?1 LIMIT 1)"
			   " AND NOT EXISTS (SELECT 1 FROM binding WHERE view = ?1 AND nar = ?2)"
			   " RETURNING object");
		query_bind_int(&q, 1, item.a);
		query_bind_int(&q, 2, item.b);
		r = delete_one(&q, &object, err);
		if (r > 0 && object)
			r = garbage_object(c, object, err) < 0 ? err->code : 1;
		if (r <= 0)
			return r;
	}
}

/* Unless a path was bound to it, or somebody asks for it just now. */
static int pending_end(struct conn *c, struct store *s, struct use_key item, struct err *err)
{
	int r;

	if (!use_take(s, item))
		return pending_run(c,
				   "UPDATE pending SET added = unixepoch()"
				   " WHERE view = ?1 AND nar = ?2",
				   item, err);
	r = names_delete(c, item, err);
	if (r >= 0)
		r = pending_run(c, "DELETE FROM pending WHERE view = ?1 AND nar = ?2", item, err);
	return r < 0 ? r : garbage_nar(c, item.b, err);
}

static int pending_job(struct conn *c, void *arg, struct err *err)
{
	struct pending *p = arg;
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT view, nar FROM pending WHERE added < ?1 ORDER BY added LIMIT 256");
	query_bind_int(&q, 1, p->before);
	for (p->n = 0; p->n < BATCH && (r = query_step(&q, err)) > 0;)
		p->items[p->n++] =
			(struct use_key){USE_PENDING, query_int(&q, 0), query_int(&q, 1)};
	query_end(&q);
	for (size_t i = 0; r >= 0 && i < p->n; i++)
		r = pending_end(c, p->store, p->items[i], err);
	return r < 0 ? r : 0;
}

/* 1: time was up before all were looked at. */
static int pending_collect(struct store *s, uint64_t deadline_ms, struct err *err)
{
	struct pending *p = xcalloc(1, sizeof(*p));
	bool more;
	int r;

	p->store = s;
	p->before = now_seconds() - store_rules(s)->upload_grace_s;
	do {
		r = db_write(s->db, pending_job, p, err);
		uses_settle(s);
		more = r >= 0 && p->n == BATCH;
	} while (more && !time_is_up(deadline_ms));
	free(p);
	return r < 0 ? r : more;
}

/* ---- Objects ---- */

struct removal {
	struct store *store;
	int64_t mark;
	uint64_t objects, bytes; /* in this transaction */
	bool more;               /* were listed than it took */
	size_t n;
	char files[BATCH][OBJECT_FILE_MAX];
};

/* Before the row goes, the file gets a name in incoming/: should we die between the two, it is
 * found there. */
static void removal_note(struct removal *m, struct slice file)
{
	char *to = m->files[m->n], name[OBJECT_FILE_MAX];

	snprintf(to, OBJECT_FILE_MAX, "%.*s", (int)file.len, (const char *)file.data);
	snprintf(name, sizeof(name), "%s", to);
	name[2] = '~';
	/* Where that name finds no room, as on a full disk, we must not die: the file has to go. */
	(void)!linkat(m->store->objects_fd, to, m->store->incoming_fd, name, 0);
	m->n++;
}

static int object_remove(struct conn *c, struct removal *m, int64_t object, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "DELETE FROM garbage WHERE object = ?1");
	query_bind_int(&q, 1, object);
	r = query_run(&q, err);
	if (r >= 0)
		r = garbage_object(c, object, err); /* listed again: still without use */
	if (r < 0 || conn_changes(c) == 0)
		return r;
	query_init(&q, c, "DELETE FROM garbage WHERE object = ?1");
	query_bind_int(&q, 1, object);
	r = query_run(&q, err);
	if (r < 0)
		return r;
	query_init(&q, c, "DELETE FROM object WHERE id = ?1 RETURNING file, size");
	query_bind_int(&q, 1, object);
	r = query_step(&q, err);
	if (r > 0 && !query_is_null(&q, 0))
		removal_note(m, query_bytes(&q, 0));
	if (r > 0) {
		m->objects++;
		m->bytes += (uint64_t)query_int(&q, 1);
	}
	if (r > 0)
		r = query_step(&q, err);
	query_end(&q);
	return r;
}

static int removal_job(struct conn *c, void *arg, struct err *err)
{
	struct removal *m = arg;
	int64_t objects[BATCH];
	size_t n = 0;
	struct query q;
	int r;

	m->n = 0;
	m->objects = m->bytes = 0;
	query_init(&q, c, "SELECT object FROM garbage WHERE id <= ?1 ORDER BY id LIMIT 256");
	query_bind_int(&q, 1, m->mark);
	while (n < BATCH && (r = query_step(&q, err)) > 0)
		objects[n++] = query_int(&q, 0);
	query_end(&q);
	m->more = n == BATCH;
	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (m->bytes >= BATCH_BYTES) {
			m->more = true;
			break;
		}
		r = object_remove(c, m, objects[i], err);
	}
	return r < 0 ? r : 0;
}

/* What is listed up to the mark; 1: time was up before. */
static int objects_remove(struct store *s, struct store_gc_result *result, uint64_t deadline_ms,
			  struct err *err)
{
	struct removal *m = xcalloc(1, sizeof(*m));
	int r;

	m->store = s;
	m->mark = s->garbage_mark;
	do {
		r = db_write(s->db, removal_job, m, err);
		for (size_t i = 0; i < m->n; i++) {
			if (r >= 0)
				unlinkat(s->objects_fd, m->files[i], 0);
			m->files[i][2] = '~';
			unlinkat(s->incoming_fd, m->files[i], 0);
		}
		if (r >= 0) {
			result->objects += m->objects;
			result->bytes += m->bytes;
		}
	} while (r >= 0 && m->more && !time_is_up(deadline_ms));
	if (r >= 0)
		r = m->more;
	free(m);
	return r;
}

static int garbage_last(struct store *s, int64_t *ret, struct err *err)
{
	struct conn *c = db_reader(s->db, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c, "SELECT coalesce(max(id), 0) FROM garbage");
	r = query_step(&q, err);
	if (r > 0)
		*ret = query_int(&q, 0);
	query_end(&q);
	db_reader_done(s->db, c);
	return r < 0 ? r : 0;
}

void garbage_unmark(struct store *s)
{
	pthread_mutex_lock(&s->garbage_lock);
	s->garbage_mark = 0;
	pthread_mutex_unlock(&s->garbage_lock);
}

/* Lists what is garbage now, to be removed when everything that is open now is closed. */
static int garbage_mark(struct store *s, struct err *err)
{
	int64_t mark = 0;
	int r = garbage_last(s, &mark, err);

	if (r < 0 || !mark)
		return r;
	s->garbage_mark = mark;
	pthread_mutex_lock(&s->contents_lock);
	s->garbage_clock = s->contents_clock;
	pthread_mutex_unlock(&s->contents_lock);
	return 0;
}

int garbage_collect(struct store *s, struct store_gc_result *result, uint64_t deadline_ms,
		    struct err *err)
{
	int r, more;

	pthread_mutex_lock(&s->garbage_lock);
	more = r = pending_collect(s, deadline_ms, err);
	if (r >= 0 && s->garbage_mark && contents_oldest(s) > s->garbage_clock) {
		r = objects_remove(s, result, deadline_ms, err);
		more |= r;
		if (r <= 0)
			s->garbage_mark = 0;
	}
	if (r >= 0 && !s->garbage_mark)
		r = garbage_mark(s, err);
	pthread_mutex_unlock(&s->garbage_lock);
	return r < 0 ? r : more;
}
