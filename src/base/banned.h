/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions that invite mistakes are compile errors. Force-included before every source file, so
 * the system headers that declare them come first.
 */
#ifndef NACRE_BASE_BANNED_H
#define NACRE_BASE_BANNED_H

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok atoi atol atoll atof \
	sscanf gets mktemp tmpnam tempnam
#pragma GCC poison system popen asctime ctime gmtime localtime
/* They lose wake-ups: base/cond.h. */
#pragma GCC poison pthread_cond_wait pthread_cond_timedwait pthread_cond_clockwait

#endif
