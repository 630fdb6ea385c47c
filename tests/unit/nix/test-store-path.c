/* SPDX-License-Identifier: Apache-2.0 */
/* Store paths against what Nix itself computed (tests/vectors/storepath.json). */
#include "../unit.h"

#include "../vectors.h"

#include <nacre/pathinfo.h>

static void test_parse(void **state)
{
	json_t *all = vectors_load("storepath.json");
	const json_t *parse = json_object_get(all, "parse"), *v;
	size_t i;

	json_array_foreach (json_object_get(parse, "good"), i, v) {
		struct slice text = slice_str(vector_text(v, "path"));
		struct store_path path, again;

		assert_int_equal(store_path_parse(&path, "/nix/store", text), 0);
		assert_string_equal(path.text, vector_text(v, "path"));
		assert_true(
			slice_equal_str(store_path_hash_part(&path), vector_text(v, "hashPart")));
		assert_string_equal(store_path_name(&path), vector_text(v, "name"));
		assert_int_equal(store_path_parse_any(&again, text), 0);
		assert_memory_equal(&path, &again, sizeof(path));
		assert_int_equal(store_path_parse(&again, "/gnu/store", text), E_INVALID);
	}
	assert_true(i > 10);
	json_array_foreach (json_object_get(parse, "bad"), i, v) {
		const json_t *text = json_object_get(v, "path");
		struct store_path path;

		if (store_path_parse(
			    &path, "/nix/store",
			    slice_make(json_string_value(text), json_string_length(text))) >= 0)
			fail_msg("%s was taken", vector_text(v, "name"));
	}
	assert_true(i > 20);
	json_decref(all);
}

static void test_store_dirs(void **state)
{
	static const char *const good[] = {"/nix/store", "/gnu/store", "/a", "/home/me/.nix/store"};
	static const char *const bad[] = {
		"",       "/",         "nix/store",   "/nix/store/",   "//nix", "/nix//store",
		"/nix/.", "/nix/../x", "/nix/st ore", "/nix/\xc3\xbc", "/.."};
	char longest[STORE_DIR_MAX + 2] = "/";

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(store_dir_check(slice_str(good[i])), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (store_dir_check(slice_str(bad[i])) >= 0)
			fail_msg("%s was taken", bad[i]);
	memset(longest + 1, 'a', STORE_DIR_MAX);
	assert_int_equal(store_dir_check(slice_make(longest, STORE_DIR_MAX)), 0);
	assert_int_equal(store_dir_check(slice_make(longest, STORE_DIR_MAX + 1)), E_INVALID);
	assert_int_equal(store_dir_check(slice_make("/nix\0store", 10)), E_INVALID);
}

/* Paths that Nix made with a content address must come out of it again. */
static void test_content_addressed(void **state)
{
	json_t *all = vectors_load("storepath.json");
	const json_t *v, *ref;
	size_t i, j;

	json_array_foreach (json_object_get(all, "contentAddressed"), i, v) {
		cleanup_path_info struct path_info info = {0};

		assert_int_equal(store_path_parse(&info.path, "/nix/store",
						  slice_str(vector_text(v, "path"))),
				 0);
		info.ca = xstrdup(vector_text(v, "ca"));
		json_array_foreach (json_object_get(v, "references"), j, ref)
			strv_add(&info.references, json_string_value(ref) + strlen("/nix/store/"));
		strv_sort_unique(&info.references);
		if (path_info_ca_matches(&info) != 1)
			fail_msg("%s: %s", info.path.text, info.ca);
		/* Another reference, another path. */
		strv_add(&info.references, "00000000000000000000000000000000-x");
		assert_int_equal(path_info_ca_matches(&info), 0);
	}
	assert_true(i > 10);
	json_decref(all);
}

/* The NARs of paths that hold their own hash, by Nix 2.8 (positions hashed) and 2.26 (not). */
static void test_self_references(void **state)
{
	json_t *all = vectors_load("storepath.json");
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(all, "selfReferring"), i, v) {
		static const size_t steps[] = {1 << 30, 1, 31, 32, 33};
		const json_t *with = json_object_get(v, "withOffsets");
		const json_t *without = json_object_get(v, "withoutOffsets");
		cleanup_buf struct buf nar = {0};
		struct store_path path;

		vectors_read(vector_text(v, "file"), &nar);
		assert_int_equal(
			store_path_parse(&path, "/nix/store", slice_str(vector_text(v, "path"))),
			0);
		for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
			struct modulo_sink sink;
			struct hash a, b;
			struct err err = ERR_INIT;
			char text[HASH_TEXT_MAX];

			modulo_sink_init(&sink, store_path_hash_part(&path));
			for (size_t at = 0; at < nar.len; at += steps[s])
				assert_ok(sink_write(&sink.sink, nar.data + at,
						     nar.len - at < steps[s] ? nar.len - at
									     : steps[s],
						     &err),
					  err);
			assert_ok(modulo_sink_final(&sink, &a, &b, &err), err);
			modulo_sink_release(&sink);
			hash_format(text, &a, HASH_NIX32);
			assert_string_equal(text, vector_text(with, "hashModulo"));
			hash_format(text, &b, HASH_NIX32);
			assert_string_equal(text, vector_text(without, "hashModulo"));
		}
	}
	assert_int_equal(i, 2);
	json_decref(all);
}

/* Does the verifier accept each variant, and no other content? */
static void test_ca_verifier(void **state)
{
	json_t *all = vectors_load("storepath.json");
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(all, "selfReferring"), i, v) {
		cleanup_buf struct buf nar = {0};

		vectors_read(vector_text(v, "file"), &nar);
		for (int variant = 0; variant < 4; variant++) {
			const json_t *of =
				json_object_get(v, variant & 1 ? "withOffsets" : "withoutOffsets");
			cleanup_path_info struct path_info info = {0};
			struct content_address ca;
			struct ca_verifier *verifier;
			struct err err = ERR_INIT;

			assert_int_equal(store_path_parse(&info.path, "/nix/store",
							  slice_str(vector_text(v, "path"))),
					 0);
			strv_add(&info.references, store_path_base(&info.path));
			info.ca = xasprintf("fixed:r:%s", vector_text(of, "hashModulo"));
			assert_int_equal(content_address_parse(&ca, slice_str(info.ca)), 0);
			if (variant >= 2)
				nar.data[nar.len / 2] ^= 1;
			verifier = ca_verifier_new(&info, &ca);
			assert_ok(sink_write(ca_verifier_sink(verifier), nar.data, nar.len, &err),
				  err);
			assert_int_equal(ca_verifier_result(verifier, &err), variant < 2);
			ca_verifier_free(verifier);
			if (variant >= 2)
				nar.data[nar.len / 2] ^= 1;
		}
	}
	json_decref(all);
}

static void test_reference_scanner(void **state)
{
	static const char *const bases[] = {"0123456789abcdfghijklmnpqrsvwxyz-a",
					    "zyxwvsrqpnmlkjihgfdcba9876543210-b",
					    "00000000000000000000000000000000-c"};
	/* The second one lies right behind the first, the third is one character short. */
	static const char text[] =
		"..0123456789abcdfghijklmnpqrsvwxyzzyxwvsrqpnmlkjihgfdcba9876543210"
		".0000000000000000000000000000000e";

	for (size_t step = 1; step < sizeof(text); step++) {
		cleanup_strv struct strv names = {0}, found = {0};
		struct ref_scanner *s;
		struct err err = ERR_INIT;

		for (size_t i = 0; i < ARRAY_LEN(bases); i++)
			strv_add(&names, bases[i]);
		s = ref_scanner_new(&names);
		for (size_t at = 0; at < sizeof(text); at += step)
			assert_ok(sink_write(ref_scanner_sink(s), text + at,
					     sizeof(text) - at < step ? sizeof(text) - at : step,
					     &err),
				  err);
		ref_scanner_found(s, &found);
		ref_scanner_free(s);
		if (found.len != 2)
			fail_msg("step %zu: %zu found", step, found.len);
		assert_string_equal(found.items[0], bases[0]);
		assert_string_equal(found.items[1], bases[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_store_dirs),
		cmocka_unit_test(test_content_addressed),
		cmocka_unit_test(test_self_references),
		cmocka_unit_test(test_ca_verifier),
		cmocka_unit_test(test_reference_scanner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
