/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upload sessions: bytes on their way to become blobs. They live in memory, in a table of chains by
 * id, and their bytes in an `incoming`. A session is held by one request at a time.
 */
#include <string.h>
#include <sys/random.h>

#include <nacre/encode.h>

#include "base/fs.h"
#include "store/clock.h"
#include "store/quarantine.h"
#include "store/quotas.h"
#include "store/repositories.h"
#include "store/uploads.h"

struct session {
	struct session *next; /* in its chain */
	char id[UPLOAD_ID_LEN + 1];
	struct store_view *view;   /* borrowed */
	char *repository;          /* owned */
	bool held;                 /* by a request; under sessions_lock */
	int64_t touched;           /* steady seconds; under sessions_lock */
	_Atomic uint64_t received; /* bytes */
	uint64_t room;             /* bytes that the quota leaves, when it began */
	struct incoming incoming;
	enum hash_algo algo;  /* of the second hash, or HASH_NONE */
	struct hasher second; /* for a digest that is not sha256, when the client said so in time */
};

struct upload {
	struct session *session; /* owned while it is not in the table */
	bool named;              /* it is in the table */
	bool over;               /* finished, or failed for good */
};

static void session_free(struct session *s)
{
	incoming_release(&s->incoming);
	hasher_release(&s->second);
	free(s->repository);
	free(s);
}

static struct session *session_new(struct store_view *v, const char *repository,
				   enum hash_algo algo)
{
	struct session *s = xcalloc(1, sizeof(*s));

	s->view = v;
	s->repository = xstrdup(repository);
	s->touched = steady_seconds();
	incoming_init(&s->incoming, v->store);
	if (algo == HASH_SHA512) {
		s->algo = algo;
		hasher_init(&s->second, algo);
	}
	return s;
}

/* The chain that an id belongs to; ids are random, so their first digits will do. */
static struct session **chain_of(struct store *store, const char *id)
{
	uint8_t bytes[2] = {0};

	if (hex_decode(bytes, 2, slice_make(id, 4)) < 0)
		return NULL;
	return &store->sessions[(bytes[0] << 8 | bytes[1]) % SESSION_SLOTS];
}

/* Where the session is linked, or NULL. Under sessions_lock. */
static struct session **session_find(struct store_view *v, const char *repository, const char *id)
{
	struct session **at = strlen(id) == UPLOAD_ID_LEN ? chain_of(v->store, id) : NULL;

	for (; at && *at; at = &(*at)->next)
		if (strcmp((*at)->id, id) == 0 && (*at)->view == v &&
		    strcmp((*at)->repository, repository) == 0)
			return at;
	return NULL;
}

static struct session *session_take_out(struct store *store, struct session **at)
{
	struct session *s = *at;

	*at = s->next;
	store->n_sessions--;
	return s;
}

static int upload_unknown(struct err *err, const char *id)
{
	return err_set(err, E_NOTFOUND, "there is no upload %.64s (any more): begin again", id);
}

int store_upload_begin(struct store_view *v, const char *repository, enum hash_algo algo,
		       char *ret_id, struct err *err)
{
	uint8_t bytes[UPLOAD_ID_LEN / 2];
	struct store *store = v->store;
	struct session **chain, *s;
	uint64_t room;
	int r = repository_name_check(repository, err);

	if (r >= 0)
		r = quota_room(v, repository, &room, err);
	if (r < 0)
		return r;
	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return io_errno(err, "random numbers");
	s = session_new(v, repository, algo);
	s->room = room;
	hex_encode(s->id, bytes, sizeof(bytes));
	chain = chain_of(store, s->id);
	pthread_mutex_lock(&store->sessions_lock);
	if (store->n_sessions >= store->options.uploads_max) {
		pthread_mutex_unlock(&store->sessions_lock);
		session_free(s);
		return err_set(err, E_LIMIT, "%u uploads are open, which is as many as may be",
			       store->options.uploads_max);
	}
	memcpy(ret_id, s->id, sizeof(s->id));
	s->next = *chain;
	*chain = s;
	store->n_sessions++;
	pthread_mutex_unlock(&store->sessions_lock);
	return 0;
}

int store_upload_status(struct store_view *v, const char *repository, const char *id,
			uint64_t *ret_offset, struct err *err)
{
	struct session **at;

	pthread_mutex_lock(&v->store->sessions_lock);
	at = session_find(v, repository, id);
	if (at)
		*ret_offset = (*at)->received;
	pthread_mutex_unlock(&v->store->sessions_lock);
	return at ? 0 : upload_unknown(err, id);
}

/* Can a request have this session? Under sessions_lock. */
static int session_check(struct session **at, const char *id, int64_t offset, struct err *err)
{
	const struct session *s = at ? *at : NULL;

	if (!s)
		return upload_unknown(err, id);
	if (s->held)
		return err_set(err, E_CONFLICT, "another request is writing to this upload");
	if (offset != UPLOAD_ANY_OFFSET && (uint64_t)offset != s->received)
		return err_set(err, E_MISMATCH, "the upload stands at byte %llu, not at %lld",
			       (unsigned long long)s->received, (long long)offset);
	return 0;
}

int store_upload_cancel(struct store_view *v, const char *repository, const char *id,
			struct err *err)
{
	struct session *s = NULL, **at;
	int r;

	pthread_mutex_lock(&v->store->sessions_lock);
	at = session_find(v, repository, id);
	r = session_check(at, id, UPLOAD_ANY_OFFSET, err);
	if (r >= 0)
		s = session_take_out(v->store, at);
	pthread_mutex_unlock(&v->store->sessions_lock);
	if (s)
		session_free(s);
	return r;
}

static struct upload *upload_new(struct session *s, bool named)
{
	struct upload *u = xcalloc(1, sizeof(*u));

	u->session = s;
	u->named = named;
	return u;
}

int store_upload_open(struct store_view *v, const char *repository, const char *id, int64_t offset,
		      struct upload **ret, struct err *err)
{
	struct session **at;
	int r;

	pthread_mutex_lock(&v->store->sessions_lock);
	at = session_find(v, repository, id);
	r = session_check(at, id, offset, err);
	if (r >= 0) {
		(*at)->held = true;
		*ret = upload_new(*at, true);
	}
	pthread_mutex_unlock(&v->store->sessions_lock);
	return r;
}

int store_upload_once(struct store_view *v, const char *repository, enum hash_algo algo,
		      struct upload **ret, struct err *err)
{
	uint64_t room;
	int r = repository_name_check(repository, err);

	if (r >= 0)
		r = quota_room(v, repository, &room, err);
	if (r < 0)
		return r;
	*ret = upload_new(session_new(v, repository, algo), false);
	(*ret)->session->room = room;
	return 0;
}

uint64_t upload_offset(const struct upload *u)
{
	return u->session->incoming.size;
}

int upload_write(struct upload *u, const void *data, size_t len, struct err *err)
{
	struct session *s = u->session;
	uint64_t max = s->view->store->options.upload_max_bytes;
	int r;

	if (u->over)
		return err_set(err, E_USAGE, "this upload is over");
	if (len > max - s->incoming.size)
		r = err_set(err, E_LIMIT, "a blob may have %llu bytes at the most",
			    (unsigned long long)max);
	else if (s->incoming.size + len > s->room)
		r = quota_exceeded(s->repository, s->incoming.size + len - s->room, err);
	else
		r = sink_write(&s->incoming.sink, data, len, err);
	if (r >= 0 && s->algo != HASH_NONE)
		hasher_update(&s->second, data, len);
	s->received = s->incoming.size;
	if (r < 0)
		u->over = true;
	return r;
}

/* ---- Finishing ---- */

/* The other hash of what was received, for a client that did not say before which one it wants. */
static int hash_again(struct incoming *in, enum hash_algo algo, struct hash *ret, struct err *err)
{
	enum { CHUNK = 256 << 10 };
	cleanup_hasher struct hasher h;
	cleanup_free uint8_t *buf = NULL;
	uint64_t offset = 0;

	hasher_init(&h, algo);
	if (in->fd < 0) {
		hasher_update(&h, in->buffer, in->buffered);
	} else {
		int r = incoming_to_file(in, err);

		if (r < 0)
			return r;
		buf = xmalloc(CHUNK);
		for (ssize_t n = CHUNK; n == CHUNK; offset += (uint64_t)n) {
			n = pread_full(in->fd, buf, CHUNK, offset);
			if (n < 0)
				return io_errno(err, "read what was received");
			hasher_update(&h, buf, (size_t)n);
		}
	}
	hasher_final(&h, ret);
	return 0;
}

static int session_verify(struct session *s, const struct hash *digest, struct err *err)
{
	char is[DIGEST_TEXT_MAX], wanted[DIGEST_TEXT_MAX];
	struct hash got;
	int r = 0;

	incoming_end(&s->incoming);
	if (digest->algo == HASH_SHA256)
		got = s->incoming.sha256;
	else if (digest->algo == s->algo)
		hasher_final(&s->second, &got);
	else
		r = hash_again(&s->incoming, digest->algo, &got, err);
	if (r < 0 || hash_equal(&got, digest))
		return r;
	digest_format(is, &got);
	digest_format(wanted, digest);
	return err_set(err, E_MISMATCH, "the %llu bytes received have digest %s, not %s",
		       (unsigned long long)s->incoming.size, is, wanted);
}

struct finish_job {
	struct session *session;
	const struct hash *digest;
};

static int finish_job(struct conn *c, void *arg, struct err *err)
{
	const struct finish_job *job = arg;
	struct session *s = job->session;
	struct new_blob blob = {
		.digest = job->digest, .size = s->incoming.size, .form = BLOB_OBJECT};
	int64_t repository, id;
	int found = blob_find(c, job->digest, &id, err), r = found;

	/* Received again, a damaged blob is whole. */
	if (r > 0 && quarantine_any(s->view->store)) {
		r = blob_is_damaged(c, id, err);
		if (r > 0)
			r = incoming_record(&s->incoming, c, OBJECT_OPAQUE, &blob.object, err);
		if (r >= 0 && blob.object)
			r = blob_heal(c, id, blob.object, err);
	}
	if (found == 0) {
		r = incoming_record(&s->incoming, c, OBJECT_OPAQUE, &blob.object, err);
		if (r >= 0)
			r = blob_record(c, &blob, &id, err);
	}
	if (r >= 0)
		r = repository_make(c, s->view, s->repository, &repository, err);
	if (r >= 0)
		r = blob_link(c, repository, id, err);
	return r < 0 ? r : quota_check(c, s->view, s->repository, err);
}

/* Takes a named session out of the table: it is ours alone then. */
static void upload_own(struct upload *u)
{
	struct session *s = u->session;
	struct store *store = s->view->store;
	struct session **at;

	if (!u->named)
		return;
	pthread_mutex_lock(&store->sessions_lock);
	at = session_find(s->view, s->repository, s->id);
	if (at)
		session_take_out(store, at);
	pthread_mutex_unlock(&store->sessions_lock);
	u->named = false;
}

int upload_finish(struct upload *u, const struct hash *digest, struct err *err)
{
	struct session *s = u->session;
	struct finish_job job = {s, digest};
	int r;

	upload_own(u);
	if (u->over)
		return err_set(err, E_USAGE, "this upload is over");
	u->over = true;
	r = session_verify(s, digest, err);
	if (r >= 0)
		r = incoming_seal(&s->incoming, err);
	if (r >= 0)
		r = db_write(s->view->store->db, finish_job, &job, err);
	incoming_settle(&s->incoming, r >= 0);
	return r;
}

void upload_close(struct upload *u)
{
	struct session *s;

	if (!u)
		return;
	s = u->session;
	if (u->over)
		upload_own(u);
	if (u->named) {
		pthread_mutex_lock(&s->view->store->sessions_lock);
		s->held = false;
		s->touched = steady_seconds();
		pthread_mutex_unlock(&s->view->store->sessions_lock);
	} else {
		session_free(s);
	}
	free(u);
}

void sessions_expire(struct store *store, int64_t before)
{
	struct session *dropped = NULL;

	pthread_mutex_lock(&store->sessions_lock);
	for (size_t i = 0; i < SESSION_SLOTS; i++) {
		for (struct session **at = &store->sessions[i]; *at;) {
			struct session *s = *at;

			if (s->held || s->touched >= before) {
				at = &s->next;
				continue;
			}
			session_take_out(store, at);
			s->next = dropped;
			dropped = s;
		}
	}
	pthread_mutex_unlock(&store->sessions_lock);
	for (struct session *next; dropped; dropped = next) {
		next = dropped->next;
		session_free(dropped);
	}
}

bool sessions_active(struct store *store, const char *view, const char *repository)
{
	bool active = false;

	pthread_mutex_lock(&store->sessions_lock);
	for (size_t i = 0; i < SESSION_SLOTS && store->n_sessions && !active; i++)
		for (struct session *s = store->sessions[i]; s && !active; s = s->next)
			active = strcmp(s->repository, repository) == 0 &&
				 strcmp(s->view->name, view) == 0;
	pthread_mutex_unlock(&store->sessions_lock);
	return active;
}
