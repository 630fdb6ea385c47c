/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the driver share. */
#ifndef NACRE_TEST_NET_DRIVER_H
#define NACRE_TEST_NET_DRIVER_H

#include "base/fs.h"
#include "net/http.h"

enum { WORDS_MAX = 64 };

/* The command line behind the command. */
struct words {
	char *words[WORDS_MAX];
	int n_words;
	char *options[WORDS_MAX];
	int n_options;
};

/* The value of `name=value`, or NULL. */
const char *option(const struct words *w, const char *name);
uint64_t number_option(const struct words *w, const char *name);
void http_options_of(const struct words *w, struct http_options *ret);
/* Creates a file: its descriptor, owned by the caller. */
int open_output(const char *file, struct fd_sink *ret, struct err *err);

/* registry-NAME WORD… */
int registry_command(const struct words *w, const char *name, struct err *err);
/* cache-NAME WORD… */
int cache_command(const struct words *w, const char *name, struct err *err);

#endif
