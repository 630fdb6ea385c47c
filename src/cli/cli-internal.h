/* SPDX-License-Identifier: Apache-2.0 */
/* Between main.c and cli.c only. */
#ifndef NACRE_CLI_INTERNAL_H
#define NACRE_CLI_INTERNAL_H

void cli_set_quiet(void);

#endif
