/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli-internal.h"
#include "cli/cli.h"

static const struct cli_command commands[] = {
#define COMMAND(function, name, summary) {name, summary, function},
#include "cli/commands.h"
#undef COMMAND
	{NULL, NULL, NULL},
};

static const char help_head[] =
	"Usage: nacre [--quiet|--verbose] COMMAND [OPTION]... [ARGUMENT]...\n"
	"\n"
	"Nix store paths as OCI layers: builds and copies images, serves a registry and a Nix\n"
	"binary cache over one store, and runs containers.\n"
	"\n"
	"Commands:\n";

static const char help_tail[] =
	"\n"
	"Options:\n"
	"  -q, --quiet     no progress, no remarks\n"
	"  -v, --verbose   say more on stderr\n"
	"      --version   print the version\n"
	"      --help      print this text; nacre COMMAND --help tells of a command\n"
	"\n"
	"Manual: man nacre\n";

static int print_help(void)
{
	fputs(help_head, stdout);
	for (const struct cli_command *c = commands; c->name; c++)
		printf("  %-12s %s\n", c->name, c->summary);
	fputs(help_tail, stdout);
	return cli_finish(CLI_OK);
}

static int run_command(int argc, char **argv)
{
	for (const struct cli_command *c = commands; c->name; c++) {
		if (strcmp(c->name, argv[0]) != 0)
			continue;
		optind = 0; /* GNU: scan anew */
		return cli_finish(c->run(argc, argv));
	}
	return cli_usage("there is no command '%s' (see nacre --help)", argv[0]);
}

/* Who starts a program with standard streams closed would have what it opens first take their place: messages would go
 * into the file that is being written. */
static void open_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
			_exit(CLI_FAILED); /* nothing to say it with */
}

int main(int argc, char **argv)
{
	int i = 1;

	open_standard_streams();
	signal(SIGPIPE, SIG_IGN);
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return print_help();
		if (strcmp(argv[i], "--version") == 0) {
			printf("nacre %s\n", NACRE_VERSION);
			return cli_finish(CLI_OK);
		}
		if (strcmp(argv[i], "-q") == 0 || strcmp(argv[i], "--quiet") == 0)
			cli_set_quiet();
		else if (strcmp(argv[i], "-v") == 0 || strcmp(argv[i], "--verbose") == 0)
			log_set_level(LOG_LEVEL_DEBUG);
		else
			return cli_usage("unknown option '%s' (see nacre --help)", argv[i]);
	}
	if (i == argc) {
		print_help();
		return CLI_USAGE;
	}
	return run_command(argc - i, argv + i);
}
