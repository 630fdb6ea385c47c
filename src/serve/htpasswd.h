/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of users and bcrypt hashes, as `htpasswd -B` writes it: "name:$2y$10$…" lines, '#' begins a
 * comment. Immutable once it was read, and counted; any thread may ask. Private to src/serve.
 *
 * A `struct htpasswd_file` reads the file again when it changed and then was left alone for a second, so
 * that one which is being written is not taken for a shorter one. A change that makes no sense is told to
 * the log, and what was read before stays.
 */
#ifndef NACRE_SERVE_HTPASSWD_H
#define NACRE_SERVE_HTPASSWD_H

#include <stdbool.h>

#include <nacre/err.h>
#include <nacre/slice.h>

#include "base/mem.h"

struct htpasswd;

enum { USER_MAX = 255, PASSWORD_MAX = 72 * 16 };

/* E_INVALID names the line: no bcrypt, a user twice, a name with blanks. `name` is for messages. */
int htpasswd_parse(struct htpasswd **ret, struct slice text, const char *name, struct err *err);
int htpasswd_read(struct htpasswd **ret, const char *path, struct err *err);
void htpasswd_unref(struct htpasswd *h); /* NULL is nothing */
/* Takes the same time for a user that does not exist. NULL has no users. */
bool htpasswd_verify(const struct htpasswd *h, const char *user, const char *password);
/* Short text that changes with the user's hash; `ret` has PASSWORD_STAMP_LEN + 1 bytes. False: there
 * is no such user. */
bool htpasswd_stamp(const struct htpasswd *h, const char *user, char *ret);

struct htpasswd_file;
int htpasswd_file_open(struct htpasswd_file **ret, const char *path, struct err *err);
void htpasswd_file_free(struct htpasswd_file *f); /* NULL is nothing */
/* What is in it now; a reference. NULL has no users. */
struct htpasswd *htpasswd_file_get(struct htpasswd_file *f);
CLEANUP_FUNC(struct htpasswd, htpasswd_unref)

#endif
