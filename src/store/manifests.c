/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and deleting manifests, and the rows that make one. */
#include <string.h>

#include <nacre/json.h>
#include <nacre/reference.h>

#include "store/made.h"
#include "store/manifests.h"
#include "store/quotas.h"
#include "store/uses.h"

int manifest_ref_parse(struct manifest_ref *ret, const char *text, struct err *err)
{
	*ret = (struct manifest_ref){.is_digest = strchr(text, ':') != NULL, .tag = text};
	if (ret->is_digest)
		return digest_parse_err(&ret->digest, slice_str(text), err);
	if (tag_check(slice_str(text)) < 0)
		return err_set(err, E_INVALID, "'%.200s' is neither a tag nor a digest", text);
	return 0;
}

int manifest_find(struct conn *c, const struct store_view *v, const char *repository,
		  const struct manifest_ref *ref, int64_t *ret_id, struct err *err)
{
	struct query q;
	int r;

	if (ref->is_digest)
		query_init(&q, c,
			   "SELECT manifest.id FROM repository JOIN manifest"
			   " ON manifest.repository = repository.id AND manifest.digest = ?3"
			   " WHERE view = ?1 AND name = ?2");
	else
		query_init(&q, c,
			   "SELECT tag.manifest FROM repository JOIN tag"
			   " ON tag.repository = repository.id AND tag.name = ?3"
			   " WHERE view = ?1 AND repository.name = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, repository);
	if (ref->is_digest)
		query_bind_hash(&q, 3, &ref->digest);
	else
		query_bind_str(&q, 3, ref->tag);
	r = query_step(&q, err);
	if (r > 0)
		*ret_id = query_int(&q, 0);
	query_end(&q);
	return r;
}

/* ---- Reading ---- */

int manifest_read(struct conn *c, int64_t id, struct manifest_bytes *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT digest, media_type, bytes FROM manifest WHERE id = ?1");
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	if (r > 0) {
		struct slice bytes = query_bytes(&q, 2);

		*ret = (struct manifest_bytes){.bytes = BUF_INIT(MANIFEST_BYTES_MAX)};
		query_hash(&q, 0, &ret->digest);
		ret->media_type = query_dup(&q, 1);
		if (buf_add(&ret->bytes, bytes.data, bytes.len) < 0) {
			manifest_bytes_release(ret);
			r = err_set(err, E_INTERNAL, "a manifest is larger than manifests are");
		}
	}
	query_end(&q);
	return r == 0 ? err_set(err, E_NOTFOUND, "the manifest is gone") : r < 0 ? r : 0;
}

static int manifest_stat(struct conn *c, int64_t id, struct manifest_stat *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT digest, media_type, length(bytes) FROM manifest WHERE id = ?1");
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	if (r > 0) {
		struct slice type = query_bytes(&q, 1);

		*ret = (struct manifest_stat){.size = (uint64_t)query_int(&q, 2)};
		query_hash(&q, 0, &ret->digest);
		memcpy(ret->media_type, type.data,
		       type.len < MEDIA_TYPE_MAX ? type.len : MEDIA_TYPE_MAX);
	}
	query_end(&q);
	return r == 0 ? err_set(err, E_NOTFOUND, "the manifest is gone") : r < 0 ? r : 0;
}

static int manifest_unknown(struct err *err, const char *repository, const char *reference)
{
	return err_set(err, E_NOTFOUND, "%.300s has no manifest %.200s", repository, reference);
}

/* The one look-up behind both, at one moment; `bytes` or `stat` is NULL. 1 found, 0 there is none. */
static int manifest_look_once(struct store_view *v, const char *repository,
			      const struct manifest_ref *ref, struct manifest_bytes *bytes,
			      struct manifest_stat *stat, struct err *err)
{
	struct conn *c = reader(v, err);
	int64_t id;
	int r;

	if (!c)
		return err->code;
	r = db_snapshot_begin(c, err);
	if (r >= 0) {
		r = manifest_find(c, v, repository, ref, &id, err);
		if (r > 0 && !use_note(v->store, (struct use_key){USE_MANIFEST, id, 0}))
			r = 0;
		if (r > 0 && bytes)
			r = manifest_read(c, id, bytes, err) < 0 ? err->code : 1;
		else if (r > 0 && stat)
			r = manifest_stat(c, id, stat, err) < 0 ? err->code : 1;
		db_snapshot_end(c);
	}
	reader_done(v, c);
	return r;
}

/* Also when it goes between the look and the note of its use. */
static int manifest_look(struct store_view *v, const char *repository,
			 const struct manifest_ref *ref, struct manifest_bytes *bytes,
			 struct manifest_stat *stat, struct err *err)
{
	for (;;) {
		uint64_t epoch = use_epoch(v->store);
		int r = manifest_look_once(v, repository, ref, bytes, stat, err);

		if (r <= 0 || use_epoch(v->store) == epoch)
			return r;
		if (bytes)
			manifest_bytes_release(bytes);
	}
}

static int manifest_get(struct store_view *v, const char *repository, const char *reference,
			struct manifest_bytes *bytes, struct manifest_stat *stat, struct err *err)
{
	struct manifest_ref ref;
	int r = manifest_ref_parse(&ref, reference, err);

	if (r < 0)
		return r;
	r = manifest_look(v, repository, &ref, bytes, stat, err);
	if (r == 0 && !ref.is_digest && made_tag_parse(repository, ref.tag, NULL)) {
		r = made_make(v, repository, ref.tag, err);
		if (r >= 0)
			r = manifest_look(v, repository, &ref, bytes, stat, err);
	}
	return r < 0 ? r : r == 0 ? manifest_unknown(err, repository, reference) : 0;
}

int store_manifest_stat(struct store_view *v, const char *repository, const char *reference,
			struct manifest_stat *ret, struct err *err)
{
	return manifest_get(v, repository, reference, NULL, ret, err);
}

int store_manifest_get(struct store_view *v, const char *repository, const char *reference,
		       struct manifest_bytes *ret, struct err *err)
{
	return manifest_get(v, repository, reference, ret, NULL, err);
}

int manifest_check_condition(struct conn *c, const struct store_view *v, const char *repository,
			     const struct manifest_ref *ref,
			     const struct manifest_condition *condition, struct err *err)
{
	struct manifest_stat stat;
	int64_t id;
	int r;

	if (!condition)
		return 0;
	r = manifest_find(c, v, repository, ref, &id, err);
	if (r > 0)
		r = manifest_stat(c, id, &stat, err) < 0 ? err->code : 1;
	if (r < 0)
		return r;
	return condition->holds(condition, r ? &stat.digest : NULL)
		       ? 0
		       : err_set(err, E_EXISTS, "the manifest is not the one that was expected");
}

/* ---- Recording ---- */

/* How a manifest is listed among the referrers of its subject (SPEC dist-1.1 end-12a). */
static int referrer_descriptor(struct buf *ret, const struct new_manifest *n, struct err *err)
{
	cleanup_json json_t *d = json_object();
	const char *type = manifest_artifact_type(n->parts.m);
	char digest[DIGEST_TEXT_MAX];
	json_t *annotations;

	digest_format(digest, &n->digest);
	json_object_set_new(d, "mediaType", json_string(n->parts.m->media_type));
	json_object_set_new(d, "digest", json_string(digest));
	json_object_set_new(d, "size", json_integer((json_int_t)n->bytes.len));
	if (type[0])
		json_object_set_new(d, "artifactType", json_string(type));
	if (n->parts.m->annotations.len) {
		annotations = json_object();
		for (size_t i = 0; i < n->parts.m->annotations.len; i++)
			json_object_set_new(annotations, n->parts.m->annotations.items[i].key,
					    json_string(n->parts.m->annotations.items[i].value));
		json_object_set_new(d, "annotations", annotations);
	}
	ret->max = 2 * MANIFEST_BYTES_MAX;
	if (json_canonical(ret, d) < 0)
		return err_set(err, E_INVALID, "the manifest's annotations cannot be listed");
	return 0;
}

/* SPEC dist-1.1 enabling the referrers API: whatever has a subject is recorded when it comes, of
 * whatever type and in whatever order. So a list that a client keeps under the tag of the referrers
 * tag schema names nothing with that subject that would be missing; what else it names is no
 * referrer. */
static int referrer_record(struct conn *c, int64_t repository, int64_t manifest,
			   const struct new_manifest *n, struct err *err)
{
	cleanup_buf struct buf text = {0};
	struct query q;
	int r = referrer_descriptor(&text, n, err);

	if (r < 0)
		return r;
	query_init(&q, c,
		   "INSERT OR IGNORE INTO referrer (repository, subject, manifest, artifact_type,"
		   " descriptor) VALUES (?1, ?2, ?3, ?4, ?5)");
	query_bind_int(&q, 1, repository);
	query_bind_hash(&q, 2, &n->parts.m->subject.digest);
	query_bind_int(&q, 3, manifest);
	query_bind_str(&q, 4, manifest_artifact_type(n->parts.m));
	query_bind_text(&q, 5, buf_slice(&text));
	return query_run(&q, err);
}

static int blob_note(struct conn *c, int64_t manifest, int64_t blob, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "INSERT OR IGNORE INTO manifest_blob (manifest, blob, repository)"
		   " VALUES (?1, ?2, (SELECT repository FROM manifest WHERE id = ?1))");
	query_bind_int(&q, 1, manifest);
	query_bind_int(&q, 2, blob);
	return query_run(&q, err);
}

/* One that may be missing, and is: should it come, the manifest keeps it. */
static int blob_want(struct conn *c, int64_t repository, int64_t manifest,
		     const struct hash *digest, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "INSERT OR IGNORE INTO manifest_wanted (repository, digest, manifest)"
		   " VALUES (?1, ?2, ?3)");
	query_bind_int(&q, 1, repository);
	query_bind_hash(&q, 2, digest);
	query_bind_int(&q, 3, manifest);
	return query_run(&q, err);
}

static int member_note(struct conn *c, int64_t manifest, const struct hash *digest, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "INSERT OR IGNORE INTO manifest_member (manifest, digest, repository)"
		   " VALUES (?1, ?2, (SELECT repository FROM manifest WHERE id = ?1))");
	query_bind_int(&q, 1, manifest);
	query_bind_hash(&q, 2, digest);
	return query_run(&q, err);
}

struct recorded {
	const char *repository_name;
	int64_t repository, manifest;
};

/* Of an index. There are those that name blobs (BuildKit's caches), which then live as long. */
static int member_record(struct conn *c, struct store_view *v, const struct recorded *to,
			 const struct descriptor *member, struct err *err)
{
	struct blob_row blob = {0};
	int r = member_note(c, to->manifest, &member->digest, err);

	if (r < 0 || media_type_is_manifest(member->media_type))
		return r;
	r = blob_find_in(c, v, to->repository_name, &member->digest, &blob, err);
	if (r < 0)
		return r;
	return r > 0 ? blob_note(c, to->manifest, blob.id, err)
		     : blob_want(c, to->repository, to->manifest, &member->digest, err);
}

/* Appends the containers in `container`, but for the member `except`. */
static void add_containers(json_t *container, const char *except, json_t **todo, size_t *n_todo)
{
	json_t *value;
	const char *key;
	size_t i;

	json_array_foreach (container, i, value)
		if (json_is_object(value) || json_is_array(value))
			todo[(*n_todo)++] = value;
	json_object_foreach (container, key, value)
		if ((json_is_object(value) || json_is_array(value)) && strcmp(key, except) != 0)
			todo[(*n_todo)++] = value;
}

/* SPEC docker-v2-1 fsLayers: there a digest is called "blobSum". */
static const char *digest_member(const json_t *of)
{
	const char *text = json_string_value(json_object_get(of, "digest"));

	return text ? text : json_string_value(json_object_get(of, "blobSum"));
}

/* What an unknown kind of document names, wherever it does: each member "digest" that is one. But
 * for its subject, which holds it, and not the other way round. What cannot be read names nothing. */
static int names_record(struct conn *c, struct store_view *v, const struct recorded *to,
			const struct new_manifest *n, struct err *err)
{
	cleanup_json json_t *doc = NULL;
	cleanup_free json_t **todo = NULL; /* borrowed from doc; each container comes once */
	size_t n_todo = 0, n_named = 0;
	struct err ignored = ERR_INIT;
	int r = 0;

	if (json_parse(&doc, n->bytes, MANIFEST_BYTES_MAX, &ignored) < 0)
		return 0;
	todo = xcalloc(JSON_VALUES_MAX, sizeof(json_t *));
	todo[n_todo++] = doc;
	while (n_todo && r >= 0) {
		json_t *at = todo[--n_todo];
		const char *text = digest_member(at);
		struct descriptor named = {.media_type = (char *)""};

		add_containers(at, at == doc ? "subject" : "", todo, &n_todo);
		if (!text || digest_parse(&named.digest, slice_str(text)) < 0)
			continue;
		r = ++n_named > MANIFEST_DESCRIPTORS_MAX
			    ? err_set(err, E_LIMIT, "the manifest names more than %d digests",
				      MANIFEST_DESCRIPTORS_MAX)
			    : member_record(c, v, to, &named, err);
	}
	return r;
}

static int parts_note(struct conn *c, struct store_view *v, const struct recorded *to,
		      const struct new_manifest *n, struct err *err)
{
	const struct manifest *m = n->parts.m;
	int r = 0;

	if (n->parts.config_blob)
		r = blob_note(c, to->manifest, n->parts.config_blob, err);
	else if (m->has_config)
		r = blob_want(c, to->repository, to->manifest, &m->config.digest, err);
	for (size_t i = 0; i < m->layers.len && r >= 0; i++)
		r = n->parts.layer_blobs[i]
			    ? blob_note(c, to->manifest, n->parts.layer_blobs[i], err)
			    : blob_want(c, to->repository, to->manifest, &m->layers.items[i].digest,
					err);
	for (size_t i = 0; i < m->manifests.len && r >= 0; i++)
		r = member_record(c, v, to, &m->manifests.items[i], err);
	if (r >= 0 && m->kind == MANIFEST_OTHER)
		r = names_record(c, v, to, n, err);
	if (r >= 0 && m->has_subject)
		r = referrer_record(c, to->repository, to->manifest, n, err);
	return r;
}

/* Pushed again, its grace begins anew. */
static int manifest_again(struct conn *c, int64_t id, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "UPDATE candidate SET since = unixepoch() WHERE kind = 3 AND a = ?1 AND b = 0"
		   " AND name = ''");
	query_bind_int(&q, 1, id);
	return query_run(&q, err);
}

/* 1: it is here as one of another media type. */
static int has_another_type(struct conn *c, int64_t id, const char *media_type, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT 1 FROM manifest WHERE id = ?1 AND media_type <> ?2");
	query_bind_int(&q, 1, id);
	query_bind_str(&q, 2, media_type);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

/* Bytes that do not say it themselves are of the type by which they came last. */
static int manifest_retype(struct conn *c, struct store_view *v, const struct recorded *to,
			   const struct new_manifest *n, struct err *err)
{
	struct query q;
	int r = has_another_type(c, to->manifest, n->parts.m->media_type, err);

	if (r <= 0)
		return r;
	r = manifest_check_delete(c, v, to->repository_name, to->manifest, err);
	if (r < 0)
		return r;
	query_init(&q, c, "UPDATE manifest SET media_type = ?2 WHERE id = ?1");
	query_bind_int(&q, 1, to->manifest);
	query_bind_str(&q, 2, n->parts.m->media_type);
	r = query_run(&q, err);
	if (r < 0)
		return r;
	query_init(&q, c, "DELETE FROM referrer WHERE manifest = ?1");
	query_bind_int(&q, 1, to->manifest);
	r = query_run(&q, err);
	return r < 0 ? r : parts_note(c, v, to, n, err);
}

int manifest_record(struct conn *c, struct store_view *v, const struct new_manifest *n,
		    int64_t *ret_id, struct err *err)
{
	struct manifest_ref ref = {.is_digest = true, .digest = n->digest};
	struct recorded to = {.repository_name = n->parts.repository};
	struct query q;
	int r = repository_make(c, v, n->parts.repository, &to.repository, err);

	if (r >= 0)
		r = manifest_find(c, v, n->parts.repository, &ref, ret_id, err);
	if (r < 0)
		return r;
	if (r > 0) { /* the same bytes: there is nothing new in them */
		to.manifest = *ret_id;
		r = manifest_retype(c, v, &to, n, err);
		return r < 0 ? r : manifest_again(c, *ret_id, err);
	}
	query_init(&q, c,
		   "INSERT INTO manifest (repository, digest, media_type, bytes, added)"
		   " VALUES (?1, ?2, ?3, ?4, ?5)");
	query_bind_int(&q, 1, to.repository);
	query_bind_hash(&q, 2, &n->digest);
	query_bind_str(&q, 3, n->parts.m->media_type);
	query_bind_blob(&q, 4, n->bytes);
	query_bind_int(&q, 5, now_seconds());
	r = query_run(&q, err);
	if (r < 0)
		return r;
	*ret_id = to.manifest = conn_last_id(c);
	return parts_note(c, v, &to, n, err);
}

int tag_set(struct conn *c, const struct store_view *v, const struct new_tag *tag, struct err *err)
{
	int64_t id;
	struct query q;
	int r = repository_make(c, v, tag->repository, &id, err);

	if (r < 0)
		return r;
	query_init(&q, c,
		   "INSERT INTO tag (repository, name, manifest, made, updated)"
		   " VALUES (?1, ?2, ?3, ?4, ?5)"
		   " ON CONFLICT DO UPDATE SET manifest = ?3, made = ?4, updated = ?5");
	query_bind_int(&q, 1, id);
	query_bind_str(&q, 2, tag->name);
	query_bind_int(&q, 3, tag->manifest);
	query_bind_int(&q, 4, tag->made);
	query_bind_int(&q, 5, now_seconds());
	return query_run(&q, err);
}

/* ---- Deleting ---- */

/* Ids are used again: path infos that are gone are not to be taken for what comes after them. */
static int made_infos_forget(struct conn *c, int64_t manifest, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "UPDATE made SET infos = 0 WHERE infos = ?1 AND manifest IN"
		   " (SELECT m.id FROM referrer AS r JOIN manifest AS m"
		   "  ON m.repository = r.repository AND m.digest = r.subject"
		   "  WHERE r.manifest = ?1)");
	query_bind_int(&q, 1, manifest);
	return query_run(&q, err);
}

int manifest_drop(struct conn *c, int64_t id, struct err *err)
{
	struct query q;
	int r = made_infos_forget(c, id, err);

	if (r < 0)
		return r;
	query_init(&q, c, "DELETE FROM manifest WHERE id = ?1");
	query_bind_int(&q, 1, id);
	return query_run(&q, err);
}

static int tag_drop(struct conn *c, int64_t repository, const char *name, struct err *err)
{
	struct query q;

	query_init(&q, c, "DELETE FROM tag WHERE repository = ?1 AND name = ?2");
	query_bind_int(&q, 1, repository);
	query_bind_str(&q, 2, name);
	return query_run(&q, err);
}

struct delete_job {
	struct store_view *view;
	const char *repository, *reference;
	bool immutable; /* too */
	const struct manifest_condition *condition;
	struct manifest_ref ref;
};

static int delete_job(struct conn *c, void *arg, struct err *err)
{
	const struct delete_job *job = arg;
	int64_t repository, manifest;
	int r = manifest_check_condition(c, job->view, job->repository, &job->ref, job->condition,
					 err);

	if (r == 0)
		r = repository_find(c, job->view, job->repository, &repository, err);
	if (r > 0)
		r = manifest_find(c, job->view, job->repository, &job->ref, &manifest, err);
	if (r <= 0)
		return r < 0 ? r : manifest_unknown(err, job->repository, job->reference);
	if (!job->immutable)
		r = job->ref.is_digest
			    ? manifest_check_delete(c, job->view, job->repository, manifest, err)
			    : tag_check_delete(c, job->view, job->repository, job->ref.tag, err);
	if (r < 0)
		return r;
	r = job->ref.is_digest ? manifest_drop(c, manifest, err)
			       : tag_drop(c, repository, job->ref.tag, err);
	return r < 0 ? r : repository_tidy(c, repository, err);
}

static int manifest_delete(struct delete_job *job, struct err *err)
{
	int r = manifest_ref_parse(&job->ref, job->reference, err);

	return r < 0 ? r : db_write(job->view->store->db, delete_job, job, err);
}

int store_manifest_delete_if(struct store_view *v, const char *repository, const char *reference,
			     const struct manifest_condition *condition, struct err *err)
{
	struct delete_job job = {.view = v,
				 .repository = repository,
				 .reference = reference,
				 .condition = condition};

	return manifest_delete(&job, err);
}

int store_manifest_delete(struct store_view *v, const char *repository, const char *reference,
			  struct err *err)
{
	return store_manifest_delete_if(v, repository, reference, NULL, err);
}

int store_manifest_remove(struct store_view *v, const char *repository, const char *reference,
			  struct err *err)
{
	struct delete_job job = {
		.view = v, .repository = repository, .reference = reference, .immutable = true};

	return manifest_delete(&job, err);
}
