/* SPDX-License-Identifier: Apache-2.0 */
/* A sink that proves a NAR against NarHash and NarSize of its path info while it passes: the
 * last bytes go on only if all is right. finish() checks the size, and does not finish `next`. */
#ifndef NACRE_NET_NAR_CHECK_H
#define NACRE_NET_NAR_CHECK_H

#include <nacre/pathinfo.h>

struct nar_check {
	struct sink sink;
	const struct path_info *info; /* borrowed */
	struct sink *next;            /* borrowed */
	struct hasher hasher;
	uint64_t bytes;
};
void nar_check_init(struct nar_check *s, const struct path_info *info, struct sink *next);
void nar_check_release(struct nar_check *s);

#endif
