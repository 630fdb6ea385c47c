/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an ordinary layer and a store layer can lie side by side, or must be stacked as any runtime would. Threads: any. */
#ifndef NACRE_NODE_LAYER_TOUCH_H
#define NACRE_NODE_LAYER_TOUCH_H

#include <stdbool.h>

#include "node/node-store.h"

/* Does the ordinary layer whose directory is `fd` (borrowed; < 0: it cannot be opened) hold, or hide, something at one of
 * the record's store paths, or is a directory above them other than in a store layer (SPEC nacre 2: root's, 0755)? */
bool layer_touches(int fd, const struct layer_record *record);

#endif
