/* SPDX-License-Identifier: Apache-2.0 */
/* How many processors this process may use. Threads: any. */
#ifndef NACRE_BASE_PROCESSORS_H
#define NACRE_BASE_PROCESSORS_H

/* Those of its affinity mask, which may be fewer than the machine has; at least 1. */
unsigned processors_usable(void);

#endif
