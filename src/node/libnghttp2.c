/* SPDX-License-Identifier: Apache-2.0 */
#include "node/libnghttp2.h"

LAZY_LIBRARY_DEFINE(libnghttp2, LIBNGHTTP2_FUNCTIONS, SONAME_NGHTTP2, "libnghttp2-14", "gRPC");
