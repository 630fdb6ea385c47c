/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and signatures, against those that Nix made (tests/vectors/signature.json). */
#include "../unit.h"

#include "../vectors.h"

#include <nacre/encode.h>
#include <nacre/pathinfo.h>

/* The path info that a fingerprint is of. */
static void from_fingerprint(const char *text, struct path_info *ret)
{
	cleanup_free char *copy = xstrdup(text);
	char *rest = copy, *ref;

	*ret = (struct path_info){0};
	assert_string_equal(strsep(&rest, ";"), "1");
	assert_int_equal(store_path_parse_any(&ret->path, slice_str(strsep(&rest, ";"))), 0);
	assert_int_equal(hash_parse(&ret->nar_hash, HASH_NONE, slice_str(strsep(&rest, ";"))), 0);
	assert_int_equal(parse_u64(&ret->nar_size, slice_str(strsep(&rest, ";"))), 0);
	while (*rest && (ref = strsep(&rest, ","))) {
		strv_add(&ret->references, strrchr(ref, '/') + 1);
		if (!rest)
			break;
	}
	strv_sort_unique(&ret->references);
}

static void test_signatures_of_nix(void **state)
{
	json_t *all = vectors_load("signature.json");
	struct secret_key secret;
	struct public_key public, derived;
	const json_t *v;
	size_t i;

	assert_int_equal(secret_key_parse(&secret, slice_str(vector_text(all, "secretKey"))), 0);
	assert_int_equal(public_key_parse(&public, slice_str(vector_text(all, "publicKey"))), 0);
	secret_key_public(&derived, &secret);
	assert_memory_equal(&public, &derived, sizeof(public));
	json_array_foreach (json_object_get(all, "signatures"), i, v) {
		cleanup_path_info struct path_info info = {0};
		cleanup_buf struct buf fingerprint = {0};
		struct err err = ERR_INIT;

		from_fingerprint(vector_text(v, "fingerprint"), &info);
		assert_int_equal(path_info_fingerprint(&fingerprint, &info), 0);
		assert_string_equal((char *)fingerprint.data, vector_text(v, "fingerprint"));
		assert_int_equal(path_info_verify(&info, &public, 1), 0);
		/* Ed25519 is deterministic: ours is Nix's. */
		assert_ok(path_info_sign(&info, &secret, &err), err);
		assert_int_equal(info.signatures.len, 1);
		assert_string_equal(info.signatures.items[0], vector_text(v, "signature"));
		assert_int_equal(path_info_verify(&info, &public, 1), 1);
		info.nar_size++;
		assert_int_equal(path_info_verify(&info, &public, 1), 0);
		info.nar_size--;
		public.name[0] ^= 1; /* a key of another name is another key */
		assert_int_equal(path_info_verify(&info, &public, 1), 0);
		public.name[0] ^= 1;
	}
	assert_true(i > 5);
	secret_key_release(&secret);
	json_decref(all);
}

static void test_generate(void **state)
{
	cleanup_buf struct buf text = {0};
	struct secret_key key, again;
	struct err err = ERR_INIT;

	assert_ok(secret_key_generate(&key, "cache-1", &err), err);
	secret_key_format(&text, &key);
	buf_add_str(&text, " \n\n");
	assert_int_equal(secret_key_parse(&again, buf_slice(&text)), 0);
	assert_memory_equal(&key, &again, sizeof(key));
	assert_int_equal(secret_key_generate(&key, "", &err), E_USAGE);
	assert_int_equal(secret_key_generate(&key, "a:b", &err), E_USAGE);
	assert_int_equal(secret_key_generate(&key, "a b", &err), E_USAGE);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		"a",
		"a:",
		":REkgFeK9UWIFiZNbPONzgRhuGrwXRvUO8gghR6mUqXk=",
		"a:REkgFeK9UWIFiZNbPONzgRhuGrwXRvUO8gghR6mUqX=",
		"a:REkgFeK9UWIFiZNbPONzgRhuGrwXRvUO8gghR6mUqXk",
		"a:REkgFeK9UWIFiZNbPONzgRhuGrwXRvUO8gghR6mUqXkA",
		"a b:REkgFeK9UWIFiZNbPONzgRhuGrwXRvUO8gghR6mUqXk=",
		"a: REkgFeK9UWIFiZNbPONzgRhuGrwXRvUO8gghR6mUqXk=",
	};
	struct public_key key;
	struct secret_key secret;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (public_key_parse(&key, slice_str(bad[i])) >= 0)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(secret_key_parse(&secret, slice_str(bad[i])), E_INVALID);
		assert_int_equal(signature_check(slice_str(bad[i])), E_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signatures_of_nix),
		cmocka_unit_test(test_generate),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
