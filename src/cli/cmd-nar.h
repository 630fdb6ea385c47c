/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of `nacre nar` that have files of their own. */
#ifndef NACRE_CLI_CMD_NAR_H
#define NACRE_CLI_CMD_NAR_H

#include "cli/cli.h"

cli_run_fn cmd_nar_ls;
cli_run_fn cmd_nar_cat;
cli_run_fn cmd_nar_to_tar;
cli_run_fn cmd_nar_from_tar;

#endif
