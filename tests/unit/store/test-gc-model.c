/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector against a model: random pushes, deletes, moved tags, pins and paths, then time until
 * everything that can go has gone. Model and store must agree on what is there, and the check must
 * find nothing.
 */
#include "gc-fixture.h"

enum {
	REPOSITORIES = 3,
	TAGS = 5,
	LAYERS = 8,
	MANIFESTS_MAX = 4000,
	PATHS = 12,
	ROUNDS = 25,
	OPERATIONS = 30,
	KEEP_LAST = 2,
};

/* Repository 1 keeps the last tags only. */
static const char *const repositories[REPOSITORIES] = {"all", "last", "team/x"};

struct manifest_model {
	int repository;
	struct hash digest;
	int layer;         /* -1: an index */
	struct hash other; /* member or subject; HASH_NONE: neither */
	bool present, pinned;
};

struct tag_model {
	int manifest; /* -1: none */
	unsigned pushed;
	bool pinned;
};

struct path_model {
	bool present, pinned;
	unsigned refs; /* bits of paths with lower numbers */
};

struct model {
	struct fixture f;
	unsigned seed;
	unsigned pushes;
	bool unpinned; /* something old may go at once */
	struct manifest_model manifests[MANIFESTS_MAX];
	size_t n;
	struct tag_model tags[REPOSITORIES][TAGS];
	struct path_model paths[PATHS];
};

static unsigned dice(struct model *m, unsigned n)
{
	m->seed = m->seed * 1103515245u + 12345;
	return (m->seed >> 16) % n;
}

static void tag_name(char *ret, unsigned tag)
{
	snprintf(ret, 8, "t%u", tag);
}

/* ---- Operations, on both ---- */

static int manifest_find_model(struct model *m, int repository, const struct hash *digest)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->manifests[i].repository == repository &&
		    hash_equal(&m->manifests[i].digest, digest))
			return (int)i;
	return -1;
}

static int manifest_any(struct model *m, int repository)
{
	for (int tries = 0; tries < 10 && m->n; tries++) {
		unsigned i = dice(m, (unsigned)m->n);

		if (m->manifests[i].repository == repository)
			return (int)i;
	}
	return -1;
}

/* An image, an image with a subject, or an index with a member. */
static void manifest_text_make(struct model *m, int repository, struct manifest_model *made,
			       struct buf *text)
{
	int other = manifest_any(m, repository);
	unsigned kind = other < 0 ? 0 : dice(m, 4);
	char digest[DIGEST_TEXT_MAX];
	char layer[20];

	*made = (struct manifest_model){.repository = repository, .layer = -1};
	if (other >= 0 && kind >= 2) {
		made->other = m->manifests[other].digest;
		digest_format(digest, &made->other);
	}
	if (kind == 3) {
		*text = BUF_INIT(1 << 16);
		buf_addf(text,
			 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX
			 "\",\"manifests\":[{\"mediaType\":\"" MT_OCI_MANIFEST
			 "\",\"digest\":\"%s\",\"size\":300}]}",
			 digest);
		return;
	}
	made->layer = (int)dice(m, LAYERS);
	snprintf(layer, sizeof(layer), "layer %d", made->layer);
	image_text(&m->f, repositories[repository], layer, text);
	if (kind == 2) {
		text->len--;
		buf_addf(text,
			 ",\"subject\":{\"mediaType\":\"" MT_OCI_MANIFEST
			 "\",\"digest\":\"%s\",\"size\":300}}",
			 digest);
	}
}

static void do_push(struct model *m)
{
	int repository = (int)dice(m, REPOSITORIES), i;
	unsigned tag = dice(m, TAGS + 2); /* by digest, sometimes */
	cleanup_buf struct buf text = {0};
	struct manifest_put_result result;
	struct manifest_model made;
	char reference[DIGEST_TEXT_MAX];

	manifest_text_make(m, repository, &made, &text);
	hash_bytes(&made.digest, HASH_SHA256, text.data, text.len);
	if (tag < TAGS)
		tag_name(reference, tag);
	else
		digest_format(reference, &made.digest);
	assert_ok(put_manifest(&m->f, repositories[repository], reference, &text, &result),
		  m->f.err);
	i = manifest_find_model(m, repository, &made.digest);
	if (i < 0) {
		assert_true(m->n < MANIFESTS_MAX);
		i = (int)m->n++;
		m->manifests[i] = made;
	}
	m->manifests[i].present = true;
	if (tag < TAGS) {
		m->tags[repository][tag].manifest = i;
		m->tags[repository][tag].pushed = ++m->pushes;
	}
}

static void do_delete_tag(struct model *m)
{
	unsigned repository = dice(m, REPOSITORIES), tag = dice(m, TAGS);
	struct tag_model *t = &m->tags[repository][tag];
	char name[8];

	if (t->manifest < 0)
		return;
	tag_name(name, tag);
	assert_ok(store_manifest_delete(m->f.root, repositories[repository], name, &m->f.err),
		  m->f.err);
	t->manifest = -1;
}

static void do_delete_manifest(struct model *m)
{
	int i = m->n ? (int)dice(m, (unsigned)m->n) : -1;
	char digest[DIGEST_TEXT_MAX];

	if (i < 0 || !m->manifests[i].present)
		return;
	digest_format(digest, &m->manifests[i].digest);
	assert_ok(store_manifest_delete(m->f.root, repositories[m->manifests[i].repository], digest,
					&m->f.err),
		  m->f.err);
	m->manifests[i].present = false;
	for (int tag = 0; tag < TAGS; tag++)
		if (m->tags[m->manifests[i].repository][tag].manifest == i)
			m->tags[m->manifests[i].repository][tag].manifest = -1;
}

static void do_pin(struct model *m)
{
	unsigned repository = dice(m, REPOSITORIES), tag = dice(m, TAGS);
	struct tag_model *t = &m->tags[repository][tag];
	char name[8];

	tag_name(name, tag);
	assert_ok((t->pinned ? store_unpin : store_pin)(m->f.root, repositories[repository], name,
							&m->f.err),
		  m->f.err);
	m->unpinned |= t->pinned;
	t->pinned = !t->pinned;
}

static void do_pin_manifest(struct model *m)
{
	int i = m->n ? (int)dice(m, (unsigned)m->n) : -1;
	char digest[DIGEST_TEXT_MAX];

	if (i < 0)
		return;
	digest_format(digest, &m->manifests[i].digest);
	assert_ok((m->manifests[i].pinned ? store_unpin : store_pin)(
			  m->f.root, repositories[m->manifests[i].repository], digest, &m->f.err),
		  m->f.err);
	m->unpinned |= m->manifests[i].pinned;
	m->manifests[i].pinned = !m->manifests[i].pinned;
}

static void path_name(char *ret, unsigned path)
{
	snprintf(ret, 16, "path%u", path);
}

static void do_put_path(struct model *m)
{
	unsigned i = dice(m, PATHS), refs = 0;
	cleanup_buf struct buf text = BUF_INIT(1000);
	char name[16];

	if (m->paths[i].present)
		return;
	buf_addf(&text, "%s", "");
	for (unsigned k = 0; k < i; k++) {
		if (!m->paths[k].present || dice(m, 3))
			continue;
		path_name(name, k);
		buf_addf(&text, "%s%s", text.len ? " " : "", name);
		refs |= 1u << k;
	}
	path_name(name, i);
	put_small_path(&m->f, name, text.len ? (char *)text.data : NULL);
	m->paths[i].present = true;
	m->paths[i].refs = refs;
}

static void do_pin_path(struct model *m)
{
	unsigned i = dice(m, PATHS);
	char name[16], base[STORE_BASE_MAX + 1];

	path_name(name, i);
	base_of(name, base);
	assert_ok((m->paths[i].pinned ? store_unpin_path : store_pin_path)(m->f.root, base,
									   &m->f.err),
		  m->f.err);
	m->unpinned |= m->paths[i].pinned;
	m->paths[i].pinned = !m->paths[i].pinned;
}

/* ---- What remains ---- */

static void model_tags(struct model *m)
{
	for (int tag = 0; tag < TAGS; tag++) {
		struct tag_model *t = &m->tags[1][tag];
		int newer = 0;

		for (int k = 0; k < TAGS; k++)
			newer += m->tags[1][k].manifest >= 0 && m->tags[1][k].pushed > t->pushed;
		if (t->manifest >= 0 && !t->pinned && newer >= KEEP_LAST)
			t->manifest = -2 - t->manifest; /* goes, but counts for the others */
	}
	for (int tag = 0; tag < TAGS; tag++)
		if (m->tags[1][tag].manifest < -1)
			m->tags[1][tag].manifest = -1;
}

static bool is_held(struct model *m, int i)
{
	struct manifest_model *x = &m->manifests[i];

	if (x->pinned)
		return true;
	for (int tag = 0; tag < TAGS; tag++)
		if (m->tags[x->repository][tag].manifest == i)
			return true;
	for (size_t k = 0; k < m->n; k++) {
		struct manifest_model *y = &m->manifests[k];

		if (!y->present || y->repository != x->repository)
			continue;
		if (y->layer < 0 && hash_equal(&y->other, &x->digest))
			return true; /* a member */
		if (x->layer >= 0 && x->other.algo && hash_equal(&x->other, &y->digest))
			return true; /* a referrer */
	}
	return false;
}

static void model_settle(struct model *m)
{
	bool changed = true;

	model_tags(m);
	while (changed) {
		changed = false;
		for (size_t i = 0; i < m->n; i++) {
			if (m->manifests[i].present && !is_held(m, (int)i)) {
				m->manifests[i].present = false;
				changed = true;
			}
		}
	}
	for (int i = PATHS - 1; i >= 0; i--) {
		bool referred = false;

		for (int k = i + 1; k < PATHS; k++)
			referred |= m->paths[k].present && (m->paths[k].refs & 1u << i);
		if (!m->paths[i].pinned && !referred)
			m->paths[i].present = false;
	}
}

/* ---- Comparing ---- */

static void compare_repository(struct model *m, int repository)
{
	const char *name = repositories[repository];
	char reference[DIGEST_TEXT_MAX], layer[20];
	bool used[LAYERS] = {false};

	for (unsigned tag = 0; tag < TAGS; tag++) {
		tag_name(reference, tag);
		if (has(&m->f, name, reference) != (m->tags[repository][tag].manifest >= 0))
			fail_msg("tag %s:%s", name, reference);
	}
	for (size_t i = 0; i < m->n; i++) {
		struct manifest_model *x = &m->manifests[i];

		if (x->repository != repository)
			continue;
		digest_format(reference, &x->digest);
		if (has(&m->f, name, reference) != x->present)
			fail_msg("manifest %s@%s should %sbe there", name, reference,
				 x->present ? "" : "not ");
		if (x->present && x->layer >= 0)
			used[x->layer] = true;
	}
	for (int i = 0; i < LAYERS; i++) {
		snprintf(layer, sizeof(layer), "layer %d", i);
		if (has_blob(&m->f, name, layer) != used[i])
			fail_msg("blob %d of %s should %sbe there", i, name, used[i] ? "" : "not ");
	}
}

static void compare(struct model *m)
{
	char name[16];

	for (int i = 0; i < REPOSITORIES; i++)
		compare_repository(m, i);
	for (unsigned i = 0; i < PATHS; i++) {
		path_name(name, i);
		if (has_path(&m->f, name) != m->paths[i].present)
			fail_msg("%s should %sbe there", name, m->paths[i].present ? "" : "not ");
	}
	fixture_check(&m->f);
}

static void settle(struct model *m)
{
	for (int i = 0; i < 8; i++) {
		later(100 * DAY);
		gc(&m->f);
	}
}

static void rules_for(struct fixture *f)
{
	struct store_rules rules = STORE_RULES_INIT;

	tag_rule_add(&rules, "last")->keep_last = KEEP_LAST;
	path_rule_add(&rules, "/")->keep_used_for_s = 20 * DAY;
	rules_set(f, &rules);
	store_rules_release(&rules);
}

static void run(unsigned seed)
{
	static void (*const operations[])(struct model *) = {
		do_push,
		do_push,
		do_push,
		do_push,
		do_push,
		do_delete_tag,
		do_delete_manifest,
		do_pin,
		do_pin_manifest,
		do_put_path,
		do_put_path,
		do_pin_path,
	};
	struct model *m = xcalloc(1, sizeof(*m));

	m->seed = seed;
	for (int i = 0; i < REPOSITORIES; i++)
		for (int k = 0; k < TAGS; k++)
			m->tags[i][k].manifest = -1;
	fixture_open(&m->f);
	rules_for(&m->f);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < OPERATIONS; i++) {
			operations[dice(m, sizeof(operations) / sizeof(operations[0]))](m);
			/* In between it may take what no grace holds. */
			if (dice(m, 10) == 0 && !m->unpinned) {
				gc(&m->f);
				model_tags(m);
			}
		}
		settle(m);
		m->unpinned = false;
		model_settle(m);
		compare(m);
		if (dice(m, 5) == 0) {
			fixture_reopen(&m->f);
			rules_for(&m->f);
		}
	}
	fixture_close(&m->f);
	free(m);
}

static void test_model(void **state)
{
	const char *seeds = getenv("NACRE_TEST_SEEDS");
	unsigned n = seeds ? (unsigned)strtoul(seeds, NULL, 10) : 2;

	(void)state;
	for (unsigned seed = 1; seed <= n; seed++) {
		print_message("seed %u\n", seed);
		run(seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
