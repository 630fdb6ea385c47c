/* SPDX-License-Identifier: Apache-2.0 */
/* What --json prints of an image that was made, by whichever command. */
#ifndef NACRE_CLI_BUILD_PRINT_H
#define NACRE_CLI_BUILD_PRINT_H

#include "net/build.h"

void build_print_json(const struct build_result *result);

#endif
