/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that are bound when they are pushed, and framed afterwards. */
#include <pthread.h>
#include <unistd.h>

#include "image-fixture.h"
#include "store/upkeep.h"

static const size_t all_paths[] = {0, 1, 2};

static void world_later(struct world *w, enum store_framing framing)
{
	*w = (struct world){.f.options = STORE_OPTIONS_INIT};
	w->f.options.framing = framing;
	w->f.options.architecture = "amd64";
	world_make(w);
}

/* The three paths in one layer. */
static void push_all(struct world *w, struct pushed *p, const char *repository,
		     enum image_compression compression)
{
	cleanup_buf struct buf layer = {0};
	struct descriptor *d;
	struct hash diff;

	pushed_init(w, p, repository);
	layer_of(w, compression, all_paths, 3, &layer, &diff);
	d = pushed_layer(w, p, repository, image_layer_media_type(compression), buf_slice(&layer));
	image_annotate_layer(&d->annotations, &w->set, all_paths, 3, true);
	assert_ok(pushed_put(w, p, repository, "latest"), w->f.err);
	assert_string_equal(p->result.refusal, "");
	assert_int_equal(p->result.paths_bound, 3);
}

static void settle(struct world *w)
{
	assert_ok(store_settle(w->f.store, &w->f.err), w->f.err);
}

static void collect(struct world *w)
{
	for (int i = 0; i < 3; i++)
		assert_ok(store_maintain(w->f.store, &w->f.err), w->f.err);
}

/* How the narinfo of a path names its NAR. */
static void check_named(struct world *w, size_t i, const char *compression)
{
	cleanup_narinfo struct narinfo n = {0};

	assert_ok(get_info(&w->f, w->p[i].name, &n), w->f.err);
	assert_string_equal(n.compression, compression);
	assert_true((n.file_hash.algo == HASH_NONE) == (strcmp(compression, "none") == 0));
	assert_true(hash_equal(&n.info.nar_hash, &w->p[i].info.nar_hash));
	assert_int_equal(n.info.references.len, w->p[i].info.references.len);
}

static void check_all_named(struct world *w, const char *compression)
{
	for (size_t i = 0; i < 3; i++)
		check_named(w, i, compression);
}

/* By the name that the uncompressed NAR has, always. */
static void check_plain_nar(struct world *w, size_t i)
{
	char url[HASH_TEXT_MAX + 16] = "nar/";
	cleanup_buf struct buf nar = {0};
	uint64_t size;

	hash_format_bare(url + 4, &w->p[i].info.nar_hash, HASH_NIX32);
	memcpy(url + strlen(url), ".nar", sizeof(".nar"));
	assert_ok(store_nar_stat(w->f.root, url + 4, &size, &w->f.err), w->f.err);
	assert_int_equal(size, w->p[i].nar.len);
	get_nar(&w->f, url, &nar);
	assert_true(slice_equal(buf_slice(&nar), buf_slice(&w->p[i].nar)));
}

static void check_layer(struct world *w, const struct pushed *p, const char *repository)
{
	cleanup_buf struct buf blob = {0};
	struct hash h;

	get_blob(&w->f, repository, &p->m.layers.items[0].digest, &blob);
	hash_bytes(&h, HASH_SHA256, blob.data, blob.len);
	assert_true(hash_equal(&h, &p->m.layers.items[0].digest));
}

static void usage_note(void *arg, const struct store_view_usage *usage)
{
	if (!usage->view[0])
		*(uint64_t *)arg = usage->bytes;
}

/* What counts of the root's cache. */
static uint64_t view_bytes(struct world *w)
{
	uint64_t bytes = 0;

	assert_ok(store_view_usages(w->f.store, usage_note, &bytes, &w->f.err), w->f.err);
	return bytes;
}

/* In the end everything is as if it had been framed at once. */
static void test_same_in_the_end(void **state)
{
	static const enum image_compression compressions[] = {IMAGE_ZSTD, IMAGE_NONE, IMAGE_GZIP};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(compressions); i++) {
		struct store_statistics at_once, later;
		struct world a, b;
		struct pushed p, q;

		world_later(&a, STORE_FRAME_AT_ONCE);
		world_later(&b, STORE_FRAME_WHEN_ASKED);
		push_all(&a, &p, "r", compressions[i]);
		push_all(&b, &q, "r", compressions[i]);
		check_all_named(&a, "zstd");
		check_all_named(&b, "none");
		assert_int_equal(view_bytes(&b), b.p[0].nar.len + b.p[1].nar.len + b.p[2].nar.len);
		fixture_check(&b.f);
		fixture_reopen(&b.f);
		check_all_named(&b, "none");
		check_layer(&b, &q, "r");
		settle(&b);
		check_all_named(&b, "zstd");
		for (size_t k = 0; k < 3; k++) {
			check_path(&b, k);
			check_plain_nar(&b, k);
		}
		check_layer(&b, &q, "r");
		collect(&a);
		collect(&b);
		assert_int_equal(view_bytes(&a), view_bytes(&b));
		assert_ok(store_statistics(a.f.store, &at_once, &a.f.err), a.f.err);
		assert_ok(store_statistics(b.f.store, &later, &b.f.err), b.f.err);
		at_once.physical_bytes -= at_once.database_bytes;
		later.physical_bytes -= later.database_bytes;
		at_once.database_bytes = later.database_bytes = 0;
		assert_memory_equal(&at_once, &later, sizeof(later));
		settle(&b); /* nothing is left to be done */
		pushed_release(&p);
		pushed_release(&q);
		world_release(&a);
		world_release(&b);
	}
}

/* Whoever needs the bytes gets them; the rest stays to be done. */
static void test_wanted(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct content *listing;
		struct manifest_stat stat;
		char hash_part[STORE_BASE_MAX + 1];
		struct world w;
		struct pushed p;

		world_later(&w, STORE_FRAME_WHEN_ASKED);
		push_all(&w, &p, "r", way % 2 ? IMAGE_GZIP : IMAGE_NONE);
		base_of(w.p[1].name, hash_part);
		hash_part[STORE_HASH_LEN] = '\0';
		switch (way) {
		case 0:
			check_plain_nar(&w, 1);
			break;
		case 1:
			assert_ok(store_document_open(w.f.root, STORE_LISTING, hash_part, &listing,
						      &w.f.err),
				  w.f.err);
			content_free(listing);
			break;
		case 2:
			assert_ok(store_manifest_stat(w.f.root, "nix", hash_part, &stat, &w.f.err),
				  w.f.err);
			break;
		case 3: /* sent again, by itself */
			put_path(&w.f, w.p[1].name, buf_slice(&w.p[1].nar), "lib app", CODEC_XZ);
			check_named(&w, 1, "zstd");
			check_named(&w, 0, "none");
			break;
		}
		for (size_t k = 0; k < 3; k++)
			check_plain_nar(&w, k);
		fixture_check(&w.f);
		settle(&w);
		for (size_t k = 0; k < 3; k++)
			check_path(&w, k);
		pushed_release(&p);
		world_release(&w);
	}
}

/* The image goes before its layer was framed: its paths stay. */
static void test_image_gone(void **state)
{
	struct world w;
	struct pushed p;
	struct store_statistics stats;

	(void)state;
	world_later(&w, STORE_FRAME_WHEN_ASKED);
	push_all(&w, &p, "r", IMAGE_NONE);
	assert_ok(store_manifest_delete(w.f.root, "r", "latest", &w.f.err), w.f.err);
	assert_ok(store_blob_delete(w.f.root, "r", &p.m.layers.items[0].digest, &w.f.err), w.f.err);
	fixture_reopen(&w.f);
	fixture_sql(&w.f, "UPDATE candidate SET since = 0, due = 0");
	collect(&w);
	check_all_named(&w, "none");
	settle(&w);
	collect(&w);
	for (size_t k = 0; k < 3; k++)
		check_path(&w, k);
	assert_ok(store_statistics(w.f.store, &stats, &w.f.err), w.f.err);
	assert_int_equal(stats.nars, 3);
	pushed_release(&p);
	world_release(&w);
}

/* What others pushed before, into another view, does not show: not in the narinfo, not in what
 * counts. */
static void test_other_view(void **state)
{
	struct store_view_options options = STORE_VIEW_OPTIONS_INIT;
	struct world w;
	struct pushed p, q;

	(void)state;
	world_later(&w, STORE_FRAME_WHEN_ASKED);
	push_all(&w, &p, "r", IMAGE_NONE);
	settle(&w);
	check_all_named(&w, "zstd");
	assert_ok(store_view_open(&w.f.root, w.f.store, "team", &options, &w.f.err), w.f.err);
	push_all(&w, &q, "r", IMAGE_NONE);
	check_all_named(&w, "none");
	for (size_t k = 0; k < 3; k++)
		check_plain_nar(&w, k);
	check_all_named(&w, "none");
	fixture_check(&w.f);
	settle(&w);
	check_all_named(&w, "zstd");
	/* And what the view had from before is named as before. */
	assert_ok(pushed_put(&w, &q, "r", "again"), w.f.err);
	check_all_named(&w, "zstd");
	pushed_release(&p);
	pushed_release(&q);
	world_release(&w);
}

/* Bytes that changed meanwhile are found out, moved aside, and mended when they come again. */
static void test_damaged(void **state)
{
	struct world w;
	struct pushed p, q;

	(void)state;
	world_later(&w, STORE_FRAME_WHEN_ASKED);
	push_all(&w, &p, "r", IMAGE_NONE);
	fixture_damage(&w.f, "SELECT file FROM object WHERE size > 1000000");
	assert_fails(store_settle(w.f.store, &w.f.err), E_INTERNAL, w.f.err, "damaged");
	for (size_t k = 0; k < 3; k++)
		check_absent(&w, k);
	settle(&w); /* it is left alone */
	push_all(&w, &q, "r", IMAGE_NONE);
	check_all_named(&w, "none");
	settle(&w);
	for (size_t k = 0; k < 3; k++)
		check_path(&w, k);
	check_layer(&w, &p, "r");
	pushed_release(&p);
	pushed_release(&q);
	world_release(&w);
}

/* A damaged NAR comes again in a layer. */
static void test_healed(void **state)
{
	struct world w;
	struct pushed p;
	struct store_check_options check = {.report = fixture_defect, .repair = true};
	struct store_check_result result;

	(void)state;
	world_later(&w, STORE_FRAME_WHEN_ASKED);
	put_path(&w.f, "lib", buf_slice(&w.p[0].nar), NULL, CODEC_NONE);
	fixture_damage(&w.f, "SELECT file FROM object WHERE size > 1000000");
	assert_ok(store_check_repair(w.f.store, &check, &result, &w.f.err), w.f.err);
	assert_int_equal(result.quarantined, 1);
	check_absent(&w, 0);
	push_all(&w, &p, "r", IMAGE_GZIP);
	check_plain_nar(&w, 0);
	settle(&w);
	for (size_t k = 0; k < 3; k++)
		check_path(&w, k);
	pushed_release(&p);
	world_release(&w);
}

/* ---- The thread ---- */

struct reader {
	pthread_t thread;
	struct world *w;
	bool ok;
};

static void *read_nars(void *arg)
{
	struct reader *r = arg;
	struct fixture f = r->w->f;

	f.err = ERR_INIT;
	r->ok = true;
	for (size_t i = 0; i < 3; i++) {
		char name[HASH_TEXT_MAX + 16];
		cleanup_buf struct buf nar = {0};
		struct content *c;

		hash_format_bare(name, &r->w->p[i].info.nar_hash, HASH_NIX32);
		memcpy(name + strlen(name), ".nar", sizeof(".nar"));
		if (store_nar_open(f.root, name, &c, &f.err) < 0) {
			r->ok = false;
			return NULL;
		}
		content_bytes(c, &nar);
		content_free(c);
		r->ok = r->ok && slice_equal(buf_slice(&nar), buf_slice(&r->w->p[i].nar));
	}
	return NULL;
}

static bool is_settled(struct world *w)
{
	for (size_t i = 0; i < 3; i++) {
		cleanup_narinfo struct narinfo one = {0};

		assert_ok(get_info(&w->f, w->p[i].name, &one), w->f.err);
		if (strcmp(one.compression, "zstd") != 0)
			return false;
	}
	return true;
}

static void test_thread(void **state)
{
	struct reader readers[6];
	struct world w;
	struct pushed p;

	(void)state;
	world_later(&w, STORE_FRAME_LATER);
	push_all(&w, &p, "r", IMAGE_GZIP);
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		readers[i] = (struct reader){.w = &w};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_nars, &readers[i]),
				 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		pthread_join(readers[i].thread, NULL);
		assert_true(readers[i].ok);
	}
	for (int i = 0; i < 3000 && !is_settled(&w); i++)
		usleep(10000);
	check_all_named(&w, "zstd");
	pushed_release(&p);
	world_release(&w);
}

/* Whatever it is at when the store is closed goes on when it is opened. */
static void test_closed(void **state)
{
	struct world w;
	struct pushed p;

	(void)state;
	world_later(&w, STORE_FRAME_LATER);
	push_all(&w, &p, "r", IMAGE_NONE);
	for (int i = 0; i < 20; i++)
		fixture_reopen(&w.f);
	for (int i = 0; i < 3000 && !is_settled(&w); i++)
		usleep(10000);
	for (size_t k = 0; k < 3; k++)
		check_path(&w, k);
	check_layer(&w, &p, "r");
	pushed_release(&p);
	world_release(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_in_the_end), cmocka_unit_test(test_wanted),
		cmocka_unit_test(test_image_gone),      cmocka_unit_test(test_other_view),
		cmocka_unit_test(test_damaged),         cmocka_unit_test(test_healed),
		cmocka_unit_test(test_thread),          cmocka_unit_test(test_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
