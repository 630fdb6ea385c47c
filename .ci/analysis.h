/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Included before every file that clang-tidy reads, err.c excepted. It tells the analyser what the
 * contracts of <nacre/err.h> say and another file's code cannot show: these functions never return success. Without it each
 * `return err_set(...)` looks as if it might, and out-parameters as if they might be unset.
 */
#ifndef NACRE_CI_ANALYSIS_H
#define NACRE_CI_ANALYSIS_H

#include <nacre/err.h>

static inline int analysis_negative(int code)
{
	if (code >= 0)
		__builtin_unreachable();
	return code;
}

#define err_set(...) analysis_negative((err_set)(__VA_ARGS__))
#define err_vset(...) analysis_negative((err_vset)(__VA_ARGS__))
#define err_errno(...) analysis_negative((err_errno)(__VA_ARGS__))
#define err_wrap(...) analysis_negative((err_wrap)(__VA_ARGS__))

#endif
