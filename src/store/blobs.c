/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs as the registry's API has them: by digest, in a repository. */
#include "store/quarantine.h"
#include "store/quotas.h"
#include "store/repositories.h"
#include "store/stored-content.h"
#include "store/uses.h"

static int blob_unknown(struct err *err, const char *repository, const struct hash *digest)
{
	char text[DIGEST_TEXT_MAX];

	digest_format(text, digest);
	return err_set(err, E_NOTFOUND, "%s has no blob %s", repository, text);
}

int store_blob_stat(struct store_view *v, const char *repository, const struct hash *digest,
		    uint64_t *ret_size, struct err *err)
{
	struct conn *c = reader(v, err);
	struct blob_row blob;
	uint64_t epoch;
	int r;

	if (!c)
		return err->code;
	/* Who hears that it is here may not send it. */
	do {
		epoch = use_epoch(v->store);
		r = blob_find_in(c, v, repository, digest, &blob, err);
		if (r > 0)
			r = use_note(v->store,
				     (struct use_key){USE_LINK, blob.repository, blob.id});
	} while (r > 0 && use_epoch(v->store) != epoch);
	reader_done(v, c);
	if (r > 0)
		*ret_size = blob.size;
	return r < 0 ? r : r == 0 ? blob_unknown(err, repository, digest) : 0;
}

static int blob_open(struct content *content, struct conn *c, struct store_view *v,
		     const char *repository, const struct hash *digest, struct err *err)
{
	struct blob_row blob;
	int r = db_snapshot_begin(c, err);

	if (r < 0)
		return r;
	r = blob_find_in(c, v, repository, digest, &blob, err);
	if (r > 0)
		r = blob_content(content, c, blob.id, err);
	else if (r == 0)
		r = blob_unknown(err, repository, digest);
	db_snapshot_end(c);
	return r;
}

int store_blob_open(struct store_view *v, const char *repository, const struct hash *digest,
		    struct content **ret, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(v->store);
	struct conn *c = reader(v, err);
	int r;

	if (!c)
		return err->code;
	r = blob_open(content, c, v, repository, digest, err);
	reader_done(v, c);
	if (r < 0)
		return r;
	*ret = take_ptr(content);
	return 0;
}

struct blob_job {
	struct store_view *v;
	const char *repository, *from;
	const struct hash *digest;
};

static int delete_job(struct conn *c, void *arg, struct err *err)
{
	const struct blob_job *job = arg;
	struct blob_row blob;
	int64_t repository;
	struct query q;
	int r = blob_find_in(c, job->v, job->repository, job->digest, &blob, err);

	if (r <= 0)
		return r < 0 ? r : blob_unknown(err, job->repository, job->digest);
	r = repository_find(c, job->v, job->repository, &repository, err);
	if (r >= 0)
		r = blob_check_delete(c, job->v, job->repository, blob.id, err);
	if (r < 0)
		return r;
	query_init(&q, c, "DELETE FROM repository_blob WHERE repository = ?1 AND blob = ?2");
	query_bind_int(&q, 1, repository);
	query_bind_int(&q, 2, blob.id);
	r = query_run(&q, err);
	return r < 0 ? r : repository_tidy(c, repository, err);
}

int store_blob_delete(struct store_view *v, const char *repository, const struct hash *digest,
		      struct err *err)
{
	struct blob_job job = {v, repository, NULL, digest};

	return db_write(v->store->db, delete_job, &job, err);
}

/* In any repository of the view. 1 or 0. */
static int blob_find_in_view(struct conn *c, const struct store_view *v, const struct hash *digest,
			     struct blob_row *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT blob.id, blob.size FROM blob"
		   " JOIN repository_blob AS member ON member.blob = blob.id"
		   " JOIN repository ON repository.id = member.repository AND repository.view = ?1"
		   " WHERE blob.digest = ?2 LIMIT 1");
	query_bind_int(&q, 1, v->id);
	query_bind_hash(&q, 2, digest);
	r = query_step(&q, err);
	if (r > 0)
		*ret = (struct blob_row){query_int(&q, 0), (uint64_t)query_int(&q, 1), 0};
	query_end(&q);
	return r > 0 ? blob_is_whole(v->store, c, ret->id, err) : r;
}

static int mount_job(struct conn *c, void *arg, struct err *err)
{
	const struct blob_job *job = arg;
	struct blob_row blob;
	int64_t repository;
	int r = job->from ? blob_find_in(c, job->v, job->from, job->digest, &blob, err)
			  : blob_find_in_view(c, job->v, job->digest, &blob, err);

	if (r <= 0)
		return r < 0 ? r
			     : blob_unknown(err, job->from ? job->from : "no repository here",
					    job->digest);
	r = repository_make(c, job->v, job->repository, &repository, err);
	if (r >= 0)
		r = blob_link(c, repository, blob.id, err);
	return r < 0 ? r : quota_check(c, job->v, job->repository, err);
}

/* SPEC dist-1.1 end-11 */
int store_blob_mount(struct store_view *v, const char *repository, const struct hash *digest,
		     const char *from, struct err *err)
{
	struct blob_job job = {v, repository, from, digest};
	int r = repository_name_check(repository, err);

	return r < 0 ? r : db_write(v->store->db, mount_job, &job, err);
}
