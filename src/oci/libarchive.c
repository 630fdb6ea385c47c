/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/libarchive.h"

LAZY_LIBRARY_DEFINE(libarchive, LIBARCHIVE_FUNCTIONS, SONAME_ARCHIVE, "libarchive13",
		    "reading a tar that others wrote");
