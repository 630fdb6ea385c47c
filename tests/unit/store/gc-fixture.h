/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the collector need: a clock of their own, and small things to collect. */
#ifndef NACRE_TESTS_GC_FIXTURE_H
#define NACRE_TESTS_GC_FIXTURE_H

#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "store-fixture.h"
#include "store/upkeep.h"

enum { HOUR = 3600, DAY = 24 * HOUR };

/* Seconds by which the clock is ahead, and by how much of it somebody set it: our own code and
 * SQLite's see these two functions. */
static int64_t clock_ahead_s, clock_set_s;

__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, id, ret);

	if (r == 0 && id == CLOCK_REALTIME)
		ret->tv_sec += clock_ahead_s;
	else if (r == 0 && id == CLOCK_BOOTTIME)
		ret->tv_sec += clock_ahead_s - clock_set_s;
	return r;
}

__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict ret,
							void *restrict zone)
{
	int r = (int)syscall(SYS_gettimeofday, ret, zone);

	if (r == 0)
		ret->tv_sec += clock_ahead_s;
	return r;
}

UNUSED_OK static void later(int64_t seconds)
{
	clock_ahead_s += seconds;
}

/* Only the clock of the wall. */
UNUSED_OK static void clock_step(int64_t seconds)
{
	clock_ahead_s += seconds;
	clock_set_s += seconds;
}

/* What is done once before the next file gets another name: our own code calls this function. */
static void (*link_hook)(struct fixture *f);
static struct fixture *link_fixture;

__attribute__((visibility("default"))) int linkat(int from, const char *name, int to,
						  const char *new_name, int flags)
{
	void (*hook)(struct fixture * f) = link_hook;

	link_hook = NULL;
	if (hook)
		hook(link_fixture);
	return (int)syscall(SYS_linkat, from, name, to, new_name, flags);
}

/* While nothing else runs. */
UNUSED_OK static void before_link(struct fixture *f, void (*hook)(struct fixture *f))
{
	link_fixture = f;
	link_hook = hook;
}

UNUSED_OK static void rules_set(struct fixture *f, const struct store_rules *rules)
{
	assert_ok(store_rules_set(f->store, rules, &f->err), f->err);
}

UNUSED_OK static struct strv words(const char *text)
{
	struct strv v = {0};
	cleanup_free char *copy = xstrdup(text);
	char *save = NULL;

	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		strv_add(&v, w);
	return v;
}

UNUSED_OK static struct tag_rule *tag_rule_add(struct store_rules *r, const char *repositories)
{
	r->tags = xreallocarray(r->tags, r->n_tags + 1, sizeof(*r->tags));
	r->tags[r->n_tags] = (struct tag_rule){.repositories = words(repositories)};
	return &r->tags[r->n_tags++];
}

UNUSED_OK static struct path_rule *path_rule_add(struct store_rules *r, const char *caches)
{
	r->paths = xreallocarray(r->paths, r->n_paths + 1, sizeof(*r->paths));
	r->paths[r->n_paths] = (struct path_rule){.caches = words(caches)};
	return &r->paths[r->n_paths++];
}

/* "kind name" of everything that went, one a line. */
UNUSED_OK static void gone_note(void *arg, const struct store_gc_item *item)
{
	buf_addf(arg, "%s %s\n", item->kind, item->name);
}

UNUSED_OK static struct store_gc_result gc(struct fixture *f)
{
	struct store_gc_options options = {0};
	struct store_gc_result result;

	assert_ok(store_gc(f->store, &options, &result, &f->err), f->err);
	assert_false(result.more);
	return result;
}

/* What a dry run says. */
UNUSED_OK static void gc_dry(struct fixture *f, struct buf *ret)
{
	struct store_gc_options options = {.dry_run = true, .report = gone_note, .arg = ret};
	struct store_gc_result result;

	*ret = BUF_INIT(1 << 20);
	buf_reserve(ret, 1);
	ret->data[0] = '\0';
	assert_ok(store_gc(f->store, &options, &result, &f->err), f->err);
}

/* ---- Small images: a config, and one layer of these bytes ---- */

UNUSED_OK static void image_text(struct fixture *f, const char *repository, const char *layer,
				 struct buf *ret)
{
	struct hash config, l;
	char config_text[DIGEST_TEXT_MAX], layer_text[DIGEST_TEXT_MAX];

	assert_ok(put_blob(f, repository, slice_str("{}"), &config), f->err);
	assert_ok(put_blob(f, repository, slice_str(layer), &l), f->err);
	digest_format(config_text, &config);
	digest_format(layer_text, &l);
	*ret = BUF_INIT(1 << 20);
	buf_addf(ret,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
		 "\",\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":"
		 "\"%s\",\"size\":2},\"layers\":[{\"mediaType\":\"application/x-test\",\"digest\":"
		 "\"%s\",\"size\":%zu}]}",
		 config_text, layer_text, strlen(layer));
}

/* `reference` NULL: by digest. */
UNUSED_OK static struct hash put_image(struct fixture *f, const char *repository,
				       const char *reference, const char *layer)
{
	cleanup_buf struct buf text = {0};
	struct manifest_put_result result;
	char digest[DIGEST_TEXT_MAX];
	struct hash h;

	image_text(f, repository, layer, &text);
	hash_bytes(&h, HASH_SHA256, text.data, text.len);
	digest_format(digest, &h);
	assert_ok(put_manifest(f, repository, reference ? reference : digest, &text, &result),
		  f->err);
	return result.digest;
}

/* The first column of the first row, from beside the store; 0: no row. Arguments are texts. */
UNUSED_OK static int64_t db_int(struct fixture *f, const char *sql, const char *a, const char *b)
{
	sqlite3_stmt *stmt;
	sqlite3 *db;
	char path[100];
	int64_t n = 0;

	snprintf(path, sizeof(path), "%s/meta.sqlite", f->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 10000);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	if (a)
		sqlite3_bind_text(stmt, 1, a, -1, SQLITE_STATIC);
	if (b)
		sqlite3_bind_text(stmt, 2, b, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return n;
}

/* Without counting as a use. */
UNUSED_OK static bool has(struct fixture *f, const char *repository, const char *reference)
{
	if (strchr(reference, ':'))
		return db_int(f,
			      "SELECT 1 FROM manifest JOIN repository ON repository.id = repository"
			      " WHERE name = ?1 AND lower(hex(digest)) = ?2",
			      repository, strchr(reference, ':') + 1);
	return db_int(f,
		      "SELECT 1 FROM tag JOIN repository ON repository.id = repository"
		      " WHERE repository.name = ?1 AND tag.name = ?2",
		      repository, reference);
}

UNUSED_OK static void pull(struct fixture *f, const char *repository, const char *reference)
{
	struct manifest_stat stat;

	assert_ok(store_manifest_stat(f->root, repository, reference, &stat, &f->err), f->err);
}

UNUSED_OK static bool has_digest(struct fixture *f, const char *repository, const struct hash *h)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, h);
	return has(f, repository, digest);
}

UNUSED_OK static bool has_blob(struct fixture *f, const char *repository, const char *bytes)
{
	struct err ignored = ERR_INIT;
	struct content *content;
	struct hash h;
	bool found;

	hash_bytes(&h, HASH_SHA256, bytes, strlen(bytes));
	found = store_blob_open(f->root, repository, &h, &content, &ignored) >= 0;
	if (found)
		content_free(content);
	return found;
}

/* ---- Small store paths ---- */

/* One file that says its own name. */
UNUSED_OK static void put_small_path(struct fixture *f, const char *name, const char *refs)
{
	cleanup_buf struct buf nar = {0};
	struct entry file = {.content = name};

	nar_of(&nar, &file, 1);
	put_path(f, name, buf_slice(&nar), refs, CODEC_NONE);
}

/* Without counting as a use. */
UNUSED_OK static bool has_path(struct fixture *f, const char *name)
{
	char base[STORE_BASE_MAX + 1];

	return db_int(f, "SELECT 1 FROM binding WHERE base = ?1", base_of(name, base), NULL);
}

UNUSED_OK static bool use_path(struct fixture *f, const char *name)
{
	char base[STORE_BASE_MAX + 1];

	base_of(name, base);
	base[STORE_HASH_LEN] = '\0';
	return store_narinfo_exists(f->root, base, &f->err) == 1;
}

/* An index of one member. */
UNUSED_OK static struct hash put_index(struct fixture *f, const char *repository, const char *tag,
				       const struct hash *member, uint64_t size)
{
	cleanup_buf struct buf text = BUF_INIT(1 << 20);
	struct manifest_put_result result;
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, member);
	buf_addf(&text,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX
		 "\",\"manifests\":[{\"mediaType\":\"" MT_OCI_MANIFEST
		 "\",\"digest\":\"%s\",\"size\":%llu}]}",
		 digest, (unsigned long long)size);
	assert_ok(put_manifest(f, repository, tag, &text, &result), f->err);
	return result.digest;
}

#endif
