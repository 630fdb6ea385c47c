/* SPDX-License-Identifier: Apache-2.0 */
#include "net/libmicrohttpd.h"

LAZY_LIBRARY_DEFINE(libmicrohttpd, LIBMICROHTTPD_FUNCTIONS, SONAME_MICROHTTPD, "libmicrohttpd12",
		    "an HTTP server");
