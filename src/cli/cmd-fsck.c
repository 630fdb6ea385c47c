/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/admin-client.h"

static const char fsck_help[] =
	"Usage: nacre admin fsck --data DIR [--repair] [--json]\n"
	"\n"
	"Reads everything and compares it with what it should be, while the server serves.\n"
	"\n"
	"      --repair     do not serve what is damaged any more, and get it back where that is\n"
	"                   possible\n";

static const char offline_help[] =
	"Usage: nacre fsck --data DIR [--repair] [--json]\n"
	"\n"
	"Reads everything in the data directory of a server that does not run, and compares it "
	"with\n"
	"what it should be. `nacre admin fsck` does it while the server runs.\n"
	"\n"
	"      --data DIR   the data directory\n"
	"      --repair     put aside what is damaged, so that it is not served, and make again "
	"what\n"
	"                   can be made\n"
	"      --json       lines of JSON\n"
	"\n"
	"Exit code: 0 when all is well (or was repaired), 1 when something is not.\n";

static void print_fsck(const char *key, const json_t *value)
{
	if (strcmp(key, "defect") == 0)
		printf("%s\n", json_string_value(value) ? json_string_value(value) : "?");
	else
		printf("%llu defects, %llu quarantined, %llu repaired, %llu lost\n",
		       admin_number(value, "defects"), admin_number(value, "quarantined"),
		       admin_number(value, "repaired"), admin_number(value, "lost"));
}

static int fsck(struct admin_call *call, const char *fsck_text, int argc, char **argv)
{
	static const struct option options[] = {
		ADMIN_OPTIONS, {"repair", no_argument, NULL, ADMIN_OPT_REPAIR}, {0}};
	struct admin_subcommand sub = {fsck_text, options, 0};
	int code;

	admin_options(call, &sub, argc, argv);
	code = admin_call(call);
	if (code == CLI_OK &&
	    admin_number(call->result, "defects") > admin_number(call->result, "repaired"))
		code = CLI_FAILED;
	return admin_call_end(call, code);
}

int cmd_admin_fsck(int argc, char **argv)
{
	struct admin_call call = {.command = "fsck", .print = print_fsck};

	return fsck(&call, fsck_help, argc, argv);
}

int cmd_fsck(int argc, char **argv)
{
	struct admin_call call = {.command = "fsck", .where = ADMIN_HERE, .print = print_fsck};

	return fsck(&call, offline_help, argc, argv);
}
