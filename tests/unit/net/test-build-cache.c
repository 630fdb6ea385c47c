/* SPDX-License-Identifier: Apache-2.0 */
/* What a build keeps for the next one: what is found again, under which key, and what is not believed. */
#include "../unit.h"

#include <sys/stat.h>

#include "base/mem.h"
#include "net/build-cache.h"

struct place {
	char dir[64];
	char file[128];
};

static int setup(void **state)
{
	struct place *p = xcalloc(1, sizeof(*p));

	close(unit_tempdir(p->dir));
	snprintf(p->file, sizeof(p->file), "%s/a/b/layers.sqlite", p->dir);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	unit_remove_tree(p->dir);
	free(p);
	return 0;
}

static struct hash hash_of(const char *text)
{
	struct hash h;

	hash_bytes(&h, HASH_SHA256, text, strlen(text));
	return h;
}

static const struct known_layer *some_layer(void)
{
	static struct known_layer layer;

	layer = (struct known_layer){.blob = {hash_of("blob"), 1234567890123},
				     .diff_id = hash_of("diff"),
				     .elf_machine = 62,
				     .elf_mixed = true};
	return &layer;
}

static void test_layer(void **state)
{
	struct place *p = *state;
	struct build_cache *c = build_cache_open(p->file);
	struct hash key = hash_of("key"), other = hash_of("other");
	struct known_layer got = {0};

	assert_non_null(c);
	assert_false(build_cache_find_layer(c, &key, &got));
	build_cache_keep_layer(c, &key, some_layer());
	/* Once more: the last one counts. */
	build_cache_keep_layer(c, &key, some_layer());
	build_cache_free(c);
	c = build_cache_open(p->file);
	assert_false(build_cache_find_layer(c, &other, &got));
	assert_int_equal(got.blob.size, 0);
	assert_true(build_cache_find_layer(c, &key, &got));
	assert_true(hash_equal(&got.blob.digest, &some_layer()->blob.digest));
	assert_true(hash_equal(&got.diff_id, &some_layer()->diff_id));
	assert_true(got.blob.size == 1234567890123 && got.elf_machine == 62 && got.elf_mixed);
	build_cache_free(c);
}

static void test_survey(void **state)
{
	struct place *p = *state;
	struct build_cache *c = build_cache_open(p->file);
	struct path_survey s, got;
	struct hash nar = hash_of("nar"), empty = hash_of("empty");

	path_survey_init(&s);
	path_survey_init(&got);
	build_cache_keep_survey(c, &empty, &s);
	strv_add(&s.programs, "a");
	strv_add(&s.programs, "b c");
	strv_add(&s.links, "share/x");
	s.elf_machine = 183;
	build_cache_keep_survey(c, &nar, &s);
	build_cache_free(c);
	c = build_cache_open(p->file);
	assert_true(build_cache_find_survey(c, &nar, &got));
	assert_int_equal(got.programs.len, 2);
	assert_string_equal(got.programs.items[0], "a");
	assert_string_equal(got.programs.items[1], "b c");
	assert_int_equal(got.links.len, 1);
	assert_string_equal(got.links.items[0], "share/x");
	assert_int_equal(got.elf_machine, 183);
	assert_false(got.elf_mixed);
	assert_true(build_cache_find_survey(c, &empty, &got));
	assert_int_equal(got.programs.len + got.links.len, 0);
	/* Other directories are of interest: it says nothing of them. */
	path_survey_add_dir(&got, "share");
	assert_false(build_cache_find_survey(c, &nar, &got));
	build_cache_free(c);
	path_survey_release(&s);
	path_survey_release(&got);
}

/* Each thing that a layer's bytes depend on is in its key. */
static void test_keys(void **state)
{
	struct path_info items[2] = {0};
	struct path_infos set = {.items = items, .len = 2};
	size_t both[] = {0, 1}, first[] = {0};
	struct layer_group group = {.paths = both, .len = 2}, one = {.paths = first, .len = 1};
	struct hash keys[8];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char text[80];

		snprintf(text, sizeof(text), "/nix/store/%032zu-x", i);
		assert_int_equal(store_path_parse(&items[i].path, "/nix/store", slice_str(text)),
				 0);
		items[i].nar_hash = hash_of(text);
	}
	build_cache_layer_key(&keys[n++], &set, &group, "/nix/store", IMAGE_ZSTD);
	build_cache_layer_key(&keys[n++], &set, &one, "/nix/store", IMAGE_ZSTD);
	build_cache_layer_key(&keys[n++], &set, &group, "/gnu/store", IMAGE_ZSTD);
	build_cache_layer_key(&keys[n++], &set, &group, "/nix/store", IMAGE_GZIP);
	build_cache_layer_key(&keys[n++], &set, &group, "/nix/store", IMAGE_NONE);
	items[1].nar_hash = hash_of("changed");
	build_cache_layer_key(&keys[n++], &set, &group, "/nix/store", IMAGE_ZSTD);
	build_cache_root_key(&keys[n++], &items[0].nar_hash, IMAGE_ZSTD);
	build_cache_root_key(&keys[n++], &items[0].nar_hash, IMAGE_NONE);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++)
			assert_false(hash_equal(&keys[i], &keys[j]));
}

/* A file that is damaged, or that others can have written, is none; and without one nothing fails. */
static void test_not_believed(void **state)
{
	struct place *p = *state;
	struct hash key = hash_of("key");
	struct known_layer got;
	struct path_survey s;
	int fd;

	build_cache_free(build_cache_open(p->file));
	assert_int_equal(chmod(p->file, 0666), 0);
	assert_null(build_cache_open(p->file));
	assert_int_equal(chmod(p->file, 0600), 0);
	*strrchr(p->file, '/') = '\0';
	assert_int_equal(chmod(p->file, 0777), 0);
	p->file[strlen(p->file)] = '/';
	assert_null(build_cache_open(p->file));
	*strrchr(p->file, '/') = '\0';
	assert_int_equal(chmod(p->file, 0755), 0);
	p->file[strlen(p->file)] = '/';
	fd = open(p->file, O_WRONLY);
	for (int i = 0; i < 100; i++)
		assert_int_equal(write(fd, "garbage, garbage, garbage.\n", 27), 27);
	close(fd);
	assert_null(build_cache_open(p->file));
	assert_int_equal(unlink(p->file), 0);
	assert_int_equal(symlink("/dev/null", p->file), 0);
	assert_null(build_cache_open(p->file));
	assert_int_equal(unlink(p->file), 0);
	assert_int_equal(mkfifo(p->file, 0600), 0);
	assert_null(build_cache_open(p->file));

	path_survey_init(&s);
	assert_false(build_cache_find_layer(NULL, &key, &got));
	assert_false(build_cache_find_survey(NULL, &key, &s));
	build_cache_keep_layer(NULL, &key, some_layer());
	build_cache_keep_survey(NULL, &key, &s);
	path_survey_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_layer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_survey, setup, teardown),
		cmocka_unit_test(test_keys),
		cmocka_unit_test_setup_teardown(test_not_believed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
