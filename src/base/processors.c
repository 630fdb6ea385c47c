/* SPDX-License-Identifier: Apache-2.0 */
#include "base/processors.h"

#include <sched.h>

unsigned processors_usable(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}
