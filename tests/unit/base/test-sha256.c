/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <nacre/hash.h>

#include "base/mem.h"
#include "base/sha256.h"

/* FIPS 180-4's examples, and what lies around a block's end. */
static void test_vectors(void **state)
{
	static const struct {
		const char *text, *want;
	} vectors[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
		 "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
		 "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
	};

	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		struct hash got = {.algo = HASH_SHA256};
		char text[HASH_TEXT_MAX];

		sha256_small(got.bytes, vectors[i].text, strlen(vectors[i].text));
		hash_format_bare(text, &got, HASH_HEX);
		assert_string_equal(text, vectors[i].want);
	}
}

/* As libcrypto has it, which hashes what comes in pieces: lengths around every limit. */
static void test_against_libcrypto(void **state)
{
	enum { LEN = 300000 };
	uint8_t *bytes = malloc(LEN);
	uint32_t x = 1;

	assert_non_null(bytes);
	for (size_t i = 0; i < LEN; i++) {
		x = x * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(x >> 24);
	}
	for (size_t len = 0; len <= LEN; len += len < 300 ? 1 : 4999) {
		struct hash want, whole, small = {.algo = HASH_SHA256};
		struct hasher h;

		hasher_init(&h, HASH_SHA256);
		hasher_update(&h, bytes + 1, len ? len - 1 : 0);
		hasher_final(&h, &want);
		hasher_release(&h);
		sha256_small(small.bytes, bytes + 1, len ? len - 1 : 0);
		/* By itself or by libcrypto, as much as was hashed before says. */
		hash_bytes(&whole, HASH_SHA256, bytes + 1, len ? len - 1 : 0);
		if (!hash_equal(&want, &small) || !hash_equal(&want, &whole))
			fail_msg("%zu bytes", len ? len - 1 : 0);
	}
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_against_libcrypto),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
