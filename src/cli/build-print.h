/* SPDX-License-Identifier: Apache-2.0 */
/* What is printed of an image that was made, by whichever command. */
#ifndef NACRE_CLI_BUILD_PRINT_H
#define NACRE_CLI_BUILD_PRINT_H

#include "net/build.h"

/* Its digest, or as JSON. */
void build_print(const struct build_result *result, bool json);

#endif
