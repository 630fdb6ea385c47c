/* SPDX-License-Identifier: Apache-2.0 */
#include "store/settle.h"
#include "base/cond.h"
#include "store/bindings.h"
#include "store/ingest.h"
#include "store/stored-content.h"

enum { NARS_AT_ONCE = 64 }; /* that are named in one transaction */

struct settler {
	struct single_flight framing; /* of an object */
	pthread_mutex_t lock;         /* guards what follows */
	struct cond changed;
	bool wanted, ending;
	int failed; /* what could not be done last, or 0 */
	struct err failure;
	bool started;
	pthread_t thread;
};

/* ---- One object ---- */

/* An object that somebody frames. */
struct framing {
	struct store *store;
	int64_t object;
};

static bool framing_same(const void *a, const void *b)
{
	return ((const struct framing *)a)->object == ((const struct framing *)b)->object;
}

static int framing_work(void *arg, struct err *err)
{
	const struct framing *f = arg;

	return object_frame(f->store, f->object, err);
}

static int object_settle(struct store *s, int64_t object, struct err *err)
{
	return single_flight_do(&s->settler->framing, &(struct framing){s, object}, err);
}

/* 1 found, 0: there is none. */
static int find(struct store *s, const char *sql, int64_t arg, int64_t *ret, struct err *err)
{
	struct conn *c = db_reader(s->db, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c, sql);
	query_bind_int(&q, 1, arg);
	r = query_step(&q, err);
	if (r > 0 && query_is_null(&q, 0))
		r = 0;
	if (r > 0)
		*ret = query_int(&q, 0);
	query_end(&q);
	db_reader_done(s->db, c);
	return r;
}

static int nar_settle(struct store *s, int64_t nar, struct err *err)
{
	int64_t object = 0;
	int r = find(s, "SELECT object FROM nar WHERE id = ?1 AND encoder = ''", nar, &object, err);

	return r > 0 ? object_settle(s, object, err) : r;
}

int nar_frame(struct store *s, int64_t nar, struct nar *ret, struct err *err)
{
	struct conn *c;
	int r = nar_settle(s, nar, err);

	if (r < 0)
		return r;
	c = db_reader(s->db, err);
	if (!c)
		return err->code;
	r = nar_find_id(c, nar, ret, err);
	db_reader_done(s->db, c);
	if (r > 0 && ret->unframed)
		return err_set(err, E_INTERNAL, "the layer that a NAR came in does not hold it");
	return r == 0 ? err_set(err, E_NOTFOUND, "the NAR is gone") : r;
}

int nars_frame(struct store *s, const int64_t *nars, size_t n, struct err *err)
{
	int64_t any;
	int r = find(s, "SELECT id FROM nar WHERE encoder = '' AND object > ?1 LIMIT 1", 0, &any,
		     err);

	if (r <= 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (nar_settle(s, nars[i], err) < 0)
			return err->code;
	return 0;
}

/* ---- Everything ---- */

/* NARs that had frames already when somebody pushed them: as late as if they had got them since. */
struct names_job {
	int64_t last; /* binding that was looked at */
	size_t n;
};

static int names_job(struct conn *c, void *arg, struct err *err)
{
	struct names_job *job = arg;
	int64_t nars[NARS_AT_ONCE];
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT binding.id, nar FROM binding JOIN nar ON nar.id = binding.nar"
		   " WHERE plain = 1 AND binding.id > ?1 AND encoder <> ''"
		   " ORDER BY binding.id LIMIT 64");
	query_bind_int(&q, 1, job->last);
	for (job->n = 0; job->n < NARS_AT_ONCE && (r = query_step(&q, err)) > 0; job->n++) {
		job->last = query_int(&q, 0);
		nars[job->n] = query_int(&q, 1);
	}
	query_end(&q);
	for (size_t i = 0; i < job->n && r >= 0; i++)
		r = bindings_unplain(c, nars[i], err);
	return r;
}

static int names_settle(struct store *s, struct err *err)
{
	struct names_job job = {0};
	int64_t first;
	int r = find(s, "SELECT min(id) FROM binding WHERE plain = 1 AND id > ?1", 0, &first, err);

	if (r <= 0)
		return r;
	do
		r = db_write(s->db, names_job, &job, err);
	while (r >= 0 && job.n == NARS_AT_ONCE && !s->closing);
	return r < 0 ? r : 0;
}

int store_settle(struct store *s, struct err *err)
{
	struct err failure = ERR_INIT, why = ERR_INIT;
	int64_t object = 0;
	int r;

	while ((r = find(s,
			 "SELECT min(o) FROM ("
			 " SELECT min(object) AS o FROM blob WHERE unframed = 1 AND object > ?1"
			 " UNION ALL"
			 " SELECT min(object) FROM nar WHERE encoder = '' AND object > ?1)",
			 object, &object, err)) > 0) {
		if (s->closing)
			return err_set(err, E_CANCELLED, "the store is being closed");
		if (object_settle(s, object, &why) < 0)
			failure = why;
	}
	if (r >= 0)
		r = names_settle(s, err);
	if (r >= 0 && failure.code)
		*err = failure;
	return r < 0 ? r : failure.code;
}

/* ---- The thread ---- */

static void *settler_thread(void *arg)
{
	struct store *s = arg;
	struct settler *t = s->settler;

	pthread_mutex_lock(&t->lock);
	while (!t->ending) {
		struct err why = ERR_INIT;
		int r;

		if (!t->wanted) {
			cond_wait(&t->changed, &t->lock);
			continue;
		}
		t->wanted = false;
		pthread_mutex_unlock(&t->lock);
		r = store_settle(s, &why);
		pthread_mutex_lock(&t->lock);
		t->failed = r;
		t->failure = why;
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

int settler_start(struct store *s, struct err *err)
{
	struct settler *t = s->settler = xcalloc(1, sizeof(*t));
	int r;

	single_flight_init(&t->framing, framing_work, framing_same);
	pthread_mutex_init(&t->lock, NULL);
	if (s->options.framing != STORE_FRAME_LATER)
		return 0;
	t->wanted = true; /* what a crash, or the last end, left */
	r = pthread_create(&t->thread, NULL, settler_thread, s);
	if (r != 0)
		return err_set(err, E_IO, "start a thread: error %d", r);
	t->started = true;
	return 0;
}

void settler_free(struct store *s)
{
	struct settler *t = s->settler;

	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->ending = true;
	s->closing = true;
	cond_wake_all(&t->changed);
	pthread_mutex_unlock(&t->lock);
	if (t->started)
		pthread_join(t->thread, NULL);
	pthread_mutex_destroy(&t->lock);
	single_flight_release(&t->framing);
	free(t);
	s->settler = NULL;
}

void settler_wake(struct store *s)
{
	struct settler *t = s->settler;

	pthread_mutex_lock(&t->lock);
	t->wanted = true;
	if (t->started)
		cond_wake_all(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

int settler_failure(struct store *s, struct err *err)
{
	struct settler *t = s->settler;
	int r;

	pthread_mutex_lock(&t->lock);
	r = t->failed;
	t->failed = 0;
	if (r < 0) {
		*err = t->failure;
		t->wanted = true;
		cond_wake_all(&t->changed);
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}
