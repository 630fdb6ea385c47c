/* SPDX-License-Identifier: Apache-2.0 */
#include "net/libcurl.h"

LAZY_LIBRARY_DEFINE(libcurl, LIBCURL_FUNCTIONS, SONAME_CURL, "libcurl4 or libcurl3-gnutls", "HTTP");
