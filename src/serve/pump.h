/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of responses that somebody has to wait for: what is compressed while it is sent, what
 * still comes from another server. A worker makes them block by block while the connection is
 * suspended. Private to src/serve.
 */
#ifndef NACRE_SERVE_PUMP_H
#define NACRE_SERVE_PUMP_H

#include "serve/request.h"

struct pump_source {
	/* Up to `max` bytes at `pos`, which grows without gaps; or libmicrohttpd's
	 * MHD_CONTENT_READER_END_…. Called by one thread at a time. */
	ssize_t (*read)(void *cls, uint64_t pos, char *buf, size_t max);
	void (*release)(void *cls);
	void *cls; /* owned */
	size_t block_bytes;
};

/* `size` is MHD_SIZE_UNKNOWN where it is not known. Takes over the source. */
struct MHD_Response *pump_response(struct request *req, uint64_t size,
				   const struct pump_source *source);

#endif
