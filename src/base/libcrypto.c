/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "base/libcrypto.h"

LAZY_LIBRARY_DEFINE(libcrypto, LIBCRYPTO_FUNCTIONS, SONAME_CRYPTO, "libssl3 or libssl3t64",
		    "hashing");

void libcrypto_need(void)
{
	struct err err = ERR_INIT;

	if (libcrypto_load(&err) >= 0)
		return;
	fprintf(stderr, "nacre: %s\n", err.text);
	_exit(1);
}
