/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/libcrypt.h"

LAZY_LIBRARY_DEFINE(libcrypt, LIBCRYPT_FUNCTIONS, SONAME_CRYPT, "libcrypt1",
		    "reading a file of passwords");
