/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli-internal.h"
#include "cli/cli.h"

static bool quiet; /* set once by main */

enum { OPT_HELP = 255 };

void cli_set_quiet(void)
{
	quiet = true;
}

bool cli_quiet(void)
{
	return quiet;
}

static void help_and_exit(const char *help)
{
	fputs(help, stdout);
	exit(cli_finish(CLI_OK));
}

int cli_dispatch(const struct cli_command *table, const char *help, int argc, char **argv)
{
	if (argc < 2) {
		fputs(help, stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		help_and_exit(help);
	for (const struct cli_command *c = table; c->name; c++)
		if (strcmp(c->name, argv[1]) == 0)
			return c->run(argc - 1, argv + 1);
	return cli_usage("nacre %s: there is no command '%s' (see nacre %s --help)", argv[0],
			 argv[1], argv[0]);
}

/* The options of a command with --help behind them. */
static struct option *with_help(const struct option *options)
{
	size_t n = 0;
	struct option *all;

	while (options && options[n].name)
		n++;
	all = xcalloc(n + 2, sizeof(*all));
	if (n)
		memcpy(all, options, n * sizeof(*all));
	all[n] = (struct option){"help", no_argument, NULL, OPT_HELP};
	return all;
}

int cli_getopt(int argc, char **argv, const char *letters, const struct option *options,
	       const char *help)
{
	cleanup_free struct option *all = with_help(options);
	/* A leading '+' (stop at the first operand) stays in front of the ':'. */
	bool plus = letters[0] == '+';
	cleanup_free char *spec = xasprintf("%s:%s", plus ? "+" : "", letters + plus);
	int c;

	opterr = 0;
	c = getopt_long(argc, argv, spec, all, NULL);
	if (c == OPT_HELP)
		help_and_exit(help);
	if (c == ':')
		exit(cli_usage("option '%s' needs a value", argv[optind - 1]));
	if (c == '?' && optopt && optopt < OPT_HELP)
		exit(cli_usage("unknown option '-%c' (see --help)", optopt));
	if (c == '?')
		exit(cli_usage("unknown option or misplaced value: '%s' (see --help)",
			       argv[optind - 1]));
	return c;
}

void cli_operands(int argc, char **argv, int min, int max, const char *help)
{
	int n = argc - optind;

	if (n >= min && (max < 0 || n <= max))
		return;
	if (n < min)
		fprintf(stderr, "nacre: %s: an argument is missing\n", argv[0]);
	else
		fprintf(stderr, "nacre: %s: one argument too many: '%s'\n", argv[0],
			argv[optind + max]);
	/* The first line of the help is the usage. */
	fprintf(stderr, "%.*s\n", (int)strcspn(help, "\n"), help);
	exit(CLI_USAGE);
}

int cli_fail(const struct err *err)
{
	fprintf(stderr, "nacre: %s\n", err->text);
	return err->code == E_USAGE ? CLI_USAGE : CLI_FAILED;
}

int cli_usage(const char *fmt, ...)
{
	struct err err = ERR_INIT;
	va_list ap;

	va_start(ap, fmt);
	err_vset(&err, E_USAGE, fmt, ap);
	va_end(ap);
	return cli_fail(&err);
}

void cli_note(const char *fmt, ...)
{
	struct err text = ERR_INIT; /* for its escaping */
	va_list ap;

	if (quiet)
		return;
	va_start(ap, fmt);
	err_vset(&text, E_USAGE, fmt, ap);
	va_end(ap);
	fprintf(stderr, "nacre: %s\n", text.text);
}

int cli_finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	/* A reader that has seen enough is no failure of ours to report, but it is one. */
	if (errno != EPIPE)
		fprintf(stderr, "nacre: write standard output: %s\n", strerror(errno));
	return code == CLI_OK ? CLI_FAILED : code;
}

int cli_check_binary_stdout(struct err *err)
{
	if (isatty(STDOUT_FILENO))
		return err_set(err, E_USAGE,
			       "the output is binary: redirect it to a file or a pipe");
	return 0;
}
