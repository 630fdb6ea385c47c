/* SPDX-License-Identifier: Apache-2.0 */
/* Whose word binds a store path, and what the server signs (SPEC nacre 1). */
#include "image-fixture.h"
#include "store/bindings.h"

enum { SERVER, TRUSTED, UPSTREAM, STRANGER, KEYS };

struct keys {
	struct secret_key secret[KEYS];
	struct public_key public[KEYS];
};

/* A view that signs with SERVER and trusts TRUSTED. */
static void signing_world(struct world *w, struct keys *k)
{
	static const char *const names[] = {"server-1", "trusted-1", "upstream-1", "stranger-1"};
	struct err err = ERR_INIT;

	for (size_t i = 0; i < KEYS; i++) {
		assert_ok(secret_key_generate(&k->secret[i], names[i], &err), err);
		secret_key_public(&k->public[i], &k -> secret[i]);
	}
	w->f.options = STORE_OPTIONS_INIT;
	w->f.options.root.signing = &k->secret[SERVER];
	w->f.options.root.n_signing = 1;
	w->f.options.root.trusted = &k->public[TRUSTED];
	w->f.options.root.n_trusted = 1;
	world_make(w);
}

static void sign_all(struct world *w, const struct secret_key *key)
{
	for (size_t i = 0; i < w->set.len; i++)
		assert_ok(path_info_sign(&w->set.items[i], key, &w->f.err), w->f.err);
}

/* Has the path these signatures and no others? -1: it is not there. */
static void check_signed(struct world *w, const struct keys *k, int key, bool by_server)
{
	for (size_t i = 0; i < 3; i++) {
		cleanup_narinfo struct narinfo n = {0};

		if (key < 0) {
			check_absent(w, i);
			continue;
		}
		check_path(w, i);
		assert_ok(get_info(&w->f, w->p[i].name, &n), w->f.err);
		assert_int_equal(path_info_verify(&n.info, &k->public[SERVER], 1), by_server);
		if (key < KEYS)
			assert_int_equal(path_info_verify(&n.info, &k->public[key], 1), 1);
		assert_int_equal(n.info.signatures.len, (key < KEYS) + by_server);
	}
}

/* What was fetched, and what is there then. Nothing that was fetched is signed. */
struct fetch_case {
	const char *name;
	int by;           /* who signed the path infos; KEYS: nobody */
	bool keys, all;   /* the upstream is trusted by its key, or in everything */
	bool infos_first; /* before the image */
	int is;           /* signed by whom; KEYS: there without signature; -1: not there */
};

static const struct fetch_case fetch_cases[] = {
	{"nobody's word", KEYS, false, false, false, -1},
	{"nobody's word, where the upstream's key counts", KEYS, true, false, false, -1},
	{"a stranger's", STRANGER, true, false, false, -1},
	{"the upstream's key, which nobody trusts", UPSTREAM, false, false, false, -1},
	{"the upstream's key", UPSTREAM, true, false, false, UPSTREAM},
	{"the upstream's key, before the image", UPSTREAM, true, false, true, UPSTREAM},
	{"a stranger's, before the image", STRANGER, true, false, true, -1},
	{"the view's key", TRUSTED, false, false, false, TRUSTED},
	{"the view's key, before the image", TRUSTED, false, false, true, TRUSTED},
	{"an upstream that is believed", KEYS, false, true, false, KEYS},
	{"an upstream that is believed, signed by a stranger", STRANGER, false, true, false,
	 STRANGER},
	{"an upstream that is believed, before the image", STRANGER, false, true, true, STRANGER},
};

static void fetch_one(const struct fetch_case *c)
{
	struct world w = {0};
	struct keys k;
	struct pushed p;
	struct store_trust trust = {.all = c->all};
	struct manifest_put_result result;
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	char digest[DIGEST_TEXT_MAX];

	print_message("%s\n", c->name);
	signing_world(&w, &k);
	trust.keys = &k.public[UPSTREAM];
	trust.n_keys = c->keys;
	w.f.fetched = &trust;
	if (c->by < KEYS)
		sign_all(&w, &k.secret[c->by]);
	push_world(&w, &p, "hub/r", IMAGE_ZSTD, ANNOTATED | REFERENCES);
	if (c->infos_first) {
		/* As if the image had not come yet. */
		digest_format(digest, &p.digest);
		assert_ok(store_manifest_delete(w.f.root, "hub/r", digest, &w.f.err), w.f.err);
		push_infos(&w, &p, &w.set, "hub/r", &result);
		assert_ok(pushed_put(&w, &p, "hub/r", "latest"), w.f.err);
	} else {
		push_infos(&w, &p, &w.set, "hub/r", &result);
	}
	check_signed(&w, &k, c->is, false);
	/* The image is there in any case. */
	assert_ok(store_manifest_get(w.f.root, "hub/r", "latest", &bytes, &w.f.err), w.f.err);
	assert_true(slice_equal(buf_slice(&bytes.bytes), buf_slice(&p.bytes)));
	pushed_release(&p);
	world_release(&w);
}

static void test_fetched(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fetch_cases); i++)
		fetch_one(&fetch_cases[i]);
}

/* An image that was fetched changes nothing of what a writer said. */
static void test_fetched_beside(void **state)
{
	struct world w = {0};
	struct keys k;
	struct pushed p;
	struct store_trust trust = {0};
	struct manifest_put_result result;

	(void)state;
	signing_world(&w, &k);
	push_world(&w, &p, "r", IMAGE_ZSTD, 0);
	check_signed(&w, &k, KEYS, false);
	w.f.fetched = &trust;
	pushed_release(&p);
	push_world(&w, &p, "hub/r", IMAGE_ZSTD, 0);
	strv_release(&w.set.items[0].references);
	w.set.items[0].deriver = xstrdup("00000000000000000000000000000000-x.drv");
	sign_all(&w, &k.secret[STRANGER]);
	push_infos(&w, &p, &w.set, "hub/r", &result);
	assert_int_equal(result.paths_bound, 0);
	assert_int_equal(result.paths_refused, 3);
	assert_non_null(strstr(result.refusal, "comes from an upstream"));
	check_signed(&w, &k, KEYS, false);
	pushed_release(&p);
	world_release(&w);
}

/* A writer pushes an image where path infos wait that an upstream gave. */
static void test_mirrored(void **state)
{
	for (int is_mirrored = 0; is_mirrored < 2; is_mirrored++) {
		struct world w = {0};
		struct keys k;
		struct pushed p;
		struct store_trust trust = {0};
		struct manifest_put_result result;

		(void)state;
		signing_world(&w, &k);
		w.f.fetched = &trust;
		sign_all(&w, &k.secret[STRANGER]);
		push_world(&w, &p, "hub/r", IMAGE_ZSTD, 0);
		push_infos(&w, &p, &w.set, "hub/r", &result);
		check_signed(&w, &k, -1, false);
		w.f.fetched = NULL;
		w.f.mirrored = is_mirrored;
		assert_ok(pushed_put(&w, &p, "hub/r", "latest"), w.f.err);
		assert_int_equal(p.result.paths_bound, 3);
		check_signed(&w, &k, is_mirrored ? KEYS : STRANGER, false);
		pushed_release(&p);
		world_release(&w);
	}
}

static struct path_info *info_named(struct world *w, const char *name)
{
	for (size_t i = 0; i < w->set.len; i++)
		if (strcmp(store_path_name(&w->set.items[i].path), name) == 0)
			return &w->set.items[i];
	fail();
	return NULL;
}

static void refer(struct path_info *info, const char *name)
{
	char base[STORE_BASE_MAX + 1];

	strv_release(&info->references);
	if (name)
		strv_add(&info->references, base_of(name, base));
}

/* Does `app` refer to this alone? */
static void check_refers(struct world *w, const char *name)
{
	cleanup_narinfo struct narinfo n = {0};
	char base[STORE_BASE_MAX + 1];

	assert_ok(get_info(&w->f, "app", &n), w->f.err);
	assert_int_equal(n.info.references.len, 1);
	assert_string_equal(n.info.references.items[0], base_of(name, base));
}

static int put_fetched(struct fixture *f, const struct path_info *info)
{
	cleanup_buf struct buf text = {0};
	char url[] = "nar/x.nar", compression[] = "none", hash_part[STORE_HASH_LEN + 1] = "";
	struct narinfo n = {.info = *info, .url = url, .compression = compression};

	assert_int_equal(narinfo_format(&text, &n), 0);
	memcpy(hash_part, store_path_base(&info->path), STORE_HASH_LEN);
	return store_narinfo_fetched(f->root, hash_part, buf_slice(&text), &f->err);
}

/* A narinfo that an upstream gave is not the server's to sign, whoever signed it; what a writer sends is. */
static void test_fetched_narinfo(void **state)
{
	for (int by = TRUSTED; by <= KEYS; by++) {
		struct world w = {0};
		struct keys k;

		(void)state;
		signing_world(&w, &k);
		if (by < KEYS)
			sign_all(&w, &k.secret[by]);
		for (size_t i = 0; i < 3; i++) {
			const char *name = w.p[i].name;

			assert_ok(put_nar(&w.f, buf_slice(&w.p[i].nar), CODEC_NONE, NULL), w.f.err);
			assert_ok(put_fetched(&w.f, info_named(&w, name)), w.f.err);
		}
		check_signed(&w, &k, by, false);
		for (size_t i = 0; i < 3; i++)
			assert_ok(put_info(&w.f, info_named(&w, w.p[i].name)), w.f.err);
		check_signed(&w, &k, by, true);
		/* It is as good as a writer's: other references do not take its place. */
		refer(info_named(&w, "app"), "lib");
		assert_fails(put_fetched(&w.f, info_named(&w, "app")), E_CONFLICT, w.f.err,
			     "other references");
		world_release(&w);
	}
}

/* Path infos beside an image need no right on the cache: they bring no signature of the server. */
static void test_infos_signed(void **state)
{
	for (int is_signing = 0; is_signing < 2; is_signing++) {
		struct world w = {0};
		struct keys k;
		struct pushed p;
		struct manifest_put_result result;

		(void)state;
		signing_world(&w, &k);
		w.f.options.root.sign_images = is_signing;
		fixture_reopen(&w.f);
		push_world(&w, &p, "r", IMAGE_ZSTD, 0);
		check_signed(&w, &k, KEYS, is_signing);
		push_infos(&w, &p, &w.set, "r", &result);
		assert_int_equal(result.paths_bound, 3);
		check_signed(&w, &k, KEYS, is_signing);
		/* With a signature that counts it is not merely an image's. */
		sign_all(&w, &k.secret[TRUSTED]);
		push_infos(&w, &p, &w.set, "r", &result);
		assert_int_equal(result.paths_bound, 3);
		check_signed(&w, &k, TRUSTED, true);
		pushed_release(&p);
		world_release(&w);
	}
}

/* They tell what the paths of images refer to, once, and nothing of what a writer of the cache said. */
static void test_infos_references(void **state)
{
	struct world w = {0};
	struct pushed p;
	struct manifest_put_result result;
	struct path_info *app;

	(void)state;
	world_make(&w);
	app = info_named(&w, "app");
	push_world(&w, &p, "r", IMAGE_ZSTD, 0);
	refer(app, "lib");
	push_infos(&w, &p, &w.set, "r", &result);
	assert_int_equal(result.paths_refused, 0);
	check_refers(&w, "lib");
	refer(app, "data");
	push_infos(&w, &p, &w.set, "r", &result);
	assert_int_equal(result.paths_refused, 1);
	check_refers(&w, "lib");
	/* Who may write to the cache knows better. */
	refer(app, "app");
	assert_ok(put_info(&w.f, app), w.f.err);
	check_refers(&w, "app");
	refer(app, "lib");
	push_infos(&w, &p, &w.set, "r", &result);
	assert_int_equal(result.paths_refused, 1);
	check_refers(&w, "app");
	pushed_release(&p);
	world_release(&w);
}

/* Whoever may push can tell any number of signatures; others find room for theirs. */
static void test_many_signatures(void **state)
{
	struct world w = {0};
	struct keys k;
	struct pushed p;
	struct manifest_put_result result;
	struct path_info *data;

	(void)state;
	signing_world(&w, &k);
	data = info_named(&w, "data");
	push_world(&w, &p, "r", IMAGE_ZSTD, 0);
	for (int round = 0; round < 2; round++) {
		cleanup_narinfo struct narinfo n = {0};

		strv_release(&data->signatures);
		for (int i = 0; i < SIGNATURES_MAX; i++) {
			struct secret_key junk;
			char name[20];

			snprintf(name, sizeof(name), "junk-%d-%d", round, i);
			assert_ok(secret_key_generate(&junk, name, &w.f.err), w.f.err);
			assert_ok(path_info_sign(data, &junk, &w.f.err), w.f.err);
		}
		push_infos(&w, &p, &w.set, "r", &result);
		assert_int_equal(result.paths_refused, 0);
		if (round == 0) {
			strv_release(&data->signatures);
			assert_ok(path_info_sign(data, &k.secret[TRUSTED], &w.f.err), w.f.err);
			assert_ok(put_info(&w.f, data), w.f.err);
		}
		assert_ok(get_info(&w.f, "data", &n), w.f.err);
		assert_int_equal(path_info_verify(&n.info, &k.public[TRUSTED], 1), 1);
		assert_int_equal(path_info_verify(&n.info, &k.public[SERVER], 1), 1);
		assert_int_equal(n.info.signatures.len, SIGNATURES_MAX);
		assert_null(strstr(n.info.signatures.items[5], "junk-1-"));
	}
	pushed_release(&p);
	world_release(&w);
}

/* What others refer to cannot come to refer to them. */
static void test_cycle(void **state)
{
	struct world w = {0};
	struct pushed p;
	struct path_info *data;
	cleanup_buf struct buf nar = {0};
	cleanup_narinfo struct narinfo n = {0};
	struct entry file = {.content = "between"};

	(void)state;
	world_make(&w);
	data = info_named(&w, "data");
	push_world(&w, &p, "r", IMAGE_ZSTD, 0);
	nar_of(&nar, &file, 1);
	put_path(&w.f, "between", buf_slice(&nar), "data", CODEC_NONE);
	put_path(&w.f, "above", buf_slice(&nar), "between", CODEC_NONE);
	refer(data, "above");
	assert_fails(put_info(&w.f, data), E_CONFLICT, w.f.err, "through others");
	assert_ok(get_info(&w.f, "data", &n), w.f.err);
	assert_int_equal(n.info.references.len, 0);
	/* To itself, and to what does not refer to it, it may. */
	refer(data, "lib");
	assert_ok(put_info(&w.f, data), w.f.err);
	pushed_release(&p);
	world_release(&w);
}

/* Path infos that came before their image, and that cannot be read (any more) when it comes. */
static void test_infos_gone(void **state)
{
	struct world w = {0};
	struct store_trust trust = {.all = true};
	struct manifest_put_result result;
	cleanup_buf struct buf manifest = BUF_INIT(1 << 20);
	cleanup_descriptor struct descriptor subject = {0};
	struct named_bytes layer = {.size = 7};
	struct manifest_put put = {.sparse = true, .fetched = &trust};
	char digest[DIGEST_TEXT_MAX];
	struct hash h;
	struct pushed p;

	(void)state;
	world_make(&w);
	push_world(&w, &p, "r", IMAGE_ZSTD, 0);
	digest_format(digest, &p.digest);
	assert_ok(store_manifest_delete(w.f.root, "r", digest, &w.f.err), w.f.err);
	hash_bytes(&layer.digest, HASH_SHA256, "nothing", 7);
	descriptor_make(&subject, MT_OCI_MANIFEST, &p.digest, p.bytes.len);
	assert_int_equal(path_infos_manifest(&manifest, &subject, &layer), 0);
	hash_bytes(&h, HASH_SHA256, manifest.data, manifest.len);
	digest_format(digest, &h);
	put.reference = digest;
	put.bytes = buf_slice(&manifest);
	assert_ok(store_manifest_put(w.f.root, "r", &put, &result, &w.f.err), w.f.err);
	assert_ok(pushed_put(&w, &p, "r", "latest"), w.f.err);
	assert_int_equal(p.result.paths_bound, 3);
	pushed_release(&p);
	world_release(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fetched),         cmocka_unit_test(test_fetched_beside),
		cmocka_unit_test(test_mirrored),        cmocka_unit_test(test_fetched_narinfo),
		cmocka_unit_test(test_infos_signed),    cmocka_unit_test(test_infos_references),
		cmocka_unit_test(test_many_signatures), cmocka_unit_test(test_cycle),
		cmocka_unit_test(test_infos_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
