/* SPDX-License-Identifier: Apache-2.0 */
/* Putting manifests, and binding the store paths that come with them. */
#include <stdio.h>
#include <string.h>

#include <nacre/image.h>
#include <nacre/reference.h>

#include "store/made.h"
#include "store/manifests.h"
#include "store/quotas.h"
#include "store/settle.h"
#include "store/views.h"

enum { TAGS_MAX = 1000 }; /* with one manifest */

struct put {
	struct store_view *view;
	const struct manifest_put *what;
	struct manifest_ref ref;
	struct manifest m;
	struct new_manifest record;
	int64_t *layer_blobs; /* owned */
	struct claims claims;
	size_t bound;
};

static void put_release(struct put *p)
{
	manifest_release(&p->m);
	claims_release(&p->claims);
	free(p->layer_blobs);
}

/* ---- What it says ---- */

static int tags_check(const struct put *p, const char *repository, struct err *err)
{
	const struct strv *tags = p->what->tags;
	size_t n = tags ? tags->len : 0;

	if (n > TAGS_MAX)
		return err_set(err, E_LIMIT, "%d tags may be set at once", TAGS_MAX);
	for (size_t i = 0; i <= n; i++) {
		const char *tag = i < n ? tags->items[i] : p->ref.tag;

		if (i == n && p->ref.is_digest)
			break;
		if (tag_check(slice_str(tag)) < 0)
			return err_set(err, E_INVALID, "'%.200s' is not a tag", tag);
		if (made_tag_parse(repository, tag, NULL))
			return err_set(
				err, E_DENIED,
				"%s:%s stands for a store path, and is made by the server: push to"
				" another repository",
				repository, tag);
	}
	return 0;
}

static int put_parse(struct put *p, const char *repository, struct err *err)
{
	const struct manifest_put *what = p->what;
	enum hash_algo algo = HASH_SHA256;
	int r = repository_name_check(repository, err);

	if (r >= 0)
		r = manifest_ref_parse(&p->ref, what->reference, err);
	if (r >= 0)
		r = tags_check(p, repository, err);
	if (r >= 0)
		r = manifest_parse_any(&p->m, what->media_type, what->bytes, err);
	if (r < 0)
		return r;
	if (p->ref.is_digest)
		algo = p->ref.digest.algo;
	p->record = (struct new_manifest){
		.parts = {.repository = repository, .m = &p->m, .fetched = what->fetched},
		.bytes = what->bytes};
	hash_bytes(&p->record.digest, algo, what->bytes.data, what->bytes.len);
	if (p->ref.is_digest && !hash_equal(&p->record.digest, &p->ref.digest)) {
		char is[DIGEST_TEXT_MAX];

		digest_format(is, &p->record.digest);
		return err_set(err, E_MISMATCH, "the manifest has digest %s, not %s", is,
			       what->reference);
	}
	return 0;
}

/* ---- What it names ---- */

static bool may_be_missing(const struct descriptor *d)
{
	return d->urls.len > 0 || media_type_is_nondistributable(d->media_type);
}

static int blob_resolve(struct conn *c, const struct put *p, const struct descriptor *d,
			int64_t *ret, struct err *err)
{
	char digest[DIGEST_TEXT_MAX];
	struct blob_row blob = {0};
	int r = blob_find_in(c, p->view, p->record.parts.repository, &d->digest, &blob, err);

	digest_format(digest, &d->digest);
	if (r > 0 && blob.size != d->size)
		return err_set(err, E_INVALID,
			       "the manifest gives blob %s a size of %llu, it has %llu", digest,
			       (unsigned long long)d->size, (unsigned long long)blob.size);
	if (r == 0 && !may_be_missing(d) && !p->what->sparse &&
	    view_policy(p->view)->sparse != STORE_SPARSE_ALL)
		return err_set(err, E_NOTFOUND,
			       "the manifest names blob %s, which %s does not have", digest,
			       p->record.parts.repository);
	if (r >= 0)
		*ret = blob.id;
	return r < 0 ? r : 0;
}

static int member_resolve(struct conn *c, const struct put *p, const struct descriptor *d,
			  struct err *err)
{
	struct manifest_ref ref = {.is_digest = true, .digest = d->digest};
	char digest[DIGEST_TEXT_MAX];
	struct blob_row blob;
	int64_t id;
	int r = manifest_find(c, p->view, p->record.parts.repository, &ref, &id, err);

	if (r == 0 && !media_type_is_manifest(d->media_type))
		r = blob_find_in(c, p->view, p->record.parts.repository, &d->digest, &blob, err);
	digest_format(digest, &d->digest);
	return r != 0 ? (r < 0 ? r : 0)
		      : err_set(err, E_NOTFOUND,
				"the index names manifest %s, which %s does not have", digest,
				p->record.parts.repository);
}

/* SPEC dist-1.1 end-7: what a manifest names has to be there, as the view wants it. Subjects may
 * come later or never. */
static int blobs_resolve(struct conn *c, struct put *p, struct err *err)
{
	int r = 0;

	if (!p->layer_blobs)
		p->layer_blobs = xcalloc(p->m.layers.len + 1, sizeof(*p->layer_blobs));
	p->record.parts.layer_blobs = p->layer_blobs;
	if (p->m.has_config)
		r = blob_resolve(c, p, &p->m.config, &p->record.parts.config_blob, err);
	for (size_t i = 0; i < p->m.layers.len && r >= 0; i++)
		r = blob_resolve(c, p, &p->m.layers.items[i], &p->layer_blobs[i], err);
	if (view_policy(p->view)->sparse == STORE_SPARSE_NEVER && !p->what->sparse)
		for (size_t i = 0; i < p->m.manifests.len && r >= 0; i++)
			r = member_resolve(c, p, &p->m.manifests.items[i], err);
	return r;
}

static int put_resolve(struct put *p, struct err *err)
{
	struct conn *c = reader(p->view, err);
	int r;

	if (!c)
		return err->code;
	r = blobs_resolve(c, p, err);
	reader_done(p->view, c);
	return r;
}

static int put_tag(struct conn *c, const struct put *p, const char *name, int64_t manifest,
		   struct err *err)
{
	struct new_tag tag = {p->record.parts.repository, name, manifest, false};
	int r = tag_check_move(c, p->view, tag.repository, name, manifest, err);

	return r < 0 ? r : tag_set(c, p->view, &tag, err);
}

/* What it says of store paths is read before the transaction. Where it says nothing, the transaction is
 * early enough to look for its blobs. */
static int put_claims(struct put *p, struct err *err)
{
	int r;

	if (!claims_possible(p->view, &p->m))
		return 0;
	r = put_resolve(p, err);
	return r < 0 ? r : claims_collect(p->view, &p->record.parts, &p->claims, err);
}

static int put_job(struct conn *c, void *arg, struct err *err)
{
	struct put *p = arg;
	const struct strv *tags = p->what->tags;
	int64_t id = 0;
	int r = manifest_check_condition(c, p->view, p->record.parts.repository, &p->ref,
					 p->what->condition, err);

	/* Perhaps again: they may have been deleted meanwhile. */
	if (r >= 0)
		r = blobs_resolve(c, p, err);
	if (r >= 0)
		r = manifest_record(c, p->view, &p->record, &id, err);
	if (r >= 0 && !p->ref.is_digest)
		r = put_tag(c, p, p->ref.tag, id, err);
	for (size_t i = 0; tags && i < tags->len && r >= 0; i++)
		r = put_tag(c, p, tags->items[i], id, err);
	if (r >= 0)
		r = quota_check(c, p->view, p->record.parts.repository, err);
	return r < 0 ? r : claims_bind(c, p->view, &p->claims, &p->bound, err);
}

/* ---- Path infos that came before their image ---- */

struct infos_job {
	struct store_view *view;
	struct claims *claims;
	size_t bound;
};

static int infos_job(struct conn *c, void *arg, struct err *err)
{
	struct infos_job *job = arg;

	return claims_bind(c, job->view, job->claims, &job->bound, err);
}

/* Reads one referrer again, now that what it speaks of is here. Who put it is not known any more: where
 * it may have been fetched, it counts as if it was. */
static int referrer_apply(const struct put *image, int64_t manifest, struct err *err)
{
	static const struct store_trust none = {0};
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	struct store_view *v = image->view;
	__attribute__((cleanup(put_release))) struct put p = {.view = v, .what = image->what};
	struct infos_job job = {v, &p.claims, 0};
	struct err ignored = ERR_INIT;
	struct conn *c = reader(v, err);
	int r;

	if (!c)
		return err->code;
	r = manifest_read(c, manifest, &bytes, err);
	reader_done(v, c);
	if (r < 0)
		return r;
	p.record.parts = (struct manifest_parts){
		.repository = image->record.parts.repository,
		.m = &p.m,
		.fetched = image->what->fetched    ? image->what->fetched
			   : image->what->mirrored ? &none
						   : NULL,
	};
	if (manifest_parse(&p.m, bytes.media_type, buf_slice(&bytes.bytes), &ignored) < 0 ||
	    put_resolve(&p, &ignored) < 0)
		return 0; /* its blobs are gone */
	r = claims_collect(v, &p.record.parts, &p.claims, err);
	if (r >= 0 && p.claims.len)
		r = db_write(v->store->db, infos_job, &job, err);
	return r;
}

enum { APPLIED_MAX = 64 };

struct referrer_ids {
	int64_t items[APPLIED_MAX];
	size_t len;
};

static int referrers_of(struct store_view *v, const char *repository, const struct hash *subject,
			struct referrer_ids *ret, struct err *err)
{
	struct conn *c = reader(v, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c,
		   "SELECT manifest FROM repository JOIN referrer"
		   " ON referrer.repository = repository.id AND subject = ?3 AND artifact_type = ?4"
		   " WHERE view = ?1 AND name = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, repository);
	query_bind_hash(&q, 3, subject);
	query_bind_str(&q, 4, MT_NIX_PATH_INFOS);
	for (ret->len = 0; (r = query_step(&q, err)) > 0 && ret->len < APPLIED_MAX;)
		ret->items[ret->len++] = query_int(&q, 0);
	query_end(&q);
	reader_done(v, c);
	return r;
}

/* Also where no path of the image was bound: with their signatures they may be. */
static int referrers_apply(const struct put *p, struct err *err)
{
	struct referrer_ids ids = {.len = 0};
	int r = 0;

	if (!p->m.has_subject && (p->bound || p->claims.refused || p->what->fetched))
		r = referrers_of(p->view, p->record.parts.repository, &p->record.digest, &ids, err);
	for (size_t i = 0; r >= 0 && i < ids.len; i++)
		r = referrer_apply(p, ids.items[i], err);
	return r;
}

int store_manifest_put(struct store_view *v, const char *repository, const struct manifest_put *put,
		       struct manifest_put_result *ret, struct err *err)
{
	__attribute__((cleanup(put_release))) struct put p = {.view = v, .what = put};
	int r = put_parse(&p, repository, err);

	if (r >= 0)
		r = put_claims(&p, err);
	if (r >= 0)
		r = db_write(v->store->db, put_job, &p, err);
	/* Last, so that the manifest does not wait for it. */
	if (p.claims.to_settle)
		settler_wake(v->store);
	if (r >= 0)
		r = referrers_apply(&p, err);
	if (r < 0)
		return r;
	*ret = (struct manifest_put_result){
		.digest = p.record.digest,
		.has_subject = p.m.has_subject,
		.subject = p.m.subject.digest,
		.paths_bound = p.bound,
		.paths_refused = p.claims.refused,
	};
	memcpy(ret->refusal, p.claims.refusal, sizeof(ret->refusal));
	return 0;
}
