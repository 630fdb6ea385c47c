/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patterns for names of repositories, tags and caches, as operators write them:
 *
 * 	*	any characters but '/'
 * 	**	any characters
 * 	?	one character but '/'
 *
 * Everything else stands for itself. Time is bounded by the product of both lengths.
 */
#ifndef NACRE_BASE_PATTERN_H
#define NACRE_BASE_PATTERN_H

#include <nacre/buf.h>

enum { PATTERN_MAX = 511 };

/* 0, or E_LIMIT: longer than PATTERN_MAX; E_INVALID: empty or with blanks or control characters. */
int pattern_check(struct slice pattern);
/* A pattern that does not pass the check fits nothing. */
bool pattern_fits(const char *pattern, const char *name);
/* Does one of them fit? */
bool patterns_fit(const struct strv *patterns, const char *name);

#endif
