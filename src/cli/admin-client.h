/* SPDX-License-Identifier: Apache-2.0 */
/* What `nacre admin` and `nacre fsck` share: a request to the server of a data directory or, where
 * none runs, the same done here; or to a server elsewhere, by HTTP. */
#ifndef NACRE_CLI_ADMIN_CLIENT_H
#define NACRE_CLI_ADMIN_CLIENT_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>

#include "cli/cli.h"

enum admin_where {
	ADMIN_ANYWHERE,
	ADMIN_SERVER, /* only a server can do it */
	ADMIN_HERE,   /* only without a server */
};

/* What a server elsewhere takes. */
enum admin_remote { REMOTE_NEVER, REMOTE_GET, REMOTE_POST };

struct admin_call {
	const char *data;    /* directory; NULL: was not said */
	const char *server;  /* URL, instead of that; or NULL */
	const char *netrc;   /* file with the password for it; NULL: the usual ones */
	const char *command; /* name of it */
	json_t *request;     /* owned by the caller */
	bool json;           /* print the lines as they are */
	enum admin_where where;
	enum admin_remote remote;
	/* One line for people; `key` says what `value` is. The last one is "result". */
	void (*print)(const char *key, const json_t *value);
	json_t *result; /* owned by the caller; NULL: there is none */
};

/* Options: those of all commands, and what others have; they become members of the request. */
enum {
	ADMIN_OPT_DATA = CLI_OPT,
	ADMIN_OPT_JSON,
	ADMIN_OPT_DRY_RUN,
	ADMIN_OPT_REPAIR,
	ADMIN_OPT_COPY,
	ADMIN_OPT_VIEW,
	ADMIN_OPT_REPOSITORIES,
	ADMIN_OPT_SERVER,
	ADMIN_OPT_NETRC,
};
#define ADMIN_OPTIONS                                      \
	{"data", required_argument, NULL, ADMIN_OPT_DATA}, \
	{                                                  \
		"json", no_argument, NULL, ADMIN_OPT_JSON  \
	}
#define ADMIN_REMOTE_OPTIONS                                      \
	{"server", required_argument, NULL, ADMIN_OPT_SERVER},    \
	{                                                         \
		"netrc", required_argument, NULL, ADMIN_OPT_NETRC \
	}
struct admin_subcommand {
	const char *help;
	const struct option *options;
	int operands;
};
/* Makes the request, and takes the command line. */
void admin_options(struct admin_call *call, const struct admin_subcommand *sub, int argc,
		   char **argv);
/* Frees what the call has; returns `code`. */
int admin_call_end(struct admin_call *call, int code);

/* Returns an exit code; what went wrong was said. */
int admin_call(struct admin_call *call);

/* "12.3 MiB"; `ret` has 32 bytes. */
const char *admin_size(char *ret, const json_t *object, const char *key);
unsigned long long admin_number(const json_t *object, const char *key);
const char *admin_text(const json_t *object, const char *key);

/* cmd-fsck.c, for cmd-admin.c. */
cli_run_fn cmd_admin_fsck;

/* cmd-admin-token.c */
cli_run_fn cmd_admin_token;

#endif
