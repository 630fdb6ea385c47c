/* SPDX-License-Identifier: Apache-2.0 */
/* The content of a store path on its way, proven against NarHash and NarSize of its path info: the NAR that the
 * events make is hashed. Private to src/net; of bytes that are a NAR already, nar-check.h. */
#ifndef NACRE_NET_PROOF_H
#define NACRE_NET_PROOF_H

#include <nacre/nar.h>
#include <nacre/pathinfo.h>

#include "base/sinks.h"

/* Lets events through, NODE_END only if all is right. Stops where there is more than NarSize says, whatever
 * it grows to. */
struct proof {
	struct node_sink node_sink;
	struct node_sink *out;        /* borrowed */
	const struct path_info *info; /* borrowed */
	const char *otherwise;        /* static; what to say of the path when it is not */
	struct nar_writer *nar;       /* owned */
	struct hash_sink hash;
	bool is_over; /* NODE_END went through */
};
void proof_init(struct proof *p, const struct path_info *info, struct node_sink *out,
		const char *otherwise);
void proof_release(struct proof *p);

#endif
