/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "base/mem.h"
#include "serve/access.h"
#include "serve/htpasswd.h"
#include "serve/jwt.h"

#define HASH(last) "$2y$04$abcdefghijklmnopqrstuuSDyOpOS1AhPnQHyzDLFNMTf8b5Xf4" last

static void refuse_htpasswd(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"alice\n", "f:1: wanted NAME:HASH"},
		{":" HASH("Wm") "\n", "f:1: wanted NAME:HASH"},
		{"# x\n\na b:" HASH("Wm") "\n", "f:3: the name has blanks"},
		{"a:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", "f:1: the hash is not bcrypt"},
		{"a:$apr1$abc$def\n", "f:1: the hash is not bcrypt"},
		{"a:$2x$04$abcdefghijklmnopqrstuuSDyOpOS1AhPnQHyzDLFNMTf8b5Xf4Wm\n",
		 "f:1: the hash is not bcrypt"},
		{"a:$2y$31$abcdefghijklmnopqrstuuSDyOpOS1AhPnQHyzDLFNMTf8b5Xf4Wm\n",
		 "f:1: the hash is not bcrypt"},
		{"a:" HASH("W") "\n", "f:1: the hash is not bcrypt"},
		{"a:" HASH("W*") "\n", "f:1: the hash is not bcrypt"},
		{"a:" HASH("Wm") "\nb:" HASH("Wm") "\na:" HASH("Wm") "\n",
		 "f: the user 'a' is there twice"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct htpasswd *h;
		struct err err = ERR_INIT;

		assert_int_equal(htpasswd_parse(&h, slice_str(cases[i].text), "f", &err),
				 E_INVALID);
		if (strncmp(err.text, cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("case %zu says '%s'", i, err.text);
	}
}

/* Known answers: "U*U" of the bcrypt test vectors, under the names that the same algorithm has. */
static void verify_passwords(void **state)
{
	static const char text[] =
		"# comment\r\n"
		"a:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\r\n"
		"b:$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n"
		"y:$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
	static const char *const users[] = {"a", "b", "y"};
	struct htpasswd *h;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(htpasswd_parse(&h, slice_str(text), "f", &err), err);
	for (size_t i = 0; i < ARRAY_LEN(users); i++) {
		assert_true(htpasswd_verify(h, users[i], "U*U"));
		assert_false(htpasswd_verify(h, users[i], "U*U*"));
		assert_false(htpasswd_verify(h, users[i], ""));
	}
	assert_false(htpasswd_verify(h, "c", "U*U"));
	assert_false(htpasswd_verify(h, "", ""));
	assert_false(htpasswd_verify(NULL, "a", "U*U"));
	htpasswd_unref(h);
}

static void parse_scopes(void **state)
{
	static const struct {
		const char *text;
		int result;
		enum resource resource;
		const char *name;
		unsigned rights;
	} cases[] = {
		{"", 0, RESOURCE_REPOSITORY, "a", 0},
		{"repository:a:pull", 0, RESOURCE_REPOSITORY, "a", RIGHT_PULL},
		{"repository:a/b:pull,push", 0, RESOURCE_REPOSITORY, "a/b",
		 RIGHT_PULL | RIGHT_PUSH},
		{"repository:a:*", 0, RESOURCE_REPOSITORY, "a",
		 RIGHT_PULL | RIGHT_PUSH | RIGHT_DELETE},
		{"repository:a:pull repository:a:push", 0, RESOURCE_REPOSITORY, "a",
		 RIGHT_PULL | RIGHT_PUSH},
		{"repository(plugin):a:pull", 0, RESOURCE_REPOSITORY, "a", RIGHT_PULL},
		{"repository:a:admin,pull", 0, RESOURCE_REPOSITORY, "a", RIGHT_PULL},
		{"repository:a:dance", 0, RESOURCE_REPOSITORY, "a", 0},
		{"cache:/:pull", 0, RESOURCE_CACHE, "/", RIGHT_PULL},
		{"cache:team:push", 0, RESOURCE_CACHE, "team", RIGHT_PUSH},
		{"registry:catalog:*", 0, RESOURCE_REPOSITORY, "catalog", 0},
		{"unknown:thing:pull", 0, RESOURCE_REPOSITORY, "thing", 0},
		{"repository", E_INVALID, 0, NULL, 0},
		{"repository:a", E_INVALID, 0, NULL, 0},
		{"repository::pull", E_INVALID, 0, NULL, 0},
		{"repository:A:pull", E_INVALID, 0, NULL, 0},
		{"repository:../a:pull", E_INVALID, 0, NULL, 0},
		{"repository:/:pull", E_INVALID, 0, NULL, 0},
		{"registry:other:*", E_INVALID, 0, NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct grants g = {0};

		if (scopes_parse(&g, slice_str(cases[i].text)) != cases[i].result)
			fail_msg("'%s'", cases[i].text);
		if (cases[i].name &&
		    grants_rights(&g, cases[i].resource, cases[i].name) != cases[i].rights)
			fail_msg("'%s' gives %u", cases[i].text,
				 grants_rights(&g, cases[i].resource, cases[i].name));
		grants_release(&g);
	}
}

static void reach_of_admin(void **state)
{
	static const char text[] =
		"groups: {ops: [carol]}\n"
		"access:\n"
		"- {repositories: '**', caches: '**', who: '@ops', allow: admin}\n"
		"- {repositories: '**', who: dave, allow: admin}\n"
		"- {repositories: 'a/**', caches: a, who: alice, allow: [pull, admin]}\n"
		"- {repositories: '**', caches: '**', who: bob, allow: '*'}\n";
	static const struct {
		const char *user;
		enum admin_reach reach;
	} cases[] = {
		{NULL, ADMIN_NOTHING},       {"bob", ADMIN_NOTHING},    {"mallory", ADMIN_NOTHING},
		{"carol", ADMIN_EVERYTHING}, {"dave", ADMIN_SOMETHING}, {"alice", ADMIN_SOMETHING},
	};
	struct access_settings s = {0};
	struct err err = ERR_INIT;
	struct config *c;

	(void)state;
	assert_ok(config_parse(&c, slice_str(text), "f", &err), err);
	assert_ok(access_settings_read(&s, c, &err), err);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (access_admin(&s, cases[i].user) != cases[i].reach)
			fail_msg("%s", cases[i].user ? cases[i].user : "anybody");
	/* It gives nothing else, and nothing else gives it. */
	assert_int_equal(access_rights(&s, "carol", RESOURCE_CACHE, "/"), RIGHT_ADMIN);
	assert_int_equal(access_rights(&s, "bob", RESOURCE_CACHE, "/"),
			 RIGHT_PULL | RIGHT_PUSH | RIGHT_DELETE);
	access_settings_release(&s);
	config_free(c);
}

static void decide(void **state)
{
	static const char text[] =
		"groups: {ops: [carol, dave]}\n"
		"access:\n"
		"- {repositories: open/*, who: everyone, allow: pull}\n"
		"- {repositories: '**', caches: '**', who: '@ops', allow: '*'}\n"
		"- {repositories: team/**, caches: team, who: [alice], allow: [pull, push]}\n"
		"- {repositories: team/x, who: authenticated, allow: pull}\n"
		"- {caches: /, who: anonymous, allow: pull}\n";
	static const struct {
		const char *user;
		enum resource resource;
		const char *name;
		unsigned rights;
	} cases[] = {
		{NULL, RESOURCE_REPOSITORY, "open/a", RIGHT_PULL},
		{NULL, RESOURCE_REPOSITORY, "open/a/b", 0},
		{"bob", RESOURCE_REPOSITORY, "open/a", RIGHT_PULL},
		{"carol", RESOURCE_REPOSITORY, "x", RIGHT_PULL | RIGHT_PUSH | RIGHT_DELETE},
		{"carol", RESOURCE_CACHE, "x", RIGHT_PULL | RIGHT_PUSH | RIGHT_DELETE},
		{"@ops", RESOURCE_REPOSITORY, "x", 0},
		{"ops", RESOURCE_REPOSITORY, "x", 0},
		{"alice", RESOURCE_REPOSITORY, "team/a/b", RIGHT_PULL | RIGHT_PUSH},
		{"alice", RESOURCE_REPOSITORY, "team", 0},
		{"alice", RESOURCE_CACHE, "team", RIGHT_PULL | RIGHT_PUSH},
		{"alice", RESOURCE_CACHE, "/", 0},
		{NULL, RESOURCE_CACHE, "/", RIGHT_PULL},
		{"bob", RESOURCE_REPOSITORY, "team/x", RIGHT_PULL},
		{NULL, RESOURCE_REPOSITORY, "team/x", 0},
		{"alice", RESOURCE_REPOSITORY, "team/x", RIGHT_PULL | RIGHT_PUSH},
	};
	struct access_settings s = {0};
	struct err err = ERR_INIT;
	struct config *c;

	(void)state;
	assert_ok(config_parse(&c, slice_str(text), "f", &err), err);
	assert_ok(access_settings_read(&s, c, &err), err);
	assert_ok(config_check_used(c, &err), err);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		unsigned got = access_rights(&s, cases[i].user, cases[i].resource, cases[i].name);

		if (got != cases[i].rights)
			fail_msg("%s on %s: %u", cases[i].user ? cases[i].user : "anybody",
				 cases[i].name, got);
	}
	access_settings_release(&s);
	config_free(c);
}

static void tokens(void **state)
{
	char service[] = "nacre", subject[] = "alice";
	struct claims c = {.subject = subject,
			   .audience = service,
			   .id = "0123",
			   .issued_s = 1000,
			   .expires_s = 2000},
		      got;
	cleanup_buf struct buf text = {0};
	struct secret_key key, other;
	struct public_key public, wrong;
	struct err err = ERR_INIT;

	(void)state;
	assert_ok(secret_key_generate(&key, "token", &err), err);
	assert_ok(secret_key_generate(&other, "token", &err), err);
	secret_key_public(&public, &key);
	secret_key_public(&wrong, &other);
	grants_add(&c.grants, RESOURCE_REPOSITORY, slice_str("team/app"), RIGHT_PULL | RIGHT_PUSH);
	grants_add(&c.grants, RESOURCE_CACHE, slice_str("/"), RIGHT_PULL);
	assert_ok(jwt_make(&text, &c, &key, &err), err);
	assert_ok(jwt_verify(&got, buf_slice(&text), &public, "nacre", 1500, &err), err);
	assert_string_equal(got.subject, "alice");
	assert_string_equal(got.id, "0123");
	assert_int_equal(got.use, TOKEN_ACCESS);
	assert_int_equal((int)grants_rights(&got.grants, RESOURCE_REPOSITORY, "team/app"),
			 RIGHT_PULL | RIGHT_PUSH);
	assert_int_equal((int)grants_rights(&got.grants, RESOURCE_CACHE, "/"), RIGHT_PULL);
	jwt_claims_release(&got);
	/* Time, to either side, with some skew. */
	assert_ok(jwt_verify(&got, buf_slice(&text), &public, "nacre", 2060, &err), err);
	jwt_claims_release(&got);
	assert_int_equal(jwt_verify(&got, buf_slice(&text), &public, "nacre", 2061, &err),
			 E_DENIED);
	assert_string_equal(err.text, "the token is refused: it has expired");
	assert_ok(jwt_verify(&got, buf_slice(&text), &public, "nacre", 940, &err), err);
	jwt_claims_release(&got);
	assert_int_equal(jwt_verify(&got, buf_slice(&text), &public, "nacre", 939, &err), E_DENIED);
	assert_int_equal(jwt_verify(&got, buf_slice(&text), &public, "other", 1500, &err),
			 E_DENIED);
	assert_string_equal(err.text, "the token is refused: it was made for another service");
	assert_int_equal(jwt_verify(&got, buf_slice(&text), &wrong, "nacre", 1500, &err), E_DENIED);
	assert_string_equal(err.text, "the token is refused: its signature is not good");
	/* Each byte counts. */
	for (size_t i = 0; i < text.len; i++) {
		uint8_t was = text.data[i];

		text.data[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(jwt_verify(&got, buf_slice(&text), &public, "nacre", 1500, &err),
				 E_DENIED);
		text.data[i] = was;
		assert_int_equal(
			jwt_verify(&got, slice_make(text.data, i), &public, "nacre", 1500, &err),
			E_DENIED);
	}
	grants_release(&c.grants);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuse_htpasswd), cmocka_unit_test(verify_passwords),
		cmocka_unit_test(parse_scopes),    cmocka_unit_test(decide),
		cmocka_unit_test(reach_of_admin),  cmocka_unit_test(tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
