/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that an operator can decide about the server: the configuration file read and checked.
 *
 * A `struct settings` is immutable once it was read. The server holds one; SIGHUP reads another
 * and puts it in its place, and requests in progress keep theirs (req->settings) until they end.
 * Each section belongs to the file of its module, which reads, checks and frees it.
 */
#ifndef NACRE_SERVE_SETTINGS_H
#define NACRE_SERVE_SETTINGS_H

#include <stdatomic.h>

#include <nacre/err.h>
#include <nacre/pathinfo.h>

#include "config/config.h"
#include "store/store.h"

/* One name space (SPEC nacre 1). */
struct view_settings {
	const char *name; /* "" is the root, else "team" or "team/sub"; borrowed from the tree */
	struct store_view_options store;
};

struct settings {
	_Atomic unsigned refs;
	struct config *tree; /* owned; the texts of all sections */
	const char *data;
	const char **listen; /* owned array */
	size_t n_listen;
	bool allow_write;
	struct view_settings *views; /* owned; [0] is the root */
	size_t n_views;
	/* Sections of other modules follow, each `struct X_settings x;` read by X_settings_read(). */
};

/* Takes over `tree`, also on failure. */
int settings_read(struct settings **ret, struct config *tree, struct err *err);
struct settings *settings_ref(struct settings *s);
void settings_unref(struct settings *s); /* NULL is nothing */

#endif
