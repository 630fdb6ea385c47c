/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector while others push and pull, and killed in between. Time passes quickly, but never
 * while somebody is in the middle of a push or a pull: so whatever the rules allow to go is going
 * all the time, and whatever somebody was told is there has to be there for him.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "gc-fixture.h"

enum { IMAGES = 300, LAYERS = 300, PATHS = 400, WORKERS = 3, RUN_MS = 4000, KILLS = 12 };

struct world {
	struct fixture f;
	pthread_rwlock_t time; /* read: in the middle of something */
	_Atomic bool stop;
	_Atomic unsigned pushes, pulls, paths, skipped;
};

struct worker {
	pthread_t thread;
	struct world *w;
	unsigned seed;
};

static unsigned dice(struct worker *k, unsigned n)
{
	k->seed = k->seed * 1103515245u + 12345;
	return (k->seed >> 16) % n;
}

/* As clients do: asks first, and sends only what is not there. */
static void blob_offer(struct worker *k, struct fixture *f, const char *bytes, struct hash *ret)
{
	uint64_t size;

	hash_bytes(ret, HASH_SHA256, bytes, strlen(bytes));
	if (store_blob_stat(f->root, "r", ret, &size, &f->err) >= 0) {
		atomic_fetch_add(&k->w->skipped, 1);
		return;
	}
	f->err = ERR_INIT;
	assert_ok(put_blob(f, "r", slice_str(bytes), ret), f->err);
}

static void push(struct worker *k, struct fixture *f)
{
	unsigned image = dice(k, IMAGES);
	cleanup_buf struct buf text = BUF_INIT(1 << 16);
	struct manifest_put_result result;
	char layer[40], reference[20], config[DIGEST_TEXT_MAX], layers[2][DIGEST_TEXT_MAX];
	struct hash h;

	blob_offer(k, f, "{}", &h);
	digest_format(config, &h);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(layer, sizeof(layer), "layer %3u", (image + i) % LAYERS);
		blob_offer(k, f, layer, &h);
		digest_format(layers[i], &h);
	}
	buf_addf(&text,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
		 "\",\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":"
		 "\"%s\",\"size\":2},\"layers\":[{\"mediaType\":\"x/"
		 "y\",\"digest\":\"%s\",\"size\":9},"
		 "{\"mediaType\":\"x/"
		 "y\",\"digest\":\"%s\",\"size\":9}],\"annotations\":{\"i\":\"%u\"}}",
		 config, layers[0], layers[1], image);
	snprintf(reference, sizeof(reference), "t%u", dice(k, 3));
	assert_ok(put_manifest(f, "r", reference, &text, &result), f->err);
	atomic_fetch_add(&k->w->pushes, 1);
}

static void pull_all(struct worker *k, struct fixture *f)
{
	cleanup_manifest_bytes struct manifest_bytes got = {0};
	char reference[20], *at;

	snprintf(reference, sizeof(reference), "t%u", dice(k, 3));
	if (store_manifest_get(f->root, "r", reference, &got, &f->err) < 0) {
		f->err = ERR_INIT;
		return;
	}
	buf_add(&got.bytes, "", 1);
	for (at = (char *)got.bytes.data; (at = strstr(at, "\"digest\":\"")); at++) {
		struct content *c;
		struct hash h;
		cleanup_buf struct buf back = {0};

		assert_int_equal(digest_parse(&h, slice_make(at + 10, 71)), 0);
		assert_ok(store_blob_open(f->root, "r", &h, &c, &f->err), f->err);
		content_bytes(c, &back);
		content_free(c);
	}
	atomic_fetch_add(&k->w->pulls, 1);
}

/* A path that refers to another one: both are offered like `nix copy` does. */
static void path_offer(struct worker *k, struct fixture *f, unsigned i)
{
	char name[20], refs[20];

	if (i % 4)
		path_offer(k, f, i - 1);
	snprintf(name, sizeof(name), "p%u", i);
	snprintf(refs, sizeof(refs), "p%u", i - 1);
	if (use_path(f, name)) {
		atomic_fetch_add(&k->w->skipped, 1);
		return;
	}
	put_small_path(f, name, i % 4 ? refs : NULL);
	atomic_fetch_add(&k->w->paths, 1);
}

static void path_pull(struct worker *k, struct fixture *f)
{
	cleanup_narinfo struct narinfo info = {0};
	cleanup_buf struct buf back = {0};
	char name[20];

	snprintf(name, sizeof(name), "p%u", dice(k, PATHS));
	if (get_info(f, name, &info) < 0) {
		f->err = ERR_INIT;
		return;
	}
	get_nar(f, info.url, &back);
	atomic_fetch_add(&k->w->pulls, 1);
}

static void *work(void *arg)
{
	struct worker *k = arg;
	struct fixture f = k->w->f;

	while (!atomic_load(&k->w->stop)) {
		pthread_rwlock_rdlock(&k->w->time);
		switch (dice(k, 4)) {
		case 0:
			push(k, &f);
			break;
		case 1:
			pull_all(k, &f);
			break;
		case 2:
			path_offer(k, &f, dice(k, PATHS));
			break;
		default:
			path_pull(k, &f);
			break;
		}
		pthread_rwlock_unlock(&k->w->time);
	}
	return NULL;
}

static void rules_quick(struct fixture *f)
{
	struct store_rules rules = STORE_RULES_INIT;

	rules.upload_grace_s = 100;
	rules.untagged_grace_s = 100;
	tag_rule_add(&rules, "**")->keep_last = 2;
	path_rule_add(&rules, "/")->keep_used_for_s = 100;
	rules_set(f, &rules);
	store_rules_release(&rules);
}

static void clock_pass(struct world *w)
{
	pthread_rwlock_wrlock(&w->time);
	later(30 + 600 * (clock_ahead_s % 7 == 0));
	pthread_rwlock_unlock(&w->time);
}

static void test_while_serving(void **state)
{
	static struct world w;
	struct worker workers[WORKERS];
	struct store_gc_result total;
	pthread_rwlockattr_t attr;
	struct timespec began, now, pause = {0, 2000000};

	(void)state;
	fixture_open(&w.f);
	rules_quick(&w.f);
	/* Or time would never pass. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&w.time, &attr);
	pthread_rwlockattr_destroy(&attr);
	atomic_store(&w.stop, false);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){.w = &w, .seed = i + 1};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	clock_gettime(CLOCK_MONOTONIC, &began);
	do {
		struct store_gc_options options = {0};

		clock_pass(&w);
		assert_ok(store_gc(w.f.store, &options, &total, &w.f.err), w.f.err);
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - began.tv_sec) * 1000 + (now.tv_nsec - began.tv_nsec) / 1000000 <
		 RUN_MS);
	atomic_store(&w.stop, true);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	store_gc_total(w.f.store, &total);
	print_message("pushes %u, pulls %u, paths %u, not sent %u; gone: %d manifests, %d blobs, %d"
		      " paths, %d objects\n",
		      w.pushes, w.pulls, w.paths, w.skipped, (int)total.manifests, (int)total.blobs,
		      (int)total.paths, (int)total.objects);
	assert_true(w.pushes && w.pulls && w.paths && total.manifests && total.paths);
	pthread_rwlock_destroy(&w.time);
	fixture_close(&w.f);
}

/* ---- Killed ---- */

static void fill(struct fixture *f, int round)
{
	for (int i = 0; i < 40; i++) {
		cleanup_free char *big = noise(9000, (uint64_t)(round * 100 + i));
		char name[40];
		struct hash h;

		snprintf(name, sizeof(name), "r%d-%d", round, i);
		put_image(f, "r", "latest", name);
		put_small_path(f, name, NULL);
		assert_ok(put_blob(f, "r", slice_make(big, 9000), &h), f->err);
	}
}

static void collect_and_die(struct fixture *f)
{
	if (store_open(&f->store, f->dir, &f->options, &f->err) < 0)
		_exit(1);
	rules_quick(f);
	for (;;) {
		struct store_gc_options options = {0};
		struct store_gc_result result;

		if (store_gc(f->store, &options, &result, &f->err) < 0)
			_exit(2);
		later(50000);
	}
}

static void test_killed(void **state)
{
	struct fixture f = {0};

	(void)state;
	fixture_open(&f);
	rules_quick(&f);
	for (int i = 0; i < KILLS; i++) {
		struct timespec pause = {0, 10000000 + i * 12000000};
		int status;
		pid_t child;

		fill(&f, i);
		later(5000);
		store_close(f.store);
		f.store = NULL;
		child = fork();
		if (child == 0)
			collect_and_die(&f);
		nanosleep(&pause, NULL);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		assert_true(WIFSIGNALED(status));
		fixture_reopen(&f);
		fixture_check(&f);
		assert_true(has(&f, "r", "latest"));
	}
	rules_quick(&f);
	for (int i = 0; i < 6; i++) {
		later(500000);
		gc(&f);
	}
	/* Nothing is left but the last image and the newest blob. */
	assert_int_equal(db_int(&f, "SELECT count(*) FROM manifest", NULL, NULL), 1);
	assert_int_equal(db_int(&f, "SELECT count(*) FROM binding", NULL, NULL), 0);
	assert_true(db_int(&f, "SELECT count(*) FROM object", NULL, NULL) <= 3);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_while_serving),
		cmocka_unit_test(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
