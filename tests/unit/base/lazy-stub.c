/* SPDX-License-Identifier: Apache-2.0 */
/* The library that test-lazy-library.c loads. */
#include "lazy-stub.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int stub_add(int a, int b)
{
	return a + b;
}

EXPORT const char *stub_name(void)
{
	return "stub";
}
