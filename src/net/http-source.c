/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http-source.h"

#include <inttypes.h>

#include "base/fs.h"
#include "base/mem.h"

static int64_t fd_source_read(struct http_source *self, void *data, size_t max, struct err *err)
{
	struct http_fd_source *s = container_of(self, struct http_fd_source, source);
	uint64_t left = self->size - s->taken;
	size_t n = left < max ? (size_t)left : max;
	ssize_t got = n ? pread_full(s->fd, data, n, s->offset + s->taken) : 0;

	if (got < 0)
		return err_errno(err, "read %s", s->what);
	if ((size_t)got < n)
		return err_set(err, E_CONFLICT,
			       "%s became shorter while it was read (at byte %" PRIu64 ")", s->what,
			       s->taken + (uint64_t)got);
	s->taken += n;
	return (int64_t)n;
}

static int fd_source_rewind(struct http_source *self, struct err *err)
{
	container_of(self, struct http_fd_source, source)->taken = 0;
	return 0;
}

void http_fd_source_init(struct http_fd_source *s, int fd, uint64_t offset, uint64_t size,
			 const char *what)
{
	*s = (struct http_fd_source){.source = {size, fd_source_read, fd_source_rewind},
				     .fd = fd,
				     .offset = offset,
				     .what = what};
}

static int64_t slice_source_read(struct http_source *self, void *data, size_t max, struct err *err)
{
	struct http_slice_source *s = container_of(self, struct http_slice_source, source);
	size_t left = s->bytes.len - s->taken;
	size_t n = left < max ? left : max;

	if (n)
		memcpy(data, s->bytes.data + s->taken, n);
	s->taken += n;
	return (int64_t)n;
}

static int slice_source_rewind(struct http_source *self, struct err *err)
{
	container_of(self, struct http_slice_source, source)->taken = 0;
	return 0;
}

void http_slice_source_init(struct http_slice_source *s, struct slice bytes)
{
	*s = (struct http_slice_source){
		.source = {bytes.len, slice_source_read, slice_source_rewind}, .bytes = bytes};
}
