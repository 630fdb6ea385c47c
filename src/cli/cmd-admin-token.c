/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <nacre/encode.h>

#include "base/mem.h"
#include "cli/admin-client.h"
#include "cli/cli.h"
#include "serve/token.h"

enum { DAYS_MAX = 3650, DAY_S = 86400, DAYS_DEFAULT = 90 };

static const char help[] =
	"Usage: nacre admin token create --data DIR --user NAME [OPTION]...\n"
	"       nacre admin token revoke --data DIR ID\n"
	"\n"
	"A login token stands in the place of a password, for Nix's netrc, for docker login, for "
	"CI:\n"
	"whoever has it is the user NAME, who need not be in the file of passwords. It is printed\n"
	"once; its ID, by which it is revoked, goes to standard error. A server that runs knows "
	"both\n"
	"at once.\n"
	"\n"
	"      --data DIR       the data directory of the server\n"
	"      --user NAME      whom the rules of the server know\n"
	"      --expires DAYS   when it ends (default: 90)\n"
	"      --service NAME   auth.service of the server (default: nacre)\n";

enum { OPT_DATA = CLI_OPT, OPT_USER, OPT_EXPIRES, OPT_SERVICE };

struct token_request {
	const char *data, *user, *service; /* borrowed from argv */
	uint64_t days;
};

static int read_options(struct token_request *t, int argc, char **argv)
{
	static const struct option options[] = {
		{"data", required_argument, NULL, OPT_DATA},
		{"user", required_argument, NULL, OPT_USER},
		{"expires", required_argument, NULL, OPT_EXPIRES},
		{"service", required_argument, NULL, OPT_SERVICE},
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
		else if (parse_u64(&t->days, slice_str(optarg)) < 0 || t->days < 1 ||
			 t->days > DAYS_MAX)
			return cli_usage("--expires takes a number of days up to %d, not '%s'",
					 DAYS_MAX, optarg);
	}
	return t->data ? 0 : cli_usage("say whose tokens: --data DIR");
}

static int token_make(int argc, char **argv)
{
	struct token_request t = {.service = "nacre", .days = DAYS_DEFAULT};
	cleanup_buf struct buf text = {0};
	struct claims claims = {.login = true};
	struct secret_key key;
	struct err err = ERR_INIT;
	int r = read_options(&t, argc, argv);

	if (r)
		return r;
	cli_operands(argc, argv, 0, 0, help);
	if (!t.user || !t.user[0] || t.user[strcspn(t.user, ": \t\n")])
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
	if (r < 0)
		return cli_fail(&err);
	fprintf(stderr, "%s\n", claims.id);
	printf("%.*s\n", (int)text.len, (const char *)text.data);
	return cli_finish(CLI_OK);
}

static int token_void(int argc, char **argv)
{
	struct token_request t = {0};
	uint8_t bytes[JWT_ID_LEN / 2];
	struct err err = ERR_INIT;
	int r = read_options(&t, argc, argv);

	if (r)
		return r;
	cli_operands(argc, argv, 1, 1, help);
	if (strlen(argv[optind]) != JWT_ID_LEN ||
	    hex_decode(bytes, sizeof(bytes), slice_str(argv[optind])) < 0)
		return cli_usage("'%s' is no id of a token", argv[optind]);
	return token_revoke(t.data, argv[optind], &err) < 0 ? cli_fail(&err) : CLI_OK;
}

int cmd_admin_token(int argc, char **argv)
{
	static const struct cli_command table[] = {
		{"create", "make a login token", token_make},
		{"revoke", "void a login token", token_void},
		{NULL, NULL, NULL},
	};

	return cli_dispatch(table, help, argc, argv);
}
