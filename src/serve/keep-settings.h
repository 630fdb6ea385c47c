/* SPDX-License-Identifier: Apache-2.0 */
/* Sections `gc`, `retention`, `quotas`, `immutable-tags`: what is kept, how much of it, and what
 * stands for good. Private to src/serve. */
#ifndef NACRE_SERVE_KEEP_SETTINGS_H
#define NACRE_SERVE_KEEP_SETTINGS_H

#include "config/config.h"
#include "store/upkeep.h"

/* E_INVALID, with file and line. On failure `ret` may hold a part; store_rules_release(). */
int keep_settings_read(struct store_rules *ret, struct config *root, struct err *err);

#endif
