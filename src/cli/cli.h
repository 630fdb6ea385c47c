/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all commands of `nacre` share: the table of commands, options, errors, progress.
 *
 * A command is one file `cmd-NAME.c` with one function of the type below, entered in commands.h. It
 * parses its options with cli_getopt(), calls the libraries, prints data on stdout and all else on
 * stderr. No logic worth testing lives here.
 *
 *	static const char usage[] = "Usage: nacre nar hash [OPTION]... PATH\n…";
 *
 * Exit codes: 0 done; 1 the operation failed; 2 the command line is wrong. `nacre run` gives the
 * code of the container, and 125 when it could not be started.
 */
#ifndef NACRE_CLI_H
#define NACRE_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include <nacre/err.h>
#include <nacre/sink.h>

enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* argv[0] is the command's name. Returns the exit code. */
typedef int cli_run_fn(int argc, char **argv);

struct cli_command {
	const char *name;
	const char *summary; /* one line for `nacre --help` */
	cli_run_fn *run;
};

#define COMMAND(function, name, summary) cli_run_fn function;
#include "cli/commands.h"
#undef COMMAND

/* Chooses among subcommands (`nacre nar dump`): `table` ends with a NULL name. `help` is the
 * text of `nacre NAME --help`. */
int cli_dispatch(const struct cli_command *table, const char *help, int argc, char **argv);

/* getopt_long() that handles --help (prints `help` on stdout, ends the program with 0) and wrong
 * options (says what is wrong, ends with 2). `options` end with a zero entry and need not name
 * help; values of long options without a letter begin at CLI_OPT. Returns the option, or -1 at
 * the end; optind then points to the first operand. Options and operands may be mixed, unless
 * `letters` begin with '+'. */
enum { CLI_OPT = 256 };
int cli_getopt(int argc, char **argv, const char *letters, const struct option *options,
	       const char *help);

/* Ends the program with 2 and a hint at --help unless there are `min` to `max` operands behind
 * optind (max < 0: any number). */
void cli_operands(int argc, char **argv, int min, int max, const char *help);

/* Prints "nacre: <text>" on stderr and returns the exit code for it. */
int cli_fail(const struct err *err);
/* The same for a mistake on the command line: returns CLI_USAGE. */
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A warning or remark on stderr; silent with --quiet. */
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool cli_quiet(void);

/* Flushes stdout; an output that could not be written makes a command fail. Returns `code` or
 * CLI_FAILED. */
int cli_finish(int code);

/* E_USAGE when stdout is a terminal: binary does not belong there. */
int cli_check_binary_stdout(struct err *err);

/* Progress of long work on stderr: only on a terminal, only after half a second, at most ten
 * times a second; `total` 0 is unknown. All-zero is inactive. */
struct progress {
	const char *label; /* borrowed */
	uint64_t total, done;
	int64_t started_ms, shown_ms;
	bool active, visible;
};
void progress_begin(struct progress *p, const char *label, uint64_t total);
void progress_add(struct progress *p, uint64_t bytes);
void progress_end(struct progress *p);

#endif
