/* SPDX-License-Identifier: Apache-2.0 */
/* Reads everything, and compares it with what it should be. */
#include <string.h>

#include <nacre/nar.h>

#include "base/sinks.h"
#include "store/bindings.h"
#include "store/repositories.h"
#include "store/stored-content.h"

enum { BATCH = 256 };

struct check {
	struct store *store;
	store_check_report *report;
	void *arg;
	int defects;
};

static void defect(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void defect(struct check *k, const char *fmt, ...)
{
	struct err text = ERR_INIT;
	va_list ap;

	va_start(ap, fmt);
	err_vset(&text, E_INVALID, fmt, ap);
	va_end(ap);
	k->report(k->arg, text.text);
	k->defects++;
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
		for (size_t i = 0; i < n && r >= 0; i++)
			r = fn(k, c, ids[i], err);
		last = n ? ids[n - 1] : last;
	}
	db_reader_done(k->store->db, c);
	return r < 0 ? r : 0;
}

static int check_object(struct check *k, struct conn *c, int64_t id, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(k->store);
	struct err why = ERR_INIT;
	struct hash wanted, got;
	char text[DIGEST_TEXT_MAX];

	if (content_set_object(content, c, id, &why) < 0) {
		defect(k, "object %lld: %s", (long long)id, why.text);
		return 0;
	}
	wanted = *content_digest(content);
	digest_format(text, &wanted);
	if (content_hash(content, HASH_SHA256, &got, &why) < 0)
		defect(k, "object %s: %s", text, why.text);
	else if (!hash_equal(&wanted, &got))
		defect(k, "object %s: its bytes have another digest", text);
	return 0;
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

	if (r <= 0)
		return r; /* gone meanwhile */
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
	if (r <= 0)
		return r;
	if (blob_content(content, c, id, &why) < 0) {
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
		" nar_name.view = binding.view AND nar_name.nar = binding.nar)"
		" FROM binding JOIN nar ON nar.id = binding.nar JOIN view ON view.id = binding.view"
		" JOIN object ON object.id = nar.object WHERE binding.id = ?1");
	query_bind_int(&q, 1, id);
	r = query_step(&q, err);
	if (r > 0) {
		cleanup_free char *dir = query_dup(&q, 3);
		struct hash nar_hash, file_hash;

		query_hash(&q, 1, &nar_hash);
		query_hash(&q, 4, &file_hash);
		hash_format_bare(url, &file_hash, HASH_NIX32);
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

int store_check(struct store *s, store_check_report *report, void *arg, struct err *err)
{
	struct check k = {s, report, arg, 0};
	int r = check_database(&k, "PRAGMA integrity_check", err);

	if (r >= 0)
		r = check_database(&k, "PRAGMA foreign_key_check", err);
	if (r >= 0)
		r = for_each(&k, "SELECT id FROM object WHERE id > ?1 ORDER BY id LIMIT 256",
			     check_object, err);
	if (r >= 0)
		r = for_each(&k, "SELECT id FROM nar WHERE id > ?1 ORDER BY id LIMIT 256",
			     check_nar, err);
	/* A blob whose digest is that of its object was read with the objects. */
	if (r >= 0)
		r = for_each(&k,
			     "SELECT id FROM blob WHERE id > ?1 AND digest IS NOT"
			     " (SELECT sha256 FROM object WHERE object.id = blob.object)"
			     " ORDER BY id LIMIT 256",
			     check_blob, err);
	if (r >= 0)
		r = for_each(&k, "SELECT id FROM manifest WHERE id > ?1 ORDER BY id LIMIT 256",
			     check_manifest, err);
	if (r >= 0)
		r = for_each(&k, "SELECT id FROM binding WHERE id > ?1 ORDER BY id LIMIT 256",
			     check_binding, err);
	return r < 0 ? r : k.defects;
}
