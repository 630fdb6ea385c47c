/* SPDX-License-Identifier: Apache-2.0 */
/* Path infos of the binary cache: nix-cache-info and narinfo (SPEC nix-cache 1.3, 1.4). */
#include <string.h>

#include "store/bindings.h"
#include "store/quarantine.h"
#include "store/stored-content.h"
#include "store/uses.h"
#include "store/views.h"

/* ---- nix-cache-info ---- */

int store_cache_info(struct store_view *v, struct buf *ret, struct err *err)
{
	char dir[STORE_DIR_MAX + 1];

	if (!view_store_dir(v, dir))
		return err_set(err, E_NOTFOUND,
			       "no store directory is configured, and nothing was put yet");
	if (buf_addf(ret, "StoreDir: %s\nWantMassQuery: 1\nPriority: %d\n", dir,
		     view_policy(v)->priority) < 0)
		return err_set(err, E_LIMIT, "no room for the text");
	return 0;
}

/* "Key: value" lines; a value is trimmed, lines without ':' and unknown keys are ignored. */
static struct slice cache_info_value(struct slice text, const char *key)
{
	while (text.len) {
		const uint8_t *end = memchr(text.data, '\n', text.len);
		struct slice line =
			slice_make(text.data, end ? (size_t)(end - text.data) : text.len);

		slice_advance(&text, line.len + (end ? 1 : 0));
		if (!slice_has_prefix(line, key))
			continue;
		slice_advance(&line, strlen(key));
		while (line.len && (line.data[0] == ' ' || line.data[0] == '\t'))
			slice_advance(&line, 1);
		while (line.len && strchr(" \t\r", line.data[line.len - 1]))
			line.len--;
		return line;
	}
	return slice_make(NULL, 0);
}

static int store_dir_job(struct conn *c, void *arg, struct err *err)
{
	struct store_view *v = ((void **)arg)[0];
	struct query q;

	query_init(&q, c, "UPDATE view SET store_dir = ?2 WHERE id = ?1 AND store_dir IS NULL");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, ((void **)arg)[1]);
	return query_run(&q, err);
}

int store_cache_info_put(struct store_view *v, struct slice text, struct err *err)
{
	struct slice value = cache_info_value(text, "StoreDir:");
	char dir[STORE_DIR_MAX + 1] = "";
	void *job[2] = {v, dir};
	int r = 0;

	if (value.data && store_dir_check(value) < 0)
		return err_set(err, E_INVALID, "nix-cache-info: StoreDir is not a store directory");
	if (value.data)
		memcpy(dir, value.data, value.len);
	else
		memcpy(dir, STORE_DIR_DEFAULT, sizeof(STORE_DIR_DEFAULT));
	/* The lock is held over the write, so that the first one decides. */
	pthread_rwlock_wrlock(&v->lock);
	if (!v->store_dir[0]) {
		r = db_write(v->store->db, store_dir_job, job, err);
		if (r >= 0)
			memcpy(v->store_dir, dir, sizeof(dir));
	}
	if (r >= 0 && strcmp(v->store_dir, dir) != 0)
		r = err_set(err, E_CONFLICT, "this cache holds paths of %s, not of %s",
			    v->store_dir, dir);
	pthread_rwlock_unlock(&v->lock);
	return r;
}

/* ---- narinfo ---- */

static int hash_part_check(const char *hash_part, struct err *err)
{
	if (store_hash_part_check(slice_str(hash_part)) < 0)
		return err_set(err, E_INVALID, "'%.64s' is not the hash part of a store path",
			       hash_part);
	return 0;
}

/* A path whose NAR is damaged is not there: clients look elsewhere, or send it again. */
static int is_there(struct conn *c, struct store_view *v, int64_t binding, int64_t nar,
		    struct err *err)
{
	int damaged = quarantine_any(v->store) ? nar_is_damaged(c, nar, err) : 0;

	if (damaged)
		return damaged < 0 ? damaged : 0;
	return use_note(v->store, (struct use_key){USE_PATH, binding, 0});
}

/* One look at a path; `ret` NULL: whether it is there. 1 or 0. */
static int narinfo_look(struct conn *c, struct store_view *v, const char *hash_part,
			struct buf *ret, struct err *err)
{
	struct query q;
	int r;

	if (ret)
		query_init(&q, c,
			   "SELECT id, nar, narinfo FROM binding WHERE view = ?1"
			   " AND hash_part = ?2");
	else
		query_init(&q, c, "SELECT id, nar FROM binding WHERE view = ?1 AND hash_part = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, hash_part);
	r = query_step(&q, err);
	if (r > 0)
		r = is_there(c, v, query_int(&q, 0), query_int(&q, 1), err);
	if (r > 0 && ret) {
		struct slice text = query_bytes(&q, 2);

		if (buf_add(ret, text.data, text.len) < 0)
			r = err_set(err, E_LIMIT, "no room for the narinfo");
	}
	query_end(&q);
	return r;
}

/* Who hears that it is here counts on it. */
static int narinfo_get(struct store_view *v, const char *hash_part, struct buf *ret,
		       struct err *err)
{
	struct conn *c = reader(v, err);
	size_t len = ret ? ret->len : 0;
	uint64_t epoch;
	int r;

	if (!c)
		return err->code;
	do {
		epoch = use_epoch(v->store);
		if (ret)
			ret->len = len;
		r = narinfo_look(c, v, hash_part, ret, err);
	} while (r > 0 && use_epoch(v->store) != epoch);
	reader_done(v, c);
	return r;
}

int store_narinfo_exists(struct store_view *v, const char *hash_part, struct err *err)
{
	return narinfo_get(v, hash_part, NULL, err);
}

int store_narinfo(struct store_view *v, const char *hash_part, struct buf *ret, struct err *err)
{
	int r = narinfo_get(v, hash_part, ret, err);

	if (r == 0)
		return err_set(err, E_NOTFOUND, "there is no store path %.64s", hash_part);
	return r < 0 ? r : 0;
}

static int nar_look(struct conn *c, struct store_view *v, const struct path_info *info,
		    struct nar *ret, struct err *err)
{
	char hash[HASH_TEXT_MAX];
	/* Existence is per view: a NAR that another view has is none. */
	int r = nar_in_view(c, v->id, &info->nar_hash, err);

	if (r > 0)
		r = nar_find_hash(c, &info->nar_hash, ret, err);
	hash_format(hash, &info->nar_hash, HASH_NIX32);
	if (r == 0)
		return err_set(err, E_NOTFOUND,
			       "%s: there is no NAR with NarHash %s here: put it first, or the path"
			       " changed after its hash was taken",
			       info->path.text, hash);
	if (r > 0 && ret->nar_size != info->nar_size)
		return err_set(err, E_MISMATCH, "%s: NarSize is %llu, but the NAR has %llu bytes",
			       info->path.text, (unsigned long long)info->nar_size,
			       (unsigned long long)ret->nar_size);
	return r < 0 ? r : 0;
}

static int nar_lookup(struct store_view *v, const struct path_info *info, struct nar *ret,
		      struct err *err)
{
	struct conn *c = reader(v, err);
	int r;

	if (!c)
		return err->code;
	r = nar_look(c, v, info, ret, err);
	reader_done(v, c);
	return r;
}

/* Reads the NAR against the content address, if there is one. *ret: it verified (it does not where it
 * cannot be checked). */
static int ca_verify(struct store_view *v, const struct path_info *info, bool *ret, struct err *err)
{
	cleanup_nar struct nar n = {0};
	struct content_address ca;
	struct ca_verifier *verifier;
	int r;

	*ret = false;
	if (!info->ca)
		return 0;
	r = nar_lookup(v, info, &n, err);
	if (r < 0)
		return r;
	r = path_info_ca_matches(info);
	if (r < 0 || content_address_parse(&ca, slice_str(info->ca)) < 0)
		return err_set(err, E_INVALID, "%s: CA is malformed", info->path.text);
	if (r == 0)
		return err_set(
			err, E_MISMATCH,
			"%s: its content address (%s) and references give another store path",
			info->path.text, info->ca);
	verifier = ca_verifier_new(info, &ca);
	if (!verifier)
		return 0;
	r = nar_decode(v->store, &n, ca_verifier_sink(verifier), err);
	if (r >= 0)
		r = ca_verifier_result(verifier, err);
	ca_verifier_free(verifier);
	if (r == 0)
		return err_set(err, E_MISMATCH,
			       "%s: the content does not have the hash of its content"
			       " address (%s)",
			       info->path.text, info->ca);
	*ret = r > 0;
	return r < 0 ? r : 0;
}

struct narinfo_job {
	struct store_view *view;
	const struct path_info *info;
	enum attestation attested;
	bool fetched; /* from an upstream */
};

static int narinfo_job(struct conn *c, void *arg, struct err *err)
{
	const struct narinfo_job *job = arg;
	cleanup_nar struct nar n = {0};
	struct offer offer;
	/* By its hash, although it was looked at before: ids may have changed hands since. */
	int r = nar_look(c, job->view, job->info, &n, err);

	if (r < 0)
		return r;
	offer = (struct offer){
		.info = job->info, .nar = &n, .attested = job->attested, .fetched = job->fetched};
	return binding_put(c, job->view, &offer, err);
}

static int bind(struct store_view *v, const struct path_info *info, bool fetched, struct err *err)
{
	CLEANUP(content_free) struct content *guard = content_new(v->store);
	struct narinfo_job job = {v, info, ATTEST_WRITER, fetched};
	bool verified;
	int r = ca_verify(v, info, &verified, err);

	if (r < 0)
		return r;
	if (verified)
		job.attested = ATTEST_CONTENT;
	job.attested = attestation_of(v, info, job.attested);
	return db_write(v->store->db, narinfo_job, &job, err);
}

static int narinfo_put(struct store_view *v, const char *hash_part, struct slice text, bool fetched,
		       struct err *err)
{
	cleanup_narinfo struct narinfo n = {0};
	char dir[STORE_DIR_MAX + 1];
	int r = hash_part_check(hash_part, err);

	if (r < 0)
		return r;
	if (!view_store_dir(v, dir))
		return err_set(err, E_CONFLICT,
			       "put nix-cache-info first: the store directory is not"
			       " known yet");
	r = narinfo_parse(&n, dir, text, err);
	if (r < 0)
		return r;
	if (!slice_equal_str(store_path_hash_part(&n.info.path), hash_part))
		return err_set(err, E_INVALID, "the narinfo of %s was put as %s.narinfo",
			       n.info.path.text, hash_part);
	return bind(v, &n.info, fetched, err);
}

int store_narinfo_put(struct store_view *v, const char *hash_part, struct slice text,
		      struct err *err)
{
	return narinfo_put(v, hash_part, text, false, err);
}

int store_narinfo_fetched(struct store_view *v, const char *hash_part, struct slice text,
			  struct err *err)
{
	return narinfo_put(v, hash_part, text, true, err);
}
