/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/challenge.h"

static void same_text(const char *got, const char *want)
{
	assert_int_equal(!got, !want);
	if (got)
		assert_string_equal(got, want);
}

static void test_bearer(void **state)
{
	static const struct {
		const char *header, *realm, *service, *scope;
	} cases[] = {
		{"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a/b:pull,push\"",
		 "https://a/t", "s", "repository:a/b:pull,push"},
		{"bearer  realm = \"r\" , service=token", "r", "token", NULL},
		{"BEARER realm=\"a\\\"b\\\\c\"", "a\"b\\c", NULL, NULL},
		{"Bearer Scope=\"x\",REALM=\"r\",unknown=1,error=\"invalid_token\"", "r", NULL,
		 "x"},
		{"Basic realm=\"b\", Bearer realm=\"r\",service=\"s\"", "r", "s", NULL},
		{"Bearer realm=\"r\",service=\"s\", Basic realm=\"b\"", "r", "s", NULL},
		{", ,Negotiate, NTLM abc==, Bearer realm=\"\"", "", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_challenges struct challenges all = {0};
		const struct challenge *c;

		if (challenges_parse(&all, slice_str(cases[i].header)) < 0)
			fail_msg("refused: %s", cases[i].header);
		c = challenges_find(&all, AUTH_BEARER);
		assert_non_null(c);
		same_text(c->realm, cases[i].realm);
		same_text(c->service, cases[i].service);
		same_text(c->scope, cases[i].scope);
	}
}

static void test_several(void **state)
{
	cleanup_challenges struct challenges all = {0};

	(void)state;
	assert_int_equal(challenges_parse(&all, slice_str("Basic realm=\"x\"")), 0);
	assert_int_equal(
		challenges_parse(&all, slice_str("Digest realm=a, qop=\"b,c\", Negotiate")), 0);
	assert_int_equal(all.len, 3);
	assert_string_equal(challenges_find(&all, AUTH_BASIC)->realm, "x");
	assert_null(challenges_find(&all, AUTH_BEARER));
	assert_int_equal(challenges_parse(&all, slice_str("")), 0);
	assert_int_equal(all.len, 3);
}

static void test_refuses(void **state)
{
	static const char *const cases[] = {
		"Bearer realm=\"r",
		"Bearer realm=\"r\\",
		"Bearer realm=\"r\" service=\"s\"",
		"Bearer realm=\"r\",,x y z",
		"Bearer realm=\"a\",realm=\"b\"",
		"=\"x\"",
		"Bearer \"x\"",
		"Bearer realm=\"r\";x",
		"Bearer realm=\"a\x01\"",
		"Bea(rer",
		"Bearer realm=\"a\"b",
		"Basic realm=\"ok\", Bearer realm=\"",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_challenges struct challenges all = {0};

		if (challenges_parse(&all, slice_str(cases[i])) != E_INVALID)
			fail_msg("accepted: %s", cases[i]);
		assert_int_equal(all.len, 0);
	}
}

static void test_limits(void **state)
{
	cleanup_challenges struct challenges all = {0};
	cleanup_buf struct buf b = {0};

	(void)state;
	assert_int_equal(challenges_parse(&all, slice_str("a,b,c,d,e,f,g,h,i")), E_LIMIT);
	assert_int_equal(all.len, 0);
	assert_int_equal(buf_add_str(&b, "Bearer a=1"), 0);
	for (int i = 0; i < CHALLENGE_PARAMS_MAX; i++)
		assert_int_equal(buf_add_str(&b, ",b=2"), 0);
	assert_int_equal(challenges_parse(&all, buf_slice(&b)), E_LIMIT);
	buf_reset(&b);
	assert_int_equal(buf_add_str(&b, "Bearer realm=\""), 0);
	for (int i = 0; i < 9000; i++)
		assert_int_equal(buf_add_str(&b, "x"), 0);
	assert_int_equal(buf_add_str(&b, "\""), 0);
	assert_int_equal(challenges_parse(&all, buf_slice(&b)), E_INVALID);
}

static void test_link(void **state)
{
	static const struct {
		const char *header;
		int want;
		const char *target;
	} cases[] = {
		{"</v2/_catalog?n=1&last=a>; rel=\"next\"", 1, "/v2/_catalog?n=1&last=a"},
		{"<a,b;c>; rel=next", 1, "a,b;c"},
		{"<a>; rel=prev, <b>; title=\"x, <c>; rel=next\"; rel=next", 1, "b"},
		{"<a>;rel=\"first next\"", 1, "a"},
		{"<a>; rel=prev; rel=next", 0, NULL},
		{"<a>; REL=NEXT ;", 1, "a"},
		{"<>; rel=next", 1, ""},
		{"<a>", 0, NULL},
		{"", 0, NULL},
		{"a; rel=next", E_INVALID, NULL},
		{"<a; rel=next", E_INVALID, NULL},
		{"<a> rel=next", E_INVALID, NULL},
		{"<a>; rel=\"next", E_INVALID, NULL},
		{"<a>; rel=", E_INVALID, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_free char *got = NULL;

		if (link_find(&got, slice_str(cases[i].header), "next") != cases[i].want)
			fail_msg("%s", cases[i].header);
		same_text(got, cases[i].target);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bearer),  cmocka_unit_test(test_several),
		cmocka_unit_test(test_refuses), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
