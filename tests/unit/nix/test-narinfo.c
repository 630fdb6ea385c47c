/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nix-narinfo: a good text, and one bad text for each rule. */
#include "../unit.h"

#include <string.h>

#include <nacre/pathinfo.h>

#include "base/mem.h"

#define SIG_TEXT \
	"TkVKBjF5ZA1z8mS46zPjiH/91NFkqRDk+KKXJn0db+tFS3HP/4dxmGm4wtRiaHD/BL8YZpkS0z9cpq1hLde6Bg=="
#define PATH_A "43qbsdvgr3dy96dcd762qdlfsd834zfg-a"
#define PATH_B "53qbsdvgr3dy96dcd762qdlfsd834zfg-b"
#define HASH32 "sha256:1qf3k50cfba7m69yyp7n3dj4g3ckiyyaq16qw6nyh4vrpn97nyzh"

#define HEAD                                 \
	"StorePath: /nix/store/" PATH_A "\n" \
	"URL: nar/x.nar.zst\n"               \
	"Compression: zstd\n"
#define HASHES "NarHash: " HASH32 "\nNarSize: 152\n"

static const char full[] = HEAD "FileHash: " HASH32 "\n"
				"FileSize: 99\n" HASHES "References: " PATH_A " " PATH_B "\n"
				"Deriver: " PATH_B ".drv\n"
				"Sig: a-1:" SIG_TEXT "\n"
				"Sig: b-1:" SIG_TEXT "\n"
				"CA: fixed:r:" HASH32 "\n";

static int parse(const char *text, struct narinfo *ret)
{
	struct err err = ERR_INIT;
	int r = narinfo_parse(ret, "/nix/store", slice_str(text), &err);

	if (r < 0)
		assert_true(strlen(err.text) > 10);
	return r;
}

static void test_round_trip(void **state)
{
	static const char *const texts[] = {full, HEAD HASHES "References: \n"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		cleanup_narinfo struct narinfo n = {0};
		cleanup_buf struct buf again = {0};

		assert_int_equal(parse(texts[i], &n), 0);
		assert_int_equal(narinfo_format(&again, &n), 0);
		assert_string_equal((char *)again.data, texts[i]);
	}
}

static void test_accepted(void **state)
{
	static const char *const good[] = {
		HEAD HASHES,                                       /* no References */
		HEAD HASHES "References: " PATH_B " " PATH_A "\n", /* any order */
		HASHES HEAD
		"Foo: bar\nSystem: x86_64-linux\n", /* any order of keys; unknown keys */
		HEAD HASHES "NarSize: 153\n",       /* the last one counts */
		HEAD HASHES "Deriver: unknown-deriver\n",
		HEAD HASHES "CA: \n", /* none */
		HEAD
		"NarHash: sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
		"NarSize: 1\n",
		HEAD "NarHash: sha256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=\nNarSize: 1\n",
		HEAD "NarHash: sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=\nNarSize: 1\n",
		HEAD HASHES "References: \nReferences: " PATH_A "\n", /* the first one was empty */
		HEAD HASHES "CA: text:" HASH32 "\n",
		HEAD HASHES "CA: fixed:md5:900150983cd24fb0d6963f7d28e17f72\n",
		HEAD HASHES "CA: fixed:git:sha1:a9993e364706816aba3e25717850c26c9cd0d89d\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		cleanup_narinfo struct narinfo n = {0};

		if (parse(good[i], &n) < 0)
			fail_msg("refused: %s", good[i]);
	}
}

static void test_defaults(void **state)
{
	cleanup_narinfo struct narinfo n = {0};

	assert_int_equal(parse("StorePath: /nix/store/" PATH_A "\nURL: x\n" HASHES, &n), 0);
	assert_string_equal(n.compression, "bzip2");
	assert_int_equal(n.file_hash.algo, HASH_NONE);
	assert_null(n.info.deriver);
	assert_null(n.info.ca);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"",
		HEAD,                                                  /* no NarHash */
		HEAD "NarHash: " HASH32 "\n",                          /* no NarSize */
		HEAD "NarSize: 1\n",                                   /* no NarHash */
		"URL: x\n" HASHES,                                     /* no StorePath */
		"StorePath: /nix/store/" PATH_A "\n" HASHES,           /* no URL */
		"StorePath: /nix/store/" PATH_A "\nURL: \n" HASHES,    /* empty URL */
		"StorePath: /nix/store/" PATH_A "\nURL: a b\n" HASHES, /* a blank */
		"StorePath: /gnu/store/" PATH_A "\nURL: x\n" HASHES,   /* another store dir */
		"StorePath: " PATH_A "\nURL: x\n" HASHES,
		"StorePath: /nix/store/" PATH_A "/bin\nURL: x\n" HASHES,
		HEAD "NarHash: sha1:a9993e364706816aba3e25717850c26c9cd0d89d\nNarSize: 1\n",
		HEAD "NarHash: 1qf3k50cfba7m69yyp7n3dj4g3ckiyyaq16qw6nyh4vrpn97nyzh\nNarSize: 1\n",
		HEAD "NarHash: sha256:xxx\nNarSize: 1\n",
		HEAD "NarHash: " HASH32 "\nNarSize: 0\n",
		HEAD "NarHash: " HASH32 "\nNarSize: -1\n",
		HEAD "NarHash: " HASH32 "\nNarSize: 1x\n",
		HEAD "NarHash: " HASH32 "\nNarSize: 99999999999999999999\n",
		HEAD HASHES "FileSize: x\n",
		HEAD HASHES "FileHash: x\n",
		HEAD HASHES "Compression: rar\n",
		HEAD HASHES "References: " PATH_A "\nReferences: " PATH_B "\n",
		HEAD HASHES "References: /nix/store/" PATH_A "\n",
		HEAD HASHES "References: x\n",
		HEAD HASHES "Deriver: x\n",
		HEAD HASHES "Sig: a-1\n",
		HEAD HASHES "Sig: :" SIG_TEXT "\n",
		HEAD HASHES "Sig: a-1:AAAA\n",
		HEAD HASHES "Sig: a-1:" SIG_TEXT " \n",
		HEAD HASHES "CA: x\n",
		HEAD HASHES "CA: text:md5:900150983cd24fb0d6963f7d28e17f72\n",
		HEAD HASHES "CA: fixed:r:" HASH32 "\nCA: fixed:r:" HASH32 "\n",
		HEAD HASHES "References:\n", /* Nix would eat the next line */
		HEAD HASHES "no colon\n",
		HEAD HASHES "\n",
		HEAD "NarHash: " HASH32 "\r\nNarSize: 1\r\n",
		HEAD "NarHash: " HASH32 "\nNarSize: 1", /* no final newline */
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct narinfo n;

		if (parse(bad[i], &n) >= 0)
			fail_msg("taken: %s", bad[i]);
	}
}

static void test_message_says_where(void **state)
{
	struct err err = ERR_INIT;
	struct narinfo n;

	assert_int_equal(narinfo_parse(&n, "/nix/store", slice_str(HEAD "NarSize: x\n"), &err),
			 E_INVALID);
	assert_string_equal(err.text, "narinfo, line 4: NarSize 'x' is not a number above 0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),         cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_defaults),           cmocka_unit_test(test_refused),
		cmocka_unit_test(test_message_says_where),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
