/* SPDX-License-Identifier: Apache-2.0 */
/* libyaml's parser, loaded when it is needed (base/lazy-library.h). */
#ifndef NACRE_CONFIG_LIBYAML_H
#define NACRE_CONFIG_LIBYAML_H

#include <yaml.h>

#include "base/lazy-library.h"

#define LIBYAML_FUNCTIONS(F)        \
	F(yaml_event_delete)        \
	F(yaml_parser_delete)       \
	F(yaml_parser_initialize)   \
	F(yaml_parser_parse)        \
	F(yaml_parser_set_encoding) \
	F(yaml_parser_set_input_string)

LAZY_LIBRARY_DECLARE(libyaml, LIBYAML_FUNCTIONS);

#define yaml_event_delete            libyaml.yaml_event_delete
#define yaml_parser_delete           libyaml.yaml_parser_delete
#define yaml_parser_initialize       libyaml.yaml_parser_initialize
#define yaml_parser_parse            libyaml.yaml_parser_parse
#define yaml_parser_set_encoding     libyaml.yaml_parser_set_encoding
#define yaml_parser_set_input_string libyaml.yaml_parser_set_input_string

#endif
