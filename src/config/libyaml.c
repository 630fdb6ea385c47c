/* SPDX-License-Identifier: Apache-2.0 */
#include "config/libyaml.h"

LAZY_LIBRARY_DEFINE(libyaml, LIBYAML_FUNCTIONS, SONAME_YAML, "libyaml-0-2",
		    "reading a configuration file");
