/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include <sys/stat.h>

#include "serve/revoked.h"

#define ID_1 "00000000000000000000000000000001"
#define ID_2 "00000000000000000000000000000002"

struct list {
	char text[500];
};

static void collect(void *ctx, const struct claims *c, bool revoked)
{
	struct list *l = ctx;
	size_t n = strlen(l->text);

	snprintf(l->text + n, sizeof(l->text) - n, "%c %s %lld;", c->id[JWT_ID_LEN - 1], c->subject,
		 (long long)(revoked ? -c->expires_s : c->expires_s));
}

static void test_revoked(void **state)
{
	char dir[] = "/tmp/nacre-revoked.XXXXXX";
	struct claims a = {.subject = (char *)"alice", .id = ID_1, .issued_s = 100, .expires_s = 7};
	struct claims b = {.subject = (char *)"bob b", .id = ID_2, .issued_s = 100, .expires_s = 8};
	struct claims nobody = {.id = "x", .issued_s = 1};
	struct err err = ERR_INIT;
	struct list list = {""};
	struct revoked *r;
	char path[100];

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_ok(revoked_open(&r, dir, &err), err);
	assert_false(revoked_is(r, &a));
	assert_ok(token_revoke(dir, ID_1, &err), err);
	assert_true(revoked_is(r, &a));
	assert_false(revoked_is(r, &b));
	assert_ok(token_revoke_user(dir, "bob b", 99, &err), err);
	assert_false(revoked_is(r, &b));
	assert_ok(token_revoke_user(dir, "bob", 1000, &err), err);
	assert_false(revoked_is(r, &b));
	assert_ok(token_revoke_user(dir, "bob b", 100, &err), err);
	assert_true(revoked_is(r, &b));
	assert_false(revoked_is(r, &nobody));

	assert_ok(token_record(dir, &a, &err), err);
	a.id[JWT_ID_LEN - 1] = '3';
	assert_ok(token_record(dir, &a, &err), err);
	assert_ok(token_record(dir, &b, &err), err);
	assert_ok(token_list(dir, collect, &list, &err), err);
	assert_string_equal(list.text, "1 alice -7;3 alice 7;2 bob b -8;");

	/* What was there and is no more leaves no token good. */
	snprintf(path, sizeof(path), "%s/tokens.revoked", dir);
	assert_int_equal(unlink(path), 0);
	assert_true(revoked_is(r, &nobody));
	revoked_free(r);
	snprintf(path, sizeof(path), "%s/tokens.issued", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* Lines that a program of another time wrote, or half a line at the end, hide nothing. */
static void test_lines(void **state)
{
	static const char text[] = "\nuser\nuser x y\nuser 99999999999999999999 bob\n"
				   "what is this line\nuser 50 alice\n" ID_1 "\nuser 60 ali";
	char dir[] = "/tmp/nacre-revoked.XXXXXX", path[100];
	struct claims a = {.subject = (char *)"alice", .id = "x", .issued_s = 50};
	struct claims b = {.subject = (char *)"bob", .id = "y", .issued_s = 50};
	struct claims c = {.subject = (char *)"carol", .id = ID_1, .issued_s = 50};
	struct err err = ERR_INIT;
	struct revoked *r;
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/tokens.revoked", dir);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_ok(revoked_open(&r, dir, &err), err);
	assert_true(revoked_is(r, &a));
	assert_false(revoked_is(r, &b));
	assert_true(revoked_is(r, &c));
	a.issued_s = 51;
	assert_false(revoked_is(r, &a));
	revoked_free(r);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_ok(revoked_open(&r, NULL, &err), err);
	assert_false(revoked_is(r, &a));
	revoked_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_revoked),
		cmocka_unit_test(test_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
