/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/version.h>

const char *nacre_version(void)
{
	return NACRE_VERSION;
}
