/* SPDX-License-Identifier: Apache-2.0 */
/* The section of one view in the configuration; private to src/serve. */
#ifndef NACRE_SERVE_VIEW_SETTINGS_H
#define NACRE_SERVE_VIEW_SETTINGS_H

#include "serve/settings.h"

/* E_INVALID, at `map`, for what cannot be the name of a view. */
int view_name_check(const char *name, const struct config *map, struct err *err);
/* `name` is borrowed; `section` may be NULL. */
int view_settings_read(struct view_settings *ret, const char *name, struct config *section,
		       struct err *err);
void view_settings_release(struct view_settings *v);

#endif
