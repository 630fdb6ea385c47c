/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "base/libcrypto.h"

/* Its handler for the end of the process frees what threads that hashed free when they end, and a thread that is about to
 * (a worker, which nobody joins) freed it again. The system takes it all back. */
static void keep_to_the_end(void)
{
	OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}

LAZY_LIBRARY_DEFINE_READY(libcrypto, LIBCRYPTO_FUNCTIONS, SONAME_CRYPTO, "libssl3 or libssl3t64",
			  "hashing", keep_to_the_end);

void libcrypto_need(void)
{
	struct err err = ERR_INIT;

	if (libcrypto_load(&err) >= 0)
		return;
	fprintf(stderr, "nacre: %s\n", err.text);
	_exit(1);
}
