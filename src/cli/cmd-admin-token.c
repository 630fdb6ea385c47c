/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <nacre/encode.h>

#include "base/mem.h"
#include "cli/admin-client.h"
#include "cli/cli.h"
#include "serve/revoked.h"
#include "serve/token.h"

enum { DAYS_MAX = 3650, DAY_S = 86400, DAYS_DEFAULT = 90 };

static const char help[] =
	"Usage: nacre admin token create --data DIR --user NAME [OPTION]...\n"
	"       nacre admin token list --data DIR [--user NAME] [--json]\n"
	"       nacre admin token revoke --data DIR ID | --user NAME\n"
	"\n"
	"A login token stands in the place of a password, for Nix's netrc, for docker login, for "
	"CI:\n"
	"whoever has it is the user NAME, who need not be in the file of passwords. It is printed\n"
	"once; its ID, by which it is revoked, goes to standard error. A server that runs knows "
	"both\n"
	"at once. revoke --user voids all that the user has until now, also what clients got with\n"
	"the password, but not the password.\n"
	"\n"
	"      --data DIR       the data directory of the server\n"
	"      --user NAME      whom the rules of the server know\n"
	"      --expires DAYS   when it ends (default: 90)\n"
	"      --service NAME   auth.service of the server (default: nacre)\n"
	"      --json           list: lines of JSON\n";

enum { OPT_DATA = CLI_OPT, OPT_USER, OPT_EXPIRES, OPT_SERVICE, OPT_JSON };

struct token_request {
	const char *data, *user, *service; /* borrowed from argv */
	uint64_t days;
	bool json;
};

static int read_options(struct token_request *t, int argc, char **argv)
{
	static const struct option options[] = {
		{"data", required_argument, NULL, OPT_DATA},
		{"user", required_argument, NULL, OPT_USER},
		{"expires", required_argument, NULL, OPT_EXPIRES},
		{"service", required_argument, NULL, OPT_SERVICE},
		{"json", no_argument, NULL, OPT_JSON},
		{0},
	};
	int c;

	while ((c = cli_getopt(argc, argv, "", options, help)) != -1) {
		if (c == OPT_DATA)
			t->data = optarg;
		else if (c == OPT_USER)
			t->user = optarg;
		else if (c == OPT_SERVICE)
			t->service = optarg;
		else if (c == OPT_JSON)
			t->json = true;
		else if (parse_u64(&t->days, slice_str(optarg)) < 0 || t->days < 1 ||
			 t->days > DAYS_MAX)
			return cli_usage("--expires takes a number of days up to %d, not '%s'",
					 DAYS_MAX, optarg);
	}
	return t->data ? 0 : cli_usage("say whose tokens: --data DIR");
}

static bool is_user(const char *user)
{
	return user && user[0] && !user[strcspn(user, ": \t\n")];
}

static int token_make(int argc, char **argv)
{
	struct token_request t = {.service = "nacre", .days = DAYS_DEFAULT};
	cleanup_buf struct buf text = {0};
	struct claims claims = {.use = TOKEN_LOGIN};
	struct secret_key key;
	struct err err = ERR_INIT;
	int r = read_options(&t, argc, argv);

	if (r)
		return r;
	cli_operands(argc, argv, 0, 0, help);
	if (!is_user(t.user))
		return cli_usage("say for whom: --user NAME, without blanks and colons");
	claims.subject = (char *)(uintptr_t)t.user;
	claims.audience = (char *)(uintptr_t)t.service;
	claims.issued_s = time(NULL);
	claims.expires_s = claims.issued_s + (int64_t)t.days * DAY_S;
	token_id(claims.id);
	r = token_key_load(&key, t.data, &err);
	if (r == 0) {
		r = jwt_make(&text, &claims, &key, &err);
		secret_key_release(&key);
	}
	if (r == 0)
		r = token_record(t.data, &claims, &err);
	if (r < 0)
		return cli_fail(&err);
	fprintf(stderr, "%s\n", claims.id);
	printf("%.*s\n", (int)text.len, (const char *)text.data);
	return cli_finish(CLI_OK);
}

/* Tokens know the second they were made in: one that is made after this one must not be in it. */
static void wait_second(int64_t s)
{
	while (time(NULL) == s)
		usleep(10000);
}

static int user_void(const struct token_request *t)
{
	struct err err = ERR_INIT;
	int64_t now = time(NULL);

	if (!is_user(t->user))
		return cli_usage("'%s' is no user", t->user);
	if (token_revoke_user(t->data, t->user, now, &err) < 0)
		return cli_fail(&err);
	wait_second(now);
	return CLI_OK;
}

static int token_void(int argc, char **argv)
{
	struct token_request t = {0};
	uint8_t bytes[JWT_ID_LEN / 2];
	struct err err = ERR_INIT;
	int r = read_options(&t, argc, argv);

	if (r)
		return r;
	cli_operands(argc, argv, t.user ? 0 : 1, t.user ? 0 : 1, help);
	if (t.user)
		return user_void(&t);
	if (strlen(argv[optind]) != JWT_ID_LEN ||
	    hex_decode(bytes, sizeof(bytes), slice_str(argv[optind])) < 0)
		return cli_usage("'%s' is no id of a token", argv[optind]);
	return token_revoke(t.data, argv[optind], &err) < 0 ? cli_fail(&err) : CLI_OK;
}

static void token_print(void *ctx, const struct claims *c, bool revoked)
{
	const struct token_request *t = ctx;
	const char *state = revoked ? "revoked" : c->expires_s < time(NULL) ? "expired" : "good";
	char from[32], to[32];
	struct tm tm;
	json_t *line;

	if (t->user && strcmp(t->user, c->subject) != 0)
		return;
	strftime(from, sizeof(from), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&(time_t){c->issued_s}, &tm));
	strftime(to, sizeof(to), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&(time_t){c->expires_s}, &tm));
	if (!t->json) {
		printf("%s %s to %s %s %s\n", c->id, from, to, state, c->subject);
		return;
	}
	line = json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", c->id, "user", c->subject, "created",
			 from, "expires", to, "state", state);
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(line);
}

static int token_show(int argc, char **argv)
{
	struct token_request t = {0};
	struct err err = ERR_INIT;
	int r = read_options(&t, argc, argv);

	if (r)
		return r;
	cli_operands(argc, argv, 0, 0, help);
	if (token_list(t.data, token_print, &t, &err) < 0)
		return cli_fail(&err);
	return cli_finish(CLI_OK);
}

int cmd_admin_token(int argc, char **argv)
{
	static const struct cli_command table[] = {
		{"create", "make a login token", token_make},
		{"list", "login tokens that were made", token_show},
		{"revoke", "void a login token, or all tokens of a user", token_void},
		{NULL, NULL, NULL},
	};

	return cli_dispatch(table, help, argc, argv);
}
