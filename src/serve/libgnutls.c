/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/libgnutls.h"

LAZY_LIBRARY_DEFINE(libgnutls, LIBGNUTLS_FUNCTIONS, SONAME_GNUTLS, "libgnutls30", "TLS");
