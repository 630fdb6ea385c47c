/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <nacre/reference.h>
#include <nacre/storepath.h>

#include "store/garbage.h"
#include "store/quarantine.h"
#include "store/repositories.h"
#include "store/stored-content.h"

/* "/<hash>/<hash>…" */
static bool is_hash_parts(const char *at)
{
	for (; *at; at += 1 + STORE_HASH_LEN)
		if (*at != '/' || strnlen(at + 1, STORE_HASH_LEN) < STORE_HASH_LEN ||
		    store_hash_part_check(slice_make(at + 1, STORE_HASH_LEN)) < 0)
			return false;
	return true;
}

enum made_kind repository_made_kind(const char *name)
{
	if (strcmp(name, MADE_PACKAGE_REPOSITORY) == 0)
		return MADE_PACKAGE;
	if (strncmp(name, MADE_IMAGE_REPOSITORY, strlen(MADE_IMAGE_REPOSITORY)) != 0)
		return MADE_NONE;
	return is_hash_parts(name + strlen(MADE_IMAGE_REPOSITORY)) ? MADE_IMAGE : MADE_NONE;
}

int repository_name_check(const char *name, struct err *err)
{
	if (repository_check(slice_str(name)) < 0)
		return err_set(err, E_INVALID, "'%s' is not a name for a repository", name);
	return 0;
}

int repository_find(struct conn *c, const struct store_view *v, const char *name, int64_t *ret,
		    struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT id FROM repository WHERE view = ?1 AND name = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, name);
	r = query_step(&q, err);
	if (r > 0)
		*ret = query_int(&q, 0);
	query_end(&q);
	return r;
}

int repository_make(struct conn *c, const struct store_view *v, const char *name, int64_t *ret,
		    struct err *err)
{
	struct query q;
	int r = repository_find(c, v, name, ret, err);

	if (r != 0)
		return r < 0 ? r : 0;
	query_init(&q, c, "INSERT INTO repository (view, name) VALUES (?1, ?2)");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, name);
	r = query_run(&q, err);
	if (r >= 0)
		*ret = conn_last_id(c);
	return r;
}

int repository_tidy(struct conn *c, int64_t repository, struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "DELETE FROM repository WHERE id = ?1"
		   " AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE repository = ?1)"
		   " AND NOT EXISTS (SELECT 1 FROM manifest WHERE repository = ?1)");
	query_bind_int(&q, 1, repository);
	return query_run(&q, err);
}

int store_repository_exists(struct store_view *v, const char *repository, struct err *err)
{
	struct conn *c;
	int64_t id;
	int r;

	if (repository_made_kind(repository) != MADE_NONE)
		return 1;
	c = reader(v, err);
	if (!c)
		return err->code;
	r = repository_find(c, v, repository, &id, err);
	reader_done(v, c);
	return r;
}

/* ---- Blobs ---- */

int blob_find(struct conn *c, const struct hash *digest, int64_t *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, "SELECT id FROM blob WHERE digest = ?1");
	query_bind_hash(&q, 1, digest);
	r = query_step(&q, err);
	if (r > 0)
		*ret = query_int(&q, 0);
	query_end(&q);
	return r;
}

int blob_find_in(struct conn *c, const struct store_view *v, const char *repository,
		 const struct hash *digest, struct blob_row *ret, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT blob.id, blob.size, repository.id FROM repository"
		   " CROSS JOIN blob ON blob.digest = ?3"
		   " JOIN repository_blob AS member"
		   "  ON member.repository = repository.id AND member.blob = blob.id"
		   " WHERE repository.view = ?1 AND repository.name = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, repository);
	query_bind_hash(&q, 3, digest);
	r = query_step(&q, err);
	if (r > 0)
		*ret = (struct blob_row){query_int(&q, 0), (uint64_t)query_int(&q, 1),
					 query_int(&q, 2)};
	query_end(&q);
	return r > 0 ? blob_is_whole(v->store, c, ret->id, err) : r;
}

/* The objects that a splice uses are kept as long as it. */
static int parts_record(struct conn *c, int64_t blob, const struct splice *s, struct err *err)
{
	struct query q;
	int r = 0;

	for (size_t i = 0; i < s->n_objects && r >= 0; i++) {
		query_init(&q, c,
			   "INSERT OR IGNORE INTO blob_part (blob, object)"
			   " VALUES (?1, (SELECT id FROM object WHERE sha256 = ?2))");
		query_bind_int(&q, 1, blob);
		query_bind_hash(&q, 2, &s->objects[i]);
		r = query_run(&q, err);
	}
	return r;
}

static int splice_text(struct buf *ret, const struct splice *s, struct err *err)
{
	ret->max = 256u << 20; /* some 16 bytes a MiB */
	if (splice_serialize(ret, s) < 0)
		return err_set(err, E_LIMIT,
			       "a blob of %llu bytes is put together from too many pieces",
			       (unsigned long long)s->size);
	return 0;
}

int blob_record(struct conn *c, const struct new_blob *blob, int64_t *ret_id, struct err *err)
{
	cleanup_buf struct buf text = {0};
	struct query q;
	int r = blob_find(c, blob->digest, ret_id, err);

	if (r != 0)
		return r < 0 ? r : 0;
	if (blob->form != BLOB_OBJECT && splice_text(&text, blob->splice, err) < 0)
		return err->code;
	query_init(&q, c,
		   "INSERT INTO blob (digest, size, form, object, splice, layer, added)"
		   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
	query_bind_hash(&q, 1, blob->digest);
	query_bind_int(&q, 2, (int64_t)blob->size);
	query_bind_int(&q, 3, blob->form);
	if (blob->form == BLOB_OBJECT)
		query_bind_int(&q, 4, blob->object);
	else
		query_bind_blob(&q, 5, buf_slice(&text));
	query_bind_int(&q, 6, blob->layer);
	query_bind_int(&q, 7, now_seconds());
	r = query_run(&q, err);
	if (r < 0)
		return r;
	*ret_id = conn_last_id(c);
	return blob->form == BLOB_OBJECT ? 0 : parts_record(c, *ret_id, blob->splice, err);
}

int blob_convert(struct conn *c, int64_t blob, enum blob_form form, const struct splice *splice,
		 struct err *err)
{
	cleanup_buf struct buf text = {0};
	int64_t object = 0;
	struct query q;
	int r = splice_text(&text, splice, err);

	if (r < 0)
		return r;
	query_init(&q, c, "SELECT object FROM blob WHERE id = ?1");
	query_bind_int(&q, 1, blob);
	r = query_step(&q, err);
	if (r > 0)
		object = query_int(&q, 0);
	query_end(&q);
	if (r < 0 || !object)
		return r < 0 ? r : 0; /* somebody converted it before */
	query_init(&q, c,
		   "UPDATE blob SET form = ?2, object = NULL, splice = ?3,"
		   " unframed = 0 WHERE id = ?1");
	query_bind_int(&q, 1, blob);
	query_bind_int(&q, 2, form);
	query_bind_blob(&q, 3, buf_slice(&text));
	r = query_run(&q, err);
	if (r >= 0)
		r = parts_record(c, blob, splice, err);
	return r < 0 ? r : garbage_object(c, object, err);
}

int blob_link(struct conn *c, int64_t repository, int64_t blob, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "INSERT OR IGNORE INTO repository_blob (repository, blob) VALUES (?1, ?2)");
	query_bind_int(&q, 1, repository);
	query_bind_int(&q, 2, blob);
	r = query_run(&q, err);
	if (r < 0 || conn_changes(c))
		return r;
	/* It was there: its grace begins anew. */
	query_init(&q, c,
		   "UPDATE candidate SET since = unixepoch() WHERE kind = 4 AND a = ?1 AND b = ?2"
		   " AND name = ''");
	query_bind_int(&q, 1, repository);
	query_bind_int(&q, 2, blob);
	return query_run(&q, err);
}

int blob_content(struct content *content, struct conn *c, int64_t blob, struct err *err)
{
	cleanup_splice struct splice splice = {0};
	struct hash digest = {0};
	enum blob_form form = BLOB_OBJECT;
	int64_t object = 0;
	struct query q;
	int r;

	query_init(&q, c, "SELECT digest, form, object, splice FROM blob WHERE id = ?1");
	query_bind_int(&q, 1, blob);
	r = query_step(&q, err);
	if (r > 0) {
		query_hash(&q, 0, &digest);
		form = (enum blob_form)query_int(&q, 1);
		object = query_int(&q, 2);
		if (form != BLOB_OBJECT && splice_parse(&splice, query_bytes(&q, 3)) < 0)
			r = err_set(err, E_INTERNAL, "the splice of a blob cannot be read");
	} else if (r == 0) {
		r = err_set(err, E_NOTFOUND, "the blob is gone");
	}
	query_end(&q);
	if (r < 0)
		return r;
	if (form == BLOB_OBJECT)
		r = content_set_object(content, c, object, err);
	else
		content_set_splice(content, form == BLOB_SPLICE ? CONTENT_SPLICE : CONTENT_DECODED,
				   &splice);
	content_set_digest(content, &digest);
	return r < 0 ? r : 0;
}
