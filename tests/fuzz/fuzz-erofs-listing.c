/* SPDX-License-Identifier: Apache-2.0 */
/* A listing with its header and hash made right becomes an EROFS image, or is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nacre/hash.h>

#include "node/erofs.h"
#include "node/view-listing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_image(struct slice text)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct erofs_writer *w = erofs_writer_new(fd);
	struct err err = ERR_INIT;
	uint64_t image_size;
	int r = erofs_writer_path(w, "/nix/store/fuzz", "content", &err);

	if (r >= 0)
		r = listing_read(text, erofs_writer_node_sink(w), &err);
	if (r >= 0)
		r = erofs_writer_finish(w, &image_size, &err);
	if (r >= 0 && (image_size % 4096 || lseek(fd, 0, SEEK_END) != (off_t)image_size))
		abort();
	erofs_writer_free(w);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text = {0};
	struct hash hash;

	write_image(slice_make(data, size));
	if (buf_add_str(&text, "nacre listing 1\n") >= 0 && buf_add(&text, data, size) >= 0) {
		hash_bytes(&hash, HASH_SHA256, text.data, text.len);
		if (buf_add(&text, hash.bytes, hash_size(HASH_SHA256)) >= 0)
			write_image(buf_slice(&text));
	}
	buf_release(&text);
	return 0;
}
