/* SPDX-License-Identifier: Apache-2.0 */
/* Upgrading an old store, checking and repairing, backup, statistics. */
#include "image-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "gc-fixture.h"

/* ---- Upgrade ---- */

/* What makes of a database of version 5 one of version 1. */
static const char downgrade[] =
	"PRAGMA foreign_keys=OFF;"
	"DROP TABLE candidate; DROP TABLE pin; DROP TABLE setting; DROP TABLE path_use;"
	"DROP TABLE manifest_use; DROP TABLE total; DROP TABLE manifest_wanted;"
	"DROP INDEX object_damaged; DROP INDEX manifest_blob_blob; DROP INDEX tag_pushed;"
	"DROP INDEX manifest_member_digest; DROP INDEX referrer_type;"
	"CREATE INDEX manifest_blob_blob ON manifest_blob (blob);"
	"ALTER TABLE object DROP COLUMN damaged;"
	"ALTER TABLE view DROP COLUMN paths; ALTER TABLE view DROP COLUMN nar_bytes;"
	"ALTER TABLE view DROP COLUMN bytes; ALTER TABLE view DROP COLUMN pending_bytes;"
	"ALTER TABLE repository DROP COLUMN bytes; ALTER TABLE repository DROP COLUMN blobs;"
	"ALTER TABLE repository DROP COLUMN manifests; ALTER TABLE repository DROP COLUMN tags;"
	"ALTER TABLE binding DROP COLUMN bytes; ALTER TABLE pending DROP COLUMN bytes;"
	"ALTER TABLE tag DROP COLUMN pushed; ALTER TABLE manifest_blob DROP COLUMN repository;"
	"ALTER TABLE manifest_member DROP COLUMN repository;"
	"DROP INDEX document_added; ALTER TABLE document DROP COLUMN added;"
	"DROP INDEX nar_unframed; DROP INDEX blob_unframed; DROP INDEX binding_plain;"
	"DROP INDEX binding_deriver;"
	"ALTER TABLE blob DROP COLUMN unframed; ALTER TABLE binding DROP COLUMN plain;"
	"PRAGMA user_version=1;";

/* Triggers first: they speak of the columns. */
static void drop_triggers(struct fixture *f)
{
	char path[100];
	sqlite3_stmt *stmt;
	sqlite3 *db;
	cleanup_buf struct buf sql = BUF_INIT(1 << 16);

	snprintf(path, sizeof(path), "%s/meta.sqlite", f->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_prepare_v2(db, "SELECT name FROM sqlite_master WHERE type = 'trigger'", -1, &stmt,
			   NULL);
	while (sqlite3_step(stmt) == SQLITE_ROW)
		buf_addf(&sql, "DROP TRIGGER %s;", (const char *)sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
	assert_int_equal(sqlite3_exec(db, (char *)sql.data, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void test_upgrade(void **state)
{
	struct fixture f = {0};
	struct store_statistics before, after;
	char digest[DIGEST_TEXT_MAX];
	struct hash h, orphan;

	(void)state;
	fixture_open(&f);
	put_image(&f, "r", "v1", "one");
	put_image(&f, "r", "v1", "two");
	h = put_image(&f, "r", "v2", "three");
	assert_ok(put_blob(&f, "r", slice_str("orphan"), &orphan), f.err);
	assert_ok(put_blob(&f, "q", slice_str("taken out"), &orphan), f.err);
	assert_ok(store_blob_delete(f.root, "q", &orphan, &f.err), f.err);
	put_small_path(&f, "lib", NULL);
	put_small_path(&f, "app", "lib");
	assert_ok(store_statistics(f.store, &before, &f.err), f.err);
	store_close(f.store);
	f.store = NULL;
	drop_triggers(&f);
	fixture_sql(&f, downgrade);
	fixture_reopen(&f);
	assert_int_equal(db_int(&f, "PRAGMA user_version", NULL, NULL), 5);
	assert_ok(store_statistics(f.store, &after, &f.err), f.err);
	before.physical_bytes -= before.database_bytes;
	after.physical_bytes -= after.database_bytes;
	before.database_bytes = after.database_bytes = 0;
	assert_memory_equal(&before, &after, sizeof(after));
	fixture_check(&f);
	/* What was garbage before there was a collector is found. */
	put_image(&f, "z", "v1", "newer"); /* the newest blob stays for a while */
	later(20 * DAY);
	gc(&f);
	later(2 * DAY);
	gc(&f);
	assert_false(has_blob(&f, "r", "one"));
	assert_false(has_blob(&f, "r", "orphan"));
	assert_true(has_blob(&f, "r", "three"));
	assert_int_equal(db_int(&f, "SELECT count(*) FROM blob", NULL, NULL), 4);
	digest_format(digest, &h);
	assert_true(has(&f, "r", digest));
	assert_true(has_path(&f, "lib"));
	fixture_close(&f);
}

/* From version 2: the blobs that an index names are its own from now on. */
static void test_upgrade_of_indexes(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf index = BUF_INIT(1 << 16);
	struct manifest_put_result result;
	struct hash blob, elsewhere;
	char text[DIGEST_TEXT_MAX];

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_str("layer"), &blob), f.err);
	assert_ok(put_blob(&f, "q", slice_str("layer"), &elsewhere), f.err);
	digest_format(text, &blob);
	buf_addf(&index,
		 "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MT_OCI_LAYER
		 "\",\"digest\":\"%s\",\"size\":5}]}",
		 text);
	assert_ok(put_manifest(&f, "r", "cache", &index, &result), f.err);
	store_close(f.store);
	f.store = NULL;
	fixture_sql(
		&f,
		"DELETE FROM manifest_blob; DROP INDEX referrer_type; DROP INDEX document_added;"
		"ALTER TABLE document DROP COLUMN added; DROP INDEX nar_unframed;"
		"DROP INDEX blob_unframed; ALTER TABLE blob DROP COLUMN unframed;"
		"DROP INDEX binding_plain; ALTER TABLE binding DROP COLUMN plain;"
		"DROP INDEX binding_deriver;"
		"PRAGMA user_version=2");
	fixture_reopen(&f);
	assert_int_equal(db_int(&f, "SELECT count(*) FROM manifest_blob", NULL, NULL), 1);
	later(20 * DAY);
	gc(&f);
	assert_true(has_blob(&f, "r", "layer"));
	assert_false(has_blob(&f, "q", "layer"));
	fixture_close(&f);
}

/* An upgrade that is interrupted leaves the old store, and the next one does it. */
static void test_upgrade_fails(void **state)
{
	struct fixture f = {0};

	(void)state;
	fixture_open(&f);
	put_image(&f, "r", "v1", "one");
	store_close(f.store);
	f.store = NULL;
	drop_triggers(&f);
	fixture_sql(&f, downgrade);
	fixture_sql(&f, "CREATE TABLE manifest_use (x)"); /* in the way of the upgrade */
	assert_true(store_open(&f.store, f.dir, &f.options, &f.err) < 0);
	assert_int_equal(db_int(&f, "PRAGMA user_version", NULL, NULL), 1);
	assert_int_equal(db_int(&f, "SELECT count(*) FROM sqlite_master WHERE name = 'candidate'",
				NULL, NULL),
			 0);
	f.err = ERR_INIT;
	f.store = NULL;
	fixture_sql(&f, "DROP TABLE manifest_use");
	fixture_reopen(&f);
	assert_true(has(&f, "r", "v1"));
	fixture_close(&f);
}

static void test_newer_version(void **state)
{
	struct fixture f = {0};

	(void)state;
	fixture_open(&f);
	store_close(f.store);
	f.store = NULL;
	fixture_sql(&f, "PRAGMA user_version=99");
	assert_fails(store_open(&f.store, f.dir, &f.options, &f.err), E_UNSUPPORTED, f.err, "99");
	f.store = NULL;
	fixture_sql(&f, "PRAGMA user_version=5");
	fixture_reopen(&f);
	fixture_close(&f);
}

/* ---- Check and repair ---- */

static void text_note(void *arg, const char *text)
{
	buf_addf(arg, "%s\n", text);
}

static struct store_check_result check(struct fixture *f, bool repair, struct buf *text,
				       store_repair_fn *fetch, void *arg)
{
	struct store_check_options options = {.repair = repair,
					      .report = text_note,
					      .arg = text,
					      .fetch = fetch,
					      .fetch_arg = arg};
	struct store_check_result result = {0};

	text->max = 1 << 20;
	buf_reset(text);
	assert_ok(store_check_repair(f->store, &options, &result, &f->err), f->err);
	return result;
}

static void test_damaged_blob(void **state)
{
	struct fixture f = {0};
	cleanup_free char *big = noise(50000, 3);
	cleanup_buf struct buf text = {0}, back = {0};
	struct store_check_result result;
	struct content *content;
	uint64_t size;
	struct hash h;

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_make(big, 50000), &h), f.err);
	fixture_damage(&f, "SELECT file FROM object WHERE file IS NOT NULL");
	/* Without repair nothing changes. */
	result = check(&f, false, &text, NULL, NULL);
	assert_int_equal(result.defects, 1);
	assert_ok(store_blob_stat(f.root, "r", &h, &size, &f.err), f.err);
	result = check(&f, true, &text, NULL, NULL);
	assert_int_equal(result.defects, 1);
	assert_int_equal(result.quarantined, 1);
	assert_int_equal(result.lost, 1);
	assert_non_null(strstr((char *)text.data, "put it again"));
	/* It is as if it were not there, now and after a restart. */
	for (int i = 0; i < 2; i++) {
		assert_fails(store_blob_stat(f.root, "r", &h, &size, &f.err), E_NOTFOUND, f.err,
			     NULL);
		assert_fails(store_blob_open(f.root, "r", &h, &content, &f.err), E_NOTFOUND, f.err,
			     NULL);
		assert_fails(store_blob_mount(f.root, "other", &h, "r", &f.err), E_NOTFOUND, f.err,
			     NULL);
		assert_fails(store_blob_mount(f.root, "other", &h, NULL, &f.err), E_NOTFOUND, f.err,
			     NULL);
		fixture_reopen(&f);
	}
	/* So a client sends it again, and it is whole. */
	assert_ok(put_blob(&f, "r", slice_make(big, 50000), &h), f.err);
	get_blob(&f, "r", &h, &back);
	assert_memory_equal(back.data, big, 50000);
	assert_int_equal(check(&f, false, &text, NULL, NULL).defects, 0);
	fixture_close(&f);
}

/* What happens when a file of an object is opened: our own code calls this function. */
static int open_errno;
static atomic_int opened;

__attribute__((visibility("default"))) int openat(int dirfd, const char *name, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (strlen(name) > 3 && name[2] == '/') {
		opened++;
		if (open_errno) {
			errno = open_errno;
			return -1;
		}
	}
	va_start(ap, flags);
	if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return (int)syscall(SYS_openat, dirfd, name, flags, mode);
}

/* However often an image names a layer, it is read as often as once. */
static void test_layer_again(void **state)
{
	static const size_t paths[] = {0, 1, 2};
	struct world w = {0};
	struct pushed p;
	cleanup_buf struct buf layer = {0};
	struct hash diff;
	int once = 0;

	(void)state;
	for (int times = 1; times <= 50; times += 49) {
		world_make(&w);
		pushed_init(&w, &p, "r");
		layer.len = 0;
		layer_of(&w, IMAGE_ZSTD, paths, 3, &layer, &diff);
		for (int i = 0; i < times; i++)
			pushed_layer(&w, &p, "r", MT_OCI_LAYER_ZSTD, buf_slice(&layer));
		opened = 0;
		assert_ok(pushed_put(&w, &p, "r", "latest"), w.f.err);
		assert_int_equal(p.result.paths_bound, 3);
		assert_int_equal(p.result.paths_refused, 0);
		if (times == 1)
			once = opened;
		assert_true(once > 0 && opened == once);
		pushed_release(&p);
		world_release(&w);
	}
}

/* A file that cannot be opened just now is not damaged; one that is not there is. */
static void test_out_of_reach(void **state)
{
	static const struct {
		int error;
		uint64_t quarantined;
	} cases[] = {{EMFILE, 0}, {ENFILE, 0}, {ENOMEM, 0}, {EACCES, 0}, {EIO, 1}};
	struct fixture f = {0};
	cleanup_free char *big = noise(50000, 3);
	cleanup_buf struct buf text = {0};
	struct store_check_result result;
	struct hash h;

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_make(big, 50000), &h), f.err);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		open_errno = cases[i].error;
		result = check(&f, true, &text, NULL, NULL);
		open_errno = 0;
		assert_true(result.defects > 0);
		assert_non_null(strstr((char *)text.data, strerror(cases[i].error)));
		assert_int_equal(result.quarantined, cases[i].quarantined);
		result = check(&f, false, &text, NULL, NULL);
		assert_int_equal(result.defects, cases[i].quarantined);
	}
	assert_ok(put_blob(&f, "r", slice_make(big, 50000), &h), f.err);
	fixture_close(&f);
}

struct again {
	struct fixture *f;
	struct slice nar;
	int asked;
};

static int fetch_again(void *arg, const struct store_repair_request *request, struct err *err)
{
	struct again *a = arg;

	(void)err;
	a->asked++;
	assert_int_equal(request->kind, STORE_REPAIR_NAR);
	assert_ptr_equal(request->view, a->f->root);
	assert_non_null(strstr(request->path, "-big"));
	return put_nar(a->f, a->nar, CODEC_XZ, NULL);
}

static int fetch_nothing(void *arg, const struct store_repair_request *request, struct err *err)
{
	(void)arg;
	(void)request;
	return err_set(err, E_NET, "nobody is there");
}

static void test_damaged_nar(void **state)
{
	struct fixture f = {0};
	cleanup_free char *big = noise(50000, 4);
	struct entry file = {.content = big, .size = 50000};
	cleanup_buf struct buf nar = {0}, text = {0}, back = {0};
	cleanup_narinfo struct narinfo info = {0}, again = {0};
	struct store_check_result result;
	struct again a;
	uint64_t size;

	(void)state;
	fixture_open(&f);
	nar_of(&nar, &file, 1);
	put_path(&f, "big", buf_slice(&nar), NULL, CODEC_NONE);
	assert_int_equal(get_info(&f, "big", &info), 0);
	fixture_damage(&f, "SELECT file FROM object WHERE kind = 1");
	result = check(&f, true, &text, fetch_nothing, NULL);
	assert_int_equal(result.lost, 1);
	assert_false(use_path(&f, "big"));
	assert_fails(get_info(&f, "big", &again), E_NOTFOUND, f.err, NULL);
	assert_fails(store_nar_stat(f.root, info.url + 4, &size, &f.err), E_NOTFOUND, f.err, NULL);
	/* Somebody has it. */
	a = (struct again){&f, buf_slice(&nar), 0};
	store_set_repair(f.store, fetch_again, &a);
	result = check(&f, true, &text, NULL, NULL);
	assert_int_equal(a.asked, 1);
	assert_int_equal(result.repaired, 1);
	assert_int_equal(result.lost, 0);
	assert_true(use_path(&f, "big"));
	get_nar(&f, info.url, &back);
	assert_int_equal(check(&f, false, &text, NULL, NULL).defects, 0);
	fixture_close(&f);
}

/* Makes the one NAR of a store that is closed what another encoder left: a byte more, under another
 * hash, and damaged. */
static void encode_otherwise(struct fixture *f, const struct hash *file_hash)
{
	static const char other[] = "0000000000000000000000000000000000000000000000000000";
	char ours[HASH_TEXT_MAX];
	cleanup_free char *sql = NULL;

	hash_format_bare(ours, file_hash, HASH_NIX32);
	sql = xasprintf(
		"UPDATE object SET damaged = 1, sha256 = zeroblob(32), size = size + 1"
		" WHERE kind = 1;"
		"UPDATE total SET file_bytes = file_bytes + 1, framed_bytes = framed_bytes + 1;"
		"UPDATE nar SET encoder = 'libzstd 0.1 level 1';"
		"UPDATE body SET encoder = 'libzstd 0.1 level 1', frames = x'ff';"
		"UPDATE nar_name SET name = replace(name, '%s', '%s');"
		"UPDATE binding SET narinfo = replace(narinfo, '%s', '%s'), bytes = bytes + 1;"
		"UPDATE view SET bytes = bytes + (SELECT count(*) FROM binding WHERE view ="
		" view.id)",
		ours, other, ours, other);
	fixture_sql(f, sql);
}

/* The narinfo names just the bytes that are served. */
static void check_file(struct fixture *f, const char *name)
{
	cleanup_narinfo struct narinfo info = {0};
	cleanup_buf struct buf file = {0};
	struct hash h;

	assert_ok(get_info(f, name, &info), f->err);
	get_nar(f, info.url, &file);
	hash_bytes(&h, HASH_SHA256, file.data, file.len);
	assert_true(hash_equal(&h, &info.file_hash));
	assert_int_equal(info.file_size, file.len);
}

/* Leaves the glue of a path, but no layer that is made of it. */
static void make_glue(struct fixture *f, const char *tag)
{
	struct manifest_stat stat;
	char digest[DIGEST_TEXT_MAX];

	assert_ok(store_manifest_stat(f->root, "nix/package", tag, &stat, &f->err), f->err);
	digest_format(digest, &stat.digest);
	assert_ok(store_manifest_delete(f->root, "nix/package", digest, &f->err), f->err);
	gc(f);
	later(25 * HOUR);
	gc(f);
	assert_int_equal(db_int(f, "SELECT count(*) FROM blob_part", NULL, NULL), 0);
	assert_int_equal(db_int(f, "SELECT count(*) FROM body", NULL, NULL), 1);
}

/* A damaged NAR comes again after zstd was upgraded: every narinfo names what it is now, no layer is
 * made with glue that belongs to the old frames, and the old object goes like all garbage. */
static void test_other_encoder(void **state)
{
	struct store_view_options options = STORE_VIEW_OPTIONS_INIT;
	struct world w = {.f.options = STORE_OPTIONS_INIT};
	struct fixture *f = &w.f;
	struct package *lib = &w.p[0];
	cleanup_narinfo struct narinfo info = {0};
	struct manifest_stat stat;
	char tag[STORE_HASH_LEN + 1] = "";

	(void)state;
	f->options.architecture = "amd64";
	world_make(&w);
	put_path(f, lib->name, buf_slice(&lib->nar), NULL, CODEC_NONE);
	assert_ok(get_info(f, lib->name, &info), f->err);
	memcpy(tag, store_path_base(&lib->info.path), STORE_HASH_LEN);
	make_glue(f, tag);
	assert_ok(store_view_open(&f->root, f->store, "team", &options, &f->err), f->err);
	put_path(f, lib->name, buf_slice(&lib->nar), NULL, CODEC_NONE);
	store_close(f->store);
	f->store = NULL;
	encode_otherwise(f, &info.file_hash);
	fixture_reopen(f);
	assert_false(use_path(f, lib->name));
	put_path(f, lib->name, buf_slice(&lib->nar), NULL, CODEC_NONE);
	check_file(f, lib->name);
	assert_ok(store_view_open(&f->root, f->store, "team", &options, &f->err), f->err);
	check_file(f, lib->name);
	f->root = store_root(f->store);
	assert_ok(store_manifest_stat(f->root, "nix", tag, &stat, &f->err), f->err);
	for (int i = 0; i < 2; i++)
		assert_ok(store_maintain(f->store, &f->err), f->err);
	assert_int_equal(db_int(f, "SELECT count(*) FROM object WHERE kind = 1", NULL, NULL), 1);
	world_release(&w);
}

/* Glue is made again from the NAR, a listing when it is asked for. */
static void test_derived_again(void **state)
{
	struct world w;
	struct fixture *f = &w.f;
	cleanup_buf struct buf text = {0};
	struct store_check_result result;
	char tag[STORE_HASH_LEN + 1] = "";
	struct manifest_stat stat;

	(void)state;
	w = (struct world){0};
	world_make(&w);
	for (size_t i = 0; i < 2; i++)
		put_path(f, w.p[i].name, buf_slice(&w.p[i].nar), w.p[i].refs, CODEC_NONE);
	memcpy(tag, store_path_base(&w.p[1].info.path), STORE_HASH_LEN);
	f->err = ERR_INIT;
	assert_ok(store_manifest_stat(f->root, "nix/package", tag, &stat, &f->err), f->err);
	store_close(f->store);
	f->store = NULL;
	/* Small glue is in the database. */
	fixture_sql(f, "UPDATE object SET data = zeroblob(length(data)) WHERE kind = 2");
	fixture_reopen(f);
	result = check(f, true, &text, NULL, NULL);
	assert_int_equal(result.quarantined, 1);
	assert_int_equal(result.repaired, 1);
	assert_int_equal(check(f, false, &text, NULL, NULL).defects, 0);
	world_release(&w);
}

/* What triggers keep can be made again from the rest. */
static void test_sums(void **state)
{
	struct fixture f = {0};
	cleanup_buf struct buf text = {0};
	struct store_check_result result;
	struct hash h;

	(void)state;
	fixture_open(&f);
	put_image(&f, "r", "v1", "one");
	put_image(&f, "r", "v1", "two");
	assert_ok(put_blob(&f, "r", slice_str("orphan"), &h), f.err);
	put_small_path(&f, "lib", NULL);
	put_small_path(&f, "app", "lib");
	store_close(f.store);
	f.store = NULL;
	fixture_sql(&f, "UPDATE repository SET bytes = 5, tags = 7; UPDATE view SET paths = 0;"
			"UPDATE total SET blobs = 0, paths = 99; DELETE FROM candidate;"
			"UPDATE path_use SET referrers = 3;");
	fixture_reopen(&f);
	result = check(&f, false, &text, NULL, NULL);
	assert_true(result.defects >= 8);
	assert_non_null(strstr((char *)text.data, "but should be"));
	result = check(&f, true, &text, NULL, NULL);
	assert_true(result.defects == result.repaired);
	assert_int_equal(check(&f, false, &text, NULL, NULL).defects, 0);
	put_image(&f, "z", "v1", "newer");
	for (int i = 0; i < 3; i++) {
		later(20 * DAY);
		gc(&f);
	}
	assert_false(has_blob(&f, "r", "orphan"));
	assert_false(has_blob(&f, "r", "one"));
	assert_true(has_path(&f, "lib"));
	fixture_close(&f);
}

/* ---- Backup ---- */

static void open_backup(struct fixture *f, const char *dir, struct fixture *ret)
{
	*ret = *f;
	ret->store = NULL;
	snprintf(ret->dir, sizeof(ret->dir), "%s", dir);
	fixture_reopen(ret);
}

static void test_backup(void **state)
{
	struct fixture f = {0}, b;
	struct store_backup_options options = {0};
	struct store_backup_result result;
	cleanup_free char *big = noise(50000, 3);
	cleanup_buf struct buf back = {0};
	char dir[80];
	struct hash h, later_one;

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_make(big, 50000), &h), f.err);
	put_image(&f, "r", "v1", "one");
	put_small_path(&f, "lib", NULL);
	for (int i = 0; i < 2; i++) {
		snprintf(dir, sizeof(dir), "%s/b%d", f.path, i);
		options.copy = i;
		assert_ok(store_backup(f.store, dir, &options, &result, &f.err), f.err);
		assert_int_equal(result.objects, 1);
		assert_int_equal(result.linked, !i);
		assert_true(result.bytes >= (i ? 90000 : 40000));
		assert_ok(put_blob(&f, "r", slice_str(i ? "later 1" : "later 0"), &later_one),
			  f.err);
		open_backup(&f, dir, &b);
		fixture_check(&b);
		get_blob(&b, "r", &h, &back);
		assert_memory_equal(back.data, big, 50000);
		buf_reset(&back);
		assert_true(has(&b, "r", "v1"));
		assert_true(has_path(&b, "lib"));
		assert_false(has_blob(&b, "r", i ? "later 1" : "later 0"));
		store_close(b.store);
	}
	assert_fails(store_backup(f.store, dir, &options, &result, &f.err), E_EXISTS, f.err,
		     "not empty");
	assert_fails(store_backup(f.store, "/nonexistent/x", &options, &result, &f.err), E_NOTFOUND,
		     f.err, NULL);
	fixture_close(&f);
}

static void put_log(struct fixture *f, const char *bytes, size_t len)
{
	struct store_put *put;

	assert_ok(store_document_put(f->root, STORE_LOG, "log.drv", NULL, &put, &f->err), f->err);
	assert_ok(store_put_write(put, bytes, len, &f->err), f->err);
	assert_ok(store_put_commit(put, &f->err), f->err);
	store_put_free(put);
}

static uint64_t opaque_bytes(struct fixture *f)
{
	struct store_statistics s;

	assert_ok(store_statistics(f->store, &s, &f->err), f->err);
	return s.opaque_bytes;
}

static void maintain(struct fixture *f)
{
	assert_ok(store_maintain(f->store, &f->err), f->err);
}

/* Garbage that could go at any moment stays until the backup has it. */
static void test_backup_of_garbage(void **state)
{
	struct fixture f = {0}, b;
	struct store_backup_options options = {0};
	struct store_backup_result result;
	cleanup_free char *big = noise(50000, 3);
	char dir[80];

	(void)state;
	fixture_open(&f);
	put_log(&f, big, 50000);
	put_log(&f, big, 40000);
	assert_ok(store_maintain(f.store, &f.err), f.err);
	snprintf(dir, sizeof(dir), "%s/b", f.path);
	before_link(&f, maintain);
	assert_ok(store_backup(f.store, dir, &options, &result, &f.err), f.err);
	assert_null(link_hook);
	assert_int_equal(result.objects, 2);
	open_backup(&f, dir, &b);
	fixture_check(&b);
	store_close(b.store);
	/* Only so long. */
	assert_int_equal(opaque_bytes(&f), 90000);
	for (int i = 0; i < 2; i++)
		assert_ok(store_maintain(f.store, &f.err), f.err);
	assert_int_equal(opaque_bytes(&f), 40000);
	fixture_close(&f);
}

static void quarantine(struct fixture *f)
{
	cleanup_buf struct buf text = {0};

	/* One of two; with the file of the other nothing is wrong. */
	fixture_damage(f, "SELECT file FROM object WHERE file IS NOT NULL ORDER BY id LIMIT 1");
	assert_int_equal(check(f, true, &text, NULL, NULL).quarantined, 1);
}

static void lose(struct fixture *f)
{
	char path[200];

	fixture_object(path, f, "SELECT file FROM object WHERE file IS NOT NULL AND damaged = 0");
	assert_int_equal(unlink(path), 0);
}

/* What is found to be damaged meanwhile is so in the backup, too; what is merely gone makes it fail. */
static void test_backup_beside_repair(void **state)
{
	struct fixture f = {0}, b;
	struct store_backup_options options = {0};
	struct store_backup_result result;
	cleanup_free char *big = noise(50000, 3);
	cleanup_buf struct buf text = {0};
	struct hash first, second;
	uint64_t size;
	char dir[80];

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_make(big, 50000), &first), f.err);
	assert_ok(put_blob(&f, "r", slice_make(big, 40000), &second), f.err);
	snprintf(dir, sizeof(dir), "%s/b", f.path);
	before_link(&f, quarantine);
	assert_ok(store_backup(f.store, dir, &options, &result, &f.err), f.err);
	assert_null(link_hook);
	open_backup(&f, dir, &b);
	assert_fails(store_blob_stat(b.root, "r", &first, &size, &b.err), E_NOTFOUND, b.err, NULL);
	assert_ok(store_blob_stat(b.root, "r", &second, &size, &b.err), b.err);
	store_close(b.store);
	snprintf(dir, sizeof(dir), "%s/c", f.path);
	before_link(&f, lose);
	assert_fails(store_backup(f.store, dir, &options, &result, &f.err), E_NOTFOUND, f.err,
		     "fsck");
	assert_int_equal(check(&f, true, &text, NULL, NULL).quarantined, 1);
	assert_ok(put_blob(&f, "r", slice_make(big, 50000), &first), f.err);
	assert_ok(put_blob(&f, "r", slice_make(big, 40000), &second), f.err);
	fixture_close(&f);
}

/* A backup that fails leaves nothing. */
static void test_backup_cancelled(void **state)
{
	struct fixture f = {0};
	_Atomic bool cancel = true;
	struct store_backup_options options = {.cancel = &cancel};
	struct store_backup_result result;
	cleanup_free char *big = noise(50000, 3);
	struct stat st;
	char dir[80];
	struct hash h;

	(void)state;
	fixture_open(&f);
	assert_ok(put_blob(&f, "r", slice_make(big, 50000), &h), f.err);
	snprintf(dir, sizeof(dir), "%s/b", f.path);
	assert_fails(store_backup(f.store, dir, &options, &result, &f.err), E_CANCELLED, f.err,
		     NULL);
	assert_int_not_equal(stat(dir, &st), 0);
	/* One that was cut off is no store. */
	cancel = false;
	assert_ok(store_backup(f.store, dir, &options, &result, &f.err), f.err);
	snprintf(dir, sizeof(dir), "%s/b/version", f.path);
	assert_int_equal(unlink(dir), 0);
	snprintf(dir, sizeof(dir), "%s/b", f.path);
	struct store *s;
	assert_fails(store_open(&s, dir, &f.options, &f.err), E_UNSUPPORTED, f.err, NULL);
	fixture_close(&f);
}

struct writer {
	pthread_t thread;
	struct fixture f;
	_Atomic bool stop;
};

static void *write_much(void *arg)
{
	struct writer *w = arg;

	for (int i = 0; !atomic_load(&w->stop); i++) {
		char text[40];

		snprintf(text, sizeof(text), "image %d", i);
		put_image(&w->f, "busy", i % 3 ? "v1" : "v2", text);
		put_small_path(&w->f, text + 6, NULL);
	}
	return NULL;
}

/* While others write: each backup is of one moment. */
static void test_backup_while_serving(void **state)
{
	struct fixture f = {0}, b;
	struct store_backup_options options = {0};
	struct store_backup_result result;
	static struct writer w;
	char dir[80];

	(void)state;
	fixture_open(&f);
	put_image(&f, "busy", "v1", "first");
	w.f = f;
	atomic_store(&w.stop, false);
	assert_int_equal(pthread_create(&w.thread, NULL, write_much, &w), 0);
	for (int i = 0; i < 5; i++) {
		snprintf(dir, sizeof(dir), "%s/b%d", f.path, i);
		assert_ok(store_backup(f.store, dir, &options, &result, &f.err), f.err);
		open_backup(&f, dir, &b);
		fixture_check(&b);
		assert_true(has(&b, "busy", "v1"));
		store_close(b.store);
	}
	atomic_store(&w.stop, true);
	pthread_join(w.thread, NULL);
	fixture_close(&f);
}

/* ---- Statistics ---- */

static void view_note(void *arg, const struct store_view_usage *u)
{
	buf_addf(arg, "view '%s' paths %d repositories %d tags %d\n", u->view, (int)u->paths,
		 (int)u->repositories, (int)u->tags);
}

static void repository_note(void *arg, const struct store_repository_usage *u)
{
	buf_addf(arg, "%s blobs %d manifests %d tags %d\n", u->name, (int)u->blobs,
		 (int)u->manifests, (int)u->tags);
}

static void test_usages(void **state)
{
	struct fixture f = {0};
	struct store_view_options options = STORE_VIEW_OPTIONS_INIT;
	struct store_view *team;
	cleanup_buf struct buf text = BUF_INIT(4096);

	(void)state;
	fixture_open(&f);
	assert_ok(store_view_open(&team, f.store, "team", &options, &f.err), f.err);
	put_image(&f, "a", "v1", "one");
	put_image(&f, "a", "v2", "one");
	put_image(&f, "b", "v1", "two");
	put_small_path(&f, "lib", NULL);
	f.root = team;
	put_small_path(&f, "lib", NULL);
	put_image(&f, "a", "v1", "one");
	f.root = store_root(f.store);
	assert_ok(store_view_usages(f.store, view_note, &text, &f.err), f.err);
	assert_string_equal((char *)text.data, "view '' paths 1 repositories 2 tags 3\n"
					       "view 'team' paths 1 repositories 1 tags 1\n");
	buf_reset(&text);
	assert_ok(store_repository_usages(f.root, &(struct store_page){10, NULL}, repository_note,
					  &text, &f.err),
		  f.err);
	assert_string_equal((char *)text.data, "a blobs 2 manifests 1 tags 2\n"
					       "b blobs 2 manifests 1 tags 1\n");
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upgrade),
		cmocka_unit_test(test_upgrade_of_indexes),
		cmocka_unit_test(test_upgrade_fails),
		cmocka_unit_test(test_newer_version),
		cmocka_unit_test(test_damaged_blob),
		cmocka_unit_test(test_layer_again),
		cmocka_unit_test(test_out_of_reach),
		cmocka_unit_test(test_damaged_nar),
		cmocka_unit_test(test_other_encoder),
		cmocka_unit_test(test_derived_again),
		cmocka_unit_test(test_sums),
		cmocka_unit_test(test_backup),
		cmocka_unit_test(test_backup_of_garbage),
		cmocka_unit_test(test_backup_beside_repair),
		cmocka_unit_test(test_backup_cancelled),
		cmocka_unit_test(test_backup_while_serving),
		cmocka_unit_test(test_usages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
