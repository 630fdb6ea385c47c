/* SPDX-License-Identifier: Apache-2.0 */
/* libcrypt, loaded when it is needed (base/lazy-library.h). */
#ifndef NACRE_SERVE_LIBCRYPT_H
#define NACRE_SERVE_LIBCRYPT_H

#include <crypt.h>

#include "base/lazy-library.h"

#define LIBCRYPT_FUNCTIONS(F) F(crypt_rn)

LAZY_LIBRARY_DECLARE(libcrypt, LIBCRYPT_FUNCTIONS);

#define crypt_rn libcrypt.crypt_rn

#endif
