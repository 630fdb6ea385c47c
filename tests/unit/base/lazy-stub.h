/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NACRE_TESTS_LAZY_STUB_H
#define NACRE_TESTS_LAZY_STUB_H

int stub_add(int a, int b);
const char *stub_name(void);
/* Promised here, but not in the library. */
int stub_missing(void);

#endif
