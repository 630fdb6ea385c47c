/* SPDX-License-Identifier: Apache-2.0 */
/* Reads everything, and compares it with what it should be. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include <nacre/nar.h>

#include "base/sinks.h"
#include "store/bindings.h"
#include "store/quarantine.h"
#include "store/repositories.h"
#include "store/stored-content.h"

enum { BATCH = 256 };

struct check {
	struct store *store;
	const struct store_check_options *o;
	struct store_check_result result;
};

static void defect(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void defect(struct check *k, const char *fmt, ...)
{
	struct err text = ERR_INIT;
	va_list ap;

	va_start(ap, fmt);
	err_vset(&text, E_INVALID, fmt, ap);
	va_end(ap);
	k->o->report(k->o->arg, text.text);
	k->result.defects++;
}

/* 1: the row is still there. What is collected while it is looked at is no defect. */
static int is_there(struct conn *c, const char *sql, int64_t id, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c, sql);
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

/* Failures of single reads are defects; those of the database end the check. */
typedef int check_fn(struct check *k, struct conn *c, int64_t id, struct err *err);

/* Calls `fn` for each id that the query gives, from a copy, batch by batch. */
static int for_each(struct check *k, const char *sql, check_fn *fn, struct err *err)
{
	struct conn *c = db_reader(k->store->db, err);
	int64_t ids[BATCH], last = 0;
	size_t n = BATCH;
	int r = 0;

	if (!c)
		return err->code;
	while (r >= 0 && n == BATCH) {
		struct query q;

		n = 0;
		query_init(&q, c, sql);
		query_bind_int(&q, 1, last);
		while (n < BATCH && (r = query_step(&q, err)) > 0)
			ids[n++] = query_int(&q, 0);
		query_end(&q);
		for (size_t i = 0; i < n && r >= 0; i++) {
			if (k->o->cancel && atomic_load(k->o->cancel))
				r = err_set(err, E_CANCELLED, "stopped on request");
			else
				r = fn(k, c, ids[i], err);
		}
		last = n ? ids[n - 1] : last;
	}
	db_reader_done(k->store->db, c);
	return r < 0 ? r : 0;
}

/* Or is the file only out of reach: no descriptor is left, say, or no permission? */
static bool is_damage(const struct err *why)
{
	switch (why->sys_errno) {
	case 0:
		return why->code != E_NOMEM;
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case ENXIO:
	case EIO:
		return true;
	default:
		return false;
	}
}

static int object_damaged(struct check *k, int64_t id, const struct err *why, struct err *err)
{
	int r = k->o->repair && is_damage(why) ? quarantine_object(k->store, id, err) : 0;

	k->result.quarantined += r > 0;
	return r;
}

static int check_object(struct check *k, struct conn *c, int64_t id, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(k->store);
	struct err why = ERR_INIT;
	struct hash wanted, got;
	char text[DIGEST_TEXT_MAX];
	int r;

	if (content_set_object(content, c, id, &why) < 0) {
		r = is_there(c, "SELECT 1 FROM object WHERE id = ?1", id, err);
		if (r <= 0)
			return r;
		defect(k, "object %lld: %s", (long long)id, why.text);
		return object_damaged(k, id, &why, err);
	}
	wanted = *content_digest(content);
	digest_format(text, &wanted);
	if (content_hash(content, HASH_SHA256, &got, &why) < 0)
		defect(k, "object %s: %s", text, why.text);
	else if (!hash_equal(&wanted, &got))
		defect(k, "object %s: its bytes have another digest", text);
	else
		return 0;
	return object_damaged(k, id, &why, err);
}

static int check_nar(struct check *k, struct conn *c, int64_t id, struct err *err)
{
	CLEANUP(content_free) struct content *guard = content_new(k->store);
	cleanup_nar struct nar n = {0};
	struct err why = ERR_INIT;
	struct hash_sink sink;
	struct hash got;
	char text[HASH_TEXT_MAX];
	int r = nar_find_id(c, id, &n, err);

	if (r > 0 && quarantine_any(k->store))
		r = nar_is_damaged(c, id, err) == 0;
	/* What lies in a layer was read with the objects. */
	if (r <= 0 || n.unframed)
		return r < 0 ? r : 0; /* or it is gone meanwhile, or told already */
	hash_format(text, &n.nar_hash, HASH_NIX32);
	hash_sink_init(&sink, HASH_SHA256, NULL);
	r = nar_decode(k->store, &n, &sink.sink, &why);
	hash_sink_final(&sink, &got);
	if (r < 0)
		defect(k, "NAR %s: %s", text, why.text);
	else if (!hash_equal(&got, &n.nar_hash) || sink.bytes != n.nar_size)
		defect(k, "NAR %s: its bytes have another hash or size", text);
	hash_sink_release(&sink);
	return 0;
}

static int check_blob(struct check *k, struct conn *c, int64_t id, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(k->store);
	struct err why = ERR_INIT;
	struct hash wanted, got;
	uint64_t size = 0;
	char text[DIGEST_TEXT_MAX];
	struct query q;
	int r;

	query_init(&q, c, "SELECT size FROM blob WHERE id = ?1");
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	if (r > 0)
		size = (uint64_t)query_int(&q, 0);
	query_end(&q);
	if (r > 0 && quarantine_any(k->store))
		r = blob_is_damaged(c, id, err) == 0;
	if (r <= 0)
		return r;
	if (blob_content(content, c, id, &why) < 0) {
		r = is_there(c, "SELECT 1 FROM blob WHERE id = ?1", id, err);
		if (r <= 0)
			return r;
		defect(k, "blob %lld: %s", (long long)id, why.text);
		return 0;
	}
	wanted = *content_digest(content);
	digest_format(text, &wanted);
	if (content_size(content) != size)
		defect(k, "blob %s: has another size", text);
	else if (content_hash(content, wanted.algo, &got, &why) < 0)
		defect(k, "blob %s: %s", text, why.text);
	else if (!hash_equal(&wanted, &got))
		defect(k, "blob %s: its bytes have another digest", text);
	return 0;
}

static int check_manifest(struct check *k, struct conn *c, int64_t id, struct err *err)
{
	struct hash wanted, got;
	struct query q;
	int r;

	query_init(&q, c, "SELECT digest, bytes FROM manifest WHERE id = ?1");
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	if (r > 0) {
		struct slice bytes = query_bytes(&q, 1);

		query_hash(&q, 0, &wanted);
		hash_bytes(&got, wanted.algo, bytes.data, bytes.len);
		if (!hash_equal(&wanted, &got))
			defect(k, "manifest %lld: its bytes have another digest", (long long)id);
	}
	query_end(&q);
	return r < 0 ? r : 0;
}

static int check_binding(struct check *k, struct conn *c, int64_t id, struct err *err)
{
	cleanup_narinfo struct narinfo n = {0};
	struct err why = ERR_INIT;
	struct query q;
	char url[HASH_TEXT_MAX + 16];
	int64_t references = 0;
	int r;

	query_init(
		&q, c,
		"SELECT narinfo, nar_hash, (SELECT count(*) FROM reference WHERE referrer ="
		" binding.id), store_dir, object.sha256, EXISTS (SELECT 1 FROM nar_name WHERE"
		" nar_name.view = binding.view AND nar_name.nar = binding.nar), plain"
		" FROM binding JOIN nar ON nar.id = binding.nar JOIN view ON view.id = binding.view"
		" JOIN object ON object.id = nar.object WHERE binding.id = ?1");
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	if (r > 0) {
		cleanup_free char *dir = query_dup(&q, 3);
		struct hash nar_hash, file_hash;

		query_hash(&q, 1, &nar_hash);
		query_hash(&q, 4, &file_hash);
		hash_format_bare(url, query_int(&q, 6) ? &nar_hash : &file_hash, HASH_NIX32);
		references = query_int(&q, 2);
		if (narinfo_parse(&n, dir, query_bytes(&q, 0), &why) < 0) {
			defect(k, "binding %lld: %s", (long long)id, why.text);
		} else {
			for (size_t i = 0; i < n.info.references.len; i++)
				references -= strcmp(n.info.references.items[i],
						     store_path_base(&n.info.path)) != 0;
			if (references != 0)
				defect(k, "%s: its references do not resolve", n.info.path.text);
			if (!hash_equal(&n.info.nar_hash, &nar_hash) || !query_int(&q, 5) ||
			    !strstr(n.url, url))
				defect(k, "%s: its narinfo names another NAR", n.info.path.text);
		}
	}
	query_end(&q);
	return r < 0 ? r : 0;
}

/* What SQLite itself can say of the database. */
static int check_database(struct check *k, const char *pragma, struct err *err)
{
	struct conn *c = db_reader(k->store->db, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c, pragma);
	while ((r = query_step(&q, err)) > 0) {
		struct slice text = query_bytes(&q, 0);

		if (!slice_equal_str(text, "ok"))
			defect(k, "database: %.*s", (int)text.len, (const char *)text.data);
	}
	query_end(&q);
	db_reader_done(k->store->db, c);
	return r;
}

/* ---- What triggers keep ---- */

/* One row of each: what is counted, and what should be. */
static const struct {
	const char *what, *sql;
} sums[] = {
	{"objects' bytes",
	 "SELECT file_bytes, (SELECT coalesce(sum(size), 0) FROM object WHERE file IS NOT NULL)"
	 " FROM total"},
	{"framed NARs' bytes",
	 "SELECT framed_bytes, (SELECT coalesce(sum(size), 0) FROM object WHERE kind = 1) FROM "
	 "total"},
	{"glue's bytes", "SELECT glue_bytes, (SELECT coalesce(sum(size), 0) FROM object WHERE kind "
			 "= 2) FROM total"},
	{"opaque bytes",
	 "SELECT opaque_bytes, (SELECT coalesce(sum(size), 0) FROM object WHERE kind = 3) FROM "
	 "total"},
	{"NARs", "SELECT nars, (SELECT count(*) FROM nar) FROM total"},
	{"NARs' bytes",
	 "SELECT nar_bytes, (SELECT coalesce(sum(nar_size), 0) FROM nar) FROM total"},
	{"bodies' bytes",
	 "SELECT body_bytes, (SELECT coalesce(sum(zstd_size), 0) FROM body) FROM total"},
	{"blobs", "SELECT blobs, (SELECT count(*) FROM blob) FROM total"},
	{"splices", "SELECT splices, (SELECT count(*) FROM blob WHERE form <> 1) FROM total"},
	{"layers' bytes",
	 "SELECT layer_bytes, (SELECT coalesce(sum(size), 0) FROM blob WHERE form <> 1"
	 " AND layer = 2) FROM total"},
	{"manifests", "SELECT manifests, (SELECT count(*) FROM manifest) FROM total"},
	{"tags", "SELECT tags, (SELECT count(*) FROM tag) FROM total"},
	{"repositories", "SELECT repositories, (SELECT count(*) FROM repository) FROM total"},
	{"paths", "SELECT paths, (SELECT count(*) FROM binding) FROM total"},
	{"repositories' bytes",
	 "SELECT sum(bytes), (SELECT coalesce(sum(size), 0) FROM repository_blob JOIN blob"
	 "  ON blob.id = repository_blob.blob)"
	 " + (SELECT coalesce(sum(length(bytes)), 0) FROM manifest) FROM repository"},
	{"repositories' blobs",
	 "SELECT sum(blobs), (SELECT count(*) FROM repository_blob) FROM repository"},
	{"repositories' tags", "SELECT sum(tags), (SELECT count(*) FROM tag) FROM repository"},
	{"caches' bytes",
	 "SELECT sum(bytes), (SELECT coalesce(sum(bytes), 0) FROM binding) FROM view"},
	{"caches' paths", "SELECT sum(paths), (SELECT count(*) FROM binding) FROM view"},
	{"waiting NARs' bytes",
	 "SELECT sum(pending_bytes), (SELECT coalesce(sum(bytes), 0) FROM pending) FROM view"},
	{"references", "SELECT sum(referrers), (SELECT count(*) FROM reference) FROM path_use"},
	{"paths' uses", "SELECT count(*), (SELECT count(*) FROM binding) FROM path_use"},
	/* Garbage that nobody would ever look at. */
	{"manifests that nothing holds, and nobody looks at",
	 "SELECT count(*), 0 FROM manifest AS m"
	 " WHERE NOT EXISTS (SELECT 1 FROM tag WHERE manifest = m.id)"
	 " AND NOT EXISTS (SELECT 1 FROM manifest_member WHERE digest = m.digest"
	 "  AND repository = m.repository)"
	 " AND NOT EXISTS (SELECT 1 FROM referrer AS r JOIN manifest AS s"
	 "  ON s.repository = r.repository AND s.digest = r.subject WHERE r.manifest = m.id)"
	 " AND NOT EXISTS (SELECT 1 FROM candidate WHERE kind = 3 AND a = m.id)"},
	{"blobs in repositories that no manifest names, and nobody looks at",
	 "SELECT count(*), 0 FROM repository_blob AS l WHERE NOT EXISTS (SELECT 1 FROM"
	 " manifest_blob WHERE blob = l.blob AND repository = l.repository) AND NOT EXISTS"
	 " (SELECT 1 FROM candidate WHERE kind = 4 AND a = l.repository AND b = l.blob)"},
	{"blobs in no repository that nobody looks at",
	 "SELECT count(*), 0 FROM blob WHERE"
	 " NOT EXISTS (SELECT 1 FROM repository_blob WHERE blob = blob.id)"
	 " AND NOT EXISTS (SELECT 1 FROM manifest_blob WHERE blob = blob.id)"
	 " AND NOT EXISTS (SELECT 1 FROM candidate WHERE kind = 5 AND a = blob.id)"},
	{"listings without a path that nobody looks at",
	 "SELECT count(*), 0 FROM document AS d WHERE tree = 0"
	 " AND NOT EXISTS (SELECT 1 FROM binding WHERE view = d.view AND hash_part = d.name)"
	 " AND NOT EXISTS (SELECT 1 FROM candidate WHERE kind = 0 AND a = d.view AND b = 0"
	 "  AND name = d.name)"},
	{"NARs that nothing uses", "SELECT count(*), 0 FROM nar WHERE"
				   " NOT EXISTS (SELECT 1 FROM binding WHERE nar = nar.id)"
				   " AND NOT EXISTS (SELECT 1 FROM nar_name WHERE nar = nar.id)"
				   " AND NOT EXISTS (SELECT 1 FROM layer_path WHERE nar = nar.id)"
				   " AND NOT EXISTS (SELECT 1 FROM pending WHERE nar = nar.id)"},
	{"NARs without frames that are named as if they had some",
	 "SELECT count(*), 0 FROM binding JOIN nar ON nar.id = binding.nar"
	 " WHERE encoder = '' AND plain = 0"},
	{"objects that nothing uses, and are not to be removed",
	 "SELECT count(*), 0 FROM object AS o WHERE"
	 " NOT EXISTS (SELECT 1 FROM nar WHERE object = o.id)"
	 " AND NOT EXISTS (SELECT 1 FROM body WHERE glue = o.id)"
	 " AND NOT EXISTS (SELECT 1 FROM blob WHERE object = o.id)"
	 " AND NOT EXISTS (SELECT 1 FROM blob_part WHERE object = o.id)"
	 " AND NOT EXISTS (SELECT 1 FROM nar_name WHERE object = o.id)"
	 " AND NOT EXISTS (SELECT 1 FROM document WHERE object = o.id)"
	 " AND NOT EXISTS (SELECT 1 FROM garbage WHERE object = o.id)"},
};

static int check_sums(struct check *k, struct err *err)
{
	struct conn *c = db_reader(k->store->db, err);
	int r = 0;

	if (!c)
		return err->code;
	for (size_t i = 0; i < ARRAY_LEN(sums) && r >= 0; i++) {
		struct query q;

		query_init(&q, c, sums[i].sql);
		r = query_step(&q, err);
		if (r > 0 && query_int(&q, 0) != query_int(&q, 1))
			defect(k, "%s: %lld, but should be %lld", sums[i].what,
			       (long long)query_int(&q, 0), (long long)query_int(&q, 1));
		query_end(&q);
	}
	db_reader_done(k->store->db, c);
	return r < 0 ? r : 0;
}

static int recount_job(struct conn *c, void *arg, struct err *err)
{
	(void)arg;
	return db_recount(c, err);
}

static int sums_repair(struct check *k, uint64_t defects, struct err *err)
{
	int r = db_write(k->store->db, recount_job, NULL, err);

	if (r >= 0)
		k->result.repaired += defects;
	return r;
}

/* ---- All of it ---- */

static int check_rows(struct check *k, struct err *err)
{
	int r = for_each(k, "SELECT id FROM object WHERE id > ?1 ORDER BY id LIMIT 256",
			 check_object, err);

	if (r >= 0)
		r = for_each(k, "SELECT id FROM nar WHERE id > ?1 ORDER BY id LIMIT 256", check_nar,
			     err);
	/* A blob whose digest is that of its object was read with the objects. */
	if (r >= 0)
		r = for_each(k,
			     "SELECT id FROM blob WHERE id > ?1 AND digest IS NOT"
			     " (SELECT sha256 FROM object WHERE object.id = blob.object)"
			     " ORDER BY id LIMIT 256",
			     check_blob, err);
	if (r >= 0)
		r = for_each(k, "SELECT id FROM manifest WHERE id > ?1 ORDER BY id LIMIT 256",
			     check_manifest, err);
	if (r >= 0)
		r = for_each(k, "SELECT id FROM binding WHERE id > ?1 ORDER BY id LIMIT 256",
			     check_binding, err);
	return r;
}

int store_check_repair(struct store *s, const struct store_check_options *o,
		       struct store_check_result *ret, struct err *err)
{
	struct store_check_options options = *o;
	struct check k = {.store = s, .o = &options};
	uint64_t before;
	int r = check_database(&k, "PRAGMA integrity_check", err);

	if (r >= 0)
		r = check_database(&k, "PRAGMA foreign_key_check", err);
	before = k.result.defects;
	if (r >= 0)
		r = check_sums(&k, err);
	if (r >= 0 && o->repair && k.result.defects > before)
		r = sums_repair(&k, k.result.defects - before, err);
	if (r >= 0)
		r = check_rows(&k, err);
	if (r >= 0 && o->repair) {
		if (!options.fetch) {
			pthread_mutex_lock(&s->collected_lock);
			options.fetch = s->repair_fetch;
			options.fetch_arg = s->repair_arg;
			pthread_mutex_unlock(&s->collected_lock);
		}
		r = quarantine_repair(s, &options, &k.result, err);
	}
	if (r < 0)
		return r;
	*ret = k.result;
	return 0;
}

void store_set_repair(struct store *s, store_repair_fn *fetch, void *arg)
{
	pthread_mutex_lock(&s->collected_lock);
	s->repair_fetch = fetch;
	s->repair_arg = arg;
	pthread_mutex_unlock(&s->collected_lock);
}

int store_check(struct store *s, store_check_report *report, void *arg, struct err *err)
{
	struct store_check_options options = {.report = report, .arg = arg};
	struct store_check_result result;
	int r = store_check_repair(s, &options, &result, err);

	return r < 0 ? r : result.defects > INT_MAX ? INT_MAX : (int)result.defects;
}
