/* SPDX-License-Identifier: Apache-2.0 */
/* Where the body of a request comes from: a length and a stream that can begin again, so that
 * the request can be repeated. */
#ifndef NACRE_NET_HTTP_SOURCE_H
#define NACRE_NET_HTTP_SOURCE_H

#include <nacre/err.h>
#include <nacre/slice.h>

/* Embedded first. Exactly `size` bytes come. */
struct http_source {
	uint64_t size; /* bytes */
	/* Up to `max` bytes (max > 0): their number, 0 at the end only, or < 0 with `err` set. */
	int64_t (*read)(struct http_source *self, void *data, size_t max, struct err *err);
	/* Begins again; NULL: cannot, and the request is sent once. */
	int (*rewind)(struct http_source *self, struct err *err);
};

/* `size` bytes of a seekable file (borrowed) from `offset`; the file's own position is not used.
 * `what` (borrowed) names it in errors. */
struct http_fd_source {
	struct http_source source;
	int fd;
	uint64_t offset, taken;
	const char *what;
};
void http_fd_source_init(struct http_fd_source *s, int fd, uint64_t offset, uint64_t size,
			 const char *what);

/* Bytes in memory (borrowed). */
struct http_slice_source {
	struct http_source source;
	struct slice bytes;
	size_t taken;
};
void http_slice_source_init(struct http_slice_source *s, struct slice bytes);

#endif
