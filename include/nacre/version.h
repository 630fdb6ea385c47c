/* SPDX-License-Identifier: Apache-2.0 */
/* The version of the library that runs. */
#ifndef NACRE_VERSION_H
#define NACRE_VERSION_H

#include <nacre/err.h>

/* "0.1.0". Constant. */
NACRE_API const char *nacre_version(void);

#endif
