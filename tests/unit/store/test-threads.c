/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads on one store, and shared transactions. */
#include <pthread.h>

#include "image-fixture.h"
#include "store/db.h"

enum { THREADS = 8, ROUNDS = 25 };

struct worker {
	pthread_t thread;
	struct world *w;
	struct db *db;
	int number;
	char failure[ERR_TEXT_MAX];
};

static void run_workers(struct worker *workers, struct world *w, struct db *db, void *(*fn)(void *))
{
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.w = w, .db = db, .number = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, fn, &workers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < THREADS; i++)
		assert_string_equal(workers[i].failure, "");
}

/* cmocka's assertions belong to the main thread. */
#define check(self, call, err)                                                                     \
	do {                                                                                       \
		if ((call) < 0) {                                                                  \
			snprintf((self)->failure, sizeof((self)->failure), "%.60s: %.900s", #call, \
				 (err).text);                                                      \
			return NULL;                                                               \
		}                                                                                  \
	} while (0)

/* ---- Transactions ---- */

struct insert {
	int64_t key;
	bool fail;
};

static int insert_job(struct conn *c, void *arg, struct err *err)
{
	struct insert *job = arg;
	struct query q;
	int r;

	query_init(&q, c, "INSERT INTO view (name) VALUES (?1)");
	query_bind_text(&q, 1, slice_make(&job->key, sizeof(job->key)));
	r = query_run(&q, err);
	if (r >= 0 && job->fail)
		return err_set(err, E_CANCELLED, "on purpose");
	return r;
}

static void *insert_many(void *arg)
{
	struct worker *self = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct insert job = {self->number * 1000 + i + 0x4141414141410000, i % 3 == 0};
		struct err err = ERR_INIT;
		int r = db_write(self->db, insert_job, &job, &err);

		if (r != (job.fail ? E_CANCELLED : 0) ||
		    (job.fail && strcmp(err.text, "on purpose")))
			snprintf(self->failure, sizeof(self->failure), "round %d: %d %.900s", i, r,
				 err.text);
	}
	return NULL;
}

/* Each succeeds or fails by itself, whoever it shares a transaction with. */
static void test_transactions(void **state)
{
	struct worker workers[THREADS];
	struct err err = ERR_INIT;
	char path[64], file[80];
	struct conn *c;
	struct query q;
	struct db *db;
	int dirfd = unit_tempdir(path);

	(void)state;
	snprintf(file, sizeof(file), "%s/db", path);
	assert_ok(db_open(&db, file, &err), err);
	run_workers(workers, NULL, db, insert_many);
	c = db_reader(db, &err);
	assert_non_null(c);
	query_init(&q, c, "SELECT count(*) FROM view");
	assert_int_equal(query_step(&q, &err), 1);
	assert_int_equal(query_int(&q, 0), THREADS * (ROUNDS - (ROUNDS + 2) / 3));
	query_end(&q);
	/* A constraint that fails is an error of that job alone, and readers cannot write. */
	struct insert twice = {0x4141414141410001, false};

	assert_fails(db_write(db, insert_job, &twice, &err), E_INTERNAL, err, "UNIQUE");
	assert_fails(insert_job(c, &(struct insert){1, false}, &err), E_IO, err, NULL);
	db_reader_done(db, c);
	db_close(db);
	unit_tempdir_end(dirfd, path);
}

/* ---- One path from everywhere ---- */

/* What put_path() does, without assertions. */
static void *upload_same(void *arg)
{
	struct worker *self = arg;
	struct fixture f = {.store = self->w->f.store, .root = self->w->f.root};

	for (int i = 0; i < 3; i++) {
		enum codec codec =
			(enum codec[]){CODEC_XZ, CODEC_ZSTD, CODEC_NONE}[(i + self->number) % 3];

		for (size_t k = 0; k < 3; k++)
			check(self, put_nar(&f, buf_slice(&self->w->p[k].nar), codec, NULL), f.err);
		for (size_t k = 0; k < 3; k++)
			check(self, put_info(&f, &self->w->p[k].info), f.err);
	}
	return NULL;
}

static void test_same_path(void **state)
{
	struct worker workers[THREADS];
	struct store_statistics stats;
	struct world w = {0};

	(void)state;
	world_make(&w);
	run_workers(workers, &w, NULL, upload_same);
	for (size_t i = 0; i < 3; i++)
		check_path(&w, i);
	assert_ok(store_statistics(w.f.store, &stats, &w.f.err), w.f.err);
	assert_int_equal(stats.nars, 3);
	assert_int_equal(stats.paths, 3);
	world_release(&w);
}

/* Writers, readers, deleters and the garbage collector, each on its own and on what all share. */
static void *mixed(void *arg)
{
	struct worker *self = arg;
	struct fixture f = {.store = self->w->f.store, .root = self->w->f.root};
	char name[32], repository[32];

	for (int i = 0; i < ROUNDS; i++) {
		size_t len = (size_t)(i * 997 + self->number);
		cleanup_free char *data = noise(len + 9000, 5);
		struct content *c;
		struct hash digest;
		uint8_t part[512];
		size_t got;
		uint64_t size;

		snprintf(repository, sizeof(repository), "r%d", self->number % 3);
		check(self, put_blob(&f, repository, slice_make(data, len + 9000), &digest), f.err);
		if (store_blob_open(f.root, repository, &digest, &c, &f.err) >= 0) {
			check(self, content_read(c, 100, part, sizeof(part), &got, &f.err), f.err);
			if (got != sizeof(part) || memcmp(part, data + 100, got) != 0)
				snprintf(self->failure, sizeof(self->failure), "wrong bytes");
			store_blob_delete(f.root, repository, &digest, &f.err);
			check(self, store_maintain(f.store, &f.err), f.err);
			check(self, content_read(c, 0, part, sizeof(part), &got, &f.err), f.err);
			content_free(c);
		}
		store_blob_stat(f.root, repository, &digest, &size, &f.err);
		snprintf(name, sizeof(name), "n%d-%d", self->number, i);
		struct path_info info;

		info_of(&info, name, buf_slice(&self->w->p[i % 3].nar), NULL);
		check(self, put_nar(&f, buf_slice(&self->w->p[i % 3].nar), CODEC_NONE, NULL),
		      f.err);
		check(self, put_info(&f, &info), f.err);
		path_info_release(&info);
	}
	return NULL;
}

static void test_mixed(void **state)
{
	struct worker workers[THREADS];
	struct world w = {0};

	(void)state;
	world_make(&w);
	run_workers(workers, &w, NULL, mixed);
	fixture_check(&w.f);
	world_release(&w);
}

/* One image, pushed to many repositories at once. */
static void *push_image(void *arg)
{
	static const size_t all[] = {0, 1, 2};
	struct worker *self = arg;
	struct world *w = self->w;
	struct fixture f = {.store = w->f.store, .root = w->f.root};
	cleanup_buf struct buf layer = {0}, bytes = BUF_INIT(1 << 20);
	struct manifest_put_result result;
	char repository[32], layer_digest[DIGEST_TEXT_MAX];
	struct hash h, diff;

	snprintf(repository, sizeof(repository), "image%d", self->number);
	layer_of(w, IMAGE_ZSTD, all, 3, &layer, &diff);
	check(self, put_blob(&f, repository, slice_str(OCI_EMPTY_JSON), &h), f.err);
	check(self, put_blob(&f, repository, buf_slice(&layer), &h), f.err);
	digest_format(layer_digest, &h);
	buf_addf(&bytes,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST "\",\"config\":{"
		 "\"mediaType\":\"" MT_OCI_EMPTY "\",\"digest\":\"" OCI_EMPTY_DIGEST
		 "\",\"size\":2},\"layers\":[{\"mediaType\":\"" MT_OCI_LAYER_ZSTD
		 "\",\"digest\":\"%s\",\"size\":%zu}]}",
		 layer_digest, layer.len);
	check(self, put_manifest(&f, repository, "t", &bytes, &result), f.err);
	if (result.paths_bound != 3)
		snprintf(self->failure, sizeof(self->failure), "%zu bound: %.900s",
			 result.paths_bound, result.refusal);
	return NULL;
}

static void test_same_image(void **state)
{
	struct worker workers[THREADS];
	struct store_statistics stats;
	struct world w = {0};

	(void)state;
	world_make(&w);
	run_workers(workers, &w, NULL, push_image);
	for (size_t i = 0; i < 3; i++)
		check_path(&w, i);
	for (int i = 0; i < 3; i++)
		assert_ok(store_maintain(w.f.store, &w.f.err), w.f.err);
	assert_ok(store_statistics(w.f.store, &stats, &w.f.err), w.f.err);
	assert_int_equal(stats.nars, 3);
	assert_int_equal(stats.splices, 1);
	assert_true(stats.opaque_bytes < 1000);
	world_release(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transactions),
		cmocka_unit_test(test_same_path),
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_same_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
