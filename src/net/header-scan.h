/* SPDX-License-Identifier: Apache-2.0 */
/* The tokens that HTTP headers are made of (SPEC rfc9110 5.6). Each takes its text from the
 * front of `s`. */
#ifndef NACRE_NET_HEADER_SCAN_H
#define NACRE_NET_HEADER_SCAN_H

#include <nacre/buf.h>

enum { HEADER_VALUE_MAX = 8192 /* bytes of one parameter's value */ };

/* Skips blanks and tabs. */
void header_skip_blanks(struct slice *s);
/* Takes one character if it is next. */
bool header_take_char(struct slice *s, char c);
/* token: empty if there is none. Borrowed. */
struct slice header_take_token(struct slice *s);
/* token or quoted-string, unescaped, as an owned text without control characters: 0 or
 * E_INVALID. */
int header_take_value(struct slice *s, char **ret);
/* Equal without regard to the case of ASCII letters? */
bool header_name_is(struct slice name, const char *want);

#endif
